"""The driver that does nothing: the speed and heading it was first seen with, for ever. NeuroNCAP's measure of what an impact would have been."""

from __future__ import annotations

import numpy as np

from vavam_ros.core.contracts import DensePath
from vavam_ros.core.geometry import yaw_of
from vavam_world.contracts import F64, View
from vavam_world.drivers.paths import ROW_T_S, timed_path


class ConstantVelocity:
    """Holds the line and the speed of the first view after `reset`, so that the controller's own drift does not add up."""

    name = "constant_velocity"
    needs_image = False
    plan_every_ticks = 10

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the line."""
        self._start: tuple[F64, float, float] | None = None  # place (2,), heading, speed

    def plan(self, view: View) -> DensePath:
        """Straight on along the first view's line, from where the vehicle is along it."""
        here = view.pose.T_odom_ego[:2, 3]
        if self._start is None:
            self._start = here.copy(), yaw_of(view.pose.T_odom_ego), float(view.pose.linear_mps[0])
        origin, yaw, speed = self._start
        direction = np.array([np.cos(yaw), np.sin(yaw)])
        along = float((here - origin) @ direction) + speed * ROW_T_S
        x, y = origin[0] + along * direction[0], origin[1] + along * direction[1]
        return timed_path(view.stamp_ns, x, y, np.full_like(x, yaw), np.full_like(x, speed))
