"""What the gate looks at: facts about inputs → faults, and one command → the command that may pass.

A fault has two thresholds. Beyond the first it is *limited*: the gate is DEGRADED. Beyond the second the input is *lost*: the gate stops the vehicle.
A fault that *holds* takes the trust from new commands: while it lasts none passes, the last one is kept, for `hold_s` at most. The order of the rules is
that of cause and effect, so that what is named first is the likeliest cause: nodes, camera, odometry, path, command.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from vavam_ros.core.contracts import NS_PER_S, ConfigError

FLOOD_WINDOW_S = 0.5
RATE_SLACK = 3.0  # a change this many times the limit is a leap: refused instead of clamped


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """Limits of the gate: seconds, m/s², m/s. `late` makes it DEGRADED, `lost` stops the vehicle. docs/gate.md has the table."""

    plan_period_s: float = 0.5
    path_margin_s: float = 0.25
    path_age_cap_s: float = 1.5
    max_path_age_s: float = 0.0  # 0: computed, see path_limit_s
    command_late_s: float = 0.2
    odometry_late_s: float = 0.2
    image_late_s: float = 0.5
    image_lost_s: float = 1.5
    heartbeat_late_s: float = 0.5
    heartbeat_stuck_s: float = 2.0
    diagnostics_grace_s: float = 6.5
    hold_s: float = 0.3  # how long the last command is kept, and how much later than `late` command, odometry and heartbeat are lost
    degraded_max_s: float = 8.0
    recover_s: float = 0.5
    stop_decel_mps2: float = 2.0
    stop_jerk_mps3: float = 4.0
    emergency_decel_mps2: float = 5.0
    emergency_jerk_mps3: float = 20.0
    standstill_mps: float = 0.1
    max_speed_mps: float = 40.0
    max_command_rate_hz: float = 60.0
    max_stamp_ahead_s: float = 0.2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0.0 if field.name in ("max_path_age_s", "path_margin_s", "hold_s", "recover_s") else 1e-6
            if not least <= value < math.inf:
                raise ConfigError(f"gate {field.name}: got {value}, expected a {'positive number' if least else 'number of 0 or more'}")
        pairs = (("image_late_s", "image_lost_s"), ("stop_decel_mps2", "emergency_decel_mps2"), ("stop_jerk_mps3", "emergency_jerk_mps3"))
        for low, high in pairs:
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"gate {low} {getattr(self, low):g} exceeds {high} {getattr(self, high):g}: swap or raise {high}")


def path_limit_s(config: GateConfig, p99_latency_s: float | None) -> float:
    """Oldest path that is still followed, seconds since the image it was planned from.

    Just before the next plan arrives the present one is a plan period and that plan's latency old. Before any latency is known the cap holds.
    """
    if config.max_path_age_s > 0.0:
        return min(config.max_path_age_s, config.path_age_cap_s)
    if p99_latency_s is None:
        return config.path_age_cap_s
    return min(config.plan_period_s + p99_latency_s + config.path_margin_s, config.path_age_cap_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """What is known of one model node. Ages are of wall time: these messages come from a thread that knows no simulated clock. None: never heard."""

    name: str
    heartbeat_age_s: float | None = None
    still_for_s: float = 0.0  # since the heartbeat's number last grew
    active: bool | None = None  # lifecycle, as its diagnostics say
    report_age_s: float | None = None  # of its diagnostics
    model_error: str = ""  # text of an ERROR about the model: inference failed, a thread ended
    other_error: str = ""  # text of an ERROR about anything else
    other_error_for_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Facts at one moment. Ages: now − header stamp, in the node's clock, seconds; None: nothing usable has come."""

    not_started: str = ""  # parameters refused, no clock yet
    path_age_s: float | None = None
    path_limit_s: float = 1.5
    image_age_s: float | None = None
    images_watched: bool = True
    odometry_age_s: float | None = None
    odometry_refused: str = ""  # why the newest message was refused
    speed_mps: float | None = None  # newest measured
    command_age_s: float | None = None
    command_refused: str = ""  # why the newest command was refused
    command_missing: bool = False  # the clock waits for a command that does not come
    flooded_hz: float = 0.0  # rate of commands, if above the limit
    nodes: tuple[NodeHealth, ...] = ()
    other_publishers: tuple[str, ...] = ()
    manual_override: bool = False
    events: tuple[str, ...] = ()  # happened since the last step and end a drive: a clock that jumped back, a pose that jumped


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong. `code` identifies it, `text` is for people."""

    code: str
    text: str
    lost: bool
    hold: bool = False


def faults(health: Health, config: GateConfig) -> tuple[Fault, ...]:
    """Everything that is wrong, likeliest cause first; empty when the vehicle may be driven."""
    return tuple(_faults(health, config))


def _faults(health: Health, config: GateConfig) -> Iterator[Fault]:
    c, hold_s = config, config.hold_s
    if health.not_started:
        yield Fault(code="start", text=health.not_started, lost=True)
    for text in health.events:
        yield Fault(code=f"event: {text}", text=text, lost=True)
    if health.other_publishers:
        yield Fault(code="publishers", text=f"also published by {', '.join(health.other_publishers)}", lost=True)
    for node in health.nodes:
        yield from _node_faults(node, c)
    if health.images_watched:
        yield from _late("image", "image", health.image_age_s, c.image_late_s, c.image_lost_s, hold=False)
    yield from _late("odometry", "odometry", health.odometry_age_s, c.odometry_late_s, c.odometry_late_s + hold_s, hold=True)
    if health.odometry_refused:
        yield Fault(code="odometry refused", text=f"odometry refused: {health.odometry_refused}", lost=False, hold=True)
    if health.speed_mps is not None and not health.speed_mps <= c.max_speed_mps:
        yield Fault(code="speed", text=f"speed {health.speed_mps:.1f} m/s (limit {c.max_speed_mps:g})", lost=True)
    yield from _late("path", "path", health.path_age_s, health.path_limit_s, health.path_limit_s, hold=False)
    if health.command_missing:
        yield Fault(code="command missing", text="the clock stands still and no command answers the newest odometry", lost=False, hold=True)
    yield from _late("command", "command", health.command_age_s, c.command_late_s, c.command_late_s + hold_s, hold=True)
    if health.command_refused:
        yield Fault(code="command refused", text=f"command refused: {health.command_refused}", lost=False, hold=True)
    if health.flooded_hz:
        yield Fault(code="flood", text=f"commands at {health.flooded_hz:.0f} Hz (limit {c.max_command_rate_hz:g})", lost=False, hold=True)


def _node_faults(node: NodeHealth, c: GateConfig) -> Iterator[Fault]:
    name = node.name
    yield from _late(f"heartbeat {name}", f"heartbeat of {name}", node.heartbeat_age_s, c.heartbeat_late_s, c.heartbeat_late_s + c.hold_s, hold=True)
    if node.still_for_s > c.heartbeat_stuck_s:
        yield Fault(code=f"stuck {name}", text=f"{name} hangs: its heartbeat stands still for {node.still_for_s:.1f} s", lost=True)
    if node.active is False:
        yield Fault(code=f"lifecycle {name}", text=f"{name} is not active", lost=True)
    if node.report_age_s is None or node.active is None:
        yield Fault(code=f"diagnostics {name}", text=f"no diagnostics of {name}", lost=True)
    else:
        yield from _late(f"diagnostics {name}", f"diagnostics of {name}", node.report_age_s, c.diagnostics_grace_s / 2, c.diagnostics_grace_s, hold=False)
    if node.model_error:
        yield Fault(code=f"model {name}", text=f"{name}: {node.model_error}", lost=True)
    if node.other_error:
        yield Fault(code=f"error {name}", text=f"{name}: {node.other_error}", lost=node.other_error_for_s > c.diagnostics_grace_s)


def _late(code: str, what: str, age_s: float | None, late_s: float, lost_s: float, *, hold: bool) -> Iterator[Fault]:
    if age_s is None:
        yield Fault(code=code, text=f"no {what}", lost=True)
    elif not age_s <= late_s:  # true for NaN as well
        yield Fault(code=code, text=f"{what} is {age_s:.2f} s old (limit {late_s:.2f})", lost=not age_s <= lost_s, hold=hold)


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One number of a command: its range, how far outside it is still clamped instead of refused, how fast it may change (per second; None: at once)."""

    name: str
    low: float
    high: float
    slack: float = 0.0
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCommand:
    """A command as the gate sees it: when, its numbers in the order of the channels, and the deceleration that it asks for, m/s² ≥ 0."""

    stamp_ns: int
    values: tuple[float, ...]
    decel_mps2: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that does not pass, and why. `fault` false: only surplus (a stamp that was seen already)."""

    reason: str
    fault: bool = True


class CommandChecks:
    """Stamps, ranges, rates of change and frequency of the commands of one follower. Time is an argument; not thread safe."""

    def __init__(self, channels: Sequence[Channel], config: GateConfig) -> None:
        self._channels, self._config = tuple(channels), config
        self.reset()

    def reset(self) -> None:
        """Forget all commands: the clock jumped."""
        self._last: GateCommand | None = None
        self._arrivals_ns: deque[tuple[int, int]] = deque(maxlen=1000)  # in both clocks

    @property
    def last(self) -> GateCommand | None:
        """The newest command that was found good, as it may pass."""
        return self._last

    def flooded_hz(self, now_ns: int, heard_ns: int | None = None) -> float:
        """Arrivals per second over the last half second while above the limit, else 0. The lower of the rates by both clocks (see `check`)."""
        clocks = (now_ns, heard_ns if heard_ns is not None else now_ns)
        window_ns = round(FLOOD_WINDOW_S * NS_PER_S)
        rate = min(sum(arrival[i] > clocks[i] - window_ns for arrival in self._arrivals_ns) for i in (0, 1)) / FLOOD_WINDOW_S
        return rate if rate > self._config.max_command_rate_hz else 0.0

    def check(self, command: GateCommand, now_ns: int, heard_ns: int | None = None) -> GateCommand | Refused:
        """The command with small excesses clamped, or why it is refused. A good one becomes what the next is compared with.

        `now_ns` is the node's clock, `heard_ns` (default: the same) one that goes on while a simulated clock is paused, and that a simulation faster than
        real time does not hurry: only what is too much by both is a flood."""
        self._arrivals_ns.append((now_ns, heard_ns if heard_ns is not None else now_ns))
        config, last = self._config, self._last
        if command.stamp_ns <= 0:
            return Refused("its stamp is empty")
        ahead_s = (command.stamp_ns - now_ns) / NS_PER_S
        if ahead_s > config.max_stamp_ahead_s:
            return Refused(f"its stamp lies {ahead_s:.2f} s ahead (limit {config.max_stamp_ahead_s:g})")
        if -ahead_s > config.command_late_s + config.hold_s:
            return Refused(f"its stamp is {-ahead_s:.2f} s old (limit {config.command_late_s + config.hold_s:g})")
        if last is not None and command.stamp_ns <= last.stamp_ns:
            return Refused("its stamp is not newer than that of the one before", fault=False)
        if len(command.values) != len(self._channels):
            return Refused(f"it has {len(command.values)} numbers, expected {len(self._channels)}")
        if not math.isfinite(command.decel_mps2):
            return Refused(f"its deceleration is {command.decel_mps2}")
        values = []
        for i, (value, channel) in enumerate(zip(command.values, self._channels, strict=True)):
            was = last.values[i] if last is not None else None
            found = _bounded(value, was, channel, (command.stamp_ns - last.stamp_ns) / NS_PER_S if last is not None else 0.0)
            if isinstance(found, Refused):
                return found
            values.append(found)
        self._last = replace(command, values=tuple(values))
        return self._last


def _bounded(value: float, was: float | None, channel: Channel, dt_s: float) -> float | Refused:
    if not math.isfinite(value):
        return Refused(f"{channel.name} is {value}")
    if not channel.low - channel.slack <= value <= channel.high + channel.slack:
        return Refused(f"{channel.name} is {value:.3g}, outside {channel.low:g} … {channel.high:g}")
    value = min(max(value, channel.low), channel.high)
    if channel.rate_per_s is None or was is None:
        return value
    most = channel.rate_per_s * dt_s
    if abs(value - was) > RATE_SLACK * most:
        return Refused(f"{channel.name} leaps from {was:.3g} to {value:.3g} within {dt_s * 1e3:.0f} ms (limit {channel.rate_per_s:g} per second)")
    return min(max(value, was - most), was + most)
