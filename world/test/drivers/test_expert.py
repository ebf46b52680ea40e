"""The privileged driver, driven through the whole loop on short scenarios, and its parts alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from vavam_world.contracts import (
    F64,
    WORLD_CAMERA,
    ActorState,
    CameraSpec,
    Control,
    EgoState,
    Intruder,
    MapSpec,
    Perturbation,
    RouteSpec,
    Scenario,
    Trace,
    TrafficSpec,
    Vehicle,
    View,
    WorldError,
)
from vavam_world.drivers import NAMES, make
from vavam_world.drivers.evasion import LOOK_T_S, Evader, Motion, Start, Surroundings
from vavam_world.drivers.expert import Expert
from vavam_world.drivers.frenet import RouteFrame, quintic, quintic_at
from vavam_world.drivers.longitudinal import Lead, Manners, SpeedProfile, roll_out
from vavam_world.drivers.loop import drive
from vavam_world.drivers.obstacles import Hindrances, hindrances
from vavam_world.drivers.prediction import Predicted, Predictor
from vavam_world.drivers.sight import Sight, in_picture
from vavam_world.roads import build_map, plan_route
from vavam_world.sim.simulation import Simulation

from vavam_ros.core.contracts import NS_PER_S, Command, ConfigError

MANNERS = Manners()


def scenario(**changes: object) -> Scenario:
    values: dict[str, object] = {
        "name": "test",
        "map": MapSpec(kind="straight", seed=3),
        "route": RouteSpec(length_m=110.0),
        "traffic": TrafficSpec(parked=0.0),
        "start_speed_mps": 8.0,
        "cruise_mps": 8.0,
        "time_limit_s": 40.0,
    }
    return Scenario(**{**values, **changes})  # type: ignore[arg-type]


def intruded(kind: str, *, speed_mps: float = 0.0, road: str = "straight", **changes: object) -> Scenario:
    intruder = Intruder(kind=kind, meet_s_m=55.0, speed_mps=speed_mps, **changes)  # type: ignore[arg-type]
    return scenario(map=MapSpec(kind=road, seed=3), intruder=intruder, stop_at_end=False, time_limit_s=20.0)  # type: ignore[arg-type]


def lateral(trace: Trace) -> F64:
    """Offset from the route at each tick."""
    frame = RouteFrame(plan_route(build_map(trace.scenario.map), trace.scenario.route))
    return frame.project_all(np.array([[s.ego.x_m, s.ego.y_m] for s in trace.states]), -10.0, 200.0)[1]


def straight_frame(limit_mps: float = 20.0) -> RouteFrame:
    sim_map = build_map(MapSpec(kind="straight", seed=3))
    frame = RouteFrame(plan_route(sim_map, RouteSpec(length_m=200.0)))
    frame.speed_limit_mps[:] = limit_mps
    return frame


def test_names_and_options() -> None:
    assert NAMES == ("expert", "constant_velocity", "lane_follower")
    assert [make(n).name for n in NAMES] == list(NAMES)
    with pytest.raises(ConfigError, match="expected one of expert"):
        make("parrot")
    with pytest.raises(ConfigError, match="parrot"):
        make("expert", parrot=1)


def test_quintic_leaves_and_arrives_as_told() -> None:
    length = np.float64(20.0)
    curve = quintic(np.float64(0.8), np.float64(-0.1), np.float64(0.02), np.float64(-0.5), length)
    d, slope, bend = quintic_at(curve, np.array([0.0, 20.0, 35.0]), length)
    np.testing.assert_allclose(d, [0.8, -0.5, -0.5], atol=1e-12)
    np.testing.assert_allclose(slope, [-0.1, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(bend, [0.02, 0.0, 0.0], atol=1e-12)
    h = 1e-4
    at, before, after = (quintic_at(curve, np.array([7.0 + e]), length) for e in (0.0, -h, h))
    assert (after[0] - before[0])[0] / (2 * h) == pytest.approx(at[1][0], abs=1e-7)
    assert (after[1] - before[1])[0] / (2 * h) == pytest.approx(at[2][0], abs=1e-7)


def test_projection_inverts_placing_on_a_curved_route() -> None:
    frame = RouteFrame(plan_route(build_map(MapSpec(kind="curves", seed=5)), RouteSpec(length_m=250.0)))
    for s, d in ((12.3, 1.5), (80.7, -2.0), (170.2, 0.4)):
        x, y, _ = frame.place(np.array([s]), np.array([d]))
        assert frame.project(float(x[0]), float(y[0]), s + 6.0) == pytest.approx((s, d), abs=0.02)


def test_speed_profile_slows_before_a_bend_and_rolls_within_comfort() -> None:
    frame = RouteFrame(plan_route(build_map(MapSpec(kind="curves", seed=5)), RouteSpec(length_m=300.0)))
    profile = SpeedProfile(frame, 14.0, MANNERS)
    at = np.array([profile.at(float(s))[0] for s in frame.s_m])
    assert (at**2 * np.abs(frame.curvature_1pm)).max() < 2.0
    assert (np.diff(at**2) / 2.0).min() > -MANNERS.decel_mps2 - 0.2
    rolled = roll_out(profile, MANNERS, 0.0, float(profile.at(0.0)[0]), 0.0, steps=300)
    assert (rolled.speed_mps**2 * np.abs(np.interp(rolled.s_m, frame.s_m, frame.curvature_1pm))).max() < 2.0
    assert np.abs(np.diff(rolled.accel_mps2)).max() / 0.1 <= 2 * MANNERS.jerk_mps3 + 1e-6


def test_rolls_to_a_stop_on_the_spot() -> None:
    profile = SpeedProfile(straight_frame(), 10.0, MANNERS)
    rolled = roll_out(profile, MANNERS, 0.0, 10.0, 0.0, stops_m=[60.0], steps=200)
    assert rolled.speed_mps[-1] == 0.0
    assert rolled.s_m[-1] == pytest.approx(60.0, abs=0.4)
    assert rolled.accel_mps2.min() > -2.5


def test_follows_a_slower_vehicle_at_a_distance() -> None:
    profile = SpeedProfile(straight_frame(), 12.0, MANNERS)
    rolled = roll_out(profile, MANNERS, 0.0, 12.0, 0.0, leads=[Lead(s_m=50.0, speed_mps=6.0)], steps=300)
    gap = 50.0 + 6.0 * 0.1 * np.arange(301) - rolled.s_m
    assert rolled.speed_mps[-1] == pytest.approx(6.0, abs=0.2)
    assert gap.min() > MANNERS.follow_gap_m
    assert gap[-1] == pytest.approx(MANNERS.follow_gap_m + 6.0 * MANNERS.follow_time_s, rel=0.1)


def test_needs_the_world() -> None:
    sim = Simulation(scenario())
    pose = sim.state.ego.pose(sim.state.stamp_ns)
    with pytest.raises(WorldError, match="privileged"):
        Expert().plan(View(stamp_ns=pose.stamp_ns, pose=pose, image=None, camera=WORLD_CAMERA, command=Command.STRAIGHT, cruise_mps=8.0))


def test_plan_starts_at_the_rear_axle_with_the_speed_it_has() -> None:
    sim = Simulation(scenario(start_offset_m=0.5, start_yaw_rad=0.05))
    pose = sim.state.ego.pose(sim.state.stamp_ns)
    path = Expert().plan(View(stamp_ns=pose.stamp_ns, pose=pose, image=None, camera=WORLD_CAMERA, command=Command.STRAIGHT, cruise_mps=8.0, world=sim))
    ego = sim.state.ego
    assert path.frame_id == "map"
    assert len(path.stamps_ns) == 31
    assert path.stamps_ns[0] == pose.stamp_ns
    assert path.stamps_ns[-1] - path.stamps_ns[0] == 3_000_000_000
    np.testing.assert_allclose(path.xyz_m[0], [ego.x_m, ego.y_m, 0.0], atol=0.01)
    assert math.remainder(path.yaw_rad[0] - ego.yaw_rad, 2 * math.pi) == pytest.approx(0.0, abs=1e-3)
    assert path.speed_mps[0] == pytest.approx(8.0, abs=0.02)
    np.testing.assert_allclose(np.hypot(*np.diff(path.xyz_m[:, :2], axis=0).T) / 0.1, 0.5 * (path.speed_mps[1:] + path.speed_mps[:-1]), atol=0.1)


def test_drives_a_route_and_stops_at_its_end_alike_each_time() -> None:
    one, two = (drive(scenario(start_speed_mps=0.0), make("expert")) for _ in range(2))
    assert one.finished == "route"
    assert one.states[-1].ego.speed_mps < 0.3
    assert one.states == two.states
    accel = np.array([s.ego.accel_mps2 for s in one.states])
    assert accel.min() > -2.6
    assert accel.max() < 1.8


def test_comes_back_from_a_push_smoothly() -> None:
    trace = drive(scenario(perturbations=(Perturbation(at_s=2.0, lateral_m=1.0, yaw_rad=0.06),)), make("expert"))
    d = lateral(trace)
    assert trace.finished == "route"
    assert abs(d[38]) < 0.05
    assert d[41] > 0.9
    assert np.abs(d[40 + 70 :]).max() < 0.15  # 3.5 s later
    assert d.min() > -0.25
    sideways = np.array([s.ego.speed_mps * s.ego.yaw_rate_radps for s in trace.states])
    assert np.abs(sideways).max() < 2.5


@pytest.mark.parametrize(
    "make_it",
    [
        lambda: intruded("stationary", offset_m=0.5, angle_rad=0.3),
        lambda: intruded("frontal", speed_mps=6.0),
        lambda: intruded("side", speed_mps=5.0, angle_rad=0.2),
        lambda: intruded("side", speed_mps=4.0, from_left=False, road="curves"),
    ],
    ids=["stationary", "frontal", "side", "side on a curve"],
)
def test_avoids_what_doing_nothing_hits(make_it: object) -> None:
    run = make_it()  # type: ignore[operator]
    if run.map.kind == "straight":
        nothing = drive(run, make("constant_velocity"))
        assert nothing.finished == "collision"
        assert nothing.collisions[0].with_id == 1
    assert drive(run, make("expert")).collisions == ()


def test_steers_around_one_who_comes_head_on() -> None:
    trace = drive(intruded("frontal", speed_mps=6.0), make("expert"))
    assert trace.finished == "route"
    assert lateral(trace).max() > 1.5  # to the left, as round one who stands
    assert min(s.ego.speed_mps for s in trace.states) < 7.0  # slowly there is more time
    assert np.abs(lateral(trace))[-10:].max() < 0.4


def test_passes_one_who_stands_in_the_lane_and_waits_for_nothing() -> None:
    trace = drive(intruded("stationary"), make("expert"))
    assert trace.finished == "route"
    assert trace.collisions == ()
    aside = lateral(trace)
    assert aside.max() > 1.5  # to the left: to the right of the one lane there is no room
    assert aside.min() > -0.4
    assert np.abs(aside)[-10:].max() < 0.4
    assert min(s.ego.speed_mps for s in trace.states) > 3.0


def test_who_stands_without_brake_lights_is_passed_from_near() -> None:
    assert standing_ahead(car(25.0)).standing == (0,)
    assert standing_ahead(car(60.0)).standing == ()  # later
    assert len(standing_ahead(car(25.0)).leads) == 1  # and where there is no room, stopped behind


@pytest.mark.parametrize(
    ("others", "stops_m"),
    [
        ([{"ahead_m": 25.0, "braking": True}], []),
        ([{"ahead_m": 25.0}, {"ahead_m": 32.0, "braking": True}], []),
        ([{"ahead_m": 25.0}, {"ahead_m": 12.0, "speed_mps": 3.0}], []),
        ([{"ahead_m": 25.0}, {"ahead_m": 80.0, "d_m": 3.5, "speed_mps": 9.0, "turned": True}], []),
        ([{"ahead_m": 25.0}], [58.0]),
    ],
    ids=["it waits", "somebody waits before it", "somebody drives behind it", "somebody comes the other way", "a stop just beyond"],
)
def test_nobody_is_passed_out_of_turn(others: list[dict[str, Any]], stops_m: list[float]) -> None:
    cars = [car(**o) for o in others]
    assert standing_ahead(*cars, stops_m=stops_m).standing == ()
    if len(cars) > 1:
        assert standing_ahead(cars[0]).standing == (0,)


def test_who_passes_already_goes_on() -> None:
    cars = car(25.0), car(80.0, d_m=3.5, speed_mps=9.0, turned=True)
    assert standing_ahead(*cars, offset_m=2.0).standing == (0,)


@pytest.mark.parametrize(("half_road_m", "passes"), [(6.0, True), (1.8, False)])
def test_stops_behind_one_who_cannot_be_passed(half_road_m: float, passes: bool) -> None:
    frame = straight_frame()
    predicted = seen(frame, [car(25.0)])
    road = Surroundings(frame, lambda xy: np.abs(frame.project_all(xy, -40.0, 240.0)[1]) < half_road_m)
    start = Start(s_m=20.0, d_m=0.0, slope=0.0, bend=0.0, speed_mps=8.0, accel_mps2=0.0)
    stopping = Motion(offset_m=0.0, length_m=20.0, accel_mps2=None)
    way_m = 20.0 + np.minimum(8.0 * LOOK_T_S - 0.5 * 1.9 * LOOK_T_S**2, 16.8)
    chosen = Evader(frame, road, Vehicle()).choose(start, stopping, way_m, predicted, [0])
    assert (chosen != stopping) is passes
    assert (abs(chosen.offset_m) > 2.0) is passes


def car(ahead_m: float, *, d_m: float = 0.0, speed_mps: float = 0.0, braking: bool = False, turned: bool = False) -> ActorState:
    """So far ahead of a place 20 m along the route, in a lane of its own numbering."""
    x, y, yaw = (float(v[0]) for v in straight_frame().place(np.array([20.0 + ahead_m]), np.array([d_m])))
    size = {"length_m": 4.4, "width_m": 1.8, "height_m": 1.5}
    yaw += math.pi if turned else 0.0
    return ActorState(id=int(ahead_m), kind="car", x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed_mps, variant=0, braking=braking, lane_id=7, **size)


def standing_ahead(*cars: ActorState, stops_m: Sequence[float] = (), offset_m: float = 0.0) -> Hindrances:
    """What they mean to an ego at 20 m with 8 m/s."""
    frame = straight_frame()
    free = roll_out(SpeedProfile(frame, 8.0, MANNERS), MANNERS, 20.0, 8.0, 0.0, steps=50)
    return hindrances(seen(frame, cars), free, lambda s: np.where(s < 21.0, offset_m, 0.0), Vehicle(), lambda xy: np.ones(len(xy), dtype=bool), stops_m)


def seen(frame: RouteFrame, cars: Sequence[ActorState]) -> Predicted:
    """Rolled forward from 20 m."""
    x, y, _ = (float(v[0]) for v in frame.place(np.array([20.0]), np.array([0.0])))
    return Predictor({}, ()).predict(cars, frame, (x, y), 20.0)


def test_passes_among_traffic_and_queues_behind_those_who_queue() -> None:
    met = replace(intruded("stationary"), time_limit_s=30.0)
    few, many = (drive(replace(met, traffic=TrafficSpec(vehicles=n, parked=0.0, seed=5)), make("expert")) for n in (4, 10))
    assert few.collisions == many.collisions == ()
    assert few.finished == "route"
    stuck = many.states[-1]  # somebody of the traffic stands behind the intruder, with brake lights on
    assert any(a.id >= 100 and a.braking and math.hypot(a.x_m - stuck.ego.x_m, a.y_m - stuck.ego.y_m) < 12.0 for a in stuck.actors)
    assert stuck.ego.speed_mps == 0.0
    assert abs(lateral(many)[-1]) < 0.3


def test_turns_at_a_junction_among_traffic() -> None:
    run = scenario(map=MapSpec(kind="crossroads", seed=2), route=RouteSpec(turns=("left",), length_m=140.0), traffic=TrafficSpec(vehicles=6, pedestrians=3))
    trace = drive(run, make("expert"))
    assert trace.finished == "route"
    assert trace.collisions == ()


def test_a_short_sight_goes_round_late_and_in_haste() -> None:
    met = intruded("stationary")
    everybody, short = (drive(met, Expert(sight_m=m)) for m in (math.inf, 18.0))
    first = [next(s.tick for s, d in zip(t.states, lateral(t), strict=True) if d > 0.2) for t in (everybody, short)]
    assert first[1] > first[0] + 20
    sideways = [max(abs(s.ego.speed_mps * s.ego.yaw_rate_radps) for s in t.states) for t in (everybody, short)]
    assert sideways[1] > sideways[0] + 0.5
    assert not short.collisions
    unseen = drive(met, Expert(sight_m=1.0))
    assert unseen.finished == "collision"
    with pytest.raises(ConfigError, match=r"got sight_m 0\.0, expected more than 0"):
        Expert(sight_m=0.0)


def test_a_wider_berth_passes_further_away() -> None:
    met = intruded("stationary")

    def closest_m(berth_m: float) -> float:
        trace = drive(met, Expert(berth_m=berth_m))
        assert not trace.collisions
        return min(math.hypot(a.x_m - s.ego.x_m, a.y_m - s.ego.y_m) for s in trace.states for a in s.actors)

    assert closest_m(1.2) > closest_m(0.5) + 0.1
    for bad in (0.0, math.nan):
        with pytest.raises(ConfigError, match=r"got berth_m .*, expected a distance above 0"):
            Expert(berth_m=bad)


def someone(x_m: float, y_m: float, number: int = 1) -> ActorState:
    size: dict[str, Any] = {"length_m": 4.0, "width_m": 2.0, "height_m": 1.5, "variant": 0}
    return ActorState(id=number, kind="car", x_m=x_m, y_m=y_m, yaw_rad=0.0, speed_mps=0.0, **size)


def test_who_is_in_the_picture_is_known_and_for_a_while_after() -> None:
    camera = CameraSpec.from_fov(80.0, 256, 144)  # 1.7 m ahead of the rear axle; half an angle of 40°
    ego = EgoState(x_m=0.0, y_m=0.0, yaw_rad=0.0, speed_mps=5.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
    assert in_picture(camera, ego, someone(20.0, 0.0))
    assert in_picture(camera, ego, someone(20.0, -18.0))  # its near corner is 38° to the right
    assert not in_picture(camera, ego, someone(20.0, -20.5))
    assert not in_picture(camera, ego, someone(-10.0, 0.0))
    assert in_picture(camera, replace(ego, yaw_rad=math.pi), someone(-10.0, 0.0))
    sight = Sight(30.0, camera)
    assert [a.id for a in sight.known(0, ego, [someone(20.0, 0.0, 1), someone(20.0, 25.0, 2), someone(32.0, 0.0, 3)])] == [1]
    aside = [someone(2.0, 3.0, 1)]
    assert sight.known(3 * NS_PER_S, ego, aside) == tuple(aside)
    assert sight.known(3 * NS_PER_S + 1, ego, aside) == ()
    sight.reset()
    assert sight.known(0, ego, aside) == ()


def test_who_comes_from_outside_the_picture_is_not_reacted_to() -> None:
    met = intruded("stationary")
    forward, backward = (drive(met, Expert(camera=replace(CameraSpec(), yaw_rad=turn))) for turn in (0.0, math.pi))
    assert not forward.collisions
    assert backward.finished == "collision"
