"""What stands or moves on lanes without keeping to them, as traffic sees it: the ego, the intruder, parked cars that stick out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from vavam_world.sim.collision import Box, corners
from vavam_world.sim.tracks import Track, Tracks

CORRIDOR_M = 1.15  # half the width that traffic needs beside its lane's centre line
REACH_M = 8.0

Span: TypeAlias = tuple[float, float, float]
"""From s, to s on a lane, and the speed along it."""


def span_on(track: Track, b: Box, speed_mps: float) -> Span | None:
    """Where a box reaches into the corridor of a lane, or None."""
    x0, y0, x1, y1 = track.bounds
    if not (x0 - REACH_M < b[0] < x1 + REACH_M and y0 - REACH_M < b[1] < y1 + REACH_M):
        return None
    squares = (track.xy[:, 0] - b[0]) ** 2 + (track.xy[:, 1] - b[1]) ** 2
    i = int(np.argmin(squares))
    if squares[i] > REACH_M**2:
        return None
    c, s = float(np.cos(track.yaw[i])), float(np.sin(track.yaw[i]))
    relative = corners(b) - track.xy[i]
    along, across = relative[:, 0] * c + relative[:, 1] * s, relative[:, 1] * c - relative[:, 0] * s
    if across.min() > CORRIDOR_M or across.max() < -CORRIDOR_M:
        return None
    return track.s[i] + float(along.min()), track.s[i] + float(along.max()), speed_mps * (b[2] * c + b[3] * s)


class Obstacles:
    """Spans per lane: those of standing things once, those of moving ones anew each tick, looked up when asked for."""

    def __init__(self, tracks: Tracks, standing: Iterable[Box]) -> None:
        self._tracks = tracks
        self._standing: dict[int, list[Span]] = {}
        for b in standing:
            for lane in tracks.ids():
                if (span := span_on(tracks[lane], b, 0.0)) is not None:
                    self._standing.setdefault(lane, []).append(span)
        self._moving: Sequence[tuple[Box, float]] = ()
        self._known: dict[int, list[Span]] = {}

    def move(self, moving: Sequence[tuple[Box, float]]) -> None:
        """The boxes and speeds (along their headings) of this tick."""
        self._moving = moving
        self._known = {}

    def on(self, lane: int) -> list[Span]:
        """Spans on a lane at this tick."""
        if lane not in self._known:
            moving = [span for b, v in self._moving if (span := span_on(self._tracks[lane], b, v)) is not None]
            self._known[lane] = self._standing.get(lane, []) + moving
        return self._known[lane]

    def free(self, lane: int, s_m: float, reach_m: float) -> bool:
        """Whether nothing is on a lane within `reach_m` of a place."""
        return all(s_m + reach_m < start or end < s_m - reach_m for start, end, _ in self.on(lane))
