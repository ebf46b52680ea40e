"""Pedestrians: to and fro on sidewalks, and over crosswalks when they see a gap.

Who crosses walks along one sidewalk, waits at the kerb until everything that comes could stop comfortably or is away, crosses without looking
back, walks on along the other sidewalk, and returns. The others stroll along one sidewalk. Nobody walks around anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely

from vavam_world.contracts import TICK_S, ActorState, Crosswalk, RoadMap, TrafficSpec
from vavam_world.sim.placing import FIRST_PEDESTRIAN_ID, VARIANTS, stream

CROSS_SHARE = 0.75  # of the pedestrians, where there are crosswalks
WALK_M = 18.0  # along the sidewalk at either side of a crosswalk
STROLL_M = 50.0
KERB_M = (0.7, 1.4)  # from the crosswalk's end to the line that is walked on the sidewalk
LANE_ROOM_M = 2.3  # from a lane's middle: nearer than this, or on the way there, a crossing pedestrian is waited for
COMFORT_MPS2, REACTION_S, MARGIN_M = 2.0, 1.0, 2.0
TURN_RADPS = 4.0
LENGTH_M, WIDTH_M = 0.45, 0.6
Point = tuple[float, float]


@dataclass(slots=True, kw_only=True)
class Walker:
    """One pedestrian on its line."""

    id: int
    points: Sequence[Point]
    ends: Sequence[float]  # arc length at each point
    pace: float
    u: float  # arc length on its line
    way: int  # +1 or −1 along it
    yaw: float
    height: float
    variant: int
    rng: np.random.Generator
    crosswalk: int | None = None
    kerbs: tuple[float, float] = (math.inf, math.inf)
    flipped: bool = False  # its line goes over the crosswalk from b to a
    pause: int = 0  # ticks to stand yet
    speed: float = 0.0

    @property
    def crossing(self) -> bool:
        """Whether it is on the road."""
        return self.kerbs[0] < self.u < self.kerbs[1]

    def state(self) -> ActorState:
        """As others see it."""
        x, y, _ = _along(self.points, self.ends, self.u)
        return ActorState(
            id=self.id,
            kind="pedestrian",
            x_m=x,
            y_m=y,
            yaw_rad=self.yaw,
            speed_mps=self.speed,
            length_m=LENGTH_M,
            width_m=WIDTH_M,
            height_m=self.height,
            variant=self.variant,
        )


class Pedestrians:
    """All pedestrians of a scenario; as many of `spec.pedestrians` as the map has room for."""

    def __init__(self, road_map: RoadMap, spec: TrafficSpec, *, near: Point, comfort_mps2: float = COMFORT_MPS2) -> None:
        """`near`: crosswalks and sidewalks near this place are preferred. `comfort_mps2`: braking that who steps on the road expects of others."""
        self._comfort = comfort_mps2
        self._rooms: dict[tuple[int, int], float] = {}
        for c in road_map.crosswalks:
            for lane, s in c.lanes:
                points = road_map.lanes[lane]
                x, y = float(np.interp(s, points.s_m, points.xy_m[:, 0])), float(np.interp(s, points.s_m, points.xy_m[:, 1]))
                dx, dy, length = _unit(c.a_xy_m, c.b_xy_m)
                self._rooms[c.id, lane] = min(length, max(0.0, (x - c.a_xy_m[0]) * dx + (y - c.a_xy_m[1]) * dy))
        self.walkers = _placed(road_map, spec, near) if spec.pedestrians else []

    def states(self) -> list[ActorState]:
        """In id order."""
        return [w.state() for w in self.walkers]

    def blocks(self, crosswalk: int, lane: int) -> bool:
        """Whether somebody who crosses is on a lane's room or on the way to it."""
        for w in self.walkers:
            if w.crosswalk == crosswalk and w.crossing:
                room = self._rooms[crosswalk, lane]
                middle = w.kerbs[1] - room if w.flipped else w.kerbs[0] + room
                if (middle - w.u) * w.way > -LANE_ROOM_M:  # not past it yet
                    return True
        return False

    def step(self, approaching: Mapping[int, Iterable[tuple[float, float]]]) -> None:
        """One tick. `approaching[crosswalk]`: (distance of the front bumper, 0 if on it; speed) of vehicles."""
        for w in self.walkers:
            self._walk(w, approaching)

    def _walk(self, w: Walker, approaching: Mapping[int, Iterable[tuple[float, float]]]) -> None:
        w.speed = 0.0
        if w.pause > 0:
            w.pause -= 1
            return
        after = w.u + w.way * w.pace * TICK_S
        kerb, far = (w.kerbs[0], w.kerbs[1]) if w.way > 0 else (w.kerbs[1], w.kerbs[0])
        if w.crosswalk is not None and (w.u - kerb) * w.way <= 0.0 < (after - kerb) * w.way:
            seconds = abs(far - kerb) / w.pace
            if not all(self._leaves_room(d, v, seconds) for d, v in approaching.get(w.crosswalk, ())):
                w.u = kerb
                w.pause = 4  # looks again in a moment
                return
        if not 0.0 < after < w.ends[-1]:
            w.way = -w.way
            w.pause = int(w.rng.integers(10, 80))
            return
        w.u, w.speed = after, w.pace
        _, _, yaw = _along(w.points, w.ends, w.u)
        turn = math.remainder(yaw + (0.0 if w.way > 0 else math.pi) - w.yaw, 2.0 * math.pi)
        w.yaw += min(TURN_RADPS * TICK_S, max(-TURN_RADPS * TICK_S, turn))

    def _leaves_room(self, distance: float, speed: float, seconds: float) -> bool:
        if speed < 0.3:
            return distance > 0.3
        return distance > speed * speed / (2.0 * self._comfort) + speed * REACTION_S + MARGIN_M or distance > speed * (seconds + 2.0) > 0.0


