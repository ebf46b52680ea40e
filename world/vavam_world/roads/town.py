"""The town: a bent grid of roads, with crossings inside, T-junctions at its rim and plain bends at its corners."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vavam_world.contracts import F64, MapSpec
from vavam_world.roads.curve import Curve, bend_tangent, rounded
from vavam_world.roads.network import MAX_SETBACK_M, Node, Skeleton, Way

COLUMNS, ROWS = 4, 3
SPACING_M = 125.0
_JITTER_M = 9.0
_SKEW_RAD = math.radians(7.0)  # of each of a junction's two axes
_ROOM_M = 12.0  # for half a bend
_STRAIGHT_OUT_M = MAX_SETBACK_M + _ROOM_M  # roads leave junctions straight until their first corner

Cell = tuple[int, int]


def lay_out_town(spec: MapSpec, rng: np.random.Generator, width_m: float, limit: Callable[[np.random.Generator], float]) -> Skeleton:
    """A town's skeleton. Junctions that lost a road to chance become T-junctions; places where only two roads are left are bends."""
    cells: list[Cell] = [(i, j) for i in range(COLUMNS) for j in range(ROWS)]
    place = {c: np.array([c[0] * SPACING_M, c[1] * SPACING_M]) + rng.uniform(-_JITTER_M, _JITTER_M, 2) for c in cells}
    axes = {c: rng.uniform(-_SKEW_RAD, _SKEW_RAD, 2) for c in cells}
    edges = {(c, n) for c in cells for n in ((c[0] + 1, c[1]), (c[0], c[1] + 1)) if n in place}
    # Inner roads only: the rim stays a ring, so the town stays connected whichever of these is missing.
    removable: list[set[tuple[Cell, Cell]]] = [set(), {((1, 1), (2, 1))}, {((0, 1), (1, 1))}, {((2, 1), (3, 1))}]
    edges -= removable[int(rng.integers(len(removable)))]
    neighbours = {c: sorted({b for a, b in edges if a == c} | {a for a, b in edges if b == c}) for c in cells}
    junctions = [c for c in cells if len(neighbours[c]) > 2]
    ids = {c: i for i, c in enumerate(junctions)}
    ways: list[Way] = []
    ends: dict[int, list[tuple[Cell, int]]] = {i: [] for i in ids.values()}
    for start in junctions:
        for first in neighbours[start]:
            chain = [start, first]
            while chain[-1] not in ids:
                chain.append(next(n for n in neighbours[chain[-1]] if n != chain[-2]))
            if (chain[0], chain[1]) > (chain[-1], chain[-2]):
                continue  # the same road, from its other end
            curve = _road(rng, chain, place, axes, 2.0 * spec.lanes * width_m)
            way = Way(id=len(ways), curve=curve, start=ids[start], end=ids[chain[-1]], speed_limit_mps=limit(rng))
            ways.append(way)
            ends[ids[start]].append((_step(start, chain[1]), way.id))
            ends[ids[chain[-1]]].append((_step(chain[-1], chain[-2]), way.id))
    nodes = tuple(Node(id=ids[c], xy_m=(float(place[c][0]), float(place[c][1])), main=_main(rng, ends[ids[c]])) for c in junctions)
    return Skeleton(nodes=nodes, ways=tuple(ways), lane_width_m=width_m)


def _step(a: Cell, b: Cell) -> Cell:
    return b[0] - a[0], b[1] - a[1]


def _main(rng: np.random.Generator, ends: list[tuple[Cell, int]]) -> tuple[int, ...]:
    """The roads that have priority: the one that goes through at a T-junction; at a crossing one of the two, or none."""
    through = [tuple(id for step, id in ends if step[axis] != 0) for axis in (0, 1)]
    draw = int(rng.integers(3))
    if len(ends) == 3:
        return next(ids for ids in through if len(ids) == 2)
    return (*through, ())[draw]


def _heading(cell: Cell, towards: Cell, axes: dict[Cell, F64]) -> float:
    """Of the road that leaves a cell: the two roads of one axis leave in exactly opposite directions."""
    step = _step(cell, towards)
    return math.atan2(step[1], step[0]) + float(axes[cell][0 if step[0] else 1])


def _road(rng: np.random.Generator, chain: list[Cell], place: dict[Cell, F64], axes: dict[Cell, F64], width_all_m: float) -> Curve:
    """From junction to junction: straight out of both, in between bent to one side or, at a corner of the town, round it."""
    a, b = place[chain[0]], place[chain[-1]]
    out_a, out_b = _heading(chain[0], chain[1], axes), _heading(chain[-1], chain[-2], axes)
    leave = a + _STRAIGHT_OUT_M * np.array([math.cos(out_a), math.sin(out_a)])
    arrive = b + _STRAIGHT_OUT_M * np.array([math.cos(out_b), math.sin(out_b)])
    if len(chain) > 2:
        u, v = np.array([math.cos(out_a), math.sin(out_a)]), np.array([math.cos(out_b), math.sin(out_b)])
        if abs(float(u @ v)) < 0.5:  # one corner of the town: where the two roads' lines meet
            bends = [a + np.linalg.solve(np.stack([u, -v], axis=1), b - a)[0] * u]
        else:  # two of them, each on its road's line beside the corner's place
            bends = [a + float((place[chain[1]] - a) @ u) * u, b + float((place[chain[-2]] - b) @ v) * v]
        return rounded(np.array([a, *bends, b]), [float(rng.uniform(32.0, 45.0)) + 0.5 * width_all_m for _ in bends])
    along = (arrive - leave) / np.hypot(*(arrive - leave))
    side = float(rng.uniform(2.0, 7.0)) * (1.0 if rng.random() < 0.5 else -1.0)
    middle = 0.5 * (leave + arrive) + side * np.array([-along[1], along[0]])
    corners = np.array([a, leave, middle, arrive, b])
    return rounded(corners, _radii(corners, 25.0 + 0.5 * width_all_m))


def _radii(corners: F64, least_m: float) -> list[float]:
    """The widest radii up to 600 m for a road's three bends, of which the outer ones may take `_ROOM_M` of the straights before them.

    Where that is less than `least_m` it is `least_m`: should the bends not fit then, the draw is thrown away."""
    leg = np.diff(corners, axis=0)
    heading, length = np.arctan2(leg[:, 1], leg[:, 0]), np.hypot(leg[:, 0], leg[:, 1])
    turn = (np.diff(heading) + math.pi) % (2.0 * math.pi) - math.pi
    room = [_ROOM_M, min(length[1], length[2]) - _ROOM_M - 0.1, _ROOM_M]
    return [float(np.clip(r / bend_tangent(float(t)), least_m, 600.0)) if abs(t) > 1e-6 else 600.0 for r, t in zip(room, turn, strict=True)]
