"""Lanes as traffic uses them: plain floats to look up quickly, safe speeds, where to stop, and where two ways through a junction meet."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from vavam_world.contracts import F64, Lane, RoadMap

LATERAL_ACCEL_MPS2 = 2.0
SLOWING_MPS2 = 1.5  # how early traffic slows down for a bend or a lower limit
CLEARANCE_M = 3.0  # centre lines closer than this cannot be driven at once
STOP_BEFORE_M = 1.0  # of the front bumper before a junction or a crosswalk
CROSSWALK_AT_END_M = 14.0  # a crosswalk so near to a junction: the stop is before it


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTrack:
    """Something a lane leads over: which, and where its middle and half its extent lie."""

    id: int
    s_m: float
    half_m: float


class Track:
    """One lane. Lists run along its points."""

    __slots__ = ("bounds", "crosswalks", "junction", "lane", "length", "s", "speed", "stop_s", "x", "xy", "y", "yaw")

    def __init__(self, lane: Lane, crosswalks: list[OnTrack]) -> None:
        self.lane = lane
        self.length = lane.length_m
        self.junction = lane.junction
        self.xy: F64 = lane.xy_m
        self.s: list[float] = lane.s_m.tolist()
        self.x: list[float] = lane.xy_m[:, 0].tolist()
        self.y: list[float] = lane.xy_m[:, 1].tolist()
        self.yaw: list[float] = lane.yaw_rad.tolist()
        bend = np.sqrt(LATERAL_ACCEL_MPS2 / np.maximum(np.abs(lane.curvature_1pm), 1e-6))
        self.speed: list[float] = np.minimum(bend, lane.speed_limit_mps).tolist()
        for i in range(len(self.s) - 2, -1, -1):
            self.speed[i] = min(self.speed[i], math.sqrt(self.speed[i + 1] ** 2 + 2.0 * SLOWING_MPS2 * (self.s[i + 1] - self.s[i])))
        self.crosswalks = crosswalks
        at_end = [c.s_m - c.half_m for c in crosswalks if c.s_m > self.length - CROSSWALK_AT_END_M]
        self.stop_s = min([self.length, *at_end]) - STOP_BEFORE_M
        low, high = lane.xy_m.min(axis=0), lane.xy_m.max(axis=0)
        self.bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))

    def at(self, s_m: float) -> tuple[float, float, float]:
        """x, y, yaw at an arc length; straight on beyond either end."""
        i = min(max(bisect_right(self.s, s_m) - 1, 0), len(self.s) - 2)
        u = (s_m - self.s[i]) / (self.s[i + 1] - self.s[i])
        yaw = self.yaw[i] + min(1.0, max(0.0, u)) * (self.yaw[i + 1] - self.yaw[i])
        return self.x[i] + u * (self.x[i + 1] - self.x[i]), self.y[i] + u * (self.y[i + 1] - self.y[i]), yaw

    def speed_at(self, s_m: float) -> float:
        """Speed that lateral acceleration and limits allow here, so that later ones can be met."""
        return self.speed[min(max(bisect_right(self.s, s_m) - 1, 0), len(self.s) - 1)]


class Tracks:
    """All lanes of a map, and how they meet."""

    def __init__(self, road_map: RoadMap) -> None:
        on: dict[int, list[OnTrack]] = {}
        for crosswalk in road_map.crosswalks:
            for lane, s in crosswalk.lanes:
                on.setdefault(lane, []).append(OnTrack(id=crosswalk.id, s_m=s, half_m=0.5 * crosswalk.width_m))
        self._tracks = {i: Track(lane, sorted(on.get(i, []), key=lambda c: c.s_m)) for i, lane in sorted(road_map.lanes.items())}
        self._zones: dict[tuple[int, int], tuple[float, float]] = {}
        self._splits: dict[tuple[int, int], float] = {}
        self._meets: dict[int, tuple[int, ...]] = {}

    def __getitem__(self, lane: int) -> Track:
        return self._tracks[lane]

    def ids(self) -> tuple[int, ...]:
        """Lane ids in order."""
        return tuple(self._tracks)

    def meets(self, lane: int) -> tuple[int, ...]:
        """Lanes of the same junction from elsewhere that come within `CLEARANCE_M` of a connecting lane: the map's conflicts, and for long
        vehicles also ways that merely pass close by."""
        if lane not in self._meets:
            here = self._tracks[lane].lane
            others = [t.lane for t in self._tracks.values() if t.junction == here.junction and not set(t.lane.predecessors) & set(here.predecessors)]
            self._meets[lane] = tuple(o.id for o in others if o.id != lane and self.zone(lane, o.id)[1] > -math.inf)
        return self._meets[lane]

    def zone(self, a: int, b: int) -> tuple[float, float]:
        """From where to where lane `a` is too near to lane `b` to be driven at the same time; (∞, −∞) for nowhere."""
        if (a, b) not in self._zones:
            near = np.flatnonzero(self._gaps(a, b) < CLEARANCE_M)
            s = self._tracks[a].s
            self._zones[a, b] = (s[near[0]], s[near[-1]]) if len(near) else (math.inf, -math.inf)
        return self._zones[a, b]

    def split(self, a: int, b: int) -> float:
        """Arc length up to which two lanes with a common start share their room."""
        if (a, b) not in self._splits:
            apart = np.flatnonzero(self._gaps(a, b) >= CLEARANCE_M)
            self._splits[a, b] = self._tracks[a].s[apart[0]] if len(apart) else self._tracks[a].length
        return self._splits[a, b]

    def _gaps(self, a: int, b: int) -> F64:
        p, q = self._tracks[a].xy, self._tracks[b].xy
        squares = (p[:, None, 0] - q[None, :, 0]) ** 2 + (p[:, None, 1] - q[None, :, 1]) ** 2
        return np.asarray(np.sqrt(squares.min(axis=1)), dtype=np.float64)
