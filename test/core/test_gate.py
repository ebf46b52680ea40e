"""The gate's state machine: what it does with each fault in each state, and who may arm it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_drive import HEALTHY, NO, STOP, TABLE, C, Drive, armed, node

from vavam_ros.core.gate import Gate, GateState, Output
from vavam_ros.core.gate_checks import Health, faults


@pytest.mark.parametrize("name", TABLE)
def test_fault_in_every_state(name: str) -> None:
    bad, output, text = TABLE[name]
    drive = armed()
    decision = drive.step(bad)
    assert decision.output is output
    assert decision.state is (GateState.STOP if output is STOP else GateState.DEGRADED)
    assert text in decision.reasons[0]

    # disarmed: never READY, never enabled, nothing sent
    drive = Drive(Gate())
    drive.step()
    decision = drive.step(bad)
    assert decision.state is (GateState.INIT if name == "not started" else GateState.WARMUP)
    assert decision.output is NO
    accepted, why = drive.gate.enable(bad)
    assert not accepted
    assert text in why
    assert drive.step().state is GateState.READY

    # stopped and standing: stays so
    drive = armed()
    drive.gate.disable()
    for _ in range(100):
        decision = drive.step(replace(bad, speed_mps=0.0))
        assert decision.state is GateState.STOP
    assert decision.output is Output.BRAKE
    assert not drive.gate.enable(replace(bad, speed_mps=0.0))[0] or name in ("too fast", "speed nan")


def test_every_table_row_is_healthy_but_for_one_thing() -> None:
    assert faults(HEALTHY, C) == ()
    for name, (bad, _, _) in TABLE.items():
        assert faults(bad, C), name


def test_starts_disarmed_and_stays_so_without_an_enable() -> None:
    drive = Drive(Gate())
    assert drive.gate.state is GateState.INIT
    for _ in range(200):
        decision = drive.step()
        assert (decision.state, decision.output) == (GateState.READY, Output.NOTHING)
    assert decision.text == "READY: waiting for enable"


def test_brake_while_disarmed_by_request() -> None:
    drive = Drive(Gate(brake_while_disarmed=True))
    assert drive.step(Health()).output is Output.BRAKE
    assert drive.step().output is Output.BRAKE
    assert drive.step(replace(HEALTHY, manual_override=True)).output is Output.NOTHING


def test_enable_before_the_first_step_is_refused() -> None:
    accepted, why = Gate().enable(HEALTHY)
    assert (accepted, why) == (False, "refused: still INIT")


def test_degraded_recovers_by_itself_after_recover_s() -> None:
    drive = armed()
    late = replace(HEALTHY, image_age_s=0.6)
    assert drive.step(late).state is GateState.DEGRADED
    ticks = round(C.recover_s / 0.05)
    decision = drive.step(ticks=ticks - 1)
    assert decision.state is GateState.DEGRADED
    assert "image" in decision.text  # it says what it recovers from
    decision = drive.step()
    assert (decision.state, decision.reasons) == (GateState.ACTIVE, ())


def test_a_relapse_starts_the_recovery_anew() -> None:
    drive = armed()
    late = replace(HEALTHY, image_age_s=0.6)
    drive.step(late)
    drive.step(ticks=8)
    drive.step(late)
    assert drive.step(ticks=8).state is GateState.DEGRADED
    assert drive.step(ticks=2).state is GateState.ACTIVE


def test_hold_is_bounded() -> None:
    drive = armed()
    late = replace(HEALTHY, command_refused="nan")
    outputs = [drive.step(late).output for _ in range(20)]
    held = outputs.index(Output.STOP)
    assert set(outputs[:held]) == {Output.HOLD}
    assert held * 0.05 <= C.hold_s + 0.05 + 1e-9
    assert set(outputs[held:]) == {Output.STOP}


def test_degraded_is_bounded_whatever_alternates() -> None:
    drive = armed()
    bad = [replace(HEALTHY, image_age_s=0.6), HEALTHY, node(other_error="x", other_error_for_s=1.0), HEALTHY]
    states = [drive.step(bad[i % 4]).state for i in range(round(C.degraded_max_s / 0.05) + 3)]
    assert states[-1] is GateState.STOP
    assert GateState.ACTIVE not in states
    decision = drive.step()
    assert "degraded for longer" in decision.text


def test_stop_is_latched_and_a_new_enable_needs_standstill_and_health() -> None:
    drive = armed()
    assert drive.step(replace(HEALTHY, path_age_s=5.0)).state is GateState.STOP
    moving = drive.step(ticks=40)
    assert (moving.state, moving.output) == (GateState.STOP, Output.STOP)
    assert drive.gate.enable(HEALTHY) == (False, "refused: stopping; enable again when the vehicle stands")
    still = replace(HEALTHY, speed_mps=0.0)
    assert drive.step(replace(still, path_age_s=5.0)).output is Output.BRAKE
    drive.step(still)
    assert "healthy for" in drive.gate.enable(still)[1]
    decision = drive.step(still, ticks=1000)
    assert (decision.state, decision.output) == (GateState.STOP, Output.BRAKE)
    assert drive.gate.enable(still) == (True, "enabled")
    decision = drive.step(still)
    assert (decision.state, decision.reasons) == (GateState.ACTIVE, ())


def test_brake_is_held_though_the_vehicle_rolls() -> None:
    drive = armed()
    drive.gate.disable()
    assert drive.step(replace(HEALTHY, speed_mps=0.05)).output is Output.BRAKE
    assert drive.step(replace(HEALTHY, speed_mps=0.5)).output is Output.BRAKE


def test_reasons_accumulate_first_cause_first() -> None:
    drive = armed()
    drive.step(node(heartbeat_age_s=0.6))
    dead = replace(node(heartbeat_age_s=0.9), path_age_s=1.0)
    drive.step(dead)
    decision = drive.step(replace(dead, command_age_s=2.0))
    assert [r.split(" is ")[0] for r in decision.reasons] == ["heartbeat of /planner", "path", "command"]
    assert drive.step().reasons == decision.reasons  # they stay when all is well again


@pytest.mark.parametrize("state", ["ACTIVE", "DEGRADED", "STOP", "READY"])
def test_manual_override_wins_from_every_state(state: str) -> None:
    drive = armed() if state != "READY" else Drive(Gate())
    if state == "DEGRADED":
        drive.step(replace(HEALTHY, image_age_s=0.6))
    if state == "STOP":
        drive.gate.disable()
    taken = replace(HEALTHY, manual_override=True)
    decision = drive.step(taken)
    assert (decision.state, decision.output, decision.reasons[0]) == (GateState.READY, Output.NOTHING, "manual override")
    assert drive.gate.enable(taken) == (False, "refused: manual override")
    decision = drive.step(ticks=100)
    assert (decision.state, decision.output) == (GateState.READY, Output.NOTHING)  # giving back arms nothing


def test_manual_override_wins_over_a_fault_at_the_same_moment() -> None:
    drive = armed()
    decision = drive.step(replace(HEALTHY, manual_override=True, path_age_s=None))
    assert (decision.state, decision.output) == (GateState.WARMUP, Output.NOTHING)


def test_disable_stops_and_does_nothing_when_not_enabled() -> None:
    drive = armed()
    assert drive.gate.disable() == "stopping"
    assert drive.gate.disable() == "stopping already"
    assert drive.step().reasons == ("disabled by request",)
    ready = Drive(Gate())
    ready.step()
    assert ready.gate.disable() == "not enabled"
    assert ready.step().state is GateState.READY
