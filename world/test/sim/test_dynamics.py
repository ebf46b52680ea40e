"""The ego's motion: signs, limits, lag, standstill, and its numbers against an independent fine-step integration."""

from __future__ import annotations

import itertools
import math

import pytest
from vavam_world.contracts import TICK_S, Control, EgoState, Vehicle, WorldError
from vavam_world.sim.dynamics import HAND_BRAKE_MPS2, step_ego, terminal_speed

VEHICLE = Vehicle()


def ego(speed: float = 0.0, yaw: float = 0.0) -> EgoState:
    return EgoState(x_m=0.0, y_m=0.0, yaw_rad=yaw, speed_mps=speed, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())


def drive(state: EgoState, control: Control, seconds: float) -> list[EgoState]:
    states = [state]
    for _ in range(round(seconds / TICK_S)):
        states.append(step_ego(states[-1], control, VEHICLE))
    return states


def fine(state: EgoState, controls: list[Control], h: float = 1e-5) -> tuple[float, float, float, float]:
    """x, y, yaw, speed by explicit Euler with steps of 10 µs, written from the parameters' meaning alone."""
    p = VEHICLE
    x, y, yaw, v, a, steer = state.x_m, state.y_m, state.yaw_rad, state.speed_mps, state.accel_mps2, state.steer_rad
    for control in controls:
        for _ in range(round(TICK_S / h)):
            rate = (-control.steer * p.max_steer_rad - steer) / p.steer_time_constant_s
            drive_a = control.throttle * min(p.max_accel_mps2, p.max_power_w_per_kg / max(v, 0.1))
            against = control.brake * p.max_brake_mps2 + p.rolling_mps2 + p.drag_1pm * v * v
            x, y, yaw = x + h * v * math.cos(yaw), y + h * v * math.sin(yaw), yaw + h * v * math.tan(steer) / p.wheelbase_m
            v, a = max(0.0, v + h * a), a + h * (drive_a - against - a) / p.accel_time_constant_s
            steer += h * min(p.max_steer_rate_radps, max(-p.max_steer_rate_radps, rate))
            if v == 0.0 and drive_a <= against:
                a = 0.0
    return x, y, yaw, v


@pytest.mark.parametrize(
    ("speed", "controls"),
    [
        (0.0, [Control(throttle=1.0, steer=0.5)] * 40),
        (15.0, [Control(throttle=0.6, steer=-0.1)] * 20 + [Control(brake=0.3, steer=0.15)] * 20),
        (5.0, [Control(steer=1.0)] * 10 + [Control(brake=1.0, steer=-1.0)] * 30),
    ],
)
def test_position_is_within_a_millimetre_per_second_of_a_fine_integration(speed: float, controls: list[Control]) -> None:
    state = ego(speed, yaw=0.3)
    x, y, yaw, v = fine(state, controls)
    for control in controls:
        state = step_ego(state, control, VEHICLE)
    assert math.hypot(state.x_m - x, state.y_m - y) < 1e-3 * len(controls) * TICK_S
    assert state.yaw_rad == pytest.approx(yaw, abs=5e-4)
    assert state.speed_mps == pytest.approx(v, abs=1e-3)


def test_steer_is_to_the_right_and_the_wheel_angle_to_the_left() -> None:
    last = drive(ego(5.0), Control(throttle=0.2, steer=0.3), 2.0)[-1]
    assert last.y_m < -0.5
    assert last.steer_rad == pytest.approx(-0.3 * VEHICLE.max_steer_rad, abs=1e-4)
    assert last.yaw_rate_radps == pytest.approx(last.speed_mps * math.tan(last.steer_rad) / VEHICLE.wheelbase_m)


def test_a_circle_has_the_bicycles_radius() -> None:
    state = EgoState(x_m=0.0, y_m=0.0, yaw_rad=0.0, speed_mps=4.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.3, control=Control())
    radius = VEHICLE.wheelbase_m / math.tan(0.3)
    for s in drive(state, Control(throttle=0.05, steer=-0.3 / VEHICLE.max_steer_rad), 8.0):
        assert math.hypot(s.x_m, s.y_m - radius) == pytest.approx(radius, abs=1e-3)