def _unit(a: Point, b: Point) -> tuple[float, float, float]:
    length = math.hypot(b[0] - a[0], b[1] - a[1])
    return (b[0] - a[0]) / length, (b[1] - a[1]) / length, length


def _along(points: Sequence[Point], ends: Sequence[float], u: float) -> tuple[float, float, float]:
    i = 0
    while i < len(ends) - 2 and ends[i + 1] <= u:
        i += 1
    dx, dy, _ = _unit(points[i], points[i + 1])
    rest = u - ends[i]
    return points[i][0] + rest * dx, points[i][1] + rest * dy, math.atan2(dy, dx)


def _placed(road_map: RoadMap, spec: TrafficSpec, near: Point) -> list[Walker]:
    rng = stream(spec, 4)
    sidewalk = shapely.union_all([shapely.Polygon(rings[0], rings[1:]) for rings in road_map.sidewalk])
    shapely.prepare(sidewalk)
    crosswalks = sorted(road_map.crosswalks, key=lambda c: (math.hypot(c.a_xy_m[0] - near[0], c.a_xy_m[1] - near[1]), c.id))
    crosswalks = crosswalks[: max(3, spec.pedestrians)]
    strolls = _strolls(road_map, sidewalk, near) if road_map.sidewalk else []
    walkers = []
    for i in range(spec.pedestrians):
        own = stream(spec, 5, i)
        if crosswalks and (rng.random() < CROSS_SHARE or not strolls):
            crosswalk = crosswalks[int(rng.integers(len(crosswalks)))]
            flipped = bool(own.random() < 0.5)
            points, first = _crossing_line(crosswalk, flipped, sidewalk, own)
            chosen: int | None = crosswalk.id
        elif strolls:
            points, first, chosen, flipped = strolls[int(rng.integers(len(strolls)))], -1, None, False
        else:
            continue
        ends = [0.0]
        for a, b in pairwise(points):
            ends.append(ends[-1] + math.hypot(b[0] - a[0], b[1] - a[1]))
        kerbs = (ends[first], ends[first + 1]) if first >= 0 else (math.inf, math.inf)
        # Nobody starts on the road: within the part before the crosswalk, or anywhere of a stroll.
        u = float(own.uniform(0.02, 0.98)) * (kerbs[0] if first >= 0 else ends[-1])
        walkers.append(
            Walker(
                id=FIRST_PEDESTRIAN_ID + i,
                points=points,
                ends=ends,
                pace=float(own.uniform(1.0, 1.7)),
                u=u,
                way=1,
                yaw=_along(points, ends, u)[2],
                height=float(own.uniform(1.55, 1.92)),
                variant=int(own.integers(VARIANTS)),
                rng=own,
                crosswalk=chosen,
                kerbs=kerbs,
                flipped=flipped,
                pause=int(own.integers(0, 20)),
            )
        )
    return walkers


