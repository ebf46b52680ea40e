"""Places on curved roads: the line from the start meets the lane there, and the road bends."""

from __future__ import annotations

import math

from vavam_world.roads import build_map, plan_route
from vavam_world.roads.route_tools import pose_at, project
from vavam_world.scenarios.places import BEND_RAD, LINE_M, START_S_M, has_lead
from vavam_world.scenarios.suites import GROUPS, suite


def test_the_frozen_places_are_where_the_roads_of_this_version_have_them() -> None:
    for kind in GROUPS["safety"]:
        for scenario in [s for s in suite(kind).scenarios if "/curve/" in s.name][::16]:
            assert scenario.intruder is not None
            route = plan_route(build_map(scenario.map), scenario.route)
            meet = scenario.intruder.meet_s_m
            x, y, yaw = pose_at(route, START_S_M)
            on_line = (x + (meet - START_S_M) * math.cos(yaw), y + (meet - START_S_M) * math.sin(yaw))
            assert abs(project(route, *on_line, meet)[1]) <= LINE_M
            assert abs(pose_at(route, meet + 25.0)[2] - pose_at(route, meet - 10.0)[2]) >= BEND_RAD


def test_there_is_someone_to_follow() -> None:
    assert all(has_lead(s) for s in suite("following").scenarios[::6])
