"""Bays at the kerb: the road is widened beside its lanes, so that a parked car stands in none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from vavam_world.contracts import F64, Prop
from vavam_world.roads.crosswalks import Site
from vavam_world.roads.network import Link, Network
from vavam_world.roads.surface import GUTTER_M

DEPTH_M = 2.2
PLACE_M = 6.0  # kerb length of a place
SIZE_M = (5.4, 2.0)  # of what may stand on it
_TAPER_M = 2.5
_CLEAR_M = 16.0  # of junctions, and of crosswalks
_MAX_CURVATURE_1PM = 1.0 / 90.0


@dataclass(frozen=True, slots=True)
class Bay:
    """`places` parking places beside a link from arc length `s_m` of its curve on; `side` +1 is left of the curve."""

    link: int
    side: int
    s_m: float
    places: int


def bays(network: Network, rng: np.random.Generator, places: Sequence[Site]) -> tuple[Bay, ...]:
    """Seeded bays along all links, on both sides, where the road is nearly straight and no junction or crosswalk is near."""
    density = float(rng.uniform(0.35, 0.9))
    made = []
    for id, link in network.links.items():
        closed = [site.s_m for site in places if site.link == id and not site.arm]
        for side in (-1, 1):
            s = link.from_m + _CLEAR_M + float(rng.uniform(0.0, 20.0))
            while s < link.to_m - _CLEAR_M:
                n, gap, draw = int(rng.integers(2, 8)), float(rng.uniform(8.0, 30.0)), float(rng.random())
                end = s + n * PLACE_M
                if draw < density and end < link.to_m - _CLEAR_M and _good(link, s, end, closed):
                    made.append(Bay(id, side, s, n))
                    s = end + gap
                else:
                    s += gap
    return tuple(made)


def _good(link: Link, s: float, end: float, closed: Sequence[float]) -> bool:
    bent = np.abs(link.way.curve.at(link.way.curve.grid(2.0, s - _TAPER_M, end + _TAPER_M))[2])
    return float(bent.max()) < _MAX_CURVATURE_1PM and all(c < s - _CLEAR_M or c > end + _CLEAR_M for c in closed)


def bay_area(network: Network, bay: Bay) -> Any:
    """The polygon that a bay adds to the road."""
    curve, inner = network.links[bay.link].way.curve, network.half_width_m
    outer = inner + GUTTER_M + DEPTH_M
    end = bay.s_m + bay.places * PLACE_M
    s = curve.grid(1.0, bay.s_m, end)
    along = np.concatenate([[bay.s_m - _TAPER_M], s, [end + _TAPER_M]])
    d = np.concatenate([[inner + GUTTER_M], np.full(len(s), outer), [inner + GUTTER_M]])
    rim = curve.offset(along, bay.side * d)
    return shapely.Polygon(np.vstack([rim, curve.offset(along, bay.side * inner)[::-1]]))


def parking_places(network: Network, bay: Bay) -> list[Prop]:
    """The places of a bay, heading the way of the traffic beside them."""
    curve = network.links[bay.link].way.curve
    s: F64 = bay.s_m + (np.arange(bay.places, dtype=np.float64) + 0.5) * PLACE_M
    d = bay.side * (network.half_width_m + GUTTER_M + 0.5 * DEPTH_M)
    _, yaw, _ = curve.at(s)
    length, width = SIZE_M
    turned = np.pi if bay.side > 0 else 0.0
    return [
        Prop(kind="parking", x_m=float(xy[0]), y_m=float(xy[1]), yaw_rad=float(h) + turned, length_m=length, width_m=width, height_m=0.0, variant=i)
        for i, (xy, h) in enumerate(zip(curve.offset(s, d), yaw, strict=True))
    ]
