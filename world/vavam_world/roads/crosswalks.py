"""Where pedestrians cross: over the arms of junctions, and here and there between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from vavam_world.contracts import Crosswalk, Lane, Marking
from vavam_world.roads.network import Link, Network

WIDTH_M = 3.0
BEYOND_STOP_M = 2.4  # from the end of the lanes that stop there to the middle of the crosswalk
_STRIPE_M = 0.5  # width of a stripe and of a gap
_ARM_SHARE = 0.6
_MIDDLE_SHARE = 0.5
_MIDDLE_ROOM_M = 110.0  # shorter links have none between their ends
_MAX_CURVATURE_1PM = 1.0 / 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """A crosswalk's middle on a link's curve. `arm`: at its junction, within the junction's area."""

    link: int
    s_m: float
    arm: bool


def sites(network: Network, rng: np.random.Generator) -> tuple[Site, ...]:
    """Seeded places for crosswalks, link by link."""
    made = []
    for id, link in network.links.items():
        at_start, at_end, middle = rng.random(3)
        if link.way.start is not None and at_start < _ARM_SHARE:
            made.append(Site(id, link.from_m - BEYOND_STOP_M, arm=True))
        if middle < _MIDDLE_SHARE and link.to_m - link.from_m > _MIDDLE_ROOM_M:
            s = link.from_m + (link.to_m - link.from_m) * float(rng.uniform(0.4, 0.6))
            if float(np.abs(link.way.curve.at(np.linspace(s - 6.0, s + 6.0, 13))[2]).max()) < _MAX_CURVATURE_1PM:
                made.append(Site(id, s, arm=False))
        if link.way.end is not None and at_end < _ARM_SHARE:
            made.append(Site(id, link.to_m + BEYOND_STOP_M, arm=True))
    return tuple(made)


def crosswalks(network: Network, places: tuple[Site, ...], road: Any) -> tuple[Crosswalk, ...]:
    """Crosswalks from kerb to kerb at right angles to the road, with every lane that they lie on."""
    made = []
    lines = {id: shapely.LineString(lane.xy_m) for id, lane in network.lanes.items()}
    for id, site in enumerate(places):
        link = network.links[site.link]
        across = _across(link, site.s_m, network.half_width_m, road)
        a, b = np.asarray(across.coords)[[0, -1]]
        on = tuple((lane, _s_at(network.lanes[lane], lines[lane], across)) for lane in sorted(lines) if lines[lane].intersects(across))
        made.append(Crosswalk(id=id, a_xy_m=(float(a[0]), float(a[1])), b_xy_m=(float(b[0]), float(b[1])), lanes=on, width_m=WIDTH_M))
    return tuple(made)


def _across(link: Link, s_m: float, half: float, road: Any) -> Any:
    """The line across the road at an arc length, cut at the kerbs; from right to left."""
    right, centre, left = link.way.curve.offset(np.full(3, s_m), np.array([-half - 4.0, 0.0, half + 4.0]))
    parts = shapely.get_parts(road.intersection(shapely.LineString([right, left])))
    part = parts[int(np.argmin(shapely.distance(parts, shapely.Point(centre))))]
    ends = np.asarray(part.coords)[[0, -1]]
    return shapely.LineString(ends if np.hypot(*(ends[0] - right)) < np.hypot(*(ends[1] - right)) else ends[::-1])


def _s_at(lane: Lane, line: Any, across: Any) -> float:
    return min(float(line.project(line.intersection(across).centroid)), lane.length_m)


def stripes(crosswalk: Crosswalk) -> tuple[Marking, ...]:
    """The zebra of a crosswalk: one outline (4, 2) per stripe, along the direction of travel."""
    a, b = np.array(crosswalk.a_xy_m), np.array(crosswalk.b_xy_m)
    length = float(np.hypot(*(b - a)))
    unit = (b - a) / length
    normal = 0.5 * crosswalk.width_m * np.array([-unit[1], unit[0]])
    n = int((length - 0.4) // (2.0 * _STRIPE_M))
    first = 0.5 * (length - (2 * n - 1) * _STRIPE_M)
    made = []
    for i in range(n):
        near, far = a + (first + 2 * i * _STRIPE_M) * unit, a + (first + (2 * i + 1) * _STRIPE_M) * unit
        made.append(Marking(kind="crosswalk", xy_m=np.array([near - normal, far - normal, far + normal, near + normal]), width_m=_STRIPE_M))
    return tuple(made)