def test_the_wheel_keeps_its_rate_and_its_end_stop() -> None:
    states = drive(ego(), Control(steer=-5.0), 2.0)
    steps = [b.steer_rad - a.steer_rad for a, b in itertools.pairwise(states)]
    assert max(steps) == pytest.approx(VEHICLE.max_steer_rate_radps * TICK_S)
    assert states[-1].steer_rad == pytest.approx(VEHICLE.max_steer_rad, abs=1e-4)
    assert all(s.x_m == 0.0 and s.yaw_rad == 0.0 for s in states)


def test_terminal_speed_balances_drive_and_resistance() -> None:
    expected = terminal_speed(0.3, VEHICLE)
    assert VEHICLE.rolling_mps2 + VEHICLE.drag_1pm * expected**2 == pytest.approx(0.3 * VEHICLE.max_power_w_per_kg / expected)
    assert drive(ego(expected - 3.0), Control(throttle=0.3), 120.0)[-1].speed_mps == pytest.approx(expected, abs=0.05)
    assert drive(ego(expected + 3.0), Control(throttle=0.3), 120.0)[-1].speed_mps == pytest.approx(expected, abs=0.05)


def test_power_bounds_acceleration_at_speed() -> None:
    last = drive(ego(25.0), Control(throttle=1.0), 1.0)[-1]
    assert last.accel_mps2 == pytest.approx(VEHICLE.max_power_w_per_kg / last.speed_mps - 0.1 - VEHICLE.drag_1pm * last.speed_mps**2, abs=0.03)


def test_stopping_distance_and_no_roll_back() -> None:
    speed, brake = 15.0, VEHICLE.max_brake_mps2
    states = drive(ego(speed), Control(brake=1.0), 4.0)
    ideal = speed**2 / (2.0 * brake) + speed * VEHICLE.accel_time_constant_s
    assert states[-1].x_m == pytest.approx(ideal, rel=0.04)
    assert states[-1].speed_mps == 0.0
    assert states[-1].accel_mps2 == 0.0
    assert all(b.x_m >= a.x_m and b.speed_mps >= 0.0 for a, b in itertools.pairwise(states))


def test_coasting_ends_at_standstill() -> None:
    assert drive(ego(1.0), Control(), 15.0)[-1].speed_mps == 0.0


def test_reverse_drives_backwards_and_brakes_to_a_halt() -> None:
    states = drive(ego(), Control(throttle=0.5, reverse=True, steer=0.5), 2.0)
    assert states[-1].speed_mps < -1.0
    assert states[-1].x_m < -0.5
    assert states[-1].yaw_rad > 0.0  # backwards with the wheel to the right the nose goes left
    halted = drive(states[-1], Control(brake=0.5), 3.0)
    assert halted[-1].speed_mps == 0.0
    assert all(s.speed_mps <= 0.0 for s in halted)


def test_reverse_while_rolling_forwards_passes_through_standstill() -> None:
    states = drive(ego(3.0), Control(throttle=1.0, reverse=True), 3.0)
    assert states[-1].speed_mps < -3.0
    assert all(abs(b.speed_mps - a.speed_mps) < 4.5 * TICK_S for a, b in itertools.pairwise(states))


def test_hand_brake_stops_and_holds_against_throttle() -> None:
    assert VEHICLE.max_accel_mps2 < HAND_BRAKE_MPS2
    last = drive(ego(5.0), Control(throttle=1.0, hand_brake=True), 20.0)[-1]
    assert last.speed_mps == 0.0
    assert drive(last, Control(throttle=1.0, hand_brake=True), 2.0)[-1].x_m == last.x_m


def test_values_beyond_their_range_are_cut_and_nan_is_refused() -> None:
    assert step_ego(ego(5.0), Control(throttle=9.0, steer=-3.0), VEHICLE) == step_ego(ego(5.0), Control(throttle=1.0, steer=-1.0), VEHICLE)
    with pytest.raises(WorldError, match="finite"):
        step_ego(ego(), Control(steer=math.nan), VEHICLE)
