"""The gate's limits, and which commands it lets through, clamps or refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_drive import TICK_NS, C

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_ros.core.gate_checks import RATE_SLACK, Channel, CommandChecks, GateCommand, Refused, path_limit_s


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
