"""The five kinds of map, each laid out from its seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import F64, MAP_KINDS, MapKind, MapSpec, WorldError
from vavam_world.roads.curve import Curve, rounded
from vavam_world.roads.network import Node, Skeleton, Way
from vavam_world.roads.town import lay_out_town

SPEED_LIMITS_MPS: tuple[float, ...] = (8.0, 10.0, 11.0, 12.5, 14.0)
MIN_LANE_RADIUS_M = 25.0
STRAIGHT_M = 640.0
ARM_M = 240.0
_SKEW_RAD = math.radians(14.0)  # crossing roads are this far from square at most


def lay_out(spec: MapSpec) -> Skeleton:
    """The skeleton of a map. Raises ConfigError on a spec that names no map, WorldError where a seed leads nowhere."""
    if spec.kind not in MAP_KINDS:
        raise ConfigError(f"map.kind: got {spec.kind!r}, expected one of {', '.join(MAP_KINDS)}")
    if spec.lanes not in (1, 2):
        raise ConfigError(f"map.lanes: got {spec.lanes}, expected 1 or 2")
    if spec.seed < 0:
        raise ConfigError(f"map.seed: got {spec.seed}, expected 0 or more")
    for attempt in range(50):
        rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(1, MAP_KINDS.index(spec.kind), spec.lanes, attempt)))
        try:
            return _FAMILIES[spec.kind](spec, rng)
        except WorldError:  # the bends of this draw do not fit between its corners: draw again
            continue
    raise WorldError(f"map {spec}: got no layout in 50 draws, expected one: another seed")


def _width(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(3.2, 3.6)), 2)


def _limit(rng: np.random.Generator) -> float:
    return float(SPEED_LIMITS_MPS[int(rng.integers(len(SPEED_LIMITS_MPS)))])


def _unit(yaw: float) -> F64:
    return np.array([math.cos(yaw), math.sin(yaw)])


def _straight(spec: MapSpec, rng: np.random.Generator) -> Skeleton:
    width, yaw = _width(rng), float(rng.uniform(-math.pi, math.pi))
    half = 0.5 * STRAIGHT_M * _unit(yaw)
    way = Way(id=0, curve=rounded(np.array([-half, half]), []), start=None, end=None, speed_limit_mps=_limit(rng))
    return Skeleton(nodes=(), ways=(way,), lane_width_m=width)


def _curves(spec: MapSpec, rng: np.random.Generator) -> Skeleton:
    """Bends to both sides with straights between them; the road as a whole keeps its direction, so that it never meets itself."""
    width, base = _width(rng), float(rng.uniform(-math.pi, math.pi))
    least = MIN_LANE_RADIUS_M + spec.lanes * width
    corners, heading = [np.zeros(2)], 0.0
    radii: list[float] = []
    side = 1.0 if rng.random() < 0.5 else -1.0
    corners.append(corners[-1] + 60.0 * _unit(base))
    while len(radii) < 9:
        turn = side * float(rng.uniform(0.35, 1.3))
        if abs(heading + turn) > 1.25:
            side, turn = -side, -turn
        elif rng.random() < 0.7:
            side = -side
        heading += turn
        radii.append(float(rng.uniform(least, least + 45.0)))
        corners.append(corners[-1] + float(rng.uniform(70.0, 130.0)) * _unit(base + heading))
    curve = rounded(np.array(corners), radii)
    if curve.length_m < 500.0:
        raise WorldError("curves: too short")
    _apart(curve, 4.0 * spec.lanes * width + 14.0)
    return Skeleton(nodes=(), ways=(Way(id=0, curve=curve, start=None, end=None, speed_limit_mps=_limit(rng)),), lane_width_m=width)


def _apart(curve: Curve, gap_m: float) -> None:
    """Raises WorldError where parts of the road that are far apart along it come near each other."""
    s = curve.grid(4.0)
    xy, _, _ = curve.at(s)
    distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    if bool(np.any((distance < gap_m) & (np.abs(s[:, None] - s[None]) > 2.5 * gap_m))):
        raise WorldError("curves: the road comes back upon itself")


def _arm(rng: np.random.Generator, centre: F64, yaw: float, width_all_m: float) -> Curve:
    """A road from a junction outwards: straight first, then perhaps a gentle bend."""
    bent = float(rng.uniform(-0.5, 0.5)) if rng.random() < 0.6 else 0.0
    first, rest = float(rng.uniform(85.0, 110.0)), ARM_M - 100.0
    corner = centre + first * _unit(yaw)
    radius = max(float(rng.uniform(60.0, 120.0)) + width_all_m, 14.0 / max(abs(bent), 1e-3))  # a slight bend is a wide one, not a short one
    if bent == 0.0:
        return rounded(np.array([centre, centre + ARM_M * _unit(yaw)]), [])
    return rounded(np.array([centre, corner, corner + rest * _unit(yaw + bent)]), [radius])


def _one_junction(spec: MapSpec, rng: np.random.Generator, arms: int) -> Skeleton:
    width, base = _width(rng), float(rng.uniform(-math.pi, math.pi))
    cross = base + 0.5 * math.pi + float(rng.uniform(-_SKEW_RAD, _SKEW_RAD))
    headings = (base, base + math.pi, cross, cross + math.pi)[:arms]
    limits = {0: _limit(rng), 1: _limit(rng)}
    ways = tuple(
        Way(id=i, curve=_arm(rng, np.zeros(2), yaw, 2.0 * spec.lanes * width), start=0, end=None, speed_limit_mps=limits[i // 2])
        for i, yaw in enumerate(headings)
    )
    main: tuple[int, ...] = (0, 1)
    if arms == 4:
        main = ((), (0, 1), (2, 3))[int(rng.integers(3))]
    return Skeleton(nodes=(Node(id=0, xy_m=(0.0, 0.0), main=main),), ways=ways, lane_width_m=width)


def _t_junction(spec: MapSpec, rng: np.random.Generator) -> Skeleton:
    return _one_junction(spec, rng, 3)


def _crossroads(spec: MapSpec, rng: np.random.Generator) -> Skeleton:
    return _one_junction(spec, rng, 4)


def _town(spec: MapSpec, rng: np.random.Generator) -> Skeleton:
    return lay_out_town(spec, rng, _width(rng), _limit)


_FAMILIES: dict[MapKind, Callable[[MapSpec, np.random.Generator], Skeleton]] = {
    "straight": _straight,
    "curves": _curves,
    "t_junction": _t_junction,
    "crossroads": _crossroads,
    "town": _town,
}
