"""Where on a curved road an intruder is met: places picked once from generated roads and kept in curve_places.json.

A driver that does nothing keeps its line while the road bends away; it is a measure of the impact only where that line still meets the
intruder. A place is therefore the entry of a bend: the straight line from the start is within `LINE_M` of the lane's middle there, and the
road bends by `BEND_RAD` or more over the metres around it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from vavam_world.contracts import MapSpec, Route, RouteSpec, Scenario, WorldError
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.route_tools import pose_at, project

PICKED = Path(__file__).with_name("curve_places.json")
START_S_M = 5.0  # where a simulation puts the ego on its route
LINE_M = 0.8
BEND_RAD = 0.2
AROUND_M = (-10.0, 25.0)  # before and behind the place, where the road must bend
TRIES = 400
_SEEDS_EACH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A route on a map of kind `curves`, and where on it to meet."""

    route_seed: int
    meet_s_m: float


def pick(map_seed: int, least_m: float, most_m: float, beyond_m: float) -> Place:
    """The first place `least_m` to `most_m` along a route on the one-lane map of a seed, with `beyond_m` of route behind it.

    Raises WorldError where no route of `TRIES` has one."""
    road_map = build_map(MapSpec(kind="curves", lanes=1, seed=map_seed))
    for i in range(TRIES):
        seed = map_seed * _SEEDS_EACH + i
        route = plan_route(road_map, RouteSpec(length_m=math.ceil(most_m + beyond_m), seed=seed))
        for meet in np.arange(round(most_m, 1), least_m, -1.0):
            if _fits(route, float(meet)):
                return Place(route_seed=seed, meet_s_m=round(float(meet), 1))
    raise WorldError(f"curves map {map_seed}: got no place between {least_m:.0f} and {most_m:.0f} m on {TRIES} routes, expected one: another seed")


def _fits(route: Route, meet_s_m: float) -> bool:
    x, y, yaw = pose_at(route, START_S_M)
    far = meet_s_m - START_S_M
    _, off = project(route, x + far * math.cos(yaw), y + far * math.sin(yaw), meet_s_m)
    return abs(off) <= LINE_M and _bends(route, meet_s_m)


def _bends(route: Route, at_s_m: float) -> bool:
    before, behind = (pose_at(route, at_s_m + m)[2] for m in AROUND_M)
    return abs(math.remainder(behind - before, 2.0 * math.pi)) >= BEND_RAD


def nearest_bend(route: Route, wished_s_m: float, least_m: float, most_m: float) -> float | None:
    """Where between `least_m` and `most_m` along the route it bends as much as at the places of the suites, nearest to `wished_s_m`; None: nowhere."""
    places = np.arange(max(least_m, -AROUND_M[0]), min(most_m, route.length_m - AROUND_M[1]), 1.0)
    fit = [float(m) for m in places if _bends(route, float(m))]
    return min(fit, key=lambda m: abs(m - wished_s_m), default=None)


@lru_cache(maxsize=1)
def picked() -> dict[str, Place]:
    """Scenario name and split (`stationary/curve/007@test`) → place, as the repository has them."""
    return {name: Place(route_seed=seed, meet_s_m=meet) for name, (seed, meet) in json.loads(PICKED.read_text(encoding="utf-8")).items()}


LEADS = Path(__file__).with_name("lead_seeds.json")
LEAD_M = (15.0, 45.0)  # how far ahead of the start someone drives


def has_lead(scenario: Scenario) -> bool:
    """Whether a moving vehicle is on the ego's lane `LEAD_M` ahead of the start."""
    from vavam_world.sim.simulation import Simulation  # traffic is placed by the simulation, which nothing else here needs

    sim = Simulation(scenario)
    lane = int(sim.route.lane_id[round(START_S_M)])
    ahead = [project(sim.route, a.x_m, a.y_m)[0] - START_S_M for a in sim.state.actors if a.lane_id == lane and a.kind != "parked"]
    return any(LEAD_M[0] <= m <= LEAD_M[1] for m in ahead)


def pick_lead(scenario: Scenario) -> int:
    """The first seed of traffic with a vehicle to follow. Raises WorldError where none of `TRIES` has one."""
    for i in range(TRIES):
        seed = scenario.traffic.seed * _SEEDS_EACH + i
        if has_lead(replace(scenario, traffic=replace(scenario.traffic, seed=seed))):
            return seed
    raise WorldError(f"{scenario.name}: got nobody to follow with {TRIES} seeds of traffic, expected one: more vehicles")


@lru_cache(maxsize=1)
def leads() -> dict[str, int]:
    """Scenario name and split → seed of traffic, as the repository has them."""
    return dict(json.loads(LEADS.read_text(encoding="utf-8")))
