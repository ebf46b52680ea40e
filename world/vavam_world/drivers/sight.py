"""Whom a driver knows of, where it is not to know everybody: those near enough, and those whom a camera has shown it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_world.contracts import ActorState, CameraSpec, EgoState
from vavam_world.sim.collision import actor_box, corners

REMEMBERED_S = 3.0  # who has left the picture is still beside the vehicle, or has passed by then


class Sight:
    """State within a scenario: when each was last in the picture. Nobody hides anybody else."""

    def __init__(self, range_m: float = math.inf, camera: CameraSpec | None = None) -> None:
        """`range_m` from the rear axle. `camera`: only who has been in its picture, left to right, within the last `REMEMBERED_S`; None: all around.
        Raises ConfigError where the range is not positive."""
        if not range_m > 0.0:
            raise ConfigError(f"expert: got sight_m {range_m}, expected more than 0")
        self._range_m, self._camera = range_m, camera
        self.reset()

    def reset(self) -> None:
        """Before a new scenario."""
        self._shown_ns: dict[int, int] = {}

    def known(self, stamp_ns: int, ego: EgoState, actors: Iterable[ActorState]) -> tuple[ActorState, ...]:
        """Those of `actors` whom it knows of at `stamp_ns`."""
        near = tuple(a for a in actors if math.hypot(a.x_m - ego.x_m, a.y_m - ego.y_m) <= self._range_m)
        if self._camera is None:
            return near
        self._shown_ns |= {a.id: stamp_ns for a in near if in_picture(self._camera, ego, a)}
        return tuple(a for a in near if a.id in self._shown_ns and stamp_ns - self._shown_ns[a.id] <= REMEMBERED_S * NS_PER_S)


def in_picture(camera: CameraSpec, ego: EgoState, actor: ActorState) -> bool:
    """Whether a corner of the actor's outline lies between the left and the right edge of the picture."""
    c, s = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    x0, y0 = ego.x_m + camera.x_m * c - camera.y_m * s, ego.y_m + camera.x_m * s + camera.y_m * c
    c, s = math.cos(ego.yaw_rad + camera.yaw_rad), math.sin(ego.yaw_rad + camera.yaw_rad)
    for x, y in corners(actor_box(actor)).tolist():
        ahead, left = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
        if ahead > 0.0 and 0.0 <= camera.cx - camera.fx * left / ahead <= camera.width:
            return True
    return False
