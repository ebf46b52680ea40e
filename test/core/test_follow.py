"""The follower: closed loops with a bicycle behind actuators, signs and scales against that bicycle's own, limits, refusals."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vavam_ros.core.contracts import F64, NS_PER_S, ConfigError, DensePath, EgoPose, Waiting, WaitReason
from vavam_ros.core.follow import CarlaActuation, DriveCommand, FollowConfig, carla_control, carla_motion, follow
from vavam_ros.core.geometry import planar_T

_spec = importlib.util.spec_from_file_location("follow_world", Path(__file__).with_name("follow_world.py"))
assert _spec is not None
assert _spec.loader is not None
_world = sys.modules["follow_world"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_world)
Car, drive, lateral, path_of = _world.Car, _world.drive, _world.lateral, _world.path_of
MAX_STEER_RAD, START_NS, STEP_S, WHEELBASE_M = _world.MAX_STEER_RAD, _world.START_NS, _world.STEP_S, _world.WHEELBASE_M

Line = Callable[[F64], F64]
CONFIG = FollowConfig()


def circle(radius: float, v: float) -> Line:
    """From the origin along +x; + radius turns left."""
    return lambda t: np.column_stack([abs(radius) * np.sin(v * t / abs(radius)), radius * (1.0 - np.cos(v * t / abs(radius)))])


def s_curve(v: float, amplitude: float, length: float) -> Line:
    return lambda t: np.column_stack([v * t, amplitude * (1.0 - np.cos(2.0 * np.pi * v * t / length))])


def lane_change(v: float, width: float, begin_s: float, last_s: float) -> Line:
    def line(t: F64) -> F64:
        u = np.clip((t - begin_s) / last_s, 0.0, 1.0)
        return np.column_stack([v * t, width * (10.0 * u**3 - 15.0 * u**4 + 6.0 * u**5)])

    return line


def stop(v: float, decel: float, begin_s: float) -> Line:
    def line(t: F64) -> F64:
        u = np.clip(t - begin_s, 0.0, v / decel)
        return np.column_stack([v * np.minimum(t, begin_s) + v * u - 0.5 * decel * u * u, np.zeros(len(t))])

    return line


def replanned(line: Line, *, age_s: float = 0.0, every_s: float = 0.5) -> Callable[[float], DensePath]:
    """A new path of 3 s every half second, each `age_s` old when it comes."""
    made: dict[int, DensePath] = {}

    def at(t: float) -> DensePath:
        k = int(t / every_s + 1e-9)
        if k not in made:
            made[k] = path_of(line, 3.0, start_s=max(0.0, k * every_s - age_s))
        return made[k]

    return at


def straight(v: float = 8.0) -> DensePath:
    return path_of(lambda t: np.column_stack([v * t, np.zeros(len(t))]), 3.0)


def command_of(path: DensePath, pose: EgoPose, previous: DriveCommand | None = None, config: FollowConfig = CONFIG) -> DriveCommand:
    found = follow(path, pose, previous, config)
    assert isinstance(found, DriveCommand), found
    return found


def refusal(path: DensePath, pose: EgoPose) -> Waiting:
    found = follow(path, pose, None, CONFIG)
    assert isinstance(found, Waiting), found
    return found


def assert_comfortable(d: Any, config: FollowConfig = CONFIG) -> None:
    """Every command within its limits, between any two as well."""
    a, steer, dt = np.array([c.accel_mps2 for c in d.commands]), np.array([c.steer_rad for c in d.commands]), np.diff(d.t)
    assert a.max() <= config.max_accel_mps2 + 1e-9
    assert a.min() >= -config.max_decel_mps2 - 1e-9
    assert np.abs(np.diff(a) / dt).max() <= config.max_brake_jerk_mps3 + 1e-6
    assert (np.diff(a) / dt)[(a[1:] > 0) & (a[:-1] > 0)].max(initial=0.0) <= config.max_jerk_mps3 + 1e-6
    assert np.abs(np.diff(steer) / dt).max() <= config.max_steer_rate_radps + 1e-6
    assert np.abs(steer).max() <= config.max_steer_rad
    assert all(0.0 <= x <= 1.0 and 0.0 <= y <= 1.0 and -1.0 <= z <= 1.0 and x * y == 0.0 for x, y, z in d.controls)


def wheel_for(radius: float) -> float:
    return math.atan(WHEELBASE_M / radius)


# ── closed loops ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("radius", "v"), [(15.0, 6.0), (-15.0, 6.0), (40.0, 10.0), (-60.0, 12.0)])
def test_circles_of_both_hands(radius: float, v: float) -> None:
    line = circle(radius, v)
    d = drive(replanned(line), Car(v=v, wheel=wheel_for(radius)), 10.0)
    assert lateral(line, d.xy, 11.0).max() < 0.1
    assert abs(np.mean([c.steer_rad for c in d.commands[-20:]]) - wheel_for(radius)) < 0.01  # radians, + left
    assert np.sign(np.mean([c[2] for c in d.controls[-20:]])) == -np.sign(radius)  # CARLA's, + right
    assert_comfortable(d)


@pytest.mark.parametrize(
    ("line", "seconds", "v"), [(s_curve(8.0, 1.5, 50.0), 12.0, 8.0), (s_curve(10.0, 3.0, 70.0), 12.0, 10.0), (lane_change(10.0, 3.5, 1.0, 3.0), 8.0, 10.0)]
)
def test_s_curves_and_lane_change_stay_within_a_quarter_metre_and_in_time(line: Line, seconds: float, v: float) -> None:
    d = drive(replanned(line), Car(v=v), seconds)
    assert lateral(line, d.xy, seconds + 1.0).max() < 0.25
    assert np.linalg.norm(np.array(d.xy) - line(np.array(d.t)), axis=1).max() < 0.4  # where to be when
    assert_comfortable(d)


@pytest.mark.parametrize(("v", "decel", "seconds"), [(8.0, 2.0, 10.0), (10.0, 1.0, 16.0), (12.0, 5.0, 8.0)])
def test_stops_where_the_path_does_and_holds_the_brake(v: float, decel: float, seconds: float) -> None:
    line = stop(v, decel, 2.0)
    d = drive(replanned(line), Car(v=v), seconds)
    end = float(line(np.array([100.0]))[0, 0])
    assert abs(d.xy[-1][0] - end) < 0.5
    assert d.v[-1] == 0.0
    assert d.xy[-1] == d.xy[-20]
    assert d.controls[-1][0] == 0.0
    assert d.controls[-1][1] > 0.0
    assert d.commands[-1].speed_mps == 0.0
    assert min(c.accel_mps2 for c, v in zip(d.commands, d.v, strict=True) if v > 0.1) > -decel - 0.6
    assert_comfortable(d)


@pytest.mark.parametrize("odometry_hz", [10.0, 20.0, 100.0])
@pytest.mark.parametrize("known", [True, False])
def test_stable_with_latency(odometry_hz: float, known: bool) -> None:
    """0.3 s from odometry to the actuator, and plans 0.3 s old; accurate where the follower is told, bounded and settling where it is not."""
    config = FollowConfig(actuation_delay_s=0.45) if known else CONFIG
    for line, v, wheel in ((circle(40.0, 10.0), 10.0, wheel_for(40.0)), (lane_change(10.0, 3.5, 1.0, 3.0), 10.0, 0.0)):
        d = drive(replanned(line, age_s=0.3), Car(v=v, wheel=wheel), 12.0, config=config, odometry_hz=odometry_hz, latency_s=0.3)
        off = lateral(line, d.xy, 13.0)
        assert off.max() < (0.25 if known else 0.5)
        assert off[-len(off) // 4 :].max() < (0.05 if known else 0.2)
        steer = np.array([c.steer_rad for c in d.commands[-len(d.commands) // 4 :]])
        assert np.ptp(steer) < (0.01 if known else 0.1)  # no limit cycle
        assert_comfortable(d, config)


def test_without_delay_compensation_the_same_latency_leaves_the_path() -> None:
    line = circle(40.0, 10.0)
    with pytest.raises(AssertionError, match="not where the path is"):
        drive(replanned(line), Car(v=10.0, wheel=wheel_for(40.0)), 20.0, config=FollowConfig(actuation_delay_s=0.0), odometry_hz=10.0, latency_s=0.3)


def test_recovers_from_an_offset_without_overshoot() -> None:
    line = circle(1e6, 8.0)
    d = drive(replanned(line), Car(v=8.0, y=1.0), 8.0)
    y = np.array(d.xy)[:, 1]
    assert abs(y[-1]) < 0.02
    assert y.min() > -0.15
    assert d.commands[0].steer_rad < 0.0 < d.controls[0][2]  # left of the path: to the right


def test_slows_for_a_curve_that_the_path_takes_too_fast() -> None:
    """14 m/s into a radius of 25 m is 7.8 m/s²: the speed falls to what the limit allows before the curve, not in it."""

    def line(t: F64) -> F64:
        s = 14.0 * t
        turn = np.clip((s - 40.0) / 25.0, 0.0, np.pi / 2.0)
        rest = np.maximum(s - 40.0 - 25.0 * np.pi / 2.0, 0.0)
        return np.column_stack([np.minimum(s, 40.0) + 25.0 * np.sin(turn), 25.0 * (1.0 - np.cos(turn)) + rest])

    path = path_of(line, 9.0)
    config = FollowConfig(stale_after_s=20.0)
    d = drive(lambda t: path, Car(v=14.0), 7.0, config=config)
    in_curve = [abs(c.curvature_1pm) * v * v for c, v, (x, _) in zip(d.commands, d.v, d.xy, strict=True) if x > 44.0]
    assert max(in_curve) < 4.5
    assert "curve" in {c.reason for c in d.commands}
    assert_comfortable(d, config)


def test_starts_from_standstill_in_time() -> None:
    def line(t: F64) -> F64:
        u = np.minimum(t, 5.0)
        return np.column_stack([0.75 * u * u + 7.5 * (t - u), np.zeros(len(t))])

    d = drive(replanned(line), Car(), 9.0)
    assert abs(d.xy[-1][0] - float(line(np.array([d.t[-1]]))[0, 0])) < 0.3
    assert_comfortable(d)


def test_a_path_that_gets_old_is_followed_to_a_stop_within_its_length() -> None:
    path = straight(8.0)
    d = drive(lambda t: path, Car(v=8.0), 5.9)
    assert d.v[-1] == 0.0
    assert d.xy[-1][0] < float(path.xyz_m[-1, 0])
    assert {c.reason for c in d.commands if c.stamp_ns - START_NS < NS_PER_S} == {"path"}
    assert "old" in {c.reason for c in d.commands}


def test_a_path_that_stands_still_holds_the_vehicle() -> None:
    path = path_of(lambda t: np.zeros((len(t), 2)), 3.0)
    d = drive(lambda t: path, Car(), 1.0)
    assert d.xy[-1] == (0.0, 0.0)
    assert all(c[1] > 0.0 and c[0] == 0.0 for c in d.controls)
    braking = command_of(path, Car(v=3.0, x=-1.0).pose(START_NS))
    assert braking.accel_mps2 < 0.0


# ── signs and scales ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_path_to_the_left_turns_the_wheel_left_and_carlas_steer_negative() -> None:
    previous = DriveCommand(stamp_ns=START_NS, steer_rad=0.15, speed_mps=5.0, accel_mps2=0.0, curvature_1pm=0.05, reason="path")
    pose = Car(v=5.0, wheel=wheel_for(20.0)).pose(START_NS + NS_PER_S // 20)
    left = command_of(path_of(circle(20.0, 5.0), 3.0), pose, previous)
    assert left.curvature_1pm == pytest.approx(0.05, abs=0.006)
    assert left.steer_rad == pytest.approx(math.atan(WHEELBASE_M * 0.05), abs=0.02)
    throttle, brake, steer = carla_control(left, 5.0, CarlaActuation())
    assert steer == pytest.approx(-left.steer_rad / MAX_STEER_RAD)
    assert brake == 0.0
    assert 0.0 <= throttle < 0.2


def test_steer_is_scaled_by_the_vehicles_own_largest_angle() -> None:
    command = DriveCommand(stamp_ns=START_NS, steer_rad=0.3, speed_mps=5.0, accel_mps2=0.0, curvature_1pm=0.1, reason="path")
    for limit in (0.61, math.radians(70.0)):
        assert carla_control(command, 5.0, CarlaActuation(max_steer_rad=limit))[2] == pytest.approx(-0.3 / limit)
    assert carla_control(replace(command, steer_rad=-2.0), 5.0, CarlaActuation())[2] == 1.0


@pytest.mark.parametrize("wrong", [CarlaActuation(max_steer_rad=math.radians(70.0)), None])
def test_the_closed_loop_tells_a_wrong_steering_scale(wrong: CarlaActuation | None) -> None:
    """70° where the vehicle has 35°, or the sign turned round: the error on an S-curve is then far beyond what a right one has."""
    line = s_curve(10.0, 3.0, 70.0)
    right = lateral(line, drive(replanned(line), Car(v=10.0), 6.0).xy, 7.0).max()
    if wrong is None:
        mirrored = Car(v=10.0)
        step = mirrored.step
        mirrored.step = lambda throttle, brake, steer: step(throttle, brake, -steer)  # type: ignore[method-assign]
        with pytest.raises(AssertionError, match="not where the path is"):
            drive(replanned(line), mirrored, 6.0)
    else:
        assert lateral(line, drive(replanned(line), Car(v=10.0), 6.0, actuation=wrong).xy, 7.0).max() > 2.0 * right


@pytest.mark.parametrize("v", [2.0, 10.0, 20.0])
@pytest.mark.parametrize("accel", [-6.0, -2.0, -0.05, 0.0, 1.0, 1.9])
def test_pedals_give_the_acceleration_that_was_asked_for(v: float, accel: float) -> None:
    """Against the bicycle's own dynamics, after its lag, and against the inverse map."""
    command = DriveCommand(stamp_ns=START_NS, steer_rad=-0.1, speed_mps=v, accel_mps2=accel, curvature_1pm=0.0, reason="path")
    control = carla_control(command, v, CarlaActuation())
    assert carla_motion(*control, v, CarlaActuation()) == pytest.approx((accel, -0.1))
    assert control[0] * control[1] == 0.0
    car = Car(v=v, a=accel)
    car.step(*control)
    assert car.a == pytest.approx(accel, abs=0.02)
    assert (car.v - v) / STEP_S == pytest.approx(accel, abs=0.02)


