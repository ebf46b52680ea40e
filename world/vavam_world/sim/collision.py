"""Oriented boxes on the ground, and the ego's first contact with each of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from vavam_world.contracts import F64, ActorState, Collision, EgoState, Prop, Vehicle

SOLID_PROPS = frozenset({"house", "tree", "pole", "fence", "sign"})  # bushes give way; parking places are empty or hold an actor
CELL_M = 16.0

Box = tuple[float, float, float, float, float, float]
"""Centre x, y; unit heading x, y; half length, half width."""


def box(x_m: float, y_m: float, yaw_rad: float, length_m: float, width_m: float) -> Box:
    """A box from its centre, heading and size."""
    return x_m, y_m, math.cos(yaw_rad), math.sin(yaw_rad), 0.5 * length_m, 0.5 * width_m


def ego_box(ego: EgoState, vehicle: Vehicle) -> Box:
    """The ego's outline."""
    c, s = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    ahead = centre_ahead(vehicle)
    return ego.x_m + ahead * c, ego.y_m + ahead * s, c, s, 0.5 * vehicle.length_m, 0.5 * vehicle.width_m


def centre_ahead(vehicle: Vehicle) -> float:
    """How far the middle of the body lies ahead of the rear axle."""
    return 0.5 * vehicle.length_m - vehicle.rear_overhang_m


def actor_box(actor: ActorState) -> Box:
    """An actor's outline."""
    return box(actor.x_m, actor.y_m, actor.yaw_rad, actor.length_m, actor.width_m)


def corners(b: Box) -> F64:
    """(4, 2) corners in map, counter-clockwise from front left."""
    x, y, c, s, h, w = b
    return np.array([[x + i * h * c - j * w * s, y + i * h * s + j * w * c] for i, j in ((1, 1), (-1, 1), (-1, -1), (1, -1))])


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share area (separating axes). Mere touching is none."""
    ax, ay, ac, as_, ah, aw = a
    bx, by, bc, bs, bh, bw = b
    dx, dy = bx - ax, by - ay
    cos, sin = abs(ac * bc + as_ * bs), abs(ac * bs - as_ * bc)
    return (
        abs(dx * ac + dy * as_) < ah + bh * cos + bw * sin
        and abs(dy * ac - dx * as_) < aw + bh * sin + bw * cos
        and abs(dx * bc + dy * bs) < bh + ah * cos + aw * sin
        and abs(dy * bc - dx * bs) < bw + ah * sin + aw * cos
    )


def solid_size(prop: Prop) -> tuple[float, float]:
    """Length and width of what stops a vehicle: of a tree the trunk, whose thickness grows with its height; else the whole."""
    if prop.kind == "tree":
        trunk = 0.10 + 0.056 * prop.height_m
        return trunk, trunk
    return prop.length_m, prop.width_m


class CollisionCheck:
    """Finds the ego's contacts tick by tick; each partner counts once, at its first contact."""

    def __init__(self, props: Iterable[Prop], vehicle: Vehicle) -> None:
        self._vehicle = vehicle
        self._reach = math.hypot(0.5 * vehicle.length_m, 0.5 * vehicle.width_m)
        self._met: set[int] = set()
        self._cells: dict[tuple[int, int], list[tuple[int, str, Box]]] = {}
        for index, prop in enumerate(props):
            if prop.kind in SOLID_PROPS:
                length, width = solid_size(prop)
                entry = (index, prop.kind, box(prop.x_m, prop.y_m, prop.yaw_rad, length, width))
                reach = math.hypot(0.5 * length, 0.5 * width) + self._reach
                for i in range(math.floor((prop.x_m - reach) / CELL_M), math.floor((prop.x_m + reach) / CELL_M) + 1):
                    for j in range(math.floor((prop.y_m - reach) / CELL_M), math.floor((prop.y_m + reach) / CELL_M) + 1):
                        self._cells.setdefault((i, j), []).append(entry)

    def new(self, tick: int, ego: EgoState, actors: Iterable[ActorState]) -> list[Collision]:
        """Contacts that begin at this tick: actors in their order, then props in theirs."""
        mine = ego_box(ego, self._vehicle)
        x, y, c, s = mine[:4]
        found: list[Collision] = []
        for actor in actors:
            reach = self._reach + 0.5 * (actor.length_m + actor.width_m)
            if abs(actor.x_m - x) < reach and abs(actor.y_m - y) < reach and actor.id not in self._met and overlap(mine, actor_box(actor)):
                vx = ego.speed_mps * c - actor.speed_mps * math.cos(actor.yaw_rad)
                vy = ego.speed_mps * s - actor.speed_mps * math.sin(actor.yaw_rad)
                self._met.add(actor.id)
                found.append(Collision(tick=tick, with_id=actor.id, kind=actor.kind, impact_mps=math.hypot(vx, vy)))
        for index, kind, other in self._cells.get((math.floor(x / CELL_M), math.floor(y / CELL_M)), ()):
            if -1 - index not in self._met and overlap(mine, other):
                self._met.add(-1 - index)
                found.append(Collision(tick=tick, with_id=-1 - index, kind=kind, impact_mps=abs(ego.speed_mps)))
        return found
