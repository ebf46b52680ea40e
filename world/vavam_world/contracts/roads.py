"""Lanes, paint, what stands beside, and a way through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vavam_world.contracts.basics import F64
from vavam_world.contracts.scenario import MapSpec, Turn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lane:
    """One driving lane, in its direction of travel. Points lie at most 1 m apart, the first at s = 0."""

    id: int
    xy_m: F64  # (N, 2) centre line
    s_m: F64  # (N,) arc length
    yaw_rad: F64  # (N,) unwrapped
    curvature_1pm: F64  # (N,) + left
    width_m: float
    speed_limit_mps: float
    successors: tuple[int, ...] = ()
    predecessors: tuple[int, ...] = ()
    left: int | None = None  # neighbour lane of the same direction
    right: int | None = None
    junction: int | None = None  # set on connecting lanes, the ways through a junction
    turn: Turn | None = None  # of a connecting lane
    yields_to: tuple[int, ...] = ()  # connecting lanes that cross or join this one and go first
    conflicts: tuple[int, ...] = ()  # connecting lanes that cross or join this one, with or without priority

    @property
    def length_m(self) -> float:
        """Arc length."""
        return float(self.s_m[-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marking:
    """Paint on the road: a line, or a filled outline where `kind` is crosswalk or stop."""

    kind: Literal["solid", "dashed", "stop", "crosswalk"]
    xy_m: F64  # (N, 2): a line's points; a filled area's outline
    width_m: float = 0.15
    colour: Literal["white", "yellow"] = "white"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crosswalk:
    """Where pedestrians cross: from kerb to kerb, and the (lane, s) it lies on."""

    id: int
    a_xy_m: tuple[float, float]
    b_xy_m: tuple[float, float]
    lanes: tuple[tuple[int, float], ...]
    width_m: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prop:
    """Something that stands: on no lane (a house, a tree, a pole), or at a kerb (parking: a place for a parked car)."""

    kind: Literal["house", "tree", "bush", "pole", "sign", "fence", "parking"]
    x_m: float
    y_m: float
    yaw_rad: float
    length_m: float
    width_m: float
    height_m: float
    variant: int  # chooses material and shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoadMap:
    """A road network with its surroundings. Polygons are lists of (N, 2) rings: outline first, then holes."""

    spec: MapSpec
    lanes: Mapping[int, Lane]
    road: tuple[tuple[F64, ...], ...]  # drivable surface, kerb to kerb (polygons)
    sidewalk: tuple[tuple[F64, ...], ...]
    markings: tuple[Marking, ...]
    crosswalks: tuple[Crosswalk, ...]
    props: tuple[Prop, ...]
    bounds_m: tuple[float, float, float, float]  # x_min, y_min, x_max, y_max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """A way through the network. Points 1 m apart along lane centres."""

    lane_ids: tuple[int, ...]
    xy_m: F64  # (N, 2)
    s_m: F64  # (N,)
    yaw_rad: F64  # (N,) unwrapped
    curvature_1pm: F64  # (N,) + left
    speed_limit_mps: F64  # (N,)
    lane_id: npt.NDArray[np.int64]  # (N,) lane of each point
    turns: tuple[tuple[float, float, Turn], ...] = ()  # (s in, s out, turn) of each junction on the way

    @property
    def length_m(self) -> float:
        """Arc length."""
        return float(self.s_m[-1])
