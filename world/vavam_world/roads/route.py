"""Ways through a network: the turns that are asked for, then turns by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vavam_world.contracts import F64, MAP_KINDS, Lane, RoadMap, Route, RouteSpec, Turn, WorldError

FIRST_JUNCTION_M = 30.0  # the least way to the first junction
FIRST_JUNCTION_MOST_M = 90.0  # and the most, where the rest of the way is long enough
END_MARGIN_M = 20.0  # to the end of a lane that leads nowhere
AFTER_LAST_TURN_M = 25.0  # a route goes at least this far beyond the last turn that was asked for
LANE_CHANGE_M = 40.0
_MIN_LENGTH_M = 40.0


def plan_route(road_map: RoadMap, spec: RouteSpec, *, start_lane: int | None = None) -> Route:
    """A route of `spec.length_m`, or as much longer as the turns that are asked for need plus 25 m.

    It starts at a seeded place of a seeded lane (or of `start_lane`) that is no junction's, 30 m or more before the first junction, and stops 20 m
    or more before a lane that leads nowhere ends. Where the next turn needs the neighbour lane it changes lanes over 40 m.
    Raises WorldError where the map has no such route."""
    if not (np.isfinite(spec.length_m) and spec.length_m >= _MIN_LENGTH_M):
        raise WorldError(f"route: got length_m {spec.length_m}, expected {_MIN_LENGTH_M:g} m or more")
    if spec.seed < 0 or any(t not in ("left", "straight", "right") for t in spec.turns):
        raise WorldError(f"route: got {spec}, expected turns of left, straight, right and a seed of 0 or more")
    if start_lane is not None and (start_lane not in road_map.lanes or road_map.lanes[start_lane].junction is not None):
        raise WorldError(f"route: got start lane {start_lane}, expected a lane of the map outside junctions")
    key = (2, MAP_KINDS.index(road_map.spec.kind), road_map.spec.lanes, road_map.spec.seed)
    rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))
    starts = [id for id in sorted(road_map.lanes) if road_map.lanes[id].junction is None] if start_lane is None else [start_lane]
    for start in rng.permutation(starts).tolist():
        plan = _Search(road_map, spec, rng).from_lane(int(start))
        if plan is not None:
            return plan
    where = f"from lane {start_lane}" if start_lane is not None else "anywhere"
    turns = ", ".join(spec.turns) or "none"
    raise WorldError(
        f"route: got turns ({turns}) and length_m {spec.length_m:g} on {road_map.spec}, expected a way that is there {where}: fewer or other turns, less length"
    )


class _Search:
    """Depth-first through the network, in an order drawn from the seed."""

    def __init__(self, road_map: RoadMap, spec: RouteSpec, rng: np.random.Generator) -> None:
        self._lanes, self._spec, self._rng = road_map.lanes, spec, rng

    def from_lane(self, start: int) -> Route | None:
        """The first way found from a lane, or None."""
        whole = self._lanes[start].length_m
        found = self._extend([start], start, 0.0, 0, whole) if whole - 1.0 >= FIRST_JUNCTION_M else None
        if found is None:
            return None
        path, ahead = found
        changes_first = len(path) > 1 and path[1] in (self._lanes[start].left, self._lanes[start].right)
        least = max(FIRST_JUNCTION_M, self._spec.length_m - ahead, LANE_CHANGE_M + 20.0 if changes_first else 0.0)
        most = whole - 1.0 if ahead < 0.0 else min(whole - 1.0, max(least + 30.0, FIRST_JUNCTION_MOST_M))
        before_end = float(self._rng.uniform(least, most)) if most > least else least
        return assemble(self._lanes, path, whole - before_end, self._spec)

    def _extend(self, path: list[int], enter: int, ahead: float, turns: int, whole: float) -> tuple[list[int], float] | None:
        """Lanes to drive on, and how far they reach beyond the first lane's end. `ahead` is that at the end of the path."""
        asked = self._spec.turns
        ways = self._ways(enter, asked[turns] if turns < len(asked) else None)
        ends = not any(self._lanes[id].successors for id in (enter, *_beside(self._lanes[enter])))
        usable = ahead - END_MARGIN_M if ends else ahead
        # What is left of the first lane counts as its least, unless the way ends here: then as all that there is.
        before = whole - 1.0 if ends else FIRST_JUNCTION_M
        if turns >= len(asked) and (ends or len(path) > 1) and before + usable >= self._spec.length_m:
            return path, usable
        for leave, connection in ways:
            if leave != enter and len(path) == 1 and whole - 1.0 < LANE_CHANGE_M + 20.0:
                continue
            after = self._lanes[connection].successors[0]
            step = [connection, after] if leave == enter else [leave, connection, after]
            reach = ahead + self._lanes[connection].length_m + self._lanes[after].length_m
            found = self._extend([*path, *step], after, reach, turns + 1, whole)
            if found is not None:
                return found
        return None

    def _ways(self, enter: int, turn: Turn | None) -> list[tuple[int, int]]:
        """(lane, connecting lane) to go on by, in order. Lanes are changed only for a turn that is asked for and that the lane itself has not."""
        here = self._lanes[enter]
        straight_on = [(enter, id) for id in here.successors if turn in (None, self._lanes[id].turn)]
        if turn is not None and not straight_on and here.length_m >= LANE_CHANGE_M + 20.0:
            return [(lane, id) for lane in _beside(here) for id in self._lanes[lane].successors if self._lanes[id].turn == turn]
        return [straight_on[i] for i in self._rng.permutation(len(straight_on))]


