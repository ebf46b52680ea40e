"""Named suites of scenarios. A suite and a split name a fixed list; its hash is in frozen.json beside this file.

Routes: lane_keeping, curves, turns, following, stopping. Safety, after NeuroNCAP: stationary, frontal, side, each on straight and on curved
roads. Splits: ``train`` and ``test`` differ in every seed; ``test_held_out`` has seeds of its own and in each scenario a family of
`HELD_OUT`, which the other two never show.

Every parameter is rounded when it is drawn, so that the hash of a suite does not depend on how a platform prints or sums floats.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import IntruderKind, LookSpec, MapKind, MapSpec, RouteSpec, Scenario, TrafficSpec, Turn
from vavam_world.scenarios.families import HELD_OUT, allowed
from vavam_world.scenarios.places import leads, picked

Split = Literal["train", "test", "test_held_out"]
Family: TypeAlias = Literal["route", "safety"]
SPLITS: tuple[Split, ...] = get_args(Split)
FROZEN = Path(__file__).with_name("frozen.json")

_FIRST_SEED: dict[Split, int] = {"train": 10_000_000, "test": 20_000_000, "test_held_out": 30_000_000}  # each split owns the seeds up to the next
_SUITE_SEEDS = 100_000
_ROUTES: dict[Split, int] = {"train": 60, "test": 24, "test_held_out": 12}
_TURNS: tuple[Turn, ...] = get_args(Turn)
_VARIANTS: dict[Split, int] = {"train": 50, "test": 50, "test_held_out": 12}  # of each kind of intruder on each kind of road


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A fixed list of scenarios."""

    name: str
    split: Split
    kind: Family
    scenarios: tuple[Scenario, ...]

    @property
    def sha256(self) -> str:
        """Of the canonical JSON (sorted keys, no spaces) of name, split and scenarios."""
        content = {"name": self.name, "split": self.split, "scenarios": [s.to_dict() for s in self.scenarios]}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Draw:
    """One scenario's seed and its generator."""

    seed: int
    split: Split
    rng: np.random.Generator

    def between(self, low: float, high: float, digits: int = 2) -> float:
        return round(float(self.rng.uniform(low, high)), digits)

    def coin(self) -> bool:
        return bool(self.rng.integers(2))

    def look(self, *, held_out: bool) -> LookSpec:
        """`held_out`: in that split, a texture set or a weather (or both) that the other splits do not have."""
        free = allowed(HELD_OUT)
        textures, weather = (str(names[int(self.rng.integers(len(names)))]) for names in (free.textures, free.weathers))
        if self.split == "test_held_out" and held_out:
            which = int(self.rng.integers(3))
            textures, weather = ("industrial" if which != 1 else textures), ("fog" if which != 0 else weather)
        return LookSpec(textures=textures, weather=weather, seed=self.seed)


def _base(draw: _Draw, name: str, kind: MapKind, *, cruise_mps: float, length_m: float, turns: tuple[Turn, ...] = (), lanes: int = 1) -> Scenario:
    return Scenario(
        name=name,
        map=MapSpec(kind=kind, lanes=lanes, seed=draw.seed),
        look=draw.look(held_out=kind != "crossroads" or draw.coin()),
        route=RouteSpec(turns=turns, length_m=length_m, seed=draw.seed),
        traffic=TrafficSpec(parked=draw.between(0.1, 0.5), seed=draw.seed),
        start_offset_m=draw.between(-0.2, 0.2),
        start_yaw_rad=draw.between(-0.02, 0.02, 3),
        start_speed_mps=round(0.6 * cruise_mps, 2),
        cruise_mps=cruise_mps,
        time_limit_s=round(20.0 + 2.5 * length_m / cruise_mps, 1),
    )


def _with(scenario: Scenario, **changes: object) -> Scenario:
    return Scenario.from_dict({**scenario.to_dict(), **changes})


def _lane_keeping(draw: _Draw, i: int, name: str) -> Scenario:
    return _base(draw, name, "straight", cruise_mps=draw.between(8.0, 13.0, 1), length_m=draw.between(250.0, 350.0, 0), lanes=1 + i % 2)


