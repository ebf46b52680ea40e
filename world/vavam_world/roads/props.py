"""What stands beside the road. Footprints keep clear of the road, of sidewalks and of each other; poles and signs stand on sidewalks.

Headings: a house's and a fence's is along its front, with the road on its right (−y); a lamp's points at the road; a sign is read by traffic that
runs against it."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import shapely

from vavam_world.contracts import F64, Prop
from vavam_world.roads.network import Link, Network
from vavam_world.roads.surface import GUTTER_M, OVERRUN_M, SIDEWALK_M, span

SIGN_YIELD, SIGN_PRIORITY, SIGN_LIMIT = 0, 1, 2  # a sign's variant
VARIANTS = 64
_VERGE_M = 1.0  # between the sidewalk and what stands behind it
_FAR_M = 55.0  # of the road, for woods in the background

Kind = Literal["house", "tree", "bush", "pole", "sign", "fence"]


class Planter:
    """Sets props one by one where their footprints are free."""

    def __init__(self, network: Network, road: Any, sidewalk: Any, rng: np.random.Generator) -> None:
        self._network, self._rng = network, rng
        self._road, self._paved = road, shapely.union_all([road, sidewalk])
        shapely.prepare(self._road)
        shapely.prepare(self._paved)
        self._taken: list[Any] = []
        self.props: list[Prop] = []

    def add(self, kind: Kind, xy: F64, yaw: float, size: tuple[float, float, float], *, on_sidewalk: bool = False, variant: int | None = None) -> bool:
        """Set a prop (length, width, height) unless its footprint meets the road, a sidewalk (unless it belongs there) or another prop."""
        drawn = int(self._rng.integers(VARIANTS))
        length, width, height = size
        prop = Prop(
            kind=kind,
            x_m=float(xy[0]),
            y_m=float(xy[1]),
            yaw_rad=yaw,
            length_m=length,
            width_m=width,
            height_m=height,
            variant=drawn if variant is None else variant,
        )
        area = footprint(prop)
        if (self._road if on_sidewalk else self._paved).intersects(area) or (self._taken and bool(shapely.intersects(self._taken, area).any())):
            return False
        self._taken.append(area)
        self.props.append(prop)
        return True

    def streets(self) -> None:
        """Signs and lamps first, then houses, fences, street trees and hedges along every link."""
        rng = self._rng
        lamps, houses, trees, bushes = rng.uniform([26.0, 0.45, 0.25, 0.15], [42.0, 0.95, 0.8, 0.6])
        for link in self._network.links.values():
            self._signs(link)
            self._lamps(link, float(lamps))
        for link in self._network.links.values():
            for side in (-1, 1):
                self._houses(link, side, float(houses))
        for link in self._network.links.values():
            for side in (-1, 1):
                self._greenery(link, side, float(trees), float(bushes))
            self._ends(link)

    def woods(self, per_m: float) -> None:
        """Trees further away, `per_m` to a metre of road."""
        length = sum(link.to_m - link.from_m for link in self._network.links.values())
        x0, y0, x1, y1 = self._road.bounds
        count = int(per_m * length)
        xy = self._rng.uniform([x0 - _FAR_M, y0 - _FAR_M], [x1 + _FAR_M, y1 + _FAR_M], (4 * count, 2))
        distance = shapely.distance(self._road, shapely.points(xy))
        for point in xy[(distance > 14.0) & (distance < _FAR_M)][:count]:
            self._tree(point, float(self._rng.uniform(4.0, 8.0)))

    def _at(self, link: Link, s: float, d: float) -> tuple[F64, float]:
        xy, yaw, _ = link.way.curve.at(np.array([s]))
        return xy[0] + d * np.array([-np.sin(yaw[0]), np.cos(yaw[0])]), float(yaw[0])

    def _signs(self, link: Link) -> None:
        """At the right of traffic that comes to a junction, and its limit where traffic leaves one."""
        d = self._network.half_width_m + GUTTER_M + 0.5
        for node, s, side, outward in ((link.way.start, link.from_m, 1, 0.0), (link.way.end, link.to_m, -1, math.pi)):
            if node is None:
                continue
            away = 1.0 if outward == 0.0 else -1.0
            main = self._network.junctions[node].node.main
            if main:
                xy, yaw = self._at(link, s + away, side * d)
                self.add("sign", xy, yaw + outward, (0.1, 0.7, 2.6), on_sidewalk=True, variant=SIGN_PRIORITY if link.way.id in main else SIGN_YIELD)
            xy, yaw = self._at(link, s + away * 12.0, -side * d)
            self.add("sign", xy, yaw + outward + math.pi, (0.1, 0.6, 2.6), on_sidewalk=True, variant=SIGN_LIMIT)

    def _lamps(self, link: Link, spacing: float) -> None:
        start, end = span(link)
        d, side = self._network.half_width_m + GUTTER_M + 0.5, 1
        for s in np.arange(start + 6.0, end - 4.0, spacing):
            xy, yaw = self._at(link, float(s), side * d)
            self.add("pole", xy, yaw - side * 0.5 * math.pi, (0.2, 0.2, float(self._rng.uniform(5.0, 7.0))), on_sidewalk=True)
            side = -side

    def _houses(self, link: Link, side: int, share: float) -> None:
        rng = self._rng
        start, end = span(link)
        s = start + float(rng.uniform(2.0, 12.0))
        front = self._network.half_width_m + GUTTER_M + SIDEWALK_M
        while s < end - 6.0:
            length, depth, gap, yard = (float(v) for v in rng.uniform([8.0, 7.0, 2.5, 3.0], [18.0, 12.0, 9.0, 9.0]))
            floors = int(rng.integers(1, 4))
            wanted, fenced = float(rng.random()) < share, float(rng.random()) < 0.35
            if wanted:
                xy, yaw = self._at(link, s + 0.5 * length, side * (front + yard + 0.5 * depth))
                turned = yaw if side > 0 else yaw + math.pi
                good = self.add("house", xy, turned, (length, depth, 2.9 * floors + float(rng.uniform(1.5, 3.0))))
                if good and fenced:
                    xy, yaw = self._at(link, s + 0.5 * length, side * (front + 0.6))
                    self.add("fence", xy, yaw if side > 0 else yaw + math.pi, (length, 0.12, float(rng.uniform(0.7, 1.3))))
            s += length + gap + (0.0 if wanted else float(rng.uniform(0.0, 14.0)))

    def _greenery(self, link: Link, side: int, trees: float, bushes: float) -> None:
        rng = self._rng
        start, end = span(link)
        front = self._network.half_width_m + GUTTER_M + SIDEWALK_M
        s = start + float(rng.uniform(1.0, 6.0))
        while s < end - 2.0:
            draw, size, back = float(rng.random()), float(rng.uniform(2.4, 5.0)), float(rng.uniform(0.0, 2.5))
            if draw < trees:
                self._tree(self._at(link, s, side * (front + _VERGE_M + 0.5 * size + back))[0], size)
            elif draw < trees + bushes:
                wide = 0.35 * size
                xy, yaw = self._at(link, s, side * (front + 0.6 + 0.5 * wide + 0.5 * back))
                self.add("bush", xy, yaw, (wide * float(rng.uniform(1.0, 2.2)), wide, 0.8 * wide))
            s += float(rng.uniform(5.0, 13.0))

    def _tree(self, xy: F64, crown_m: float) -> None:
        self.add("tree", xy, float(self._rng.uniform(-math.pi, math.pi)), (crown_m, crown_m, crown_m * float(self._rng.uniform(1.1, 1.9))))

    def _ends(self, link: Link) -> None:
        """A wood where a road ends in nothing, so that it does not end in the sky."""
        for node, s, way in ((link.way.start, -OVERRUN_M, -1.0), (link.way.end, link.to_m + OVERRUN_M, 1.0)):
            if node is not None:
                continue
            for d in np.arange(-27.0, 28.0, 4.5):
                for row in (5.0, 10.5):
                    shift = self._rng.uniform(-1.0, 1.0, 2)
                    self._tree(self._at(link, s + way * (row + float(shift[0])), float(d + shift[1]))[0], float(self._rng.uniform(3.4, 5.0)))


def footprint(prop: Prop) -> Any:
    """A prop's rectangle on the ground."""
    c, s = math.cos(prop.yaw_rad), math.sin(prop.yaw_rad)
    corners = 0.5 * np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]) * (prop.length_m, prop.width_m)
    return shapely.Polygon(corners @ np.array([[c, s], [-s, c]]) + (prop.x_m, prop.y_m))
