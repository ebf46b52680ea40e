"""The seams of the world: what passes between roads, simulation, renderer, bridge, drivers and scores.

Frames and units. ``map``: right-handed, x east, y north, z up, metres; yaw counter-clockwise from +x, radians. Traffic keeps to the right.
``ego``: centre of the rear axle, x forward, y left. ``actor``: the vehicle's origin as CARLA reports it, `Vehicle.actor_origin_x_m` ahead of
the rear axle. Stamps are integer nanoseconds of simulated time. Lengths along a lane or a route are arc lengths ``s``; ``d`` is the
offset to its left.

Everything here is immutable. What is random derives from the scenario's seeds; nothing reads a clock.
"""

from vavam_world.contracts.basics import F64, IMAGE_EVERY_TICKS, MAP_FRAME, START_NS, TICK_NS, TICK_S, U8, WorldError
from vavam_world.contracts.cameras import LABELS, WORLD_CAMERA, Backend, CameraSpec
from vavam_world.contracts.driving import Driver, HasCommandRule, Trace, View
from vavam_world.contracts.motion import ActorState, Collision, Control, EgoState, Vehicle, WorldState
from vavam_world.contracts.roads import Crosswalk, Lane, Marking, Prop, RoadMap, Route
from vavam_world.contracts.scenario import (
    MAP_KINDS,
    TEXTURE_SETS,
    WEATHERS,
    Intruder,
    IntruderKind,
    LookSpec,
    MapKind,
    MapSpec,
    Perturbation,
    RouteSpec,
    Scenario,
    TrafficSpec,
    Turn,
)

__all__ = [
    "F64",
    "IMAGE_EVERY_TICKS",
    "LABELS",
    "MAP_FRAME",
    "MAP_KINDS",
    "START_NS",
    "TEXTURE_SETS",
    "TICK_NS",
    "TICK_S",
    "U8",
    "WEATHERS",
    "WORLD_CAMERA",
    "ActorState",
    "Backend",
    "CameraSpec",
    "Collision",
    "Control",
    "Crosswalk",
    "Driver",
    "EgoState",
    "HasCommandRule",
    "Intruder",
    "IntruderKind",
    "Lane",
    "LookSpec",
    "MapKind",
    "MapSpec",
    "Marking",
    "Perturbation",
    "Prop",
    "RoadMap",
    "Route",
    "RouteSpec",
    "Scenario",
    "Trace",
    "TrafficSpec",
    "Turn",
    "Vehicle",
    "View",
    "WorldError",
    "WorldState",
]
