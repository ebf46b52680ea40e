"""Pacing by stamps: which frames are due, the same live and in replay."""

from __future__ import annotations

from collections import deque
from statistics import median

from vavam_ros.core.contracts import NS_PER_S, ConfigError


class RateGate:
    """Lets stamps through at a rate, locked to a time grid, deterministic in the stamps alone.

    The grid starts at the first stamp and goes on in steps of one period. A tick is taken by the first stamp not earlier than half an input interval before it
    (the nearest frame, as far as can be told when a frame arrives), and never earlier than `tolerance` periods before it. Since the grid does not follow the
    frames taken, the rate is exact on average and there is no beat: 10 Hz from a 30 Hz camera takes every third frame, from 12 Hz five of six.
    A stamp a whole period behind its tick (a pause, or an input slower than the rate) starts the grid anew at itself. Late stamps and duplicates are never due.
    A stamp further back than `jump_back_s` is time that jumped (a bag loop): the gate forgets all and starts with it.
    """

    def __init__(self, rate_hz: float, tolerance: float = 0.25, jump_back_s: float = 1.0) -> None:
        if not rate_hz >= 0.0 or rate_hz == float("inf"):
            raise ConfigError(f"rate: got {rate_hz} Hz, expected a finite rate, or 0 for every frame")
        if not 0.0 <= tolerance < 0.5:
            raise ConfigError(f"rate tolerance: got {tolerance}, expected a share of a period in [0, 0.5)")
        self._period_ns = round(NS_PER_S / rate_hz) if rate_hz > 0.0 else 0
        self._lead_ns = round(tolerance * self._period_ns)
        self._jump_back_ns = round(jump_back_s * NS_PER_S)
        self.reset()

    def reset(self) -> None:
        """Forget the grid: the next stamp is due."""
        self._newest_ns: int | None = None
        self._tick_ns = 0
        self._intervals_ns: deque[int] = deque(maxlen=9)

    def due(self, stamp_ns: int) -> bool:
        """Is the frame with this stamp due? Call it with every frame, once, in order of arrival."""
        if self._newest_ns is not None and stamp_ns < self._newest_ns - self._jump_back_ns:
            self.reset()
        if self._newest_ns is None:
            self._newest_ns, self._tick_ns = stamp_ns, stamp_ns + self._period_ns
            return True
        if stamp_ns <= self._newest_ns:
            return False
        self._intervals_ns.append(stamp_ns - self._newest_ns)
        self._newest_ns = stamp_ns
        lead_ns = min(self._lead_ns, int(median(self._intervals_ns)) // 2)
        if stamp_ns < self._tick_ns - lead_ns:
            return False
        behind = stamp_ns >= self._tick_ns + self._period_ns
        self._tick_ns = (stamp_ns if behind else self._tick_ns) + self._period_ns
        return True