def _curves(draw: _Draw, i: int, name: str) -> Scenario:
    return _base(draw, name, "curves", cruise_mps=draw.between(7.0, 12.0, 1), length_m=draw.between(250.0, 350.0, 0), lanes=1 + i % 2)


def _turns(draw: _Draw, i: int, name: str) -> Scenario:
    turn: Turn = _TURNS[i % 3]
    kind: MapKind = "crossroads" if draw.split == "test_held_out" else "t_junction"
    scenario = _base(draw, f"{name}-{turn}", kind, cruise_mps=draw.between(6.0, 9.0, 1), length_m=draw.between(180.0, 230.0, 0), turns=(turn,))
    traffic = {**scenario.to_dict()["traffic"], "vehicles": int(draw.rng.integers(0, 4))}
    return _with(scenario, traffic=traffic)


def _following(draw: _Draw, i: int, name: str) -> Scenario:
    kind: MapKind = "curves" if i % 2 else "straight"
    scenario = _base(draw, name, kind, cruise_mps=draw.between(9.0, 13.0, 1), length_m=draw.between(220.0, 300.0, 0))
    seed = leads().get(f"{name}@{draw.split}", draw.seed)
    traffic = {**scenario.to_dict()["traffic"], "vehicles": int(draw.rng.integers(8, 13)), "seed": seed}
    return _with(scenario, traffic=traffic, time_limit_s=round(scenario.time_limit_s + 20.0, 1))


def _stopping(draw: _Draw, i: int, name: str) -> Scenario:
    if i % 2 == 0:
        return _base(draw, f"{name}-end", "straight", cruise_mps=draw.between(6.0, 11.0, 1), length_m=draw.between(90.0, 150.0, 0))
    kind: MapKind = "crossroads" if draw.split == "test_held_out" else "t_junction"
    scenario = _base(draw, f"{name}-pedestrian", kind, cruise_mps=draw.between(6.0, 9.0, 1), length_m=draw.between(180.0, 220.0, 0))
    traffic = {**scenario.to_dict()["traffic"], "pedestrians": int(draw.rng.integers(8, 13))}
    return _with(scenario, traffic=traffic, time_limit_s=round(scenario.time_limit_s + 20.0, 1))


def _intruder(draw: _Draw, kind: IntruderKind, cruise_mps: float) -> dict[str, Any]:
    """Met 5 to 7 s after the start at cruise speed: time enough to be seen, too little to be overlooked."""
    meet_s_m = round(cruise_mps * draw.between(5.0, 7.0), 1)
    values: dict[str, float | bool] = {"length_m": draw.between(4.0, 5.2), "width_m": draw.between(1.75, 2.05)}
    if kind == "stationary":
        values |= {"offset_m": draw.between(-0.7, 0.7), "angle_rad": draw.between(-0.5, 0.5, 3)}
    elif kind == "frontal":
        values |= {"speed_mps": draw.between(4.0, 8.0, 1), "offset_m": draw.between(-0.5, 0.5), "angle_rad": draw.between(-0.04, 0.04, 3)}
    else:
        values |= {"speed_mps": draw.between(3.0, 7.0, 1), "angle_rad": draw.between(-0.35, 0.35, 3), "from_left": draw.coin()}
    return {"kind": kind, "meet_s_m": meet_s_m, **values}


CURVE_MEET_S = (4.5, 7.0)  # a bend's entry is met this long after the start
BEYOND_M = 80.0  # of route behind the place where an intruder is met


def curve_cruise_mps(seed: int) -> float:
    """Cruise speed of the safety scenario of a seed on a curved road; `freeze` picks its place by it."""
    return round(float(np.random.default_rng((seed, 1)).uniform(6.0, 9.0)), 1)


