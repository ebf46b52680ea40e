"""Who drives, and what ackermann_cmd becomes."""

import pytest
from vavam_world.bridge.ackermann import SILENCE_NS, AckermannCommand, ackermann_control
from vavam_world.bridge.controls import Controls
from vavam_world.contracts import Control, MapSpec, RouteSpec, Scenario, Vehicle
from vavam_world.sim.simulation import Simulation

VEHICLE = Vehicle()


def never() -> Control:
    raise AssertionError("the autopilot was asked")


def test_the_last_control_is_kept_for_ever() -> None:
    controls = Controls(VEHICLE)
    controls.control_came(Control(throttle=0.4), manual=False)
    for now_ns in (0, 10**9, 10**12):
        assert controls.effective(now_ns, 5.0, never) == (Control(throttle=0.4), "control")


def test_a_person_wins_at_once_and_what_the_override_excludes_is_lost() -> None:
    controls = Controls(VEHICLE)
    assert not controls.control_came(Control(brake=1.0), manual=True)  # no override: lost, as in the bridge
    controls.control_came(Control(throttle=1.0), manual=False)
    controls.override = controls.autopilot = True
    assert controls.control_came(Control(brake=0.5), manual=True)
    assert not controls.control_came(Control(throttle=1.0), manual=False)
    assert controls.effective(0, 5.0, never) == (Control(brake=0.5), "manual")
    controls.override = False
    assert controls.effective(0, 5.0, lambda: Control(steer=0.1)) == (Control(steer=0.1), "autopilot")


def test_ackermann_left_is_steer_negative_and_silence_keeps_the_last() -> None:
    controls = Controls(VEHICLE)
    controls.ackermann_came(AckermannCommand(came_ns=0, steering_rad=0.305, speed_mps=8.0))
    control, source = controls.effective(0, 5.0, never)
    assert source == "ackermann"
    assert control.steer == pytest.approx(-0.5)
    assert control.throttle > 0.0
    assert control.brake == 0.0
    assert controls.effective(SILENCE_NS, 9.0, never)[0] == control  # not computed anew for 9 m/s
    controls.control_came(Control(brake=0.2), manual=False)
    assert controls.effective(1, 5.0, never)[0] == Control(brake=0.2)


@pytest.mark.parametrize("target", [3.0, 8.0, 0.0, -2.0])
def test_ackermann_reaches_its_speed(target: float) -> None:
    sim = Simulation(Scenario(name="t", map=MapSpec(kind="straight"), route=RouteSpec(length_m=300.0), start_speed_mps=0.0 if target < 0 else 5.0))
    command = AckermannCommand(came_ns=0, steering_rad=0.0, speed_mps=target)
    for _ in range(160):
        sim.step(ackermann_control(command, sim.state.ego.speed_mps, VEHICLE))
    assert sim.state.ego.speed_mps == pytest.approx(target, abs=0.15)


def test_ackermann_bounds_acceleration() -> None:
    gentle = ackermann_control(AckermannCommand(came_ns=0, steering_rad=0.0, speed_mps=15.0, accel_mps2=0.5), 5.0, VEHICLE)
    hard = ackermann_control(AckermannCommand(came_ns=0, steering_rad=0.0, speed_mps=15.0), 5.0, VEHICLE)
    assert 0.0 < gentle.throttle < 0.3 < hard.throttle
