"""Vehicles that keep to their lanes: distance by the Intelligent Driver Model, priority at junctions, stops for pedestrians.

They follow lane centres exactly and choose at each junction by seed. Where a road leads nowhere they start anew on a road that comes from
nowhere. They do not change lanes and do not drive around what blocks theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from vavam_world.contracts import ActorState
from vavam_world.sim.cars import COMFORT_MPS2, GAP_M, LINE_GAP_M, Car, idm
from vavam_world.sim.collision import Box
from vavam_world.sim.ego_on_route import EgoOnRoute
from vavam_world.sim.junctions import Holder, Junctions
from vavam_world.sim.obstacles import Obstacles
from vavam_world.sim.tracks import SLOWING_MPS2, STOP_BEFORE_M, Tracks

LOOK_M = 80.0
PREVIEW_S = 0.4
AT_ENTRY_M = 6.0  # crosswalks so near to a connecting lane's start are waited for before it
RESTART_FREE_M, RESTART_FROM_EGO_M, RESTART_SHARE = 25.0, 50.0, 0.7
FIRM_MPS2 = 3.0  # an entry that needs more braking than this to be called off is not called off


class Crossings(Protocol):
    """What traffic asks of pedestrians."""

    def blocks(self, crosswalk: int, lane: int) -> bool:
        """Whether somebody on a crosswalk is before or on a lane's room."""
        ...


