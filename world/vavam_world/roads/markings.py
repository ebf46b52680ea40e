"""Paint: edges, lane dividers, centre lines and stop lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from vavam_world.contracts import F64, Marking
from vavam_world.roads.crosswalks import WIDTH_M, Site
from vavam_world.roads.curve import turn_of
from vavam_world.roads.network import Arm, Junction, Link, Network
from vavam_world.roads.surface import samples, span

LINE_M = 0.15
STOP_M = 0.4
_DOUBLE_GAP_M = 0.2  # between the axes of a doubled centre line


def markings(network: Network, places: Sequence[Site], colour: Literal["white", "yellow"], *, solid_near_m: float = 30.0) -> tuple[Marking, ...]:
    """All lines of a network; `colour` is that of the lines between the directions, which are solid near junctions and in bends.

    Lines other than the edges are broken at crosswalks. Arms that have priority and no crosswalk have no stop line."""
    made: list[Marking] = []
    for link in network.links.values():
        made += _along(network, link, [site.s_m for site in places if site.link == link.way.id and not site.arm], colour, solid_near_m)
    for junction in network.junctions.values():
        crossed = {site.link for site in places if site.arm and _nearer(network, site, junction)}
        made += [_stop_line(network, arm) for arm in junction.arms if not arm.main or arm.link in crossed]
        made += _far_edges(network, junction)
    return tuple(made)


def _line(link: Link, d_m: float, start_m: float, end_m: float, kind: Literal["solid", "dashed"], colour: Literal["white", "yellow"] = "white") -> Marking:
    return Marking(kind=kind, xy_m=link.way.curve.offset(samples(link, start_m, end_m), d_m), width_m=LINE_M, colour=colour)


def _along(network: Network, link: Link, broken: Sequence[float], colour: Literal["white", "yellow"], near_m: float) -> list[Marking]:
    start, end = span(link)
    n, width = network.spec.lanes, network.lane_width_m
    made = [_line(link, side * n * width, start, end, "solid") for side in (1.0, -1.0)]
    for first, last in _between(start, end, broken):
        for i in range(1, n):
            made += [_line(link, side * i * width, first, last, "dashed") for side in (1.0, -1.0)]
        if n == 2:
            made += [_line(link, 0.5 * side * _DOUBLE_GAP_M, first, last, "solid", colour) for side in (1.0, -1.0)]
        else:
            made += [_line(link, 0.0, a, b, kind, colour) for a, b, kind in _centre(link, first, last, near_m)]
    return made


def _between(start: float, end: float, broken: Sequence[float]) -> list[tuple[float, float]]:
    half = 0.5 * WIDTH_M + 0.5
    edges = [start, *(s + way * half for s in sorted(broken) for way in (-1.0, 1.0)), end]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _nearer(network: Network, site: Site, junction: Junction) -> bool:
    """Whether a crosswalk on an arm lies at this junction's end of its link."""
    link = network.links[site.link]
    at_start = site.s_m < link.from_m
    return (link.way.start if at_start else link.way.end) == junction.node.id


def _centre(link: Link, start: float, end: float, near_m: float) -> list[tuple[float, float, Literal["solid", "dashed"]]]:
    """Pieces of the centre line: solid where overtaking would be unsafe (near junctions, in tight bends), else dashed."""
    s = link.way.curve.grid(1.0, start, end)
    solid = np.abs(link.way.curve.at(s)[2]) > 1.0 / 70.0
    if link.way.start is not None:
        solid |= s < link.from_m + near_m
    if link.way.end is not None:
        solid |= s > link.to_m - near_m
    cuts = np.flatnonzero(np.diff(solid.astype(np.int8))) + 1
    edges = [0, *cuts.tolist(), len(s) - 1]
    return [(float(s[a]), float(s[b]), "solid" if solid[a] else "dashed") for a, b in pairwise(edges) if b > a]


def _stop_line(network: Network, arm: Arm) -> Marking:
    """Across the lanes that end at an arm, its far edge where they end."""
    out = np.array([np.cos(arm.yaw_rad), np.sin(arm.yaw_rad)])
    right = np.array([-out[1], out[0]])  # of traffic that comes in, against `out`
    near, far = 0.1, network.half_width_m - 0.1
    corners: F64 = np.array([[0.0, near], [0.0, far], [STOP_M, far], [STOP_M, near]])
    return Marking(kind="stop", xy_m=np.array(arm.xy_m) + corners[:, :1] * out + corners[:, 1:] * right, width_m=STOP_M)


def _far_edges(network: Network, junction: Junction) -> list[Marking]:
    """The edge line goes on through a junction on the side where no road joins."""
    made = []
    for a in junction.arms:
        kinds = {b.link: turn_of(a.yaw_rad + np.pi, b.yaw_rad) for b in junction.arms if b is not a}
        opposite = [b for b in junction.arms if kinds.get(b.link) == "straight"]
        if len(opposite) == 1 and "right" not in kinds.values():
            out = np.array([np.cos(a.yaw_rad), np.sin(a.yaw_rad)])
            right = network.half_width_m * np.array([-out[1], out[0]])
            made.append(Marking(kind="solid", xy_m=np.array([np.array(a.xy_m) + right, np.array(opposite[0].xy_m) + right]), width_m=LINE_M))
    return made
