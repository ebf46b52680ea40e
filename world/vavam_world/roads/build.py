"""From a spec to a map, in the order in which things depend on each other."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vavam_world.contracts import MAP_KINDS, MapSpec, RoadMap
from vavam_world.roads.families import lay_out
from vavam_world.roads.markings import markings
from vavam_world.roads.network import Network, build_network
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

    Arrays are shared between callers: do not write to them."""
    network = build_network_of(spec)
    road = road_area(network, [])
    sidewalk = sidewalk_area(network, road)
    colour = "yellow" if rng_for(spec, 10).random() < 0.4 else "white"
    x0, y0, x1, y1 = road.bounds
    return RoadMap(
        spec=spec,
        lanes=network.lanes,
        road=rings(road),
        sidewalk=rings(sidewalk),
        markings=markings(network, "yellow" if colour == "yellow" else "white"),
        crosswalks=(),
        props=(),
        bounds_m=(x0 - _MARGIN_M, y0 - _MARGIN_M, x1 + _MARGIN_M, y1 + _MARGIN_M),
    )
