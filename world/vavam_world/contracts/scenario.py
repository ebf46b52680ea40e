"""What a run is made of: the map, its look, the route, who else is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from vavam_ros.core.contracts import ConfigError

MapKind = Literal["straight", "curves", "t_junction", "crossroads", "town"]
Turn = Literal["left", "straight", "right"]
IntruderKind = Literal["stationary", "frontal", "side"]
MAP_KINDS: tuple[MapKind, ...] = ("straight", "curves", "t_junction", "crossroads", "town")
TEXTURE_SETS = ("suburb", "city", "country", "industrial")
WEATHERS = ("clear", "overcast", "dusk", "rain", "fog")
MAX_ROUTE_M = 10_000.0


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

    kind: IntruderKind
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
            (self.start_speed_mps >= 0.0, f"start_speed_mps {self.start_speed_mps}", "0 or more"),
            (self.route.length_m <= MAX_ROUTE_M, f"route.length_m {self.route.length_m}", f"at most {MAX_ROUTE_M:g} m"),
            (min(self.traffic.vehicles, self.traffic.pedestrians) >= 0, f"{self.traffic}", "no negative number"),
            (0.0 <= self.traffic.parked <= 1.0, f"traffic.parked {self.traffic.parked}", "a share, 0 to 1"),
        )
        for good, got, expected in checks:
            if not good:
                raise ConfigError(f"scenario {self.name!r}: got {got}, expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """The inverse of `to_dict`. Raises ConfigError on an unknown or missing key and on a value of another type."""
        parts: dict[str, Callable[[Any], Any]] = {
            "map": lambda v: _strict(MapSpec, v, "map"),
            "look": lambda v: _strict(LookSpec, v, "look"),
            "route": lambda v: _strict(RouteSpec, {**_mapping(v, "route"), "turns": _sequence(v.get("turns", ()), "route.turns")}, "route"),
            "traffic": lambda v: _strict(TrafficSpec, v, "traffic"),
            "intruder": lambda v: None if v is None else _strict(Intruder, v, "intruder"),
            "perturbations": lambda v: tuple(_strict(Perturbation, p, "perturbations") for p in _sequence(v, "perturbations")),
        }
        return _strict(cls, {k: parts[k](v) if k in parts else v for k, v in values.items()}, "scenario")  # type: ignore[no-any-return]


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{what}: got {value!r}, expected an object with its fields")
    return value


def _sequence(value: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{what}: got {value!r}, expected a list")
    return tuple(value)


# By the text of a field's annotation: what JSON may hold there. Fields of other types are read by themselves.
_PLAIN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "float": (lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v), "a finite number"),
    "str": (lambda v: isinstance(v, str), "a text"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
}


def _strict(kind: Any, values: Any, what: str) -> Any:
    values, known = _mapping(values, what), {f.name: str(f.type) for f in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"{what}: got unknown {', '.join(unknown)}, expected some of {', '.join(sorted(known))}")
    for name, value in values.items():
        good, expected = _PLAIN.get(known[name], (lambda v: True, ""))
        if not good(value):
            raise ConfigError(f"{what}.{name}: got {value!r}, expected {expected}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{what}: {error}") from error
