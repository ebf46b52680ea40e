"""From a spec to a map, in the order in which things depend on each other."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from vavam_world.contracts import MAP_KINDS, MapSpec, RoadMap
from vavam_world.roads.crosswalks import crosswalks, sites, stripes
from vavam_world.roads.families import lay_out
from vavam_world.roads.markings import markings
from vavam_world.roads.network import Network, build_network
from vavam_world.roads.parking import bay_area, bays, parking_places
from vavam_world.roads.props import Planter
from vavam_world.roads.surface import rings, road_area, sidewalk_area

_MARGIN_M = 60.0


def rng_for(spec: MapSpec, part: int) -> np.random.Generator:
    """The generator of one part of a map, so that parts do not change with each other."""
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(part, MAP_KINDS.index(spec.kind), spec.lanes)))


@lru_cache(maxsize=64)
def build_network_of(spec: MapSpec) -> Network:
    """The lanes of a map with what they were made from."""
    return build_network(spec, lay_out(spec))


@lru_cache(maxsize=64)
def build_map(spec: MapSpec) -> RoadMap:
    """The map of a spec, the same bit for bit in every process. Raises ConfigError on a spec that names no map.

    Every call with one spec gives the one map; its arrays cannot be written to."""
    network = build_network_of(spec)
    places = sites(network, rng_for(spec, 3))
    parking = bays(network, rng_for(spec, 4), places)
    road = road_area(network, [bay_area(network, bay) for bay in parking])
    sidewalk = sidewalk_area(network, road)
    walks = crosswalks(network, places, road)
    planter = Planter(network, road, sidewalk, rng_for(spec, 5))
    planter.streets()
    planter.woods(float(rng_for(spec, 6).uniform(0.05, 0.2)))
    colour: Literal["white", "yellow"] = "yellow" if rng_for(spec, 7).random() < 0.4 else "white"
    paint = [*markings(network, places, colour), *(stripe for walk in walks for stripe in stripes(walk))]
    x0, y0, x1, y1 = road.bounds
    road_rings, sidewalk_rings = rings(road), rings(sidewalk)
    for array in (*(ring for polygon in (*road_rings, *sidewalk_rings) for ring in polygon), *(mark.xy_m for mark in paint)):
        array.setflags(write=False)
    return RoadMap(
        spec=spec,
        lanes=network.lanes,
        road=road_rings,
        sidewalk=sidewalk_rings,
        markings=tuple(paint),
        crosswalks=walks,
        props=(*(place for bay in parking for place in parking_places(network, bay)), *planter.props),
        bounds_m=(x0 - _MARGIN_M, y0 - _MARGIN_M, x1 + _MARGIN_M, y1 + _MARGIN_M),
    )
