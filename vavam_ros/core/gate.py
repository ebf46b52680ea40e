"""The gate between follower and vehicle: a state machine without clock, thread or ROS. Facts and a time go in, a decision comes out.

    INIT ──clock, parameters──▶ WARMUP ──every input healthy──▶ READY ──enable──▶ ACTIVE ◀──healthy for recover_s── DEGRADED
                                  ▲  ◀──────any fault──────────                    │  └────────limited fault──────────▶ │
                                  │                                                └─────lost · event · disable────┐    │ lost · too long
                                  └── manual override, from every state              ACTIVE ◀──enable, standing── STOP ◀─┘

INIT, WARMUP and READY are *disarmed*: nothing goes to the vehicle, or, by configuration, the brake. ACTIVE passes commands. DEGRADED passes them too,
unless the fault takes the trust from them (`Fault.hold`): then the last one is kept, for `hold_s`. STOP brakes: bounded deceleration and jerk, harder
without odometry, never easing what the follower was braking already; at standstill it holds the brake and stays. Only a new enable, standing and
healthy, or a person at the wheel, ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.core.gate_checks import Fault, GateConfig, Health, faults

BLIND_FACTOR, BLIND_MARGIN_MPS = 1.2, 1.0  # without odometry a stop reckons with a vehicle this much faster than last measured
WEAK_MPS = 3.0  # so much faster than a stop has asked for by now, more than 0.6 s of delay explains: the brake is weak, or the road falls
MAX_STEP_S = 0.5  # longest time between two steps that the speed is reckoned on across
MAX_REASONS = 8


class GateState(Enum):
    """Where the gate is."""

    INIT = "INIT"
    WARMUP = "WARMUP"
    READY = "READY"
    ACTIVE = "ACTIVE"
    DEGRADED = "DEGRADED"
    STOP = "STOP"


class Output(Enum):
    """What goes to the vehicle."""

    NOTHING = "nothing"
    PASS = "the follower's commands"
    HOLD = "the last command"
    STOP = "a stop"
    BRAKE = "the brake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate does now, and why. `decel_mps2` (≥ 0) counts with Output.STOP."""

    state: GateState
    output: Output
    reasons: tuple[str, ...] = ()  # first cause first
    decel_mps2: float = 0.0

    @property
    def text(self) -> str:
        """`STATE: reasons`."""
        return f"{self.state.value}: {'; '.join(self.reasons) or 'all is well'}"


class StopProfile:
    """Deceleration over time: from what was braked already to the target at a bounded jerk, until the vehicle stands.

    A vehicle that does not slow as asked is `weak`: from then on the target is the emergency's."""

    def __init__(self, config: GateConfig, decel_mps2: float, speed_mps: float | None) -> None:
        self._config = config
        self.decel_mps2 = min(max(decel_mps2, 0.0), config.emergency_decel_mps2)
        self._least_mps2 = max(self.decel_mps2, config.stop_decel_mps2)
        self._speed_mps = speed_mps if speed_mps is not None else config.max_speed_mps
        self._asked_mps = self._speed_mps  # what the speed were if the brake did as asked; goes on below 0
        self._blind = False
        self.standing = self.weak = False

    def step(self, dt_s: float, speed_mps: float | None) -> None:
        """Go on by a time. `speed_mps` None: odometry is gone, the speed is reckoned on."""
        c = self._config
        self._asked_mps -= self.decel_mps2 * min(dt_s, MAX_STEP_S)
        if speed_mps is None:
            if not self._blind:
                self._speed_mps = BLIND_FACTOR * self._speed_mps + BLIND_MARGIN_MPS
            self._speed_mps -= self.decel_mps2 * min(dt_s, MAX_STEP_S)
        else:
            self._speed_mps = speed_mps
            self.weak = self.weak or speed_mps > self._asked_mps + WEAK_MPS
        self._blind = speed_mps is None
        target, jerk = (c.emergency_decel_mps2, c.emergency_jerk_mps3) if self._blind or self.weak else (self._least_mps2, c.stop_jerk_mps3)
        change = jerk * dt_s
        self.decel_mps2 += min(max(target - self.decel_mps2, -change), change)
        self.standing = self.standing or self._speed_mps <= (0.0 if self._blind else c.standstill_mps)


