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
ENTER_MPS2 = 1.2  # acceleration that the ego is taken to enter with
MEET_M = 2.6  # centre lines nearer than this are in each other's way
JOINED_M = 5.0  # who is so far into a lane that two ways join is ahead of the other
COMMIT_MPS2 = 3.5  # a line that needs more braking than this is passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Where two connecting lanes come within a vehicle's width of each other, as arc lengths of either."""

    mine_from_m: float
    mine_to_m: float
    theirs_from_m: float
    theirs_to_m: float


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
        self._meetings: dict[tuple[int, int], Meeting | None] = {}

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
            times, places = self._passage(crossing, s_m, speed_mps, profile)
            for other in self._lanes[crossing.lane].yields_to:
                meeting = self._meeting(crossing.lane, other)
                if meeting is None:
                    continue
                arrives = float(np.interp(crossing.enter_s_m + meeting.mine_from_m - self._front_m, places, times))
                leaves = float(np.interp(crossing.enter_s_m + meeting.mine_to_m + self._tail_m, places, times))
                if self._goes_first(other, meeting, vehicles, now_s, arrives, leaves):
                    return (line,)
            return ()
        return ()

    def _note_standing(self, vehicles: Iterable[ActorState], now_s: float) -> None:
        self._stands_since_s = {a.id: self._stands_since_s.get(a.id, now_s) for a in vehicles if a.speed_mps <= STANDING_MPS}

    def _passage(self, crossing: Crossing, s_m: float, speed_mps: float, profile: SpeedProfile) -> tuple[list[float], list[float]]:
        """Times and the rear axle's places until the tail leaves the junction, driven as the profile allows."""
        t, s, v = 0.0, s_m, speed_mps
        times, places = [t], [s]
        while s < crossing.leave_s_m + self._tail_m and t < 20.0:
            v = min(v + ENTER_MPS2 * 0.25, max(profile.at(s)[0], 1.0))
            s += v * 0.25
            t += 0.25
            times.append(t)
            places.append(s)
        return times, places

    def _goes_first(self, lane_id: int, meeting: Meeting, vehicles: Iterable[ActorState], now_s: float, arrives_s: float, leaves_s: float) -> bool:
        """Whether somebody on, or on the way to, a connecting lane with priority is where the ways meet while the ego is."""
        lane = self._lanes[lane_id]
        before = self._distance_to(lane)
        for a in vehicles:
            waited = now_s - self._stands_since_s.get(a.id, now_s)
            half = 0.5 * a.length_m
            if a.lane_id == lane_id:
                if a.s_m - half > meeting.theirs_to_m:
                    continue  # past it
                left = (meeting.theirs_to_m + half - a.s_m) / max(a.speed_mps, 1.0)
                comes = (meeting.theirs_from_m - half - a.s_m) / max(a.speed_mps, 1.0)
                if left > arrives_s - GAP_S and comes < leaves_s + GAP_S and waited < 2.0 * PATIENCE_S:
                    return True
            elif a.lane_id in before and waited < PATIENCE_S:
                distance = before[a.lane_id] + self._lanes[a.lane_id].length_m + meeting.theirs_from_m - a.s_m - half
                eta = distance / a.speed_mps if a.speed_mps > 2.0 else math.sqrt(max(distance, 0.0) / 0.75)
                if eta < min(leaves_s + GAP_S, SIGHT_S):
                    return True
        return False

    def _meeting(self, mine: int, other: int) -> Meeting | None:
        """Where the two meet, or None; one that joins the same lane is met where the ways become one, and follows from there."""
        if (mine, other) not in self._meetings:
            a, b = self._lanes[mine], self._lanes[other]
            near = np.hypot(*(a.xy_m[:, None, :] - b.xy_m[None, :, :]).transpose(2, 0, 1)) < MEET_M
            mine_s, theirs_s = a.s_m[near.any(axis=1)], b.s_m[near.any(axis=0)]
            found = None
            if len(mine_s):
                joins = bool(set(a.successors) & set(b.successors))
                end = min(float(mine_s[0]) + JOINED_M, float(mine_s[-1])) if joins else float(mine_s[-1])
                found = Meeting(mine_from_m=float(mine_s[0]), mine_to_m=end, theirs_from_m=float(theirs_s[0]), theirs_to_m=float(theirs_s[-1]))
            self._meetings[mine, other] = found
        return self._meetings[mine, other]

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