def test_brake_holds_at_standstill_and_lets_go_to_start() -> None:
    hold = DriveCommand(stamp_ns=START_NS, steer_rad=0.0, speed_mps=0.0, accel_mps2=0.5, curvature_1pm=0.0, reason="hold")
    assert carla_control(hold, 0.05, CarlaActuation())[:2] == (0.0, 0.4)
    assert carla_control(replace(hold, speed_mps=0.2), 0.0, CarlaActuation())[1] == 0.0


@pytest.mark.parametrize("changes", [{"max_steer_rad": 35.0}, {"max_steer_rad": 0.0}, {"max_brake_mps2": math.nan}, {"hold_brake": 1.5}])
def test_actuation_that_cannot_be_meant_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        CarlaActuation(**changes)


@pytest.mark.parametrize(
    "changes", [{"wheelbase_m": 0.0}, {"max_steer_rad": 35.0}, {"min_lookahead_m": 20.0}, {"actuation_delay_s": 2.0}, {"max_jerk_mps3": math.nan}]
)
def test_config_that_cannot_be_meant_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        FollowConfig(**changes)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_refuses_with_a_reason_what_cannot_be_followed() -> None:
    good, pose = straight(), Car(v=8.0).pose(START_NS)
    assert isinstance(follow(good, pose, None, CONFIG), DriveCommand)
    nan, late = good.xyz_m.copy(), good.stamps_ns.copy()
    nan[5, 1] = np.nan
    late[5] = late[4]
    speeds = good.speed_mps.copy()
    speeds[0] = np.inf
    for bad in (replace(good, xyz_m=nan), replace(good, stamps_ns=late), replace(good, speed_mps=speeds), replace(good, frame_id="odom")):
        assert refusal(bad, pose).reason is WaitReason.PATH_UNUSABLE
    for broken in (replace(pose, linear_mps=np.array([np.nan, 0.0, 0.0])), replace(pose, T_odom_ego=np.full((4, 4), np.nan))):
        assert refusal(good, broken).reason is WaitReason.POSE_UNUSABLE
    for stamp in (START_NS - NS_PER_S, START_NS + 7 * NS_PER_S):
        assert refusal(good, replace(pose, stamp_ns=stamp)).reason is WaitReason.PATH_OVER
    for where in (planar_T(5.0, 4.0, 0.0), planar_T(5.0, 0.0, math.pi), planar_T(-30.0, 0.0, 0.0), planar_T(60.0, 0.0, 0.0)):
        assert refusal(good, replace(pose, T_odom_ego=where)).reason is WaitReason.PATH_ELSEWHERE


