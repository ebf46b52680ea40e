"""The seams of the world: what passes between roads, simulation, renderer, bridge, drivers and scores.

Frames and units. ``map``: right-handed, x east, y north, z up, metres; yaw counter-clockwise from +x, radians. Traffic keeps to the right.
``ego``: centre of the rear axle, x forward, y left. ``actor``: the vehicle's origin as CARLA reports it, `Vehicle.actor_origin_x_m` ahead of
the rear axle. Stamps are integer nanoseconds of simulated time. Lengths along a lane or a route are arc lengths ``s``; ``d`` is the
offset to its left.

Everything here is immutable. What is random derives from the scenario's seeds; nothing reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import Command, ConfigError, DensePath, EgoPose, PoseQuality, VavamError
from vavam_ros.core.geometry import planar_T

if TYPE_CHECKING:
    from vavam_world.sim.simulation import Simulation

F64: TypeAlias = npt.NDArray[np.float64]
U8: TypeAlias = npt.NDArray[np.uint8]

TICK_NS = 50_000_000  # 0.05 s: the bridge's fixed_delta_seconds
TICK_S = 0.05
IMAGE_EVERY_TICKS = 2  # pictures at 10 Hz
START_NS = 100_000_000_000  # simulated time of tick 0; ROS takes 0 for "not set"
MAP_FRAME = "map"


class WorldError(VavamError):
    """The world cannot do what it is asked for."""


# ── what a scenario is made of ───────────────────────────────────────────────────────────────────────────────────────────────────

MapKind = Literal["straight", "curves", "t_junction", "crossroads", "town"]
Turn = Literal["left", "straight", "right"]
MAP_KINDS: tuple[MapKind, ...] = ("straight", "curves", "t_junction", "crossroads", "town")
TEXTURE_SETS = ("suburb", "city", "country", "industrial")
WEATHERS = ("clear", "overcast", "dusk", "rain", "fog")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """Which road network. Same spec, same network, bit for bit."""

    kind: MapKind = "town"
    lanes: int = 1  # per direction, 1 or 2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LookSpec:
    """How it looks: materials, houses and plants (textures), light and haze (weather), and the seed of all variation."""

    textures: str = "suburb"
    weather: str = "clear"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """Where to drive: the turn to take at each junction in order (then at random by seed), for about `length_m`."""

    turns: tuple[Turn, ...] = ()
    length_m: float = 300.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSpec:
    """How much moves and stands about."""

    vehicles: int = 0
    pedestrians: int = 0
    parked: float = 0.3  # share of the parking places that are taken, 0..1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Intruder:
    """A scripted actor that gets in the way (NeuroNCAP's three kinds), met near `meet_s_m` of the route.

    stationary: a vehicle stands in the ego's lane. frontal: one comes towards the ego in its lane. side: one crosses from the left or
    right. It is timed so that an ego that goes on at the scenario's cruise speed collides.
    """

    kind: Literal["stationary", "frontal", "side"]
    meet_s_m: float  # arc length on the route where ego and actor meet
    speed_mps: float = 0.0
    offset_m: float = 0.0  # of its line from the ego's lane centre, + left
    angle_rad: float = 0.0  # of its heading against the kind's own
    from_left: bool = True  # side only
    length_m: float = 4.5
    width_m: float = 1.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """A push on the ego at `at_s` of simulated time into the scenario, for recovery data: pose shifted, held for nobody."""

    at_s: float
    lateral_m: float = 0.0
    yaw_rad: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run, complete: the same scenario and the same controls give the same states bit for bit."""

    name: str
    map: MapSpec = MapSpec()
    look: LookSpec = LookSpec()
    route: RouteSpec = RouteSpec()
    traffic: TrafficSpec = TrafficSpec()
    intruder: Intruder | None = None
    perturbations: tuple[Perturbation, ...] = ()
    start_speed_mps: float = 0.0
    cruise_mps: float = 8.0  # what drivers without an opinion aim for; lanes may allow less
    start_offset_m: float = 0.0  # of the ego from its lane centre, + left
    start_yaw_rad: float = 0.0  # against the lane
    stop_at_end: bool = True  # the route ends with a halt
    time_limit_s: float = 120.0

    def __post_init__(self) -> None:
        checks = (
            (self.map.kind in MAP_KINDS, f"map.kind {self.map.kind!r}", f"one of {', '.join(MAP_KINDS)}"),
            (self.map.lanes in (1, 2), f"map.lanes {self.map.lanes}", "1 or 2"),
            (self.look.textures in TEXTURE_SETS, f"look.textures {self.look.textures!r}", f"one of {', '.join(TEXTURE_SETS)}"),
            (self.look.weather in WEATHERS, f"look.weather {self.look.weather!r}", f"one of {', '.join(WEATHERS)}"),
            (0.0 < self.cruise_mps <= 30.0, f"cruise_mps {self.cruise_mps}", "0 to 30 m/s"),
            (self.time_limit_s > 0.0, f"time_limit_s {self.time_limit_s}", "a positive time"),
        )
        for good, got, expected in checks:
            if not good:
                raise ConfigError(f"scenario {self.name!r}: got {got}, expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """The inverse of `to_dict`. Raises ConfigError on an unknown or missing key."""
        parts: dict[str, Callable[[Any], Any]] = {
            "map": lambda v: _strict(MapSpec, v, "map"),
            "look": lambda v: _strict(LookSpec, v, "look"),
            "route": lambda v: _strict(RouteSpec, {**v, "turns": tuple(v.get("turns", ()))}, "route"),
            "traffic": lambda v: _strict(TrafficSpec, v, "traffic"),
            "intruder": lambda v: None if v is None else _strict(Intruder, v, "intruder"),
            "perturbations": lambda v: tuple(_strict(Perturbation, p, "perturbations") for p in v),
        }
        return _strict(cls, {k: parts[k](v) if k in parts else v for k, v in values.items()}, "scenario")  # type: ignore[no-any-return]


def _strict(kind: Any, values: Mapping[str, Any], what: str) -> Any:
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"{what}: got unknown {', '.join(unknown)}, expected some of {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{what}: {error}") from error


# ── roads ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── what moves ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """The ego's parameters. Steering angles are those of the equivalent bicycle's front wheel, + left."""

    wheelbase_m: float = 2.9
    actor_origin_x_m: float = 1.4  # CARLA's vehicle origin, ahead of the rear axle
    length_m: float = 4.7
    width_m: float = 1.9
    height_m: float = 1.5
    rear_overhang_m: float = 0.9  # rear bumper behind the rear axle
    wheel_radius_m: float = 0.35
    max_steer_rad: float = 0.61  # steer = ∓1
    max_steer_rate_radps: float = 0.8
    steer_time_constant_s: float = 0.10
    max_accel_mps2: float = 3.5  # throttle = 1 at standstill
    max_power_w_per_kg: float = 45.0  # bounds acceleration at speed
    max_brake_mps2: float = 8.0  # brake = 1
    accel_time_constant_s: float = 0.15
    rolling_mps2: float = 0.10  # resistance that does not depend on speed
    drag_1pm: float = 0.0006  # resistance = drag · v²
    delay_ticks: int = 1  # a control takes effect this many ticks after the one it came in


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """CarlaEgoVehicleControl's fields: throttle and brake 0..1, steer −1..1 with + to the RIGHT."""

    throttle: float = 0.0
    brake: float = 0.0
    steer: float = 0.0
    hand_brake: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoState:
    """The ego's motion: pose of the rear axle in map; speed signed along its heading; wheel angle as it really is, + left."""

    x_m: float
    y_m: float
    yaw_rad: float  # unwrapped
    speed_mps: float
    accel_mps2: float
    yaw_rate_radps: float
    steer_rad: float
    control: Control  # in effect

    def pose(self, stamp_ns: int) -> EgoPose:
        """As the core's ego pose in the frame `map`."""
        return EgoPose(
            stamp_ns=stamp_ns,
            odom_frame_id=MAP_FRAME,
            T_odom_ego=planar_T(self.x_m, self.y_m, self.yaw_rad),
            linear_mps=np.array([self.speed_mps, 0.0, 0.0]),
            angular_radps=np.array([0.0, 0.0, self.yaw_rate_radps]),
            quality=PoseQuality.MEASURED,
        )

    def ahead(self, x_m: float) -> tuple[float, float]:
        """The point `x_m` ahead of the rear axle, in map."""
        return self.x_m + x_m * math.cos(self.yaw_rad), self.y_m + x_m * math.sin(self.yaw_rad)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorState:
    """Any other road user, or a parked car: pose of its centre in map, size, and which look it has."""

    id: int
    kind: Literal["car", "van", "truck", "pedestrian", "parked"]
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    length_m: float
    width_m: float
    height_m: float
    variant: int
    braking: bool = False  # brake lights
    lane_id: int = -1  # lane it keeps to, −1 for none
    s_m: float = 0.0  # arc length of its centre on that lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """The first contact of the ego with one actor or prop. `impact_mps`: magnitude of the velocity difference at that tick."""

    tick: int
    with_id: int  # actor id, −1 − index of a prop
    kind: str
    impact_mps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldState:
    """Everything that changes, at one tick."""

    tick: int
    stamp_ns: int
    ego: EgoState
    actors: tuple[ActorState, ...]  # id order


# ── cameras ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """An ideal pinhole camera on the ego. Mounting is that of the camera's body (x forward, y left, z up) in the ego frame.

    Pixel i covers i to i + 1 and the picture spans 0 to width, as CARLA's bridge has it (cx = width / 2): a pixel's centre lies at i + 0.5."""

    name: str = "front"
    width: int = 256
    height: int = 144
    fx: float = 152.55  # 80° across
    fy: float = 152.55
    cx: float = 128.0
    cy: float = 72.0
    x_m: float = 1.70
    y_m: float = 0.0
    z_m: float = 1.51
    roll_rad: float = 0.0
    pitch_rad: float = 0.0  # + looks down
    yaw_rad: float = 0.0

    @classmethod
    def from_fov(cls, fov_deg: float, width: int, height: int, **mount: Any) -> CameraSpec:
        """A CARLA camera: `fov` is its horizontal field of view."""
        f = width / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        return cls(width=width, height=height, fx=f, fy=f, cx=width / 2.0, cy=height / 2.0, **mount)

    @property
    def K(self) -> F64:
        """(3, 3) intrinsics."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


WORLD_CAMERA = CameraSpec.from_fov(80.0, 256, 144, name="world_front_256")
"""The world's own canonical camera; models trained here name it in their artifact."""

Backend = Literal["auto", "tiny", "egl"]
LABELS = ("sky", "ground", "road", "marking", "sidewalk", "building", "vegetation", "vehicle", "pedestrian", "object")
"""Semantic classes; a label picture holds their indices."""


# ── drivers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """What a driver is shown: sensors and route command; `world` is for privileged drivers only."""

    stamp_ns: int
    pose: EgoPose  # rear axle in map
    image: U8 | None  # (H, W, 3) of `camera`, taken at stamp_ns; None where the driver asked for none
    camera: CameraSpec
    command: Command
    cruise_mps: float
    world: Simulation | None = None


class Driver(Protocol):
    """Turns what is seen into the next seconds of driving, at `plan_every_ticks`."""

    name: str
    needs_image: bool
    plan_every_ticks: int

    def reset(self) -> None:
        """Before a new scenario."""
        ...

    def plan(self, view: View) -> DensePath:
        """The rear axle's way from view.stamp_ns on, in the frame `map`, about 3 s, rows 0.1 s apart."""
        ...


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """What happened in one run, one row per tick, and the plans that were followed."""

    scenario: Scenario
    driver: str
    states: tuple[WorldState, ...]
    plans: tuple[DensePath, ...]
    collisions: tuple[Collision, ...]
    finished: Literal["route", "collision", "time", "stuck", "off_road", "driver_error"]
    detail: str = ""
    images: Mapping[int, U8] = field(default_factory=dict)  # tick → picture, where kept
    beside: tuple[DensePath, ...] = ()  # paths that somebody planned meanwhile and nobody followed
    beside_name: str = ""
