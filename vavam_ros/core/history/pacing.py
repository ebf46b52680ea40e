"""Pacing by stamps: which frames are due, the same live and in replay."""

from __future__ import annotations

from collections import deque
from statistics import median

from vavam_ros.core.contracts import NS_PER_S, ConfigError


class RateGate:
    """Lets stamps through at a rate, locked to a time grid, deterministic in the stamps alone.

    The grid starts at the first stamp and goes on in steps of one period. It does not follow the frames taken, so the rate is exact on average and there is
    no beat: 10 Hz from a 30 Hz camera takes every third frame, from 12 Hz five of six. A tick is taken by the first stamp not earlier than half an input
    interval before the place where frames lately fell relative to their ticks: the nearest frame, but with a memory, so that jitter does not make the choice
    flicker between two frames that lie about as near. Never earlier than `tolerance` periods before the tick.
    When the input falls behind by one and a half periods (a pause, or an input slower than the rate), the ticks missed are dropped.
    Late stamps and duplicates are never due. A stamp further back than `jump_back_s` is time that jumped (a bag loop): the gate starts anew with it.
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
        self._usual_ns = 0  # where frames lately fell, relative to their ticks
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
        if self._period_ns == 0:
            return True
        half_ns = int(median(self._intervals_ns)) // 2
        error_ns = stamp_ns - self._tick_ns
        if error_ns < -min(self._lead_ns, half_ns - self._usual_ns):
            return False
        usual_ns = error_ns if abs(error_ns - self._usual_ns) > half_ns else self._usual_ns + (error_ns - self._usual_ns) // 4
        self._usual_ns = max(-half_ns, min(half_ns, usual_ns))
        missed = error_ns // self._period_ns if 2 * error_ns >= 3 * self._period_ns else 0
        self._tick_ns += (1 + missed) * self._period_ns
        return True