class Gate:
    """The state machine. Not thread safe: its owner calls it from one thread. Times are integer nanoseconds of the node's clock."""

    def __init__(self, config: GateConfig | None = None, *, brake_while_disarmed: bool = False) -> None:
        self.config = config if config is not None else GateConfig()
        self._brake_while_disarmed = brake_while_disarmed
        self._state = GateState.INIT
        self._last_ns: int | None = None
        self._reasons: dict[str, str] = {}  # code → text, in the order in which they came up
        self._stop: StopProfile | None = None
        self._degraded_ns = self._held_ns = self._healthy_ns = 0  # integers: sums of ticks meet their limits exactly
        self._speed_mps: float | None = None

    @property
    def state(self) -> GateState:
        """The present state."""
        return self._state

    @property
    def armed(self) -> bool:
        """Commands of the follower can reach the vehicle."""
        return self._state in (GateState.ACTIVE, GateState.DEGRADED)

    @property
    def standing(self) -> bool:
        """In STOP, and the vehicle stands."""
        return self._stop is not None and self._stop.standing

    def step(self, now_ns: int, health: Health, *, braking_mps2: float = 0.0) -> Decision:
        """Take in the facts of a moment and decide. `braking_mps2`: deceleration that the last passed command asked for.

        A time before that of the last step counts as no time: that it is a fault is said by `health.events`.
        """
        dt_ns = max(now_ns - self._last_ns, 0) if self._last_ns is not None else 0
        self._last_ns = now_ns
        if health.speed_mps is not None:
            self._speed_mps = health.speed_mps
        found = faults(health, self.config)
        self._healthy_ns = 0 if found else self._healthy_ns + dt_ns
        if health.manual_override and (self.armed or self._state is GateState.STOP):
            self._disarm()
        if self.armed:
            self._watch(dt_ns, found, braking_mps2)
        elif self._state is not GateState.STOP:
            self._state = GateState.INIT if health.not_started else GateState.WARMUP if found else GateState.READY
            self._reasons = {f.code: f.text for f in found}
        if self._stop is not None:
            self._note(f for f in found if f.lost)
            gone = any(f.code == "odometry" and f.lost for f in found)
            self._stop.step(dt_ns / NS_PER_S, None if gone else self._speed_mps)
            if self._stop.weak:
                self._note([Fault(code="weak", text="it does not slow as asked: braking harder", lost=True)])
        return self._decision(health, found)

    def enable(self, health: Health) -> tuple[bool, str]:
        """Ask for ACTIVE: from READY, or from STOP when the vehicle stands and all has been well for `recover_s`. (accepted, why or why not)"""
        if self.armed:
            return True, "already enabled"
        if health.manual_override:
            return False, "refused: manual override"
        found = faults(health, self.config)
        if found:
            return False, "refused: " + "; ".join(f.text for f in found[:MAX_REASONS])
        rolls = health.speed_mps is not None and health.speed_mps > self.config.standstill_mps  # reckoned to stand without odometry, it may not
        if self._state is GateState.STOP and (rolls or not self.standing):
            return False, "refused: stopping; enable again when the vehicle stands"
        if self._state is GateState.STOP and self._healthy_ns < _ns(self.config.recover_s):
            return False, f"refused: healthy for {self._healthy_ns / NS_PER_S:.1f} s only, expected {self.config.recover_s:g} s"
        if self._state in (GateState.INIT, GateState.WARMUP):
            return False, f"refused: still {self._state.value}"
        self._state, self._stop, self._reasons = GateState.ACTIVE, None, {}
        return True, "enabled"

    def disable(self, reason: str = "disabled by request", *, braking_mps2: float = 0.0) -> str:
        """Bring the vehicle to a comfortable stop if commands are passing; otherwise nothing changes. Returns what happens, for people."""
        if self.armed:
            self._begin_stop([Fault(code="request", text=reason, lost=True)], braking_mps2)
            return "stopping"
        return "stopping already" if self._state is GateState.STOP else "not enabled"

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _disarm(self) -> None:
        self._state, self._stop, self._reasons = GateState.READY, None, {}

    def _watch(self, dt_ns: int, found: tuple[Fault, ...], braking_mps2: float) -> None:
        """ACTIVE and DEGRADED."""
        degraded = self._state is GateState.DEGRADED
        self._held_ns = self._held_ns + dt_ns if degraded and any(f.hold for f in found) else 0
        self._degraded_ns = self._degraded_ns + dt_ns if degraded else 0
        if any(f.lost for f in found) or self._held_ns > _ns(self.config.hold_s):
            self._begin_stop(found, braking_mps2)
        elif self._degraded_ns > _ns(self.config.degraded_max_s):
            too_long = Fault(code="degraded", text=f"degraded for longer than {self.config.degraded_max_s:g} s", lost=True)
            self._begin_stop([*found, too_long], braking_mps2)
        elif found:
            self._state = GateState.DEGRADED
            self._note(found)
        elif degraded and self._healthy_ns >= _ns(self.config.recover_s):
            self._state, self._reasons = GateState.ACTIVE, {}

    def _begin_stop(self, why: Iterable[Fault], braking_mps2: float) -> None:
        self._note(why)
        self._state, self._stop = GateState.STOP, StopProfile(self.config, braking_mps2, self._speed_mps)
        self._degraded_ns = self._held_ns = 0

    def _note(self, found: Iterable[Fault]) -> None:
        """Reasons accumulate; a known one keeps its place and its first text once the gate stops."""
        for fault in found:
            if fault.code in self._reasons:
                if self._state is not GateState.STOP:
                    self._reasons[fault.code] = fault.text
            elif len(self._reasons) < MAX_REASONS:
                self._reasons[fault.code] = fault.text

    def _decision(self, health: Health, found: tuple[Fault, ...]) -> Decision:
        reasons = tuple(self._reasons.values())
        if self._stop is not None:
            standing = self._stop.standing
            output = Output.BRAKE if standing else Output.STOP
            return Decision(state=self._state, output=output, reasons=reasons, decel_mps2=self._stop.decel_mps2)
        if self.armed:
            return Decision(state=self._state, output=Output.HOLD if any(f.hold for f in found) else Output.PASS, reasons=reasons)
        if health.manual_override:
            return Decision(state=self._state, output=Output.NOTHING, reasons=("manual override", *reasons))
        output = Output.BRAKE if self._brake_while_disarmed else Output.NOTHING
        return Decision(state=self._state, output=output, reasons=reasons or ("waiting for enable",))


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