def _crossing_line(crosswalk: Crosswalk, flipped: bool, sidewalk: shapely.Geometry, rng: np.random.Generator) -> tuple[list[Point], int]:
    """A line along one sidewalk, over the crosswalk and along the other; and which of its points is the first kerb."""
    a, b = (crosswalk.b_xy_m, crosswalk.a_xy_m) if flipped else (crosswalk.a_xy_m, crosswalk.b_xy_m)
    dx, dy, _ = _unit(a, b)
    shift = float(rng.uniform(-0.5, 0.5)) * max(0.0, crosswalk.width_m - 1.0)
    a, b = (a[0] - dy * shift, a[1] + dx * shift), (b[0] - dy * shift, b[1] + dx * shift)
    back = float(rng.uniform(*KERB_M))
    corner_a, corner_b = (a[0] - dx * back, a[1] - dy * back), (b[0] + dx * back, b[1] + dy * back)
    start, end = (_reach(corner, (-dy, dx), sidewalk, rng) for corner in (corner_a, corner_b))
    return [start, corner_a, a, b, corner_b, end], 2


def _reach(corner: Point, along: Point, sidewalk: shapely.Geometry, rng: np.random.Generator) -> Point:
    """How far the sidewalk goes on from a corner, either way: the further of both, at least a metre."""
    steps = np.arange(1.0, WALK_M + 0.5)
    best, sign = 0.0, 1.0
    for way in (1.0, -1.0) if rng.random() < 0.5 else (-1.0, 1.0):
        on = shapely.contains_xy(sidewalk, corner[0] + way * along[0] * steps, corner[1] + way * along[1] * steps)
        far = float(len(steps) if on.all() else int(np.argmin(on)))
        if far > best:
            best, sign = far, way
    far = sign * max(1.0, best)
    return corner[0] + far * along[0], corner[1] + far * along[1]


def _strolls(road_map: RoadMap, sidewalk: shapely.Geometry, near: Point) -> list[list[Point]]:
    """Lines along the sidewalks beside outer lanes, the nearest first."""
    found: list[tuple[float, int, list[Point]]] = []
    for lane in road_map.lanes.values():
        if lane.right is not None or lane.junction is not None:
            continue
        normal = np.stack([np.sin(lane.yaw_rad), -np.cos(lane.yaw_rad)], axis=1)
        for beside in (1.2, 1.8, 2.5, 3.5, 4.5):
            xy = lane.xy_m + (0.5 * lane.width_m + beside) * normal
            on = shapely.contains_xy(sidewalk, xy[:, 0], xy[:, 1])
            if on.mean() > 0.5:
                break
        else:
            continue
        for run in np.split(np.flatnonzero(on), np.flatnonzero(np.diff(np.flatnonzero(on)) > 1) + 1):
            for k in range(0, len(run) - 12, int(STROLL_M)):
                part = xy[run[k : k + int(STROLL_M)]][::3]
                if len(part) > 3:
                    line = [(float(x), float(y)) for x, y in part]
                    found.append((math.hypot(line[0][0] - near[0], line[0][1] - near[1]), len(found), line))
    return [line for _, _, line in sorted(found)[:12]]