def _safety(kind: IntruderKind) -> Callable[[_Draw, int, str], Scenario]:
    def make(draw: _Draw, i: int, name: str) -> Scenario:
        curved = name.split("/")[1] == "curve"
        cruise = curve_cruise_mps(draw.seed) if curved else draw.between(7.0, 11.0, 1)
        intruder = _intruder(draw, kind, cruise)
        route: dict[str, Any] = {"turns": (), "seed": draw.seed}
        if curved:
            place = picked()[f"{name}@{draw.split}"]
            intruder["meet_s_m"], route["seed"] = place.meet_s_m, place.route_seed
            route["length_m"] = math.ceil(CURVE_MEET_S[1] * cruise + BEYOND_M)  # where a route starts depends on its length: as it was picked
        else:
            route["length_m"] = round(intruder["meet_s_m"] + BEYOND_M, 0)
        scenario = _base(draw, name, "curves" if curved else "straight", cruise_mps=cruise, length_m=route["length_m"])
        changes = {"start_speed_mps": cruise, "start_offset_m": 0.0, "start_yaw_rad": 0.0, "time_limit_s": 20.0, "stop_at_end": False}
        return _with(scenario, intruder=intruder, route=route, **changes)

    return make


_MAKERS: dict[str, tuple[Family, Callable[[_Draw, int, str], Scenario]]] = {
    "lane_keeping": ("route", _lane_keeping),
    "curves": ("route", _curves),
    "turns": ("route", _turns),
    "following": ("route", _following),
    "stopping": ("route", _stopping),
    "stationary": ("safety", _safety("stationary")),
    "frontal": ("safety", _safety("frontal")),
    "side": ("safety", _safety("side")),
}
SUITES: tuple[str, ...] = tuple(_MAKERS)
GROUPS: dict[str, tuple[str, ...]] = {
    "all": SUITES,
    "routes": tuple(n for n, (kind, _) in _MAKERS.items() if kind == "route"),
    "safety": tuple(n for n, (kind, _) in _MAKERS.items() if kind == "safety"),
}


@lru_cache(maxsize=64)
def suite(name: str, split: Split = "test") -> Suite:
    """The suite of that name. Raises ConfigError on an unknown name or split.

    Scenario names: `suite/number` of routes, `suite/road/number` of safety, the road being `straight` or `curve`."""
    if name not in _MAKERS:
        raise ConfigError(f"suite: got {name!r}, expected one of {', '.join((*SUITES, *GROUPS))}")
    if split not in SPLITS:
        raise ConfigError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    kind, make = _MAKERS[name]
    made = [make(_Draw(seed, split, np.random.default_rng(seed)), i, title) for seed, i, title in numbered(name, split)]
    return Suite(name=name, split=split, kind=kind, scenarios=tuple(made))


def numbered(name: str, split: Split) -> list[tuple[int, int, str]]:
    """(seed, number within its group, name) of every scenario of a suite."""
    first = _FIRST_SEED[split] + _SUITE_SEEDS * SUITES.index(name)
    groups = [("", _ROUTES[split])] if _MAKERS[name][0] == "route" else [("straight/", _VARIANTS[split]), ("curve/", _VARIANTS[split])]
    titles = [(i, f"{name}/{group}{i:03d}") for group, count in groups for i in range(count)]
    return [(first + n, i, title) for n, (i, title) in enumerate(titles)]


def suites_named(names: str, split: Split = "test") -> tuple[Suite, ...]:
    """Suites of a comma-separated list of suites and groups (`routes`, `safety`, `all`), each once."""
    wanted: dict[str, None] = {}
    for name in filter(None, (n.strip() for n in names.split(","))):
        wanted.update(dict.fromkeys(GROUPS.get(name, (name,))))
    if not wanted:
        raise ConfigError(f"suite: got {names!r}, expected some of {', '.join((*SUITES, *GROUPS))}")
    return tuple(suite(name, split) for name in wanted)


def frozen_hashes() -> dict[str, str]:
    """`suite/split` → sha256, as the repository has them."""
    return dict(json.loads(FROZEN.read_text(encoding="utf-8")))


def check_frozen(found: Suite) -> str:
    """The suite's hash. Raises ConfigError where it is not the one in the repository: results would not be comparable."""
    key, got = f"{found.name}/{found.split}", found.sha256
    if frozen_hashes().get(key) != got:
        raise ConfigError(f"suite {key}: got sha256 {got}, expected {frozen_hashes().get(key)} of {FROZEN.name}: the suite was changed; give it another name")
    return got
