"""From a skeleton of links and junctions to lanes: links carry lanes both ways, junctions the connecting lanes between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vavam_world.contracts import F64, Lane, MapSpec, Turn, WorldError
from vavam_world.roads.curve import Curve, turn_between, turn_of
from vavam_world.roads.priority import with_priority

MIN_RIGHT_RADIUS_M, MAX_RIGHT_RADIUS_M = 6.5, 9.0
MIN_LEFT_RADIUS_M, MAX_LEFT_RADIUS_M = 9.0, 16.0
RIGHT_LEAD_M, LEFT_LEAD_M = 4.0, 1.0  # straight before and after a turn: a crosswalk lies where right turns have not begun
MIN_SETBACK_M, MAX_SETBACK_M = 13.0, 24.0
STEP_M = 0.9
JUNCTION_STEP_M = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A junction of the skeleton. `main` names the links of the road that has priority; none: right before left."""

    id: int
    xy_m: tuple[float, float]
    main: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """A road of the skeleton, from centre to centre of its junctions; None where it ends in nothing."""

    id: int
    curve: Curve
    start: int | None
    end: int | None
    speed_limit_mps: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Skeleton:
    """What a family of maps lays out."""

    nodes: tuple[Node, ...]
    ways: tuple[Way, ...]
    lane_width_m: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Link:
    """A way between its junctions' edges: arc lengths `from_m`..`to_m` of its curve. Lanes from the centre line outwards."""

    way: Way
    from_m: float
    to_m: float
    forward: tuple[int, ...]
    backward: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A junction's side of a link: where it meets the junction, and its heading away from it."""

    link: int
    xy_m: tuple[float, float]
    yaw_rad: float
    incoming: tuple[int, ...]  # lanes that end here, from the centre line outwards
    outgoing: tuple[int, ...]
    main: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Junction:
    """A node with its arms in counter-clockwise order, each cut `setback_m` from the centre."""

    node: Node
    setback_m: float
    arms: tuple[Arm, ...]
    lanes: tuple[int, ...] = ()  # connecting lanes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """Lanes, and what they were made from."""

    spec: MapSpec
    lane_width_m: float
    links: Mapping[int, Link]
    junctions: Mapping[int, Junction]
    lanes: Mapping[int, Lane]

    @property
    def half_width_m(self) -> float:
        """From a road's centre line to the outer edge of its outermost lane."""
        return self.spec.lanes * self.lane_width_m


def build_network(spec: MapSpec, skeleton: Skeleton) -> Network:
    """Lanes of a skeleton, with neighbours, connections, conflicts and priority. Lane ids count from 0: links first, then junctions.

    Raises WorldError where a junction's roads meet at angles that no junction of reasonable size can join."""
    width = skeleton.lane_width_m
    setback = {node.id: _setback(node, skeleton.ways, spec.lanes, width) for node in skeleton.nodes}
    links: dict[int, Link] = {}
    lanes: dict[int, Lane] = {}
    for way in skeleton.ways:
        links[way.id] = _link(way, spec.lanes, setback, len(lanes))
        for lane in _link_lanes(links[way.id], width):
            lanes[lane.id] = lane
    junctions: dict[int, Junction] = {}
    for node in skeleton.nodes:
        arms = _arms(node, links, lanes)
        through = with_priority(_connections(node.id, arms, lanes, len(lanes)), arms)
        lanes.update({lane.id: lane for lane in through})
        junctions[node.id] = Junction(node=node, setback_m=setback[node.id], arms=arms, lanes=tuple(lane.id for lane in through))
    return Network(spec=spec, lane_width_m=width, links=links, junctions=junctions, lanes=_connected(lanes))


def lane_on(id: int, curve: Curve, s_m: F64, d_m: float, *, reverse: bool, width_m: float, speed_limit_mps: float, junction: int | None = None) -> Lane:
    """Lane `d_m` to the left of a curve, at its arc lengths `s_m`; against the curve's direction where `reverse`."""
    xy, yaw, k = curve.at(s_m)
    xy = xy + d_m * np.stack([-np.sin(yaw), np.cos(yaw)], axis=1)
    k = k / (1.0 - k * d_m)
    if reverse:
        xy, yaw, k = xy[::-1].copy(), yaw[::-1] + math.pi, -k[::-1]
    step = np.hypot(*np.diff(xy, axis=0).T)
    s = np.concatenate([[0.0], np.cumsum(step)])
    arrays = [xy, s, np.ascontiguousarray(yaw), np.ascontiguousarray(k)]
    for array in arrays:
        array.setflags(write=False)
    xy, s, yaw, k = arrays
    return Lane(id=id, xy_m=xy, s_m=s, yaw_rad=yaw, curvature_1pm=k, width_m=width_m, speed_limit_mps=speed_limit_mps, junction=junction)


def _link(way: Way, n: int, setback: Mapping[int, float], first: int) -> Link:
    start, end = (0.0 if node is None else setback[node] for node in (way.start, way.end))
    forward = tuple(range(first, first + n))
    return Link(way=way, from_m=start, to_m=way.curve.length_m - end, forward=forward, backward=tuple(range(first + n, first + 2 * n)))


def _link_lanes(link: Link, width: float) -> list[Lane]:
    curve, n = link.way.curve, len(link.forward)
    # The outer lanes of a bend are longer than its centre line: neighbours share samples, and no step may exceed 1 m on any lane.
    stretch = 1.0 + float(np.abs(curve.curvature_1pm).max()) * n * width
    s = curve.grid(STEP_M / stretch, link.from_m, link.to_m)
    made = []
    for ids, side in ((link.forward, -1.0), (link.backward, 1.0)):
        for i, id in enumerate(ids):
            lane = lane_on(id, curve, s, side * (i + 0.5) * width, reverse=side > 0.0, width_m=width, speed_limit_mps=link.way.speed_limit_mps)
            made.append(replace(lane, left=ids[i - 1] if i > 0 else None, right=ids[i + 1] if i + 1 < n else None))
    return made


