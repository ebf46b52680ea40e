"""What lock-step waits for. No ROS, no thread, no clock of its own.

A tick has two phases. First its odometry is out and the control with the odometry's stamp is awaited; then its pictures go out, and the plans of those that
are planned from are awaited, with the follower's word that it has taken them in. So a control never depends on whether the plan of the same tick was
quicker: it follows plans of earlier ticks only, whatever the machine. Which pictures are planned from follows from the rates alone, by the gates that the
nodes themselves use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_ros.core.history.pacing import RateGate

Answer = Literal["tokens", "samples", "followed", "gated", "control"]
PATH_ANSWERS: tuple[Answer, ...] = ("followed", "gated")
ControlRule = Literal["stamped", "any", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaits:
    """Which answers are awaited at all. Plans (samples and followed) from `plans_from_ns` on: before, the model has too few pictures."""

    tokens: bool = False
    samples: bool = False
    followed: bool = False
    gated: bool = False
    control: ControlRule = "none"
    tokenize_rate_hz: float = 2.0
    plan_rate_hz: float = 2.0
    plans_from_ns: int = 0
    followed_when_invalid: bool = False  # the planner publishes invalid plans as well

    def __post_init__(self) -> None:
        if self.tokenize_rate_hz < 0.0 or self.plan_rate_hz < 0.0:
            raise ConfigError(f"lock-step: got rates {self.tokenize_rate_hz}, {self.plan_rate_hz} Hz, expected 0 (every picture) or more")


class Lockstep:
    """Who still owes an answer. Expectations are made before a message goes out, so that no answer can be too early."""

    def __init__(self, awaits: Awaits) -> None:
        self.awaits = awaits
        self._token_gate, self._plan_gate = RateGate(awaits.tokenize_rate_hz), RateGate(awaits.plan_rate_hz)
        self._due: set[tuple[Answer, int]] = set()
        self._early: set[tuple[Answer, int]] = set()  # of this tick, before its picture: who plans from odometry does not wait for that
        self.suspended = False  # a person or the autopilot drives: no control is owed
        self.control_settled = False  # the awaited control of this tick has come

    def new_tick(self) -> None:
        """A tick begins."""
        self.control_settled = False
        self._early.clear()

    def odometry_goes_out(self, stamp_ns: int) -> None:
        """Odometry with this stamp is about to be published."""
        if self.awaits.control != "none":
            self._due = {(what, at) for what, at in self._due if what != "control"} | {("control", stamp_ns)}

    def image_goes_out(self, stamp_ns: int, *, answered: bool = True) -> None:
        """A picture of the model's camera is about to be published. `answered` False: it has been spoilt, nothing can be said of what it gives."""
        if not self._token_gate.due(stamp_ns):
            return
        planned = self._plan_gate.due(stamp_ns)
        if not answered:
            return
        if self.awaits.tokens:
            self._due.add(("tokens", stamp_ns))
        if planned and stamp_ns >= self.awaits.plans_from_ns:
            self._due |= {(what, stamp_ns) for what in ("samples", *PATH_ANSWERS) if getattr(self.awaits, what)}
        self._due -= self._early

    def tokens_came(self, stamp_ns: int) -> None:
        """FrameTokens came."""
        self._came("tokens", stamp_ns)

    def samples_came(self, stamp_ns: int, *, valid: bool = True) -> None:
        """TrajectorySamples came. An invalid plan is not followed, and so not acknowledged, unless the planner publishes such."""
        self._came("samples", stamp_ns)
        if not valid and not self.awaits.followed_when_invalid:
            for what in PATH_ANSWERS:
                self._came(what, stamp_ns)

    def gated_came(self, stamp_ns: int) -> None:
        """The gate has seen a path."""
        self._came("gated", stamp_ns)

    def followed_came(self, stamp_ns: int) -> None:
        """The follower has taken a path in."""
        self._came("followed", stamp_ns)

    def _came(self, what: Answer, stamp_ns: int) -> None:
        self._early.add((what, stamp_ns))
        self._due.discard((what, stamp_ns))

    def control_came(self, stamp_ns: int) -> bool:
        """A control came; stamp 0 for one that has none. True: it is the one that was awaited."""
        for entry in sorted(self._due):
            if entry[0] == "control" and (self.awaits.control == "any" or entry[1] == stamp_ns):
                self._due.discard(entry)
                self.control_settled = True
                return True
        return False

    def outstanding(self, phase: Literal["control", "plan"]) -> tuple[tuple[Answer, int], ...]:
        """What has not come, in order."""
        wanted = {entry for entry in self._due if (entry[0] == "control") == (phase == "control")}
        return () if phase == "control" and self.suspended else tuple(sorted(wanted, key=lambda e: (e[1], e[0])))

    def give_up(self, phase: Literal["control", "plan"]) -> None:
        """Forget what has not come."""
        self._due = {entry for entry in self._due if (entry[0] == "control") != (phase == "control")}


class Patience:
    """How long to wait, and what is said when it was in vain."""

    SHORT_S = 0.2
    VAIN_WAITS = 3  # after so many the wait is short: who has died does not cost the whole time-out again and again

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._vain: dict[Answer, int] = {}

    def seconds(self, missing: tuple[tuple[Answer, int], ...]) -> float:
        """The longest that any of these deserves."""
        return max((self.SHORT_S if self._vain.get(what, 0) >= self.VAIN_WAITS else self._timeout_s for what, _ in missing), default=0.0)

    def note(self, asked: tuple[tuple[Answer, int], ...], missing: tuple[tuple[Answer, int], ...]) -> None:
        """One wait ended: with what it was for and what had not come."""
        for what in {what for what, _ in asked}:
            self._vain[what] = self._vain.get(what, 0) + 1 if what in {w for w, _ in missing} else 0

    def text(self, missing: tuple[tuple[Answer, int], ...], topics: dict[Answer, str]) -> str:
        """What did not come."""
        return ", ".join(f"{what} of stamp {at / NS_PER_S:.3f} s on {topics.get(what, '?')}" for what, at in missing)