@pytest.mark.parametrize("v", [1e3, -1e3, 1e160])
def test_a_speed_that_cannot_be_is_no_pose(v: float) -> None:
    for path in (straight(8.0), path_of(lambda t: np.zeros((len(t), 2)), 3.0)):
        found = follow(path, Car(v=v).pose(START_NS), None, CONFIG)
        assert isinstance(found, Waiting)
        assert found.reason is WaitReason.POSE_UNUSABLE


def test_a_pure_function() -> None:
    path, pose = path_of(circle(30.0, 8.0), 3.0), Car(v=8.0).pose(START_NS + NS_PER_S)
    pose = replace(pose, T_odom_ego=planar_T(8.0, 1.0, 0.2))
    first = command_of(path, pose)
    follow(straight(), Car(v=3.0).pose(START_NS), first, CONFIG)
    copied = replace(path, xyz_m=path.xyz_m.copy())
    assert command_of(path, pose) == first == command_of(copied, pose)


def test_an_old_or_future_previous_command_does_not_hold_the_next_back() -> None:
    path, pose = straight(), Car(v=8.0).pose(START_NS + NS_PER_S)
    pose = replace(pose, T_odom_ego=planar_T(8.0, 0.0, 0.0))
    for stamp in (START_NS, START_NS + 3 * NS_PER_S):
        previous = DriveCommand(stamp_ns=stamp, steer_rad=0.6, speed_mps=8.0, accel_mps2=-6.0, curvature_1pm=0.2, reason="path")
        assert abs(command_of(path, pose, previous).steer_rad) < 0.05
