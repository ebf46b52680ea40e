"""The gate's stop: how it brakes and that it ends, and properties of random drives."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from gate_drive import HEALTHY, TABLE, TICK_NS, C, Drive, armed

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.core.gate import Gate, GateState, Output
from vavam_ros.core.gate_checks import Health, faults


def brake(drive: Drive, speed: float, *, dt_s: float = 0.05, health: Health = HEALTHY, odometry: bool = True, braking: float = 0.0) -> list[float]:
    """Decelerations until the brake is held, with a vehicle that does what it is told."""
    decels = []
    for _ in range(2000):
        drive.now_ns += round(dt_s * NS_PER_S)
        decision = drive.gate.step(drive.now_ns, replace(health, speed_mps=speed if odometry else None), braking_mps2=braking)
        if decision.output is Output.BRAKE:
            return decels
        assert decision.output is Output.STOP
        decels.append(decision.decel_mps2)
        speed = max(speed - decision.decel_mps2 * dt_s, 0.0)
    raise AssertionError(f"never stood: {speed} m/s")


def test_stop_is_comfortable() -> None:
    drive = armed()
    drive.gate.disable()
    decels = brake(drive, 8.0)
    assert max(decels) == C.stop_decel_mps2
    assert np.diff(decels).max() <= C.stop_jerk_mps3 * 0.05 + 1e-9
    assert np.diff(decels).min() >= 0.0
    assert len(decels) * 0.05 == pytest.approx(8.0 / 2.0 + 0.25, abs=0.15)


def test_stop_without_odometry_is_harder_and_ends() -> None:
    drive = armed()
    gone = replace(HEALTHY, odometry_age_s=1.0)
    decels = brake(drive, 8.0, health=gone, odometry=False)
    assert max(decels) == C.emergency_decel_mps2
    assert np.diff(decels).max() <= C.emergency_jerk_mps3 * 0.05 + 1e-9
    assert sum(decels) * 0.05 >= 8.0 * 1.2  # the brake alone would stop a vehicle a fifth faster than last measured


def test_stop_never_eases_what_the_follower_was_braking() -> None:
    drive = armed()
    drive.step(braking_mps2=4.0)
    drive.gate.disable(braking_mps2=4.0)
    assert min(brake(drive, 8.0)) == 4.0


def test_stop_keeps_no_more_than_the_emergency_deceleration() -> None:
    drive = armed()
    drive.gate.disable(braking_mps2=9.0)
    assert max(brake(drive, 8.0)) == C.emergency_decel_mps2


@pytest.mark.parametrize(("downhill_mps2", "brake"), [(2.0, 1.0), (1.0, 0.5), (2.5, 1.0)])
def test_a_stop_that_does_not_slow_the_vehicle_brakes_harder(downhill_mps2: float, brake: float) -> None:
    drive, speed = armed(), 8.0
    drive.gate.disable()
    for _ in range(200):
        decision = drive.step(replace(HEALTHY, speed_mps=speed))
        if decision.output is Output.BRAKE:
            break
        speed = max(speed - (brake * decision.decel_mps2 - downhill_mps2) * 0.05, 0.0)
    assert decision.output is Output.BRAKE, f"{speed} m/s after 10 s"
    assert decision.decel_mps2 == C.emergency_decel_mps2
    assert "it does not slow as asked: braking harder" in decision.reasons


@pytest.mark.parametrize("speed", [3.0, 8.0, 20.0])
def test_a_stop_with_slow_actuators_stays_comfortable(speed: float) -> None:
    """0.3 s to the brake, accelerating meanwhile, and odometry 0.3 s old."""
    drive = armed()
    drive.step(replace(HEALTHY, speed_mps=speed))
    drive.gate.disable()
    asked, measured, decels = [-2.5] * 6, [speed] * 6, []
    for _ in range(400):
        decision = drive.step(replace(HEALTHY, speed_mps=measured[-6]))
        if decision.output is Output.BRAKE:
            break
        decels.append(decision.decel_mps2)
        asked.append(decision.decel_mps2)
        measured.append(max(measured[-1] - asked[-7] * 0.05, 0.0))
    assert max(decels) == C.stop_decel_mps2
    assert decision.reasons == ("disabled by request",)


def test_no_enable_while_it_rolls_though_it_was_reckoned_to_stand() -> None:
    drive = armed()
    brake(drive, 8.0, health=replace(HEALTHY, odometry_age_s=1.0), odometry=False)
    rolling = replace(HEALTHY, speed_mps=6.0)
    drive.step(rolling, ticks=20)
    assert drive.gate.enable(rolling) == (False, "refused: stopping; enable again when the vehicle stands")
    drive.step(replace(HEALTHY, speed_mps=0.0))
    assert drive.gate.enable(replace(HEALTHY, speed_mps=0.0))[0]


def test_a_clock_that_jumps_back_in_a_stop_does_no_harm() -> None:
    drive = armed()
    drive.step(replace(HEALTHY, events=("the clock jumped back by 3.0 s",)))
    before = drive.step(ticks=20).decel_mps2
    drive.now_ns -= 3 * NS_PER_S
    decision = drive.gate.step(drive.now_ns, HEALTHY)
    assert decision.decel_mps2 == before
    assert decision.state is GateState.STOP


# ── properties of random drives ──────────────────────────────────────────────────────────────────────────────────────────────────


def random_health(rng: np.random.Generator, speed: float) -> Health:
    health = replace(HEALTHY, speed_mps=speed)
    for _ in range(int(rng.choice([0, 0, 0, 1, 2]))):
        bad = TABLE[str(rng.choice(list(TABLE)))][0]
        changed = {f.name: getattr(bad, f.name) for f in fields(Health) if getattr(bad, f.name) != getattr(HEALTHY, f.name) and f.name != "speed_mps"}
        health = replace(health, **changed)
    return replace(health, manual_override=bool(rng.random() < 0.003))


@pytest.mark.parametrize("seed", range(20))
def test_random_drives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drive, speed, held_s, decel = Drive(Gate()), 0.0, 0.0, 0.0
    health, seen = HEALTHY, set()
    for i in range(3000):
        if i % int(rng.integers(1, 25)) == 0:
            health = random_health(rng, speed)
        health = replace(health, speed_mps=speed, events=health.events if rng.random() < 0.05 else ())
        dt_s = float(rng.choice([0.005, 0.05, 0.1]))
        drive.now_ns += round(dt_s * NS_PER_S)
        was, was_standing = drive.gate.state, drive.gate.standing
        asked = rng.random() < 0.1
        ok = drive.gate.enable(health)[0] if asked else False
        if rng.random() < 0.001:
            drive.gate.disable()
        accepted = ok and was not in (GateState.ACTIVE, GateState.DEGRADED)
        d = drive.gate.step(drive.now_ns, health)
        found = faults(health, C)
        seen.add(d.state)
        if d.output is Output.PASS:
            assert d.state in (GateState.ACTIVE, GateState.DEGRADED)
            assert health.path_age_s is not None
            assert health.path_age_s <= health.path_limit_s
            assert all(n.heartbeat_age_s is not None and n.heartbeat_age_s <= C.heartbeat_late_s for n in health.nodes)
            assert not any(f.lost or f.hold for f in found)
            assert not health.manual_override
        held_s = held_s + dt_s if d.output is Output.HOLD else 0.0
        assert held_s <= C.hold_s + 2 * 0.1
        if d.state in (GateState.ACTIVE, GateState.DEGRADED) and was not in (GateState.ACTIVE, GateState.DEGRADED):
            assert accepted, f"armed itself from {was}"
            assert was is GateState.READY or (was is GateState.STOP and was_standing)
        if was is GateState.STOP and d.state is not GateState.STOP:
            assert accepted or health.manual_override
        if d.output is Output.STOP:
            assert 0.0 <= d.decel_mps2 <= C.emergency_decel_mps2
            assert d.decel_mps2 - decel <= C.emergency_jerk_mps3 * dt_s + 1e-9
            decel = d.decel_mps2
            speed = max(speed - decel * dt_s, 0.0)
        else:
            decel = 0.0
            speed = 0.0 if d.output is Output.BRAKE else min(speed + float(rng.uniform(-1, 2)) * dt_s, 20.0) if d.output is Output.PASS else speed
        speed = max(speed, 0.0)
        assert d.reasons or d.state is GateState.ACTIVE
    assert seen >= {GateState.READY, GateState.ACTIVE, GateState.DEGRADED, GateState.STOP}


@pytest.mark.parametrize("seed", range(10))
def test_every_stop_ends_at_a_standstill(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    drive = armed()
    speed = float(rng.uniform(0.2, 30.0))
    drive.step(replace(HEALTHY, speed_mps=speed))
    drive.gate.disable(braking_mps2=float(rng.uniform(0, 3)))
    for _ in range(round((speed / C.stop_decel_mps2 + 3.0) / 0.05)):
        odometry = rng.random() < 0.9
        drive.now_ns += TICK_NS
        d = drive.gate.step(drive.now_ns, replace(random_health(rng, speed), odometry_age_s=0.02 if odometry else 1.0, manual_override=False))
        speed = max(speed - d.decel_mps2 * 0.05, 0.0)
    assert (d.state, d.output) == (GateState.STOP, Output.BRAKE)