def _outward(way: Way, at_start: bool, s_m: float) -> tuple[F64, float]:
    """Position and heading away from the junction of a way, `s_m` from its centre."""
    xy, yaw, _ = way.curve.at(np.array([s_m if at_start else way.curve.length_m - s_m]))
    return xy[0], float(yaw[0]) if at_start else float(yaw[0]) + math.pi


def _ends(node: Node, ways: Sequence[Way]) -> list[tuple[Way, bool]]:
    """Ways at a node, with whether they start there, counter-clockwise by heading."""
    ends = [(way, at_start) for way in ways for at_start in (True, False) if (way.start if at_start else way.end) == node.id]
    return sorted(ends, key=lambda end: _outward(end[0], end[1], 0.0)[1] % (2.0 * math.pi))


def _arms(node: Node, links: Mapping[int, Link], lanes: Mapping[int, Lane]) -> tuple[Arm, ...]:
    arms = []
    for way, at_start in _ends(node, [link.way for link in links.values()]):
        link = links[way.id]
        xy, yaw = _outward(way, at_start, link.from_m if at_start else way.curve.length_m - link.to_m)
        incoming, outgoing = (link.backward, link.forward) if at_start else (link.forward, link.backward)
        arms.append(Arm(link=way.id, xy_m=(float(xy[0]), float(xy[1])), yaw_rad=yaw, incoming=incoming, outgoing=outgoing, main=way.id in node.main))
    return tuple(arms)


def _pairs(turn: Turn, n: int) -> list[tuple[int, int]]:
    """Which lanes (from the centre line outwards) a turn joins: left from the innermost, right from the outermost."""
    return {"left": [(0, 0)], "right": [(n - 1, n - 1)], "straight": [(i, i) for i in range(n)]}[turn]


def _limits(turn: Turn) -> tuple[float, float, float]:
    """Straight at both ends, smallest and largest radius."""
    if turn == "right":
        return RIGHT_LEAD_M, MIN_RIGHT_RADIUS_M, MAX_RIGHT_RADIUS_M
    return LEFT_LEAD_M, MIN_LEFT_RADIUS_M, MAX_LEFT_RADIUS_M


def _setback(node: Node, ways: Sequence[Way], n: int, width: float) -> float:
    """The least distance from the centre at which the roads can be cut so that every turn has room for its radius."""
    ends = _ends(node, ways)
    for setback in np.arange(MIN_SETBACK_M, MAX_SETBACK_M, 0.5):
        poses = [_outward(way, at_start, float(setback)) for way, at_start in ends]
        if all(_fits(poses[i], poses[j], n, width) for i in range(len(poses)) for j in range(len(poses)) if i != j):
            return float(setback)
    headings = [round(_outward(way, at_start, 0.0)[1], 2) for way, at_start in ends]
    raise WorldError(f"junction {node.id}: got roads at headings {headings} rad, expected angles of 75 to 105 degrees")


def _fits(arm_in: tuple[F64, float], arm_out: tuple[F64, float], n: int, width: float) -> bool:
    yaw_in = arm_in[1] + math.pi
    turn = turn_of(yaw_in, arm_out[1])
    lead, least, most = _limits(turn)
    for i, j in _pairs(turn, n):
        # Traffic keeps to the right: lane centres lie to the right of the direction of travel.
        a = arm_in[0] + (i + 0.5) * width * np.array([math.sin(yaw_in), -math.cos(yaw_in)])
        b = arm_out[0] + (j + 0.5) * width * np.array([math.sin(arm_out[1]), -math.cos(arm_out[1])])
        try:
            if turn_between(a, yaw_in, b, arm_out[1], lead, most)[1] < least:
                return False
        except WorldError:
            return False
    return True


def _connections(junction: int, arms: Sequence[Arm], lanes: Mapping[int, Lane], first: int) -> list[Lane]:
    made: list[Lane] = []
    for a in arms:
        for b in arms:
            if a is b:
                continue
            turn = turn_of(a.yaw_rad + math.pi, b.yaw_rad)
            lead, _, most = _limits(turn)
            for i, j in _pairs(turn, len(a.incoming)):
                before, after = lanes[a.incoming[i]], lanes[b.outgoing[j]]
                curve, _ = turn_between(before.xy_m[-1], float(before.yaw_rad[-1]), after.xy_m[0], float(after.yaw_rad[0]), lead, most)
                width, limit = before.width_m, min(before.speed_limit_mps, after.speed_limit_mps)
                grid = curve.grid(JUNCTION_STEP_M)
                lane = lane_on(first + len(made), curve, grid, 0.0, reverse=False, width_m=width, speed_limit_mps=limit, junction=junction)
                made.append(replace(lane, turn=turn, predecessors=(before.id,), successors=(after.id,)))
    return made


def _connected(lanes: Mapping[int, Lane]) -> dict[int, Lane]:
    """Fill in the links' successors and predecessors from the connecting lanes."""
    after: dict[int, list[int]] = {id: [] for id in lanes}
    before: dict[int, list[int]] = {id: [] for id in lanes}
    for lane in lanes.values():
        if lane.junction is not None:
            after[lane.predecessors[0]].append(lane.id)
            before[lane.successors[0]].append(lane.id)
    return {
        id: lane if lane.junction is not None else replace(lane, successors=tuple(after[id]), predecessors=tuple(before[id])) for id, lane in lanes.items()
    }
