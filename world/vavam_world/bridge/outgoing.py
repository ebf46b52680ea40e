"""The one way out: every message passes here before it is published, and here it can be spoilt.

A fault injector turns one outgoing message into none (drop), another (replace), several (duplicate), or into ones for a later tick (delay). Delayed
messages go out at the beginning of their tick, before that tick's own, in the order in which they were held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vavam_ros.core.contracts import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message on its way out. `kind` is that of `qos.TOPICS`: clock, odometry, image, compressed, camera_info, tf, …"""

    tick: int
    kind: str
    topic: str
    message: Any


@dataclass(frozen=True, slots=True)
class Emission:
    """What becomes of it: `message` is published `delay_ticks` later.

    `answered`: whether an answer to it (a control to odometry, a plan to a picture) is to be expected, and hence waited for in lock-step.
    None: only if it is the original message, at its own time.
    """

    message: Any
    delay_ticks: int = 0
    answered: bool | None = None


class FaultInjector(Protocol):
    """Spoils what goes out. Deterministic: whatever is random in it derives from a seed and the tick."""

    def apply(self, out: Outgoing) -> Sequence[Emission]:
        """What is published in place of `out.message`. Must not change the message itself: it may be in use elsewhere."""
        ...


class NoFaults:
    """Everything goes out as it is."""

    def apply(self, out: Outgoing) -> Sequence[Emission]:
        """The message itself, now."""
        return (Emission(out.message),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What goes out now, in place of or in addition to a message. `answered`: see Emission."""

    kind: str
    topic: str
    message: Any
    answered: bool


class Outbox:
    """Passes messages through the injector and holds back what is delayed.

    `publish(sent)` is called in order; what needs to be noted before an answer can come is noted there."""

    def __init__(self, publish: Callable[[Sent], None], injector: FaultInjector | None = None) -> None:
        self._publish = publish
        self._injector = injector or NoFaults()
        self._held: list[tuple[int, Sent]] = []  # (tick it is due at, message), in the order of holding back
        self.counts = {"sent": 0, "dropped": 0, "altered": 0, "delayed": 0, "added": 0}

    def inject(self, injector: FaultInjector) -> None:
        """From now on through this one."""
        self._injector = injector

    def begin(self, tick: int) -> None:
        """A tick begins: publish what is due at it."""
        due = [sent for at, sent in self._held if at <= tick]
        self._held = [(at, sent) for at, sent in self._held if at > tick]
        for sent in due:
            self._out(sent)

    def send(self, out: Outgoing) -> None:
        """One message, through the injector. Raises ConfigError where the injector asks for a negative delay."""
        emissions = self._injector.apply(out)
        self.counts["dropped"] += not emissions
        self.counts["added"] += max(len(emissions) - 1, 0)
        for emission in emissions:
            original = emission.message is out.message
            self.counts["altered"] += not original
            answered = original and emission.delay_ticks == 0 if emission.answered is None else emission.answered
            sent = Sent(kind=out.kind, topic=out.topic, message=emission.message, answered=answered)
            if emission.delay_ticks < 0:
                raise ConfigError(f"fault injector: got delay_ticks {emission.delay_ticks} on {out.topic}, expected 0 or more")
            if emission.delay_ticks:
                self.counts["delayed"] += 1
                self._held.append((out.tick + emission.delay_ticks, sent))
            else:
                self._out(sent)

    def _out(self, sent: Sent) -> None:
        self.counts["sent"] += 1
        self._publish(sent)
