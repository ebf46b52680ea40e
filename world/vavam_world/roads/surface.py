"""The paved ground: road from kerb to kerb with rounded corners, and the sidewalk round it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
from shapely.geometry.polygon import orient

from vavam_world.contracts import F64
from vavam_world.roads.network import Junction, Link, Network

GUTTER_M = 0.35  # between the outermost lane's edge and the kerb
OVERRUN_M = 60.0  # a road that ends in nothing is paved on for this far, so that its end is not in view
SIDEWALK_M = 2.2
_STEP_M = 1.0
_GRID_M = 1e-6


def span(link: Link, *, overrun_m: float = OVERRUN_M) -> tuple[float, float]:
    """Arc lengths of a link's pavement: from junction to junction, or on beyond an end in nothing."""
    start = link.from_m if link.way.start is not None else -overrun_m
    return start, link.to_m if link.way.end is not None else link.to_m + overrun_m


def strip(link: Link, half_width_m: float, start_m: float, end_m: float) -> Any:
    """The polygon along a link, `half_width_m` to either side of its centre line."""
    return band(link, half_width_m, -half_width_m, start_m, end_m)


def band(link: Link, left_m: float, right_m: float, start_m: float, end_m: float) -> Any:
    """The polygon along a link between two offsets (+ left) from its centre line."""
    s = samples(link, start_m, end_m)
    return shapely.Polygon(np.vstack([link.way.curve.offset(s, left_m), link.way.curve.offset(s, right_m)[::-1]]))


def samples(link: Link, start_m: float, end_m: float) -> F64:
    """Arc lengths from start to end that are close where the link bends."""
    curve = link.way.curve
    s = curve.grid(_STEP_M, start_m, end_m)
    bent = np.abs(curve.at(s)[2]) > 0.0
    keep = bent.copy()
    keep[1:] |= bent[:-1]
    keep[:-1] |= bent[1:]
    keep[[0, -1]] = True
    return np.asarray(s[keep], dtype=np.float64)


def road_area(network: Network, bays: Iterable[Any]) -> Any:
    """The union of all links, junctions and parking bays, as a shapely (Multi)Polygon."""
    half = network.half_width_m + GUTTER_M
    parts = [strip(link, half, *span(link)) for link in network.links.values()]
    parts += [_junction_area(network, junction, half) for junction in network.junctions.values()]
    return _clean(shapely.union_all([*parts, *bays]))


def _junction_area(network: Network, junction: Junction, half: float) -> Any:
    """Arms up to the centre and a little beyond the junction's edge, and the ways of all turns: kerbs follow the right turns round the corners."""
    parts = []
    for arm in junction.arms:
        out = np.array([np.cos(arm.yaw_rad), np.sin(arm.yaw_rad)])
        ends = np.array([junction.node.xy_m, np.array(arm.xy_m) + 0.5 * out])
        parts.append(shapely.LineString(ends).buffer(half, cap_style="flat"))
    for id in junction.lanes:
        lane = network.lanes[id]
        parts.append(shapely.LineString(lane.xy_m).buffer(0.5 * lane.width_m + GUTTER_M, cap_style="flat"))
    return shapely.union_all(parts)


def sidewalk_area(network: Network, road: Any) -> Any:
    """A band round the road, open where roads end in nothing."""
    ends = []
    for link in network.links.values():
        start, end = span(link)
        for s, node, way in ((start, link.way.start, -1.0), (end, link.way.end, 1.0)):
            if node is None:
                ends.append(strip(link, network.half_width_m + 3.0 * SIDEWALK_M, *sorted((s, s + way * 2.0 * SIDEWALK_M))))
    return _clean(road.buffer(SIDEWALK_M, quad_segs=8).difference(shapely.union_all([road, *ends])))


def _clean(area: Any) -> Any:
    return shapely.set_precision(area.simplify(0.005), _GRID_M)


def rings(area: Any) -> tuple[tuple[F64, ...], ...]:
    """Polygons as rings (N, 2), outline counter-clockwise first, then holes clockwise; the first point is not repeated."""
    made = []
    for polygon in polygons(area):
        outward = orient(polygon)
        made.append(tuple(np.asarray(ring.coords)[:-1].copy() for ring in (outward.exterior, *outward.interiors)))
    return tuple(made)


def polygons(area: Any) -> Sequence[Any]:
    """The polygons of an area, largest parts not first but in a fixed order."""
    parts = [g for g in shapely.get_parts(area) if g.geom_type == "Polygon" and g.area > 0.01]
    return sorted(parts, key=lambda g: tuple(g.bounds))


def area_of(ringed: Sequence[Sequence[F64]]) -> Any:
    """The shapely area of polygons given as rings."""
    return shapely.union_all([shapely.Polygon(p[0], list(p[1:])) for p in ringed])
