"""Pavement, paint and what stands beside it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import shapely
from vavam_world.contracts import MAP_KINDS, MapSpec
from vavam_world.roads import build_map
from vavam_world.roads.build import build_network_of
from vavam_world.roads.props import footprint
from vavam_world.roads.surface import area_of

SPECS = [MapSpec(kind=kind, lanes=lanes, seed=7 * (lanes - 1)) for kind in MAP_KINDS for lanes in (1, 2)]
each = pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.kind}-{s.lanes}-{s.seed}")


@each
def test_every_lane_lies_on_the_road_with_its_whole_width(spec: MapSpec) -> None:
    road_map = build_map(spec)
    road = area_of(road_map.road)
    assert road.is_valid
    shapely.prepare(road)
    for lane in road_map.lanes.values():
        normal = np.stack([-np.sin(lane.yaw_rad), np.cos(lane.yaw_rad)], axis=1)
        for d in (-0.5, 0.0, 0.5):
            edge = lane.xy_m + d * lane.width_m * normal
            assert bool(shapely.contains_xy(road, edge[:, 0], edge[:, 1]).all()), f"lane {lane.id} at d = {d} widths"


@each
def test_lanes_of_different_roads_and_directions_keep_apart(spec: MapSpec) -> None:
    lanes = [lane for lane in build_map(spec).lanes.values() if lane.junction is None]
    areas = [shapely.LineString(lane.xy_m).buffer(0.45 * lane.width_m, cap_style="flat") for lane in lanes]
    first, second = shapely.STRtree(areas).query(areas, predicate="intersects")
    assert [(lanes[i].id, lanes[j].id) for i, j in zip(first, second) if i < j] == []


@each
def test_sidewalks_lie_along_the_road_and_not_on_it(spec: MapSpec) -> None:
    road_map = build_map(spec)
    road, sidewalk = area_of(road_map.road), area_of(road_map.sidewalk)
    assert road.intersection(sidewalk).area < 0.05
    assert sidewalk.area > 1.5 * sum(lane.length_m for lane in road_map.lanes.values() if lane.junction is None) / spec.lanes
    for part in (*road_map.road, *road_map.sidewalk):
        assert shapely.LinearRing(part[0]).is_ccw
        assert all(not shapely.LinearRing(hole).is_ccw for hole in part[1:])


@each
def test_kerbs_are_rounded_at_the_corners_of_junctions(spec: MapSpec) -> None:
    road_map = build_map(spec)
    for junction in build_network_of(spec).junctions.values():
        near = shapely.Point(junction.node.xy_m).buffer(junction.setback_m - 1.0)
        for part in road_map.road:
            for ring in part:
                step = np.diff(np.vstack([ring, ring[:2]]), axis=0)
                turn = np.abs((np.diff(np.arctan2(step[:, 1], step[:, 0])) + np.pi) % (2.0 * np.pi) - np.pi)
                inside = shapely.contains_xy(near, *np.roll(ring, -1, axis=0).T)
                assert turn[inside].max(initial=0.0) < 0.35


@each
def test_lines_between_lanes_stop_at_junctions_and_crosswalks(spec: MapSpec) -> None:
    road_map, network = build_map(spec), build_network_of(spec)
    lines = [m for m in road_map.markings if m.kind in ("solid", "dashed")]
    assert lines
    edge = shapely.union_all([shapely.LineString(lane.xy_m) for lane in road_map.lanes.values() if lane.junction is not None] or [shapely.Point(1e6, 1e6)])
    for junction in network.junctions.values():
        area = shapely.Point(junction.node.xy_m).buffer(junction.setback_m - 0.5)
        for marking in lines:
            inside = shapely.LineString(marking.xy_m).intersection(area)
            # What is left inside is the edge opposite a T's stem: half a lane from every way through and crossed by none.
            assert inside.is_empty or inside.distance(edge) > 0.45 * network.lane_width_m
    walks = [shapely.LineString([walk.a_xy_m, walk.b_xy_m]).buffer(0.5 * walk.width_m, cap_style="flat") for walk in road_map.crosswalks]
    centre = [shapely.LineString(m.xy_m) for m in lines if m.kind == "dashed" or m.colour == "yellow"]
    assert not any(walk.intersects(line) for walk in walks for line in centre)


@each
def test_every_mark_is_on_the_road_and_stop_lines_are_at_lane_ends(spec: MapSpec) -> None:
    road_map = build_map(spec)
    road = area_of(road_map.road).buffer(0.05)
    shapely.prepare(road)
    ends = [lane.xy_m[-1] for lane in road_map.lanes.values() if lane.junction is None and lane.successors]
    for marking in road_map.markings:
        if marking.kind in ("solid", "dashed"):
            assert road.covers(shapely.LineString(marking.xy_m))
            continue
        area = shapely.Polygon(marking.xy_m)
        assert area.is_valid
        assert road.covers(area)
        if marking.kind == "stop":
            assert sum(area.distance(shapely.Point(end)) < 0.01 for end in ends) == spec.lanes


@each
def test_crosswalks_reach_from_kerb_to_kerb_over_their_lanes(spec: MapSpec) -> None:
    road_map = build_map(spec)
    kerbs = area_of(road_map.road).boundary
    for walk in road_map.crosswalks:
        line = shapely.LineString([walk.a_xy_m, walk.b_xy_m])
        assert 2 * spec.lanes * 3.2 < line.length < 24.0
        assert max(kerbs.distance(shapely.Point(end)) for end in (walk.a_xy_m, walk.b_xy_m)) < 1e-3
        assert {id for id, _ in walk.lanes} == {id for id, lane in road_map.lanes.items() if shapely.LineString(lane.xy_m).intersects(line)}
        assert len(walk.lanes) >= 2 * spec.lanes
        for id, s in walk.lanes:
            lane = road_map.lanes[id]
            at = shapely.Point(np.interp(s, lane.s_m, lane.xy_m[:, 0]), np.interp(s, lane.s_m, lane.xy_m[:, 1]))
            assert at.distance(line) < 1e-3


def test_crosswalks_are_found_near_junctions_and_between_them() -> None:
    walks = [(m.lanes[w.lanes[0][0]].junction is not None) for seed in range(6) for m in [build_map(MapSpec(kind="town", seed=seed))] for w in m.crosswalks]
    assert True in walks
    assert False in walks


@each
def test_nothing_stands_on_road_or_sidewalk_that_does_not_belong_there(spec: MapSpec) -> None:
    road_map = build_map(spec)
    road, paved = area_of(road_map.road), area_of((*road_map.road, *road_map.sidewalk))
    lanes = shapely.union_all([shapely.LineString(lane.xy_m).buffer(0.5 * lane.width_m, cap_style="flat") for lane in road_map.lanes.values()])
    for area in (road, paved, lanes):
        shapely.prepare(area)
    footprints = [footprint(prop) for prop in road_map.props]
    for prop, area in zip(road_map.props, footprints):
        if prop.kind == "parking":
            assert road.covers(area)
            assert not lanes.intersects(area)
        elif prop.kind in ("pole", "sign"):
            assert not road.intersects(area)
        else:
            assert not paved.intersects(area)
        assert min(prop.length_m, prop.width_m) > 0.0
    first, second = shapely.STRtree(footprints).query(footprints, predicate="intersects")
    assert [(road_map.props[i], road_map.props[j]) for i, j in zip(first, second) if i < j] == []
    x0, y0, x1, y1 = road_map.bounds_m
    assert all(x0 <= prop.x_m <= x1 and y0 <= prop.y_m <= y1 for prop in road_map.props)


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_every_kind_of_prop_and_places_for_parked_cars_occur(kind: str) -> None:
    found = {prop.kind for seed in range(5) for prop in build_map(MapSpec(kind=kind, seed=seed)).props}
    junction = set() if kind in ("straight", "curves") else {"sign"}
    assert found == {"house", "tree", "bush", "pole", "fence", "parking"} | junction


def test_parked_cars_head_the_way_of_the_nearest_lane() -> None:
    road_map = build_map(MapSpec(kind="straight", seed=1))
    lanes = list(road_map.lanes.values())
    for prop in (p for p in road_map.props if p.kind == "parking"):
        lane = min(lanes, key=lambda one: float(np.hypot(*(one.xy_m - (prop.x_m, prop.y_m)).T).min()))
        assert np.cos(prop.yaw_rad - lane.yaw_rad[0]) > 0.99


DIGEST = """
import hashlib
from vavam_world.contracts import MapSpec, RouteSpec
from vavam_world.roads import build_map, plan_route
h = hashlib.sha256()
for kind in ("curves", "town"):
    m = build_map(MapSpec(kind=kind, lanes=2, seed=11))
    r = plan_route(m, RouteSpec(seed=3))
    for lane in m.lanes.values():
        h.update(lane.xy_m.tobytes() + lane.yaw_rad.tobytes() + lane.curvature_1pm.tobytes())
        h.update(repr((lane.successors, lane.predecessors, lane.yields_to, lane.conflicts)).encode())
    for ring in (ring for part in (*m.road, *m.sidewalk) for ring in part):
        h.update(ring.tobytes())
    for mark in m.markings:
        h.update(mark.xy_m.tobytes())
    h.update(repr((m.crosswalks, m.props, m.bounds_m, r.lane_ids, r.turns)).encode())
    h.update(r.xy_m.tobytes() + r.curvature_1pm.tobytes())
print(h.hexdigest())
"""


def test_the_same_spec_is_the_same_map_bit_for_bit_in_every_process() -> None:
    digests = [
        subprocess.run([sys.executable, "-c", DIGEST], env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True).stdout
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0].strip()) == 64
