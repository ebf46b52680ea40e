"""The score of a run, on traces whose score can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from vavam_world.contracts import START_NS, TICK_NS, TICK_S, ActorState, Collision, Control, EgoState, MapSpec, Route, RouteSpec, Scenario, Trace, WorldState
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.lookup import LaneIndex
from vavam_world.roads.route_tools import pose_at
from vavam_world.scoring.motion import comfort_of, ideal_times_s, motion_of
from vavam_world.scoring.run_score import RunScore, score_run

SCENARIO = Scenario(
    name="lane_keeping/000",
    map=MapSpec(kind="straight", seed=5),
    route=RouteSpec(length_m=200.0, seed=1),
    cruise_mps=10.0,
    start_speed_mps=10.0,
    stop_at_end=False,
)
JUNCTION = replace(SCENARIO, name="turns/000", map=MapSpec(kind="t_junction", seed=5), route=RouteSpec(turns=("left",), length_m=200.0, seed=1))


@lru_cache
def parts(scenario: Scenario) -> tuple[Route, LaneIndex]:
    road_map = build_map(scenario.map)
    return plan_route(road_map, scenario.route), LaneIndex(road_map)


def at(route: Route, tick: int, s: float, d: float = 0.0, *, speed: float = 10.0, turned: float = 0.0, actors: tuple[ActorState, ...] = ()) -> WorldState:
    x, y, yaw = pose_at(route, s, d)
    ego = EgoState(x_m=x, y_m=y, yaw_rad=yaw + turned, speed_mps=speed, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
    return WorldState(tick=tick, stamp_ns=START_NS + tick * TICK_NS, ego=ego, actors=actors)


def score(states: list[WorldState], scenario: Scenario = SCENARIO, finished: str = "time", collisions: tuple[Collision, ...] = ()) -> RunScore:
    route, lanes = parts(scenario)
    trace = Trace(scenario=scenario, driver="d", states=tuple(states), plans=(), collisions=collisions, finished=finished)  # type: ignore[arg-type]
    return score_run(trace, build_map(scenario.map), route, lanes)


def test_half_a_route_at_cruise_speed() -> None:
    route, _ = parts(SCENARIO)
    found = score([at(route, i, 5.0 + 0.5 * i) for i in range(196)])
    assert found.completion == pytest.approx(97.5 / (route.length_m - 5.0), abs=1e-6)
    assert found.distance_m == pytest.approx(97.5, abs=0.01)
    assert (found.off_road_share, found.wrong_lane_share, found.contacts) == (0.0, 0.0, ())
    limit = float(route.speed_limit_mps.min())
    assert found.time_lost_s == pytest.approx(max(0.0, 195 * TICK_S - 97.5 / min(10.0, limit)), abs=0.05) or limit < 10.0


def test_the_other_lane_is_wrong_only_against_its_direction() -> None:
    route, _ = parts(SCENARIO)
    width = build_map(SCENARIO.map).lanes[int(route.lane_id[0])].width_m
    assert score([at(route, i, 20.0 + 0.5 * i, width) for i in range(40)]).wrong_lane_share == 1.0
    assert score([at(route, i, 60.0 - 0.5 * i, width, turned=math.pi) for i in range(40)]).wrong_lane_share == 0.0


def test_one_wheel_beyond_the_kerb_is_off_the_road() -> None:
    route, _ = parts(SCENARIO)
    states = [at(route, i, 20.0 + 0.5 * i, d) for i, d in enumerate([0.0] * 30 + [-12.0] * 10)]
    found = score(states)
    assert found.off_road_share == pytest.approx(0.25)
    assert not found.success


def car(id: int, x: float, y: float) -> ActorState:
    return ActorState(id=id, kind="car", x_m=x, y_m=y, yaw_rad=0.0, speed_mps=5.0, length_m=4.5, width_m=1.8, height_m=1.5, variant=0)


@pytest.mark.parametrize(("ahead_m", "speed", "fault"), [(5.0, 10.0, True), (-5.0, 10.0, False), (5.0, 0.0, False)])
def test_who_stands_or_is_hit_from_behind_is_not_at_fault(ahead_m: float, speed: float, fault: bool) -> None:
    route, _ = parts(SCENARIO)
    other = car(7, *pose_at(route, 30.0 + ahead_m)[:2])
    states = [at(route, i, 30.0, speed=speed, actors=(other,)) for i in range(3)]
    found = score(states, finished="collision", collisions=(Collision(tick=2, with_id=7, kind="car", impact_mps=4.0),))
    assert [(c.t_s, c.at_fault) for c in found.contacts] == [(pytest.approx(0.1), fault)]
    assert found.first_impact_mps == 4.0


def test_a_turn_counts_when_it_is_due_and_taken_when_left_on_the_route() -> None:
    route, _ = parts(JUNCTION)
    s_in, s_out, _ = route.turns[0]
    assert (score([at(route, 0, s_in - 5.0)], JUNCTION).turns_due) == 0
    through = [at(route, i, s) for i, s in enumerate(np.arange(s_in - 5.0, s_out + 8.0, 0.5))]
    assert (score(through, JUNCTION).turns_due, score(through, JUNCTION).turns_taken) == (1, 1)
    x, y, yaw = pose_at(route, s_in - 1.0)
    straight = [
        replace(at(route, i, s_in - 1.0), ego=replace(at(route, i, s_in - 1.0).ego, x_m=x + i * math.cos(yaw), y_m=y + i * math.sin(yaw))) for i in range(40)
    ]
    assert (score(straight, JUNCTION).turns_due, score(straight, JUNCTION).turns_taken) == (1, 0)


def test_comfort_of_a_constant_jerk() -> None:
    states = []
    for i in range(41):
        ego = EgoState(x_m=0.0, y_m=0.0, yaw_rad=0.0, speed_mps=5.0, accel_mps2=-0.1 * i, yaw_rate_radps=0.2, steer_rad=0.0, control=Control())
        states.append(WorldState(tick=i, stamp_ns=START_NS + i * TICK_NS, ego=ego, actors=()))
    found = comfort_of(motion_of(states))
    assert found.jerk_max_mps3 == pytest.approx(2.0)  # −0.1 m/s² a tick of 0.05 s
    assert found.brake_max_mps2 == pytest.approx(4.0)
    assert found.accel_max_mps2 == 0.0
    assert found.lateral_p95_mps2 == pytest.approx(1.0)
    assert found.uncomfortable_share == 0.0  # 4.0 is within 4.05
    stronger = comfort_of(motion_of([replace(s, ego=replace(s.ego, accel_mps2=2.0 * s.ego.accel_mps2)) for s in states]))
    assert stronger.uncomfortable_share == pytest.approx(20 / 41)


def test_the_ideal_time_is_that_of_a_trapezoid() -> None:
    n = 401
    s = np.arange(n, dtype=np.float64)
    zero = np.zeros(n)
    route = Route(
        lane_ids=(0,),
        xy_m=np.stack([s, zero], axis=1),
        s_m=s,
        yaw_rad=zero,
        curvature_1pm=zero,
        speed_limit_mps=np.full(n, 20.0),
        lane_id=np.zeros(n, np.int64),
    )
    times = ideal_times_s(route, cruise_mps=10.0, start_speed_mps=0.0, stop_at_end=True)
    assert times[-1] == pytest.approx(400.0 / 10.0 + 2 * 0.5 * 10.0 / 2.0, abs=0.1)  # each ramp at 2 m/s² loses half of v/a


def test_a_score_survives_json() -> None:
    route, _ = parts(SCENARIO)
    found = score([at(route, i, 30.0) for i in range(3)], collisions=(Collision(tick=1, with_id=-3, kind="tree", impact_mps=4.0),))
    assert RunScore.from_dict(found.to_dict()) == found
