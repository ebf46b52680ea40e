"""Which lane is here, and is it road."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from vavam_world.contracts import MapSpec, WorldError
from vavam_world.roads import build_map
from vavam_world.roads.lookup import LaneIndex

TOWN = MapSpec(kind="town", lanes=2, seed=1)


@pytest.fixture(scope="module")
def index() -> LaneIndex:
    return LaneIndex(build_map(TOWN))


def test_a_vehicle_on_a_lane_is_found_there(index: LaneIndex) -> None:
    lanes = build_map(TOWN).lanes
    for lane in lanes.values():
        for s in np.linspace(0.1, 0.9, 5) * lane.length_m:
            x, y, yaw = (float(np.interp(s, lane.s_m, v)) for v in (*lane.xy_m.T, lane.yaw_rad))
            found, s_found, d = index.nearest(x - 0.4 * math.sin(yaw), y + 0.4 * math.cos(yaw), yaw)
            if lane.junction is None:
                assert found == lane.id
            else:  # ways out of one lane, or into one, run together for a while
                other = lanes[found]
                assert found == lane.id or {*other.predecessors, *other.successors} & {*lane.predecessors, *lane.successors} or found in lane.conflicts
            if found == lane.id:
                assert s_found == pytest.approx(s, abs=0.05)
                assert d == pytest.approx(0.4, abs=0.01)


def test_the_grid_finds_what_a_search_of_all_lanes_finds(index: LaneIndex) -> None:
    lanes = build_map(TOWN).lanes
    rng = np.random.default_rng(0)
    x0, y0, x1, y1 = build_map(TOWN).bounds_m
    lines = [shapely.LineString(lane.xy_m) for lane in lanes.values()]
    far = 0
    for x, y in rng.uniform([x0, y0], [x1, y1], (300, 2)):
        gap = min(float(line.distance(shapely.Point(x, y))) for line in lines)
        id, s, d = index.nearest(float(x), float(y))
        lane = lanes[id]
        on = np.array([np.interp(s, lane.s_m, lane.xy_m[:, i]) for i in (0, 1)])
        assert float(np.hypot(*(on - (x, y)))) == pytest.approx(gap, abs=1e-6)
        assert float(np.hypot(*(on - (x, y)))) >= abs(d) - 1e-9
        far += gap > 10.0
    assert far > 50


def test_heading_decides_between_directions(index: LaneIndex) -> None:
    network_lanes = build_map(TOWN).lanes
    lane = next(one for one in network_lanes.values() if one.junction is None and one.left is None)
    i = len(lane.s_m) // 2
    yaw = float(lane.yaw_rad[i])
    # Just over the centre line: by place the other direction's lane, by heading still this one.
    x, y = lane.xy_m[i] + (0.5 * lane.width_m + 0.3) * np.array([-math.sin(yaw), math.cos(yaw)])
    assert index.nearest(float(x), float(y))[0] != lane.id
    assert index.nearest(float(x), float(y), yaw)[0] == lane.id
    assert index.nearest(float(x), float(y), yaw + 4.0 * math.pi)[0] == lane.id


def test_on_road_is_true_between_the_kerbs_only(index: LaneIndex) -> None:
    road_map = build_map(TOWN)
    lane = next(one for one in road_map.lanes.values() if one.junction is None and one.right is None)
    normal = np.stack([np.sin(lane.yaw_rad), -np.cos(lane.yaw_rad)], axis=1)
    assert index.on_road(lane.xy_m + 0.5 * lane.width_m * normal).all()
    assert not index.on_road(lane.xy_m + (0.5 * lane.width_m + 2.7) * normal).any()
    assert index.on_road(np.zeros((0, 2))).shape == (0,)
    houses = np.array([(p.x_m, p.y_m) for p in road_map.props if p.kind == "house"])
    assert not index.on_road(houses).any()


@pytest.mark.parametrize("bad", [(math.nan, 0.0, None), (0.0, math.inf, None), (0.0, 0.0, math.nan)])
def test_places_that_are_none_are_refused(index: LaneIndex, bad: tuple[float, float, float | None]) -> None:
    with pytest.raises(WorldError, match="expected finite values"):
        index.nearest(*bad)
