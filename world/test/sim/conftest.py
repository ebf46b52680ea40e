"""Hand-made roads, and an ego that follows its route at one speed whatever is in the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from vavam_world.contracts import F64, Control, Lane, MapSpec, Prop, RoadMap, Route
from vavam_world.roads.route_tools import pose_at
from vavam_world.sim.simulation import Simulation


def _lane(id: int, xy: F64, yaw: F64, successors: tuple[int, ...] = ()) -> Lane:
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    return Lane(
        id=id,
        xy_m=xy,
        s_m=s,
        yaw_rad=yaw,
        curvature_1pm=np.gradient(yaw, s),
        width_m=3.5,
        speed_limit_mps=12.0,
        successors=successors,
        predecessors=(id,) if id in successors else (),
    )


def _map(lane: Lane, ring: F64, props: Sequence[Prop] = (), holes: Sequence[F64] = ()) -> RoadMap:
    low, high = ring.min(axis=0), ring.max(axis=0)
    bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return RoadMap(spec=MapSpec(), lanes={lane.id: lane}, road=((ring, *holes),), sidewalk=(), markings=(), crosswalks=(), props=tuple(props), bounds_m=bounds)


@pytest.fixture
def straight_map() -> Callable[..., RoadMap]:
    """One lane along x from 0 to `length`, road 2 m to either side."""

    def make(length: float = 300.0, props: Sequence[Prop] = ()) -> RoadMap:
        x = np.arange(0.0, length + 0.5)
        lane = _lane(0, np.stack([x, 0.0 * x], axis=1), 0.0 * x)
        return _map(lane, np.array([[-2.0, -2.0], [length + 2.0, -2.0], [length + 2.0, 2.0], [-2.0, 2.0]]), props)

    return make


@pytest.fixture
def ring_map() -> RoadMap:
    """A circle of 200 m that leads into itself."""
    angle = np.linspace(0.0, 2.0 * math.pi, 401)
    radius = 200.0 / (2.0 * math.pi)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _map(_lane(0, radius * unit, angle + math.pi / 2.0, (0,)), (radius + 2.0) * unit, holes=[(radius - 2.0) * unit])


@pytest.fixture
def route_of() -> Callable[[Lane], Route]:
    """A route along one whole lane."""

    def make(lane: Lane) -> Route:
        n = len(lane.s_m)
        limit, ids = np.full(n, lane.speed_limit_mps), np.full(n, lane.id)
        return Route(
            lane_ids=(lane.id,), xy_m=lane.xy_m, s_m=lane.s_m, yaw_rad=lane.yaw_rad, curvature_1pm=lane.curvature_1pm, speed_limit_mps=limit, lane_id=ids
        )

    return make


@pytest.fixture
def blind() -> Callable[[Simulation, float], Control]:
    """The control that keeps the ego on its route at a speed, and regards nothing else."""

    def control(sim: Simulation, speed: float) -> Control:
        ego, car = sim.state.ego, sim.vehicle
        reach = 3.0 + 0.4 * abs(ego.speed_mps)
        x, y, _ = pose_at(sim.route, sim.route_s + reach)
        dx, dy = x - ego.x_m, y - ego.y_m
        across = -dx * math.sin(ego.yaw_rad) + dy * math.cos(ego.yaw_rad)
        wheel = math.atan(2.0 * car.wheelbase_m * across / (dx * dx + dy * dy))
        wanted = 2.0 * (speed - ego.speed_mps) + car.rolling_mps2 + car.drag_1pm * ego.speed_mps**2
        most = min(car.max_accel_mps2, car.max_power_w_per_kg / max(0.1, ego.speed_mps))
        return Control(throttle=min(1.0, max(0.0, wanted / most)), brake=min(1.0, max(0.0, -wanted / car.max_brake_mps2)), steer=-wheel / car.max_steer_rad)

    return control
