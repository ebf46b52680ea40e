"""Who goes first: whether the expert may enter the next junction on its route."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vavam_world.contracts import ActorState, Lane, Route, Vehicle
from vavam_world.drivers.longitudinal import SpeedProfile
from vavam_world.drivers.prediction import STANDING_MPS

LINE_GAP_M = 1.0  # front bumper to the junction's edge, waiting
GAP_S = 1.2  # between the ego's leaving the junction and the arrival of one it lets pass
SIGHT_S = 10.0  # who comes later than this is not waited for
PATIENCE_S = 3.0  # who has priority but stands longer than this is not going: right-before-left can lock a crossing for ever
COMMIT_MPS2 = 3.5  # a line that needs more braking than this is passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """One way through a junction on the route: the connecting lane and where it lies."""

    lane: int
    enter_s_m: float
    leave_s_m: float


class RightOfWay:
    """Decides at each plan whether to stop before a junction. State: since when the others stand."""

    def __init__(self, lanes: Mapping[int, Lane], route: Route, vehicle: Vehicle) -> None:
        self._lanes = lanes
        self._front_m = vehicle.length_m - vehicle.rear_overhang_m
        self._tail_m = vehicle.rear_overhang_m
        self.crossings = _crossings(lanes, route)
        self._stands_since_s: dict[int, float] = {}

    def stops(self, actors: Iterable[ActorState], now_s: float, s_m: float, speed_mps: float, profile: SpeedProfile) -> tuple[float, ...]:
        """Arc lengths at which the rear axle has to stop: before the next junction, if somebody who goes first is there or near; else none."""
        vehicles = [a for a in actors if a.lane_id >= 0 and a.kind not in ("parked", "pedestrian")]
        self._note_standing(vehicles, now_s)
        for crossing in self.crossings:
            line = crossing.enter_s_m - self._front_m - LINE_GAP_M
            distance = line - s_m
            if distance < -0.5 or crossing.leave_s_m < s_m:
                continue  # inside it, or past it
            needed = speed_mps**2 / (2.0 * max(distance, 0.1))
            if distance > 15.0 + speed_mps**2 / 2.0 or needed > COMMIT_MPS2:
                return ()
            arrives, leaves = self._passage(crossing, s_m, speed_mps, profile)
            if any(self._goes_first(goes, vehicles, now_s, arrives, leaves) for goes in self._lanes[crossing.lane].yields_to):
                return (line,)
            return ()
        return ()

    def _note_standing(self, vehicles: Iterable[ActorState], now_s: float) -> None:
        self._stands_since_s = {a.id: self._stands_since_s.get(a.id, now_s) for a in vehicles if a.speed_mps <= STANDING_MPS}

    def _passage(self, crossing: Crossing, s_m: float, speed_mps: float, profile: SpeedProfile) -> tuple[float, float]:
        """Seconds until the front enters and the tail leaves, driven as the profile allows."""
        t, s, v = 0.0, s_m, speed_mps
        arrives = 0.0
        while s < crossing.leave_s_m + self._tail_m and t < 20.0:
            v = min(v + 1.2 * 0.25, max(profile.at(s)[0], 1.0))
            s += v * 0.25
            t += 0.25
            if s < crossing.enter_s_m - self._front_m:
                arrives = t
        return arrives, t

    def _goes_first(self, lane_id: int, vehicles: Iterable[ActorState], now_s: float, arrives_s: float, leaves_s: float) -> bool:
        """Whether somebody on, or on the way to, a connecting lane with priority needs the junction while the ego does."""
        lane = self._lanes[lane_id]
        before = self._distance_to(lane)
        for a in vehicles:
            waited = now_s - self._stands_since_s.get(a.id, now_s)
            if a.lane_id == lane_id:
                left = (lane.length_m - a.s_m + 0.5 * a.length_m) / max(a.speed_mps, 1.0)
                if left > arrives_s - GAP_S and waited < 2.0 * PATIENCE_S:
                    return True
            elif a.lane_id in before and waited < PATIENCE_S:
                distance = before[a.lane_id] + self._lanes[a.lane_id].length_m - a.s_m - 0.5 * a.length_m
                eta = distance / a.speed_mps if a.speed_mps > 2.0 else math.sqrt(max(distance, 0.0) / 0.75)
                if eta < min(leaves_s + GAP_S, SIGHT_S):
                    return True
        return False

    def _distance_to(self, lane: Lane) -> dict[int, float]:
        """Lanes that lead to a connecting lane, two back at most, with the length between their end and it."""
        found: dict[int, float] = {}
        for first in lane.predecessors:
            found[first] = 0.0
            for second in self._lanes[first].predecessors:
                found.setdefault(second, self._lanes[first].length_m)
        return found


def _crossings(lanes: Mapping[int, Lane], route: Route) -> tuple[Crossing, ...]:
    found = []
    starts = np.flatnonzero(np.diff(route.lane_id, prepend=route.lane_id[0] - 1))
    for i, start in enumerate(starts):
        lane = lanes[int(route.lane_id[start])]
        if lane.junction is not None:
            stop = int(starts[i + 1]) if i + 1 < len(starts) else len(route.s_m) - 1
            found.append(Crossing(lane=lane.id, enter_s_m=float(route.s_m[start]), leave_s_m=float(route.s_m[stop])))
    return tuple(found)
