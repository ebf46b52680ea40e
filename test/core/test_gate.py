"""The gate's state machine, as a table of what it does with each fault in each state, and as properties of random drives."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_ros.core.gate import Decision, Gate, GateState, Output
from vavam_ros.core.gate_checks import RATE_SLACK, Channel, CommandChecks, GateCommand, GateConfig, Health, NodeHealth, Refused, faults, path_limit_s

C = GateConfig()
NODE = NodeHealth(name="/planner", heartbeat_age_s=0.05, active=True, report_age_s=0.5)
HEALTHY = Health(path_age_s=0.3, path_limit_s=0.9, image_age_s=0.05, odometry_age_s=0.02, speed_mps=8.0, command_age_s=0.03, nodes=(NODE,))
TICK_NS = 50_000_000


def node(**changes: object) -> Health:
    return replace(HEALTHY, nodes=(replace(NODE, **changes),))  # type: ignore[arg-type]


@dataclass
class Drive:
    """A gate and a clock."""

    gate: Gate
    now_ns: int = NS_PER_S

    def step(self, health: Health = HEALTHY, ticks: int = 1, **kwargs: float) -> Decision:
        for _ in range(ticks):
            self.now_ns += TICK_NS
            decision = self.gate.step(self.now_ns, health, **kwargs)
        return decision


def armed(config: GateConfig = C) -> Drive:
    drive = Drive(Gate(config))
    assert drive.step().state is GateState.READY
    assert drive.gate.enable(HEALTHY) == (True, "enabled")
    assert drive.step().state is GateState.ACTIVE
    return drive


NO, PASS, HOLD, STOP = Output.NOTHING, Output.PASS, Output.HOLD, Output.STOP
# what is wrong → output while ACTIVE at once, and what it is called
TABLE = {
    "image late": (replace(HEALTHY, image_age_s=C.image_late_s + 0.01), PASS, "image is 0.51 s old"),
    "image lost": (replace(HEALTHY, image_age_s=C.image_lost_s + 0.01), STOP, "image is 1.51 s old"),
    "image never": (replace(HEALTHY, image_age_s=None), STOP, "no image"),
    "odometry late": (replace(HEALTHY, odometry_age_s=0.21), HOLD, "odometry is 0.21 s old"),
    "odometry lost": (replace(HEALTHY, odometry_age_s=0.51), STOP, "odometry is 0.51 s old"),
    "odometry age nan": (replace(HEALTHY, odometry_age_s=float("nan")), STOP, "odometry is nan"),
    "odometry refused": (replace(HEALTHY, odometry_refused="it is not finite"), HOLD, "odometry refused: it is not finite"),
    "path too old": (replace(HEALTHY, path_age_s=0.91), STOP, "path is 0.91 s old (limit 0.90)"),
    "path never": (replace(HEALTHY, path_age_s=None), STOP, "no path"),
    "command late": (replace(HEALTHY, command_age_s=0.21), HOLD, "command is 0.21 s old"),
    "command lost": (replace(HEALTHY, command_age_s=0.51), STOP, "command is 0.51 s old"),
    "command never": (replace(HEALTHY, command_age_s=None), STOP, "no command"),
    "command refused": (replace(HEALTHY, command_refused="throttle is nan"), HOLD, "throttle is nan"),
    "command missing": (replace(HEALTHY, command_missing=True), HOLD, "clock stands still"),
    "flood": (replace(HEALTHY, flooded_hz=200.0), HOLD, "commands at 200 Hz"),
    "too fast": (replace(HEALTHY, speed_mps=41.0), STOP, "speed 41.0"),
    "speed nan": (replace(HEALTHY, speed_mps=float("nan")), STOP, "speed nan"),
    "heartbeat late": (node(heartbeat_age_s=0.51), HOLD, "heartbeat of /planner is 0.51 s old"),
    "heartbeat lost": (node(heartbeat_age_s=0.81), STOP, "heartbeat of /planner"),
    "heartbeat never": (node(heartbeat_age_s=None), STOP, "no heartbeat of /planner"),
    "hangs": (node(still_for_s=2.1), STOP, "/planner hangs"),
    "not active": (node(active=False), STOP, "/planner is not active"),
    "state unknown": (node(active=None), STOP, "no diagnostics of /planner"),
    "silent diagnostics": (node(report_age_s=4.0), PASS, "diagnostics of /planner is 4.00 s old"),
    "no diagnostics for long": (node(report_age_s=7.0), STOP, "diagnostics of /planner"),
    "model error": (node(model_error="inference failed"), STOP, "inference failed"),
    "error": (node(other_error="bad image", other_error_for_s=1.0), PASS, "bad image"),
    "lasting error": (node(other_error="bad image", other_error_for_s=7.0), STOP, "bad image"),
    "second publisher": (replace(HEALTHY, other_publishers=("/joystick",)), STOP, "also published by /joystick"),
    "event": (replace(HEALTHY, events=("the clock jumped back by 1.0 s",)), STOP, "the clock jumped back"),
    "not started": (Health(not_started="no clock"), STOP, "no clock"),
}


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


# ── the stop ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_path_limit() -> None:
    assert path_limit_s(C, None) == C.path_age_cap_s
    assert path_limit_s(C, 0.1) == pytest.approx(0.5 + 0.1 + 0.25)
    assert path_limit_s(C, 5.0) == C.path_age_cap_s
    assert path_limit_s(replace(C, max_path_age_s=0.7), 0.1) == 0.7
    assert path_limit_s(replace(C, max_path_age_s=7.0), 0.1) == C.path_age_cap_s


@pytest.mark.parametrize(
    "change",
    [{"stop_decel_mps2": 0.0}, {"hold_s": -1.0}, {"recover_s": float("nan")}, {"max_speed_mps": float("inf")}, {"image_lost_s": 0.1}, {"stop_decel_mps2": 6.0}],
)
def test_limits_that_cannot_be_meant(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"gate .*{next(iter(change)).split('_')[0]}"):
        replace(C, **change)


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

CHANNELS = (Channel(name="throttle", low=0.0, high=1.0, slack=0.05), Channel(name="steer", low=-1.0, high=1.0, slack=0.05, rate_per_s=2.0))


def checks() -> CommandChecks:
    return CommandChecks(CHANNELS, C)


def test_a_good_command_passes_unchanged() -> None:
    c, now = checks(), 10 * NS_PER_S
    command = GateCommand(stamp_ns=now, values=(0.3, -0.2), decel_mps2=0.0)
    assert c.check(command, now) == command
    assert c.last == command


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"values": (float("nan"), 0.0)}, "throttle is nan"),
        ({"values": (0.0, float("inf"))}, "steer is inf"),
        ({"values": (1.2, 0.0)}, "outside 0 … 1"),
        ({"values": (0.0, -1.1)}, "outside -1 … 1"),
        ({"values": (0.0,)}, "1 numbers, expected 2"),
        ({"decel_mps2": float("nan")}, "deceleration"),
        ({"stamp_ns": 0}, "stamp is empty"),
        ({"stamp_ns": 10 * NS_PER_S + 300_000_000}, "0.30 s ahead"),
        ({"stamp_ns": 10 * NS_PER_S - 600_000_000}, "0.60 s old"),
    ],
)
def test_a_wild_command_is_refused_and_leaves_no_trace(change: dict[str, object], why: str) -> None:
    c, now = checks(), 10 * NS_PER_S
    found = c.check(replace(GateCommand(stamp_ns=now, values=(0.0, 0.0)), **change), now)  # type: ignore[arg-type]
    assert isinstance(found, Refused)
    assert found.fault
    assert why in found.reason
    assert c.last is None


def test_small_excess_is_clamped() -> None:
    found = checks().check(GateCommand(stamp_ns=NS_PER_S, values=(1.0000001, -1.04)), NS_PER_S)
    assert isinstance(found, GateCommand)
    assert found.values == (1.0, -1.0)


def test_steering_rate_is_clamped_and_a_leap_refused() -> None:
    c, now = checks(), NS_PER_S
    c.check(GateCommand(stamp_ns=now, values=(0.0, 0.0)), now)
    now += TICK_NS
    found = c.check(GateCommand(stamp_ns=now, values=(0.0, 0.2)), now)
    assert isinstance(found, GateCommand)
    assert found.values[1] == pytest.approx(0.1)
    now += TICK_NS
    found = c.check(GateCommand(stamp_ns=now, values=(0.0, 0.1 + RATE_SLACK * 0.1 + 0.01)), now)
    assert isinstance(found, Refused)
    assert "steer leaps from 0.1" in found.reason


def test_a_stamp_seen_before_is_dropped_without_blame() -> None:
    c = checks()
    c.check(GateCommand(stamp_ns=NS_PER_S, values=(0.0, 0.0)), NS_PER_S)
    again = c.check(GateCommand(stamp_ns=NS_PER_S, values=(1.0, 0.0)), NS_PER_S)
    assert isinstance(again, Refused)
    assert not again.fault
    c.reset()
    assert isinstance(c.check(GateCommand(stamp_ns=NS_PER_S // 2, values=(1.0, 0.0)), NS_PER_S // 2), GateCommand)


def test_flood() -> None:
    c = checks()
    for i in range(60):  # 20 Hz, as it should be
        now = NS_PER_S + i * TICK_NS
        c.check(GateCommand(stamp_ns=now, values=(0.0, 0.0)), now)
        assert c.flooded_hz(now) == 0.0
    for i in range(40):  # all at one moment: a clock that stands still
        c.check(GateCommand(stamp_ns=now + i, values=(1.0, 0.0)), now)
    assert c.flooded_hz(now) > C.max_command_rate_hz
    assert c.flooded_hz(now + NS_PER_S) == 0.0


def test_neither_a_paused_clock_nor_a_hurried_one_is_a_flood() -> None:
    paused, hurried = checks(), checks()
    for i in range(100):
        paused.check(GateCommand(stamp_ns=NS_PER_S, values=(0.0, 0.0)), NS_PER_S, i * TICK_NS)
        hurried.check(GateCommand(stamp_ns=NS_PER_S + i * TICK_NS, values=(0.0, 0.0)), NS_PER_S + i * TICK_NS, i * TICK_NS // 10)
        assert paused.flooded_hz(NS_PER_S, i * TICK_NS) == 0.0
        assert hurried.flooded_hz(NS_PER_S + i * TICK_NS, i * TICK_NS // 10) == 0.0