class Traffic:
    """All vehicles. `approaching[crosswalk]` lists (distance of the front bumper, speed) of those that come to it, after each step."""

    def __init__(self, tracks: Tracks, cars: Sequence[Car], standing: Sequence[Box] = ()) -> None:
        self.cars = list(cars)
        self.tracks = tracks
        self.obstacles = Obstacles(tracks, standing)
        self.junctions = Junctions(tracks)
        self.approaching: dict[int, list[tuple[float, float]]] = {}
        self._entries = [i for i in tracks.ids() if not tracks[i].lane.predecessors and tracks[i].length > 40.0]
        self._on: dict[int, list[Car]] = {}
        for car in self.cars:
            car.plan(tracks, LOOK_M)

    def states(self) -> list[ActorState]:
        """In id order."""
        return [car.state(self.tracks) for car in self.cars]

    def step(self, ego: EgoOnRoute | None, moving: Sequence[tuple[Box, float]], crossings: Crossings) -> None:
        """One tick. `moving`: boxes and speeds of what keeps to no lane, the ego's among them."""
        self.approaching = {}
        if not self.cars:
            return
        self.obstacles.move(moving)
        self._on = {}
        for car in self.cars:
            self._on.setdefault(car.lane, []).append(car)
        self._note_junctions(ego)
        for car in self.cars:
            self._decide(car, crossings)
        for car in self.cars:
            car.move(self.tracks)
            if car.s >= self.tracks[car.lane].length and len(car.path) == 1 and not self.tracks[car.lane].lane.successors:
                self._restart(car, moving)
            car.plan(self.tracks, LOOK_M)

    def _note_junctions(self, ego: EgoOnRoute | None) -> None:
        self.junctions.begin()
        for car in self.cars:
            half = 0.5 * car.length
            start = -self.tracks[car.behind].length if car.behind is not None else 0.0
            at = {lane: car.s - begin for lane, begin in self._begins(car)}
            if car.behind is not None:
                at[car.behind] = car.s - start
            car.held = [lane for lane in car.held if lane in at and at[lane] - half < self.tracks[lane].length]
            for lane in car.held:
                self.junctions.hold(lane, Holder(id=car.id, front_s=at[lane] + half, rear_s=at[lane] - half))
            for lane, begin in self._begins(car):
                if self.tracks[lane].junction is not None and lane not in car.held:
                    self.junctions.claim(lane, car.id, begin - car.s - half, car.speed, car.stood)
                    break
        if ego is not None:
            ego.note(self.junctions)

    def _begins(self, car: Car) -> list[tuple[int, float]]:
        """(lane, where it begins) along a car's path, in arc lengths of its present lane. A lane that comes again counts the first time."""
        found, begin = [], 0.0
        for lane in car.path:
            found.append((lane, begin))
            begin += self.tracks[lane].length
        return found

    def _decide(self, car: Car, crossings: Crossings) -> None:
        """Sets the acceleration for this tick: the least of what speed, leaders, lines and pedestrians allow."""
        half, front = 0.5 * car.length, car.s + 0.5 * car.length
        here = self.tracks[car.lane]
        preview = car.s + PREVIEW_S * car.speed  # speeds are met with that much lag
        desired = min(here.speed_at(car.s), here.speed_at(preview))
        gap, closing = math.inf, 0.0
        line = math.inf  # where to stop, as a distance of the front bumper
        before: int | None = None
        begin = 0.0
        for lane in car.path:
            track = self.tracks[lane]
            if begin > car.s:
                if begin - front > LOOK_M:
                    break
                desired = min(desired, math.sqrt(track.speed[0] ** 2 + 2.0 * SLOWING_MPS2 * max(0.0, begin - preview)))
                if lane in car.held and begin - front > car.speed**2 / (2.0 * FIRM_MPS2) and self.junctions.ego_in_way(lane):
                    car.held.remove(lane)
                    self.junctions.release(lane, car.id)
                if track.junction is not None and before is not None and lane not in car.held:
                    stop = begin - self.tracks[before].length + self.tracks[before].stop_s
                    if stop < front - 1.5:
                        stop = begin - STOP_BEFORE_M  # past the line before the crosswalk: the junction's edge
                    if not self._enters(car, lane, stop - front, crossings):
                        line = min(line, stop - front)
            elif track.junction is not None and lane not in car.held:
                car.held.append(lane)  # placed inside
            for crosswalk in track.crosswalks:
                ahead = begin + crosswalk.s_m - crosswalk.half_m - front
                if begin + crosswalk.s_m + crosswalk.half_m > car.s - half and ahead < LOOK_M:
                    self.approaching.setdefault(crosswalk.id, []).append((max(0.0, ahead), car.speed))
                    if ahead > 0.0 and crossings.blocks(crosswalk.id, lane):
                        line = min(line, ahead - STOP_BEFORE_M)
            near, speed = self._leader(car, lane, before, begin)
            if near < gap:
                gap, closing = near, car.speed - speed
            begin += track.length
            before = lane
            if gap < math.inf and begin - front > gap:
                break
        wanted = idm(car.speed, car.temper * desired, gap, closing)
        if line < math.inf:
            wanted = min(wanted, idm(car.speed, car.temper * desired, line, car.speed, LINE_GAP_M))
        car.wanted = wanted

    def _leader(self, car: Car, lane: int, before: int | None, begin: float) -> tuple[float, float]:
        """Gap to and speed of the next thing ahead on a lane that begins at `begin`; infinite for none."""
        front = car.s + 0.5 * car.length
        gap, speed = math.inf, 0.0
        for other in self._on.get(lane, ()):
            if other is not car and begin + other.s > car.s:
                ahead = begin + other.s - 0.5 * other.length - front
                if ahead < gap:
                    gap, speed = ahead, other.speed
        came_from = before if before is not None else car.behind
        if came_from is not None and self.tracks[lane].junction is not None:
            for sibling in self.tracks[came_from].lane.successors:
                if sibling != lane:
                    for other in self._on.get(sibling, ()):
                        rear = other.s - 0.5 * other.length
                        if begin + other.s > car.s and rear < self.tracks.split(lane, sibling) and begin + rear - front < gap:
                            gap, speed = begin + rear - front, other.speed
        for start, end, along in self.obstacles.on(lane):
            if begin + end > car.s + 0.3 * car.length and begin + start - front < gap:
                gap, speed = begin + start - front, max(0.0, along)
        return gap, speed

    def _enters(self, car: Car, lane: int, distance: float, crossings: Crossings) -> bool:
        """Whether a car `distance` before its line may go on over a connecting lane; if so it holds it from now on."""
        if distance > car.speed**2 / (2.0 * COMFORT_MPS2) + car.speed + 4.0:
            return False  # too far away to decide; the line is no hindrance yet
        if self.junctions.taken(lane, car.id) or self.junctions.overruled(lane, car.id, distance, car.speed, car.length):
            return False
        if any(c.s_m < AT_ENTRY_M and crossings.blocks(c.id, lane) for c in self.tracks[lane].crosswalks):
            return False  # waits for pedestrians before the junction, without keeping others out of it
        after = self.tracks[lane].lane.successors
        following = car.path[car.path.index(lane) + 1] if lane in car.path[:-1] else (after[0] if after else None)
        if following is not None:
            room = car.length + GAP_M + 1.0
            for other in self._on.get(following, ()):
                if other is not car and other.speed < 1.5 and other.s - 0.5 * other.length < room:
                    return False
            if any(along < 1.5 and start < room and end > 0.0 for start, end, along in self.obstacles.on(following)):
                return False
        car.held.append(lane)
        self.junctions.hold(lane, Holder(id=car.id, front_s=-distance, rear_s=-distance - car.length))
        claims = self.junctions.claims.get(lane, [])
        self.junctions.claims[lane] = [c for c in claims if c.id != car.id]
        return True

    def _restart(self, car: Car, moving: Sequence[tuple[Box, float]]) -> None:
        """Puts a car that came to the end of the road on a free entry away from what else moves, if there is one; else it waits."""
        for i in car.rng.permutation(len(self._entries)):
            lane = self._entries[int(i)]
            s = 0.5 * car.length + 1.0
            x, y, _ = self.tracks[lane].at(s)
            near = any(other.s < s + RESTART_FREE_M for other in self._on.get(lane, ()))
            if not near and all(math.hypot(b[0] - x, b[1] - y) > RESTART_FROM_EGO_M for b, _ in moving):
                car.path, car.behind, car.s, car.held = [lane], None, s, []
                car.speed = RESTART_SHARE * self.tracks[lane].speed_at(s)
                self._on.setdefault(lane, []).append(car)
                return
        car.speed, car.accel = 0.0, 0.0
