"""Traffic: distance, priority, pedestrians and parked cars; and that nobody touches anybody in whole towns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
from vavam_world.contracts import TICK_S, ActorState, Control, MapKind, MapSpec, RoadMap, RouteSpec, Scenario, TrafficSpec, Vehicle
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.route_tools import pose_at
from vavam_world.sim.cars import Car
from vavam_world.sim.collision import Box, actor_box, box, overlap
from vavam_world.sim.ego_on_route import EgoOnRoute
from vavam_world.sim.simulation import Simulation
from vavam_world.sim.tracks import LATERAL_ACCEL_MPS2, Tracks
from vavam_world.sim.traffic import Traffic


class Nobody:
    """No pedestrian anywhere."""

    def blocks(self, crosswalk: int, lane: int) -> bool:
        return False


class Everywhere:
    """Somebody on every crosswalk."""

    def blocks(self, crosswalk: int, lane: int) -> bool:
        return True


def car(id: int, path: Sequence[int], s: float, speed: float = 0.0, temper: float = 1.0) -> Car:
    rng = np.random.default_rng(id)
    return Car(id=id, kind="car", length=4.5, width=1.85, height=1.5, variant=0, temper=temper, rng=rng, path=list(path), s=s, speed=speed)


def touching(actors: Sequence[ActorState]) -> list[tuple[int, int]]:
    return [(a.id, b.id) for a, b in combinations(actors, 2) if math.hypot(a.x_m - b.x_m, a.y_m - b.y_m) < 10.0 and overlap(actor_box(a), actor_box(b))]


def test_a_ring_of_cars_never_touches_and_flows(ring_map: RoadMap) -> None:
    rng = np.random.default_rng(1)
    cars = [car(i, [0], s, temper=float(rng.uniform(0.6, 1.0))) for i, s in enumerate(np.arange(14) * 9.0 + rng.uniform(0.0, 1.0, 14))]
    traffic = Traffic(Tracks(ring_map), cars)
    moved = 0.0
    for tick in range(round(120.0 / TICK_S)):
        traffic.step(None, [], Nobody())
        moved += sum(c.speed for c in cars) / len(cars) * TICK_S
        if tick % 5 == 0:
            assert touching(traffic.states()) == []
    assert moved > 120.0 * 2.5


def test_a_queue_stops_behind_what_stands_in_the_lane_and_goes_on(straight_map: Callable[..., RoadMap]) -> None:
    traffic = Traffic(Tracks(straight_map()), [car(i, [0], 20.0 + 20.0 * i, speed=10.0) for i in range(5)])
    obstacle: list[tuple[Box, float]] = [(box(200.0, 0.5, 0.1, 4.5, 1.9), 0.0)]
    for _ in range(round(60.0 / TICK_S)):
        traffic.step(None, obstacle, Nobody())
        assert touching(traffic.states()) == []
        assert all(not overlap(actor_box(a), obstacle[0][0]) for a in traffic.states())
    assert all(c.speed < 0.05 for c in traffic.cars)
    assert 0.5 < 200.0 - 2.4 - (traffic.cars[-1].s + 2.25) < 4.0
    for _ in range(round(5.0 / TICK_S)):
        traffic.step(None, [], Nobody())
    assert traffic.cars[-1].speed > 3.0


def test_what_stands_beside_the_lane_is_passed_and_what_sticks_out_is_not(straight_map: Callable[..., RoadMap]) -> None:
    for y, passes in ((-2.2, True), (-1.6, False)):
        traffic = Traffic(Tracks(straight_map()), [car(0, [0], 20.0, speed=10.0)], [box(100.0, y, 0.0, 4.5, 1.8)])
        for _ in range(round(15.0 / TICK_S)):
            traffic.step(None, [], Nobody())
        assert (traffic.cars[0].s > 110.0) == passes


def test_cars_keep_limits_and_lateral_acceleration() -> None:
    road_map = build_map(MapSpec(kind="town", seed=5))
    tracks = Tracks(road_map)
    start = next(i for i in tracks.ids() if tracks[i].junction is None)
    one = car(0, [start], 5.0)
    traffic = Traffic(tracks, [one])
    last, fastest = traffic.states()[0].yaw_rad, 0.0
    for _ in range(round(90.0 / TICK_S)):
        traffic.step(None, [], Nobody())
        lane = road_map.lanes[one.lane]
        assert one.speed <= lane.speed_limit_mps + 0.4
        bend = abs(float(np.interp(one.s, lane.s_m, lane.curvature_1pm)))
        assert one.speed**2 * bend <= 1.25 * LATERAL_ACCEL_MPS2
        state = traffic.states()[0]
        assert abs(math.remainder(state.yaw_rad - last, 2.0 * math.pi)) < 0.05 + one.speed * TICK_S * 0.3
        last, fastest = state.yaw_rad, max(fastest, one.speed)
    assert fastest > 6.0


@pytest.mark.parametrize("kind", ["t_junction", "crossroads"])
def test_who_yields_lets_the_other_pass_first(kind: MapKind) -> None:
    lanes = build_map(MapSpec(kind=kind, seed=3)).lanes
    tracks = Tracks(build_map(MapSpec(kind=kind, seed=3)))
    pairs = [(a.id, b) for a in lanes.values() for b in a.yields_to if tracks.zone(a.id, b)[1] > 0.0]
    assert len(pairs) >= 4
    for waits, goes in pairs:
        paths = [[lanes[i].predecessors[0], i, lanes[i].successors[0]] for i in (waits, goes)]
        # The one that has to wait is a little nearer: without priority it would go first.
        cars = [car(0, paths[0], tracks[paths[0][0]].length - 32.0, 7.0), car(1, paths[1], tracks[paths[1][0]].length - 38.0, 7.0)]
        traffic = Traffic(tracks, cars)
        passed: dict[int, int] = {}
        for tick in range(round(40.0 / TICK_S)):
            traffic.step(None, [], Nobody())
            for c, lane, other in ((cars[0], waits, goes), (cars[1], goes, waits)):
                if c.id not in passed and ((c.lane == lane and c.s > tracks.zone(lane, other)[0]) or c.behind == lane):
                    passed[c.id] = tick
            assert touching(traffic.states()) == []
            if len(passed) == 2 and tick > max(passed.values()) + 40:
                break
        assert len(passed) == 2, (waits, goes, "nobody waits for ever")
        assert passed[1] < passed[0], (waits, goes)


def test_traffic_yields_to_an_ego_that_goes_first() -> None:
    road_map = build_map(MapSpec(kind="crossroads", seed=3))
    lanes, tracks, vehicle, tried = road_map.lanes, Tracks(road_map), Vehicle(), 0
    for goes in (lane for lane in lanes.values() if lane.turn == "straight"):
        route = plan_route(road_map, RouteSpec(turns=("straight",), length_m=120.0), start_lane=goes.predecessors[0])
        entry = route.turns[0][0]
        for waits in (lane for lane in lanes.values() if goes.id in lane.yields_to and tracks.zone(lane.id, goes.id)[1] > 0.0):
            path = [waits.predecessors[0], waits.id, waits.successors[0]]
            traffic = Traffic(tracks, [car(100, path, tracks[path[0]].length - 20.0, 5.0)])
            ego_on_route = EgoOnRoute(road_map, route, vehicle)
            start = entry - 35.0
            for tick in range(round(25.0 / TICK_S)):
                s = start + 7.0 * tick * TICK_S
                x, y, yaw = pose_at(route, s)
                b = box(x + 1.45 * math.cos(yaw), y + 1.45 * math.sin(yaw), yaw, 4.7, 1.9)
                ego_on_route.move(min(s, route.length_m), 0.0, 7.0)
                traffic.step(ego_on_route, [(b, 7.0)], Nobody())
                state = traffic.states()[0]
                assert not overlap(actor_box(state), b)
                if s - entry < tracks.zone(goes.id, waits.id)[0]:
                    assert state.lane_id == path[0] or state.s_m + 2.25 < tracks.zone(waits.id, goes.id)[0]
            assert state.lane_id != path[0], "it goes once the ego is through"
            tried += 1
    assert tried >= 4


def test_ways_that_only_pass_close_by_count_as_meeting() -> None:
    tracks = Tracks(build_map(MapSpec(kind="t_junction", seed=23)))
    close = [(a, b) for a in tracks.ids() if tracks[a].junction is not None for b in tracks.meets(a) if b not in tracks[a].lane.conflicts]
    assert close, "this junction has a right turn 2.6 m beside a left turn: too near for a truck"
    assert all((b, a) in close and tracks.zone(a, b)[0] >= 0.0 for a, b in close)


def test_four_who_wait_for_each_other_all_get_through() -> None:
    lanes = build_map(MapSpec(kind="crossroads", seed=1)).lanes
    tracks = Tracks(build_map(MapSpec(kind="crossroads", seed=1)))
    ways = [lane for lane in lanes.values() if lane.turn == "straight"]
    assert len(ways) == 4
    cars = [car(i, [w.predecessors[0], w.id, w.successors[0]], tracks[w.predecessors[0]].stop_s - 20.0, 5.0) for i, w in enumerate(ways)]
    traffic = Traffic(tracks, cars)
    for _ in range(round(60.0 / TICK_S)):
        traffic.step(None, [], Nobody())
        assert touching(traffic.states()) == []
    assert all(c.behind == w.id or c.lane != w.predecessors[0] for c, w in zip(cars, ways, strict=True))


def test_cars_stop_before_a_crosswalk_in_use() -> None:
    road_map = build_map(MapSpec(kind="town", seed=2))
    tracks = Tracks(road_map)
    lane, at = next((i, c) for i in tracks.ids() for c in tracks[i].crosswalks if tracks[i].junction is not None and c.s_m < 5.0)
    before = tracks[lane].lane.predecessors[0]
    one = car(0, [before, lane], tracks[before].length - 40.0, 8.0)
    traffic = Traffic(tracks, [one])
    for _ in range(round(20.0 / TICK_S)):
        traffic.step(None, [], Everywhere())
    gap = tracks[before].length + at.s_m - at.half_m - (one.s + 2.25)
    assert one.speed < 0.05
    assert 0.3 < gap < 4.0
    assert traffic.approaching[at.id] == [(pytest.approx(gap, abs=0.05), pytest.approx(0.0, abs=0.05))]


@pytest.mark.parametrize(("kind", "lanes"), [("town", 1), ("town", 2), ("crossroads", 1), ("t_junction", 2)])
def test_nobody_touches_anybody(kind: MapKind, lanes: int) -> None:
    crossed = 0
    for seed in (3, 4):
        spec = MapSpec(kind=kind, lanes=lanes, seed=20)
        sim = Simulation(Scenario(name="x", map=spec, route=RouteSpec(seed=seed), traffic=TrafficSpec(vehicles=14, pedestrians=8, seed=seed)))
        start = {a.id: (a.x_m, a.y_m) for a in sim.state.actors}
        for tick in range(round(25.0 / TICK_S)):
            state = sim.step(Control(brake=1.0))
            crossed += sum(w.crossing for w in sim.pedestrians.walkers)
            if tick % 4 == 0:
                met = touching([a for a in state.actors if a.kind != "parked"])
                assert [pair for pair in met if pair[0] < 1000] == [], (seed, tick)  # pedestrians pass through each other
        vehicles = [a for a in sim.state.actors if 100 <= a.id < 1000]
        assert len(vehicles) >= 12
        assert sum(math.hypot(a.x_m - start[a.id][0], a.y_m - start[a.id][1]) > 20.0 for a in vehicles) > len(vehicles) / 2
    assert crossed > 0
