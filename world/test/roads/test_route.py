"""Routes: the turns that are asked for, starts and ends, changes of lane, projection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from vavam_world.contracts import MAP_KINDS, MapSpec, Route, RouteSpec, WorldError
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.lookup import LaneIndex
from vavam_world.roads.route_tools import pose_at, project

TOWNS = [MapSpec(kind="town", lanes=lanes, seed=seed) for lanes in (1, 2) for seed in range(4)]


@pytest.mark.parametrize("kind", MAP_KINDS)
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_route_is_a_smooth_line_of_metres_on_the_road(kind: str, lanes: int) -> None:
    for seed in range(6):
        road_map = build_map(MapSpec(kind=kind, lanes=lanes, seed=seed))
        route = plan_route(road_map, RouteSpec(seed=seed))
        assert route.length_m == 300.0
        np.testing.assert_array_equal(np.diff(route.s_m), 1.0)
        step = np.hypot(*np.diff(route.xy_m, axis=0).T)
        assert step.max() <= 1.0 + 1e-9
        assert step.min() > 0.99
        chord = np.unwrap(np.arctan2(*np.diff(route.xy_m, axis=0).T[::-1]))
        error = (chord - 0.5 * (route.yaw_rad[1:] + route.yaw_rad[:-1]) + math.pi) % (2.0 * math.pi) - math.pi
        assert np.abs(error).max() < 0.02
        assert np.abs(np.diff(route.yaw_rad)).max() < 1.0 / 6.3
        assert LaneIndex(road_map).on_road(route.xy_m).all()
        assert set(route.lane_ids) == set(route.lane_id.tolist())
        for i in range(0, 301, 7):
            lane = road_map.lanes[int(route.lane_id[i])]
            assert float(np.hypot(*(lane.xy_m - route.xy_m[i]).T).min()) < 0.51  # a sample, at most 0.5 m along
            assert route.speed_limit_mps[i] == lane.speed_limit_mps


def start_and_end(route: Route, spec: MapSpec) -> tuple[float, float]:
    """Way to the first junction, and from the end of the route to the end of its lane where that leads nowhere."""
    road_map = build_map(spec)
    last = road_map.lanes[int(route.lane_id[-1])]
    to_end = last.length_m - float(last.s_m[np.argmin(np.hypot(*(last.xy_m - route.xy_m[-1]).T))])
    return route.turns[0][0] if route.turns else math.inf, math.inf if last.successors else to_end


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_routes_begin_30_m_before_a_junction_and_end_20_m_before_a_road_does(kind: str) -> None:
    starts = set()
    for seed in range(25):
        spec = MapSpec(kind=kind, seed=seed % 3)
        route = plan_route(build_map(spec), RouteSpec(length_m=330.0, seed=seed))
        first, last = start_and_end(route, spec)
        assert first >= 30.0 - 1e-6
        assert last >= 20.0 - 1.0
        assert build_map(spec).lanes[route.lane_ids[0]].junction is None
        starts.add((round(float(route.xy_m[0, 0]), 3), seed % 3))
    assert len(starts) > 20  # seeds start in different places


@pytest.mark.parametrize("spec", TOWNS, ids=lambda s: f"{s.lanes}-{s.seed}")
@pytest.mark.parametrize("turns", [("left",), ("right", "left"), ("straight", "left", "right"), ("left", "right", "straight")])
def test_routes_take_the_turns_that_are_asked_for(spec: MapSpec, turns: tuple[str, ...]) -> None:
    road_map = build_map(spec)
    route = plan_route(road_map, RouteSpec(turns=turns, length_m=200.0, seed=5))
    assert tuple(turn for _, _, turn in route.turns)[: len(turns)] == turns
    s_out = route.turns[len(turns) - 1][1]
    assert route.length_m >= max(200.0, math.floor(s_out + 25.0))
    for s_in, s_out, turn in route.turns[: len(turns)]:
        change = pose_at(route, s_out)[2] - pose_at(route, s_in)[2]
        assert {"left": 1.2 < change < 1.95, "right": -1.95 < change < -1.2, "straight": abs(change) < 0.05}[turn]
        inside = route.lane_id[(route.s_m > s_in + 1.0) & (route.s_m < s_out - 1.0)]
        assert {road_map.lanes[int(id)].turn for id in inside} == {turn}
    for a, b in zip(route.lane_ids[:-1], route.lane_ids[1:]):
        assert b in (*road_map.lanes[a].successors, road_map.lanes[a].left, road_map.lanes[a].right)


def test_a_turn_from_the_other_lane_is_reached_by_a_smooth_change_of_lanes() -> None:
    road_map = build_map(MapSpec(kind="crossroads", lanes=2, seed=1))
    start = next(lane for lane in road_map.lanes.values() if lane.junction is None and lane.successors and lane.left is not None)
    route = plan_route(road_map, RouteSpec(turns=("left",), seed=0), start_lane=start.id)
    assert route.lane_ids[:2] == (start.id, start.left)
    before = route.s_m < route.turns[0][0]
    assert np.abs(route.curvature_1pm[before]).max() < 1.0 / 40.0
    index = LaneIndex(road_map)
    offsets = [index.nearest(*pose_at(route, s)) for s in np.arange(0.0, route.turns[0][0] - 1.0)]
    assert offsets[0][0] == start.id
    assert abs(offsets[0][2]) < 0.01
    assert offsets[-1][0] == start.left
    assert abs(offsets[-1][2]) < 0.01


def test_a_chosen_start_lane_is_used() -> None:
    road_map = build_map(MapSpec(kind="town", seed=2))
    for lane in (lane for lane in road_map.lanes.values() if lane.junction is None):
        assert plan_route(road_map, RouteSpec(length_m=150.0, seed=1), start_lane=lane.id).lane_ids[0] == lane.id


def test_the_seed_decides_and_long_routes_go_on() -> None:
    road_map = build_map(MapSpec(kind="town", seed=3))
    routes = [plan_route(road_map, RouteSpec(length_m=2000.0, seed=seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(routes[0].xy_m, routes[1].xy_m)
    assert routes[0].lane_ids != routes[2].lane_ids
    assert routes[0].length_m == 2000.0
    assert len({turn for _, _, turn in routes[0].turns}) == 3


@pytest.mark.parametrize(
    ("map_spec", "route_spec", "start", "message"),
    [
        (MapSpec(kind="straight"), RouteSpec(turns=("left",)), None, r"got turns \(left\) and length_m 300"),
        (MapSpec(kind="straight"), RouteSpec(length_m=5000.0), None, "less length"),
        (MapSpec(kind="crossroads"), RouteSpec(turns=("left", "left")), None, "fewer or other turns"),
        (MapSpec(kind="town"), RouteSpec(length_m=10.0), None, "got length_m 10.0, expected 40 m or more"),
        (MapSpec(kind="town"), RouteSpec(length_m=math.nan), None, "expected 40 m or more"),
        (MapSpec(kind="town"), RouteSpec(seed=-1), None, "a seed of 0 or more"),
        (MapSpec(kind="town"), RouteSpec(turns=("back",)), None, "expected turns of left, straight, right"),
        (MapSpec(kind="town"), RouteSpec(), 10_000, "got start lane 10000, expected a lane of the map outside junctions"),
    ],
)
def test_a_route_that_is_not_there_is_refused(map_spec: MapSpec, route_spec: RouteSpec, start: int | None, message: str) -> None:
    with pytest.raises(WorldError, match=message):
        plan_route(build_map(map_spec), route_spec, start_lane=start)


def test_a_junction_lane_is_no_start() -> None:
    road_map = build_map(MapSpec(kind="crossroads"))
    inside = next(lane.id for lane in road_map.lanes.values() if lane.junction is not None)
    with pytest.raises(WorldError, match="outside junctions"):
        plan_route(road_map, RouteSpec(), start_lane=inside)


def test_projection_inverts_the_pose_on_the_route() -> None:
    route = plan_route(build_map(MapSpec(kind="curves", seed=4)), RouteSpec(seed=4))
    for s in np.linspace(0.5, 299.5, 41):
        for d in (-1.5, 0.0, 2.0):
            x, y, yaw = pose_at(route, float(s), d)
            for hint in (None, float(s) - 3.0):
                s_found, d_found = project(route, x, y, hint)
                assert s_found == pytest.approx(s, abs=0.05)
                assert d_found == pytest.approx(d, abs=0.01)
            assert yaw == pytest.approx(float(np.interp(s, route.s_m, route.yaw_rad)))


def test_projection_ends_at_the_ends_and_a_hint_chooses_among_passes() -> None:
    route = plan_route(build_map(MapSpec(kind="straight", seed=4)), RouteSpec(seed=4))
    x, y, _ = pose_at(route, -7.0, 1.0)
    assert project(route, x, y) == (0.0, pytest.approx(1.0))
    x, y, _ = pose_at(route, route.length_m + 7.0, -1.0)
    assert project(route, x, y) == (route.length_m, pytest.approx(-1.0))
    x, y, _ = pose_at(route, 150.0)
    assert project(route, x, y, 60.0)[0] < 90.0
    assert project(route, x, y, 140.0)[0] == pytest.approx(150.0)
    assert project(route, x, y, -1000.0)[1] + 21.0 > 20.0  # a hint far off the route still gives its nearest end
