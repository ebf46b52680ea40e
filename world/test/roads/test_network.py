"""Lanes: how they join, who goes first, where they lead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from vavam_world.contracts import MAP_KINDS, Lane, MapSpec, RoadMap
from vavam_world.roads import build_map
from vavam_world.roads.build import build_network_of

from vavam_ros.core.contracts import ConfigError

SPECS = [MapSpec(kind=kind, lanes=lanes, seed=7 * (lanes - 1)) for kind in MAP_KINDS for lanes in (1, 2)]
JUNCTIONS = [spec for spec in SPECS if spec.kind not in ("straight", "curves")]
each = pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.kind}-{s.lanes}-{s.seed}")
each_junction = pytest.mark.parametrize("spec", JUNCTIONS, ids=lambda s: f"{s.kind}-{s.lanes}-{s.seed}")


def yaw_error(a: float, b: float) -> float:
    return abs((a - b + math.pi) % (2.0 * math.pi) - math.pi)


def connecting(road_map: RoadMap) -> list[Lane]:
    return [lane for lane in road_map.lanes.values() if lane.junction is not None]


@each
def test_arrays_of_a_lane_agree_with_each_other(spec: MapSpec) -> None:
    for lane in build_map(spec).lanes.values():
        step = np.hypot(*np.diff(lane.xy_m, axis=0).T)
        assert lane.s_m[0] == 0.0
        assert step.max() <= 1.0
        np.testing.assert_allclose(np.diff(lane.s_m), step, atol=1e-9)
        # The chord's direction is the mean heading of its ends to third order, and heading is the integral of curvature.
        chord = np.unwrap(np.arctan2(*np.diff(lane.xy_m, axis=0).T[::-1]))
        middle = 0.5 * (lane.yaw_rad[1:] + lane.yaw_rad[:-1])
        assert max(yaw_error(float(a), float(b)) for a, b in zip(chord, middle)) < 2e-3
        np.testing.assert_allclose(np.diff(lane.yaw_rad), 0.5 * (lane.curvature_1pm[1:] + lane.curvature_1pm[:-1]) * step, atol=1e-3)


@each
def test_successors_and_predecessors_are_mutual_and_neighbours_run_beside(spec: MapSpec) -> None:
    lanes = build_map(spec).lanes
    for id, lane in lanes.items():
        assert lane.id == id
        assert all(id in lanes[after].predecessors for after in lane.successors)
        assert all(id in lanes[before].successors for before in lane.predecessors)
        assert (lane.turn is None) == (lane.junction is None)
        if lane.left is not None:
            left = lanes[lane.left]
            assert left.right == id
            normal = np.stack([-np.sin(lane.yaw_rad), np.cos(lane.yaw_rad)], axis=1)
            np.testing.assert_allclose(left.xy_m, lane.xy_m + lane.width_m * normal, atol=1e-9)
    assert sum(lane.left is not None for lane in lanes.values()) == sum(lane.junction is None for lane in lanes.values()) // 2 * (spec.lanes - 1)


@each_junction
def test_connecting_lanes_join_tangentially_with_bounded_smooth_curvature(spec: MapSpec) -> None:
    road_map = build_map(spec)
    assert connecting(road_map)
    for lane in connecting(road_map):
        before, after = road_map.lanes[lane.predecessors[0]], road_map.lanes[lane.successors[0]]
        for a, b in ((before, lane), (lane, after)):
            assert np.hypot(*(a.xy_m[-1] - b.xy_m[0])) < 1e-6
            assert yaw_error(float(a.yaw_rad[-1]), float(b.yaw_rad[0])) < 1e-3
            assert abs(a.curvature_1pm[-1] - b.curvature_1pm[0]) < 1e-6
        change = float(lane.yaw_rad[-1] - lane.yaw_rad[0])
        radius = 1.0 / max(float(np.abs(lane.curvature_1pm).max()), 1e-12)
        if lane.turn == "straight":
            assert abs(change) < 1e-9
        elif lane.turn == "left":
            assert 1.2 < change < 1.95
            assert radius > 8.9
        else:
            assert -1.95 < change < -1.2
            assert radius > 6.4
        # A wheel turned at 1 m of curvature change per metre of way would be a kink.
        assert np.abs(np.diff(lane.curvature_1pm)).max() < 0.04


@each
def test_roads_bend_no_tighter_than_25_m_and_limits_are_urban(spec: MapSpec) -> None:
    for lane in build_map(spec).lanes.values():
        assert 8.0 <= lane.speed_limit_mps <= 14.0
        assert 3.2 <= lane.width_m <= 3.6
        if lane.junction is None:
            assert np.abs(lane.curvature_1pm).max() < 1.0 / 25.0


def test_curves_really_curve_both_ways_and_seeds_differ() -> None:
    maps = [build_map(MapSpec(kind="curves", seed=seed)) for seed in range(3)]
    for road_map in maps:
        k = road_map.lanes[0].curvature_1pm
        assert k.max() > 1.0 / 90.0
        assert k.min() < -1.0 / 90.0
        assert all(lane.length_m >= 400.0 for lane in road_map.lanes.values())
    assert len({round(road_map.lanes[0].length_m, 3) for road_map in maps}) == 3


@each_junction
def test_conflicts_are_symmetric_and_exactly_one_of_two_yields(spec: MapSpec) -> None:
    lanes = build_map(spec).lanes
    found = 0
    for lane in lanes.values():
        assert set(lane.yields_to) <= set(lane.conflicts)
        for other in lane.conflicts:
            found += 1
            assert lane.id in lanes[other].conflicts
            assert lanes[other].junction == lane.junction
            assert (other in lane.yields_to) != (lane.id in lanes[other].yields_to)
    assert found


@each_junction
def test_lanes_that_cross_or_join_are_conflicts_and_others_leave_room(spec: MapSpec) -> None:
    road_map = build_map(spec)
    lines = {lane.id: shapely.LineString(lane.xy_m) for lane in connecting(road_map)}
    link_of = {id: i for i, link in enumerate(build_network_of(spec).links.values()) for id in (*link.forward, *link.backward)}
    for a in connecting(road_map):
        for b in connecting(road_map):
            if a.junction != b.junction or a.id >= b.id or link_of[a.predecessors[0]] == link_of[b.predecessors[0]]:
                continue
            gap = lines[a.id].distance(lines[b.id])
            assert (b.id in a.conflicts) or gap > 2.3
            assert (b.id not in a.conflicts) or gap < 2.5
            assert a.successors != b.successors or b.id in a.conflicts


def came_from(road_map: RoadMap, lane: Lane, other: Lane) -> str:
    """Where `other` comes from, as seen on entering by `lane`."""
    change = (float(other.yaw_rad[0]) - float(lane.yaw_rad[0]) + math.pi) % (2.0 * math.pi) - math.pi
    return "right" if 0.7 < change < 2.4 else "left" if -2.4 < change < -0.7 else "oncoming"


@each_junction
def test_priority_follows_the_rules_of_the_road(spec: MapSpec) -> None:
    road_map, network = build_map(spec), build_network_of(spec)
    link_of = {id: link.way.id for link in network.links.values() for id in (*link.forward, *link.backward)}
    for junction in network.junctions.values():
        main = junction.node.main
        assert len(main) == 2 or (len(main) == 0 and len(junction.arms) == 4)
        for lane in (road_map.lanes[id] for id in junction.lanes):
            on_main = link_of[lane.predecessors[0]] in main
            for other in (road_map.lanes[id] for id in lane.conflicts):
                yields, side = other.id in lane.yields_to, came_from(road_map, lane, other)
                if on_main != (link_of[other.predecessors[0]] in main):
                    assert yields != on_main
                elif side == "oncoming":
                    if lane.turn == "left" and other.turn != "left":
                        assert yields
                else:
                    assert yields == (side == "right")


def test_both_kinds_of_crossroads_occur() -> None:
    mains = {len(build_network_of(MapSpec(kind="crossroads", seed=seed)).junctions[0].node.main) for seed in range(12)}
    assert mains == {0, 2}


@pytest.mark.parametrize("seed", range(8))
def test_every_town_lane_is_reached_from_every_other(seed: int) -> None:
    road_map = build_map(MapSpec(kind="town", lanes=1 + seed % 2, seed=seed))
    forward = {lane.id: set(lane.successors) | ({lane.left, lane.right} - {None}) for lane in road_map.lanes.values()}
    backward: dict[int, set[int]] = {id: set() for id in forward}
    for id, after in forward.items():
        for other in after:
            backward[int(other)].add(id)
    for graph in (forward, backward):
        seen, queue = {0}, [0]
        while queue:
            for other in sorted(set(graph[queue.pop()]) - seen):
                seen.add(int(other))
                queue.append(int(other))
        assert seen == set(road_map.lanes)
    arms = sorted(len(junction.arms) for junction in build_network_of(road_map.spec).junctions.values())
    assert len(arms) >= 6
    assert 3 in arms


def test_towns_have_crossings_and_t_junctions() -> None:
    arms = {len(j.arms) for seed in range(4) for j in build_network_of(MapSpec(kind="town", seed=seed)).junctions.values()}
    assert arms == {3, 4}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (MapSpec(kind="roundabout"), "map.kind: got 'roundabout', expected one of straight"),
        (MapSpec(lanes=3), "map.lanes: got 3, expected 1 or 2"),
        (MapSpec(seed=-1), "map.seed: got -1, expected 0 or more"),
    ],
)
def test_a_spec_that_names_no_map_is_refused(spec: MapSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_map(spec)