def _beside(lane: Lane) -> list[int]:
    return [id for id in (lane.left, lane.right) if id is not None]


def assemble(lanes: Mapping[int, Lane], path: Sequence[int], start_s_m: float, spec: RouteSpec) -> Route:
    """The route along lanes from an arc length of the first one on; neighbours that follow each other are a change of lanes."""
    parts: list[F64] = []  # x, y, yaw, curvature, limit, lane
    i = 0
    while i < len(path):
        lane = lanes[path[i]]
        if i + 1 < len(path) and path[i + 1] in _beside(lane):
            parts.append(_change(lane, lanes[path[i + 1]], start_s_m if i == 0 else 0.0))
            i += 2
        else:
            parts.append(_rows(lane))
            i += 1
    rows = np.vstack([*(part[:-1] for part in parts[:-1]), parts[-1]])  # where lanes join, the point is the later one's
    rows[:, 2] = np.unwrap(rows[:, 2])
    raw = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(rows[:, :2], axis=0).T))])
    turns = _turns(lanes, rows[:, 5].astype(np.int64), raw - start_s_m)
    length = spec.length_m
    if spec.turns:
        length = max(length, turns[len(spec.turns) - 1][1] + AFTER_LAST_TURN_M)
    s = np.arange(0.0, np.floor(min(length, raw[-1] - start_s_m) + 1e-6) + 0.5)
    at = [np.interp(s + start_s_m, raw, rows[:, column]) for column in range(4)]
    row = np.clip(np.searchsorted(raw, s + start_s_m, side="right") - 1, 0, len(raw) - 1)
    lane_id = rows[row, 5].astype(np.int64)
    return Route(
        lane_ids=tuple(int(id) for id in lane_id[np.concatenate([[True], np.diff(lane_id) != 0])]),
        xy_m=np.stack(at[:2], axis=1),
        s_m=s,
        yaw_rad=at[2],
        curvature_1pm=at[3],
        speed_limit_mps=rows[row, 4],
        lane_id=lane_id,
        turns=tuple(turn for turn in turns if turn[0] < s[-1]),
    )


def _rows(lane: Lane) -> F64:
    n = len(lane.s_m)
    return np.column_stack([lane.xy_m, lane.yaw_rad, lane.curvature_1pm, np.full(n, lane.speed_limit_mps), np.full(n, lane.id)])


def _change(enter: Lane, leave: Lane, from_s_m: float) -> F64:
    """Along one lane and over to its neighbour, whose points lie beside its own, from 10 m after `from_s_m` on."""
    t = np.clip((enter.s_m - from_s_m - 10.0) / LANE_CHANGE_M, 0.0, 1.0)
    weight = (t**3 * (10.0 - 15.0 * t + 6.0 * t * t))[:, None]
    rows = (1.0 - weight) * _rows(enter) + weight * _rows(leave)
    step = np.gradient(rows[:, :2], axis=0)
    moved = np.flatnonzero((t > 0.0) & (t < 1.0))
    yaw = np.arctan2(step[:, 1], step[:, 0])
    rows[moved, 2] += (yaw[moved] - rows[moved, 2] + np.pi) % (2.0 * np.pi) - np.pi
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(rows[:, :2], axis=0).T))])
    rows[moved, 3] = np.gradient(rows[:, 2], s)[moved]
    rows[:, 4] = np.minimum(enter.speed_limit_mps, leave.speed_limit_mps)
    rows[:, 5] = np.where(weight[:, 0] < 0.5, enter.id, leave.id)
    return rows


def _turns(lanes: Mapping[int, Lane], lane_id: npt.NDArray[np.int64], s_m: F64) -> list[tuple[float, float, Turn]]:
    """(s in, s out, turn) of every junction along rows of lane ids and arc lengths."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(lane_id)) + 1, [len(lane_id)]])
    made: list[tuple[float, float, Turn]] = []
    for a, b in pairwise(edges.tolist()):
        turn = lanes[int(lane_id[a])].turn
        if turn is not None:
            made.append((float(s_m[a]), float(s_m[b]), turn))
    return made
