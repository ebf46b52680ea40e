"""Scripted actors that get in the ego's way, moving in a straight line at constant speed.

Every kind is placed by one rule: when the ego that drives on along its route from its start at the cruise speed has the middle of its body
at `meet_s_m`, the intruder's middle is at `meet_s_m`, `offset_m` to the left of the route. Before and after it moves along its heading.
A stationary one simply stands there.
"""

from __future__ import annotations

import math

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import TICK_S, ActorState, Intruder, Route, Vehicle
from vavam_world.roads.lookup import LaneIndex
from vavam_world.roads.route_tools import pose_at
from vavam_world.sim.collision import centre_ahead

INTRUDER_ID = 1  # before all others
HEIGHT_M = 1.5


class ScriptedIntruder:
    """One intruder and where it is at each tick."""

    def __init__(self, spec: Intruder, route: Route, vehicle: Vehicle, *, start_s_m: float, cruise_mps: float, variant: int, lanes: LaneIndex) -> None:
        """Raises ConfigError where it cannot be met: beyond the route, behind the start, or with a speed that does not fit its kind."""
        distance = spec.meet_s_m - start_s_m - centre_ahead(vehicle)
        if not (distance > 0.0 and spec.meet_s_m <= route.length_m):
            first = start_s_m + centre_ahead(vehicle)
            raise ConfigError(f"intruder: got meet_s_m {spec.meet_s_m}, expected more than {first:.2f} and at most the route's {route.length_m:.1f}")
        if (spec.kind == "stationary") != (spec.speed_mps == 0.0) or spec.speed_mps < 0.0:
            raise ConfigError(f"intruder: got {spec.kind} with speed_mps {spec.speed_mps}, expected 0 for stationary and more for the others")
        x, y, yaw = pose_at(route, spec.meet_s_m, spec.offset_m)
        heading = {"stationary": 0.0, "frontal": math.pi, "side": -math.pi / 2.0 if spec.from_left else math.pi / 2.0}[spec.kind]
        self.spec = spec
        self.meet_s = distance / cruise_mps
        self._x, self._y, self._yaw = x, y, math.remainder(yaw + heading + spec.angle_rad, 2.0 * math.pi)
        self._variant = variant
        self.id = INTRUDER_ID
        self._lane, self._s = -1, 0.0
        if spec.kind == "stationary":  # one that stands in a lane is something ahead on that lane
            self._lane, self._s, _ = lanes.nearest(x, y, yaw)

    def at(self, tick: int) -> ActorState:
        """State at a tick."""
        way = (tick * TICK_S - self.meet_s) * self.spec.speed_mps
        return ActorState(
            id=INTRUDER_ID,
            kind="car",
            x_m=self._x + way * math.cos(self._yaw),
            y_m=self._y + way * math.sin(self._yaw),
            yaw_rad=self._yaw,
            speed_mps=self.spec.speed_mps,
            length_m=self.spec.length_m,
            width_m=self.spec.width_m,
            height_m=HEIGHT_M,
            variant=self._variant,
            lane_id=self._lane,
            s_m=self._s,
        )
