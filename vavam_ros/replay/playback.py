"""When a recorded message is due, and which results the next picture has to wait for. No ROS, no thread, no clock of its own."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from vavam_ros.core.contracts import NS_PER_S, BagError, ConfigError
from vavam_ros.core.history.pacing import RateGate


def header_stamp_ns(cdr: bytes) -> int:
    """Header stamp of a serialised message whose first field is a std_msgs/Header. Raises BagError on a stump."""
    if len(cdr) < 12:
        raise BagError(f"serialised message of {len(cdr)} bytes: too short for a header")
    sec, nanosec = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return int(sec) * NS_PER_S + int(nanosec)


class Timeline:
    """Bag time ↔ wall time at a rate. Rate 0: everything is due at once."""

    def __init__(self, rate: float) -> None:
        if not 0.0 <= rate < float("inf"):
            raise ConfigError(f"rate: got {rate}, expected a finite factor, or 0 for as fast as possible")
        self._rate = rate
        self._bag_ns, self._wall_ns = 0, 0

    def anchor(self, bag_ns: int, wall_ns: int) -> None:
        """This bag time is now."""
        self._bag_ns, self._wall_ns = bag_ns, wall_ns

    def hold(self, wall_ns: int) -> None:
        """Time stood still for so many nanoseconds of wall time (a pause, a wait for a result)."""
        self._wall_ns += wall_ns

    def due_ns(self, bag_ns: int) -> int:
        """Wall time at which a bag time is due."""
        return self._wall_ns + (round((bag_ns - self._bag_ns) / self._rate) if self._rate else 0)

    def bag_now(self, wall_ns: int) -> int:
        """Bag time at a wall time; with rate 0 it does not advance by itself."""
        return self._bag_ns + round((wall_ns - self._wall_ns) * self._rate)


@dataclass(slots=True)
class PlaybackStats:
    """What was played. Lateness is publishing time minus due time."""

    messages: int = 0
    loops: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  # topic -> why it is not played
    late_max_ms: float = 0.0
    late_sum_ms: float = 0.0
    waits: int = 0
    waited_s: float = 0.0
    timeouts: int = 0

    def played(self, late_ns: int) -> None:
        """Count one message."""
        late_ms = max(late_ns, 0) / 1e6
        self.messages += 1
        self.late_sum_ms += late_ms
        self.late_max_ms = max(self.late_max_ms, late_ms)

    def line(self) -> str:
        """One line for the log."""
        mean = self.late_sum_ms / self.messages if self.messages else 0.0
        text = f"played {self.messages} messages in {self.loops} round(s); lateness mean {mean:.2f} ms, max {self.late_max_ms:.2f} ms"
        if self.waits:
            text += f"; lock-step: {self.waits} waits, {self.waited_s:.2f} s in all, {self.timeouts} without an answer"
        return text + "".join(f"; not played {topic}: {why}" for topic, why in self.skipped.items())


class Lockstep:
    """Which token frames and which plans must come back before the next picture may go out.

    A result can only come once odometry has passed the picture's stamp: pictures for which it has not are waited for later.
    """

    def __init__(self, *, tokenize_rate_hz: float, plan_rate_hz: float, await_samples: bool, has_odometry: bool) -> None:
        self._token_gate, self._plan_gate = RateGate(tokenize_rate_hz), RateGate(plan_rate_hz)
        self._await_samples, self._has_odometry = await_samples, has_odometry
        self.reset()

    def reset(self) -> None:
        """A new round begins."""
        self._token_gate.reset()
        self._plan_gate.reset()
        self._tokens_due: set[int] = set()
        self._samples_due: set[int] = set()
        self._odometry_ns = -1

    def image_sent(self, stamp_ns: int) -> None:
        """A picture went out."""
        if self._token_gate.due(stamp_ns):
            self._tokens_due.add(stamp_ns)
            if self._plan_gate.due(stamp_ns) and self._await_samples:
                self._samples_due.add(stamp_ns)

    def odometry_sent(self, stamp_ns: int) -> None:
        """Odometry went out."""
        self._odometry_ns = max(self._odometry_ns, stamp_ns)

    def tokens_came(self, stamp_ns: int) -> None:
        """A FrameTokens message came back."""
        self._tokens_due.discard(stamp_ns)

    def samples_came(self, stamp_ns: int) -> None:
        """A TrajectorySamples message came back."""
        self._samples_due.discard(stamp_ns)

    def outstanding(self) -> list[int]:
        """Stamps of pictures whose results can be waited for and have not come."""
        due = self._tokens_due | self._samples_due
        return sorted(s for s in due if not self._has_odometry or s <= self._odometry_ns)

    def give_up(self) -> None:
        """Forget what has not come."""
        for stamp_ns in self.outstanding():
            self._tokens_due.discard(stamp_ns)
            self._samples_due.discard(stamp_ns)
