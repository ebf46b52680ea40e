"""Scenarios for recordings: everything the generator can show, but the families left out. Drive i of a seed is always the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import Intruder, IntruderKind, LookSpec, MapKind, MapSpec, Perturbation, RouteSpec, Scenario, TrafficSpec, WorldError
from vavam_world.roads import build_map, plan_route
from vavam_world.scenarios.families import HELD_OUT, Allowed, allowed
from vavam_world.scenarios.places import nearest_bend

FIRST_SEED = 50_000_000  # beyond all suites; each --seed owns the next 100 000
SEEDS_EACH = 100_000
SHARE: dict[str, float] = {"straight": 0.10, "curves": 0.25, "t_junction": 0.15, "crossroads": 0.15, "town": 0.35}
LONGEST_M: dict[str, float] = {"straight": 560.0, "curves": 480.0, "t_junction": 360.0, "crossroads": 360.0, "town": 5000.0}
INTRUDERS = 0.45  # share of drives on straight and curved roads in which one gets in the way, where nothing else is asked for
BEND_S = (4.5, 8.0)  # so long after the start, at cruise speed, a bend is near enough to be the place of a meeting
AFTER_INTRUDER_S = 12.0  # such a drive ends so long after the meeting: who has stopped behind a standing vehicle learns nothing more
INTRUDER_KINDS: tuple[IntruderKind, ...] = get_args(IntruderKind)
AFTER_ADVISED_S = 5.0  # the same for a drive of somebody who is advised: it is recorded up to the meeting as well
HAND_OVER_EVERY_S = 0.5
PEDESTRIANS = (0, 8)  # least and most of a drive where there are crosswalks
MOST_PEDESTRIANS = 50


def check_drives(
    seed: int,
    seconds: float,
    exclude: Collection[str],
    index: int = 0,
    intruders: float = INTRUDERS,
    intruder_kinds: Sequence[str] = INTRUDER_KINDS,
    pedestrians: tuple[int, int] = PEDESTRIANS,
) -> Allowed:
    """The families that such drives have. Raises ConfigError where they or the numbers cannot be meant."""
    if not (0 <= index < SEEDS_EACH and seed >= 0 and seconds >= 5.0):
        raise ConfigError(f"recording: got seed {seed}, drive {index}, {seconds:g} s, expected 0 or more, below {SEEDS_EACH}, and 5 s or more")
    if not 0.0 <= intruders <= 1.0:
        raise ConfigError(f"recording: got intruders {intruders:g}, expected a share from 0 to 1 of the drives on straight and curved roads")
    if not intruder_kinds or set(intruder_kinds) - set(INTRUDER_KINDS):
        raise ConfigError(f"recording: got intruder_kinds {tuple(intruder_kinds)}, expected one or more of {', '.join(INTRUDER_KINDS)}")
    if not 0 <= pedestrians[0] <= pedestrians[1] <= MOST_PEDESTRIANS:
        raise ConfigError(f"recording: got pedestrians {pedestrians}, expected two numbers from 0 to {MOST_PEDESTRIANS}, the smaller one first")
    return allowed(exclude)


def drive_scenario(
    seed: int,
    index: int,
    *,
    seconds: float,
    exclude: Collection[str] = HELD_OUT,
    perturb: bool = False,
    intruders: float = INTRUDERS,
    intruder_kinds: Sequence[IntruderKind] = INTRUDER_KINDS,
    at_bends: bool = False,
    pedestrians: tuple[int, int] = PEDESTRIANS,
) -> Scenario:
    """Drive `index` of a recording: at most `seconds` long. Each intruder is one of `intruder_kinds`, all alike likely; with `at_bends` one on a curved road is
    met where the road bends, if it does so soon enough.
    `pedestrians`: least and most, where there are crosswalks. Raises ConfigError where families or numbers cannot be meant."""
    free = check_drives(seed, seconds, exclude, index, intruders, intruder_kinds, pedestrians)
    number = FIRST_SEED + SEEDS_EACH * seed + index
    rng = np.random.default_rng(number)

    def one_of(names: tuple[str, ...], p: list[float] | None = None) -> str:
        return str(names[int(rng.choice(len(names), p=p))])

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 2)

    weights = np.array([SHARE[k] for k in free.kinds])
    kind = cast(MapKind, one_of(free.kinds, list(weights / weights.sum())))
    cruise = between(6.0, 13.0)
    look = LookSpec(textures=one_of(free.textures), weather=one_of(free.weathers), seed=number)
    road = MapSpec(kind=kind, lanes=1 + int(rng.random() < 0.3), seed=number)
    busy = kind in ("town", "t_junction", "crossroads")
    vehicles, walkers = int(rng.integers(0, 13)), int(rng.integers(pedestrians[0], pedestrians[1] + 1)) if busy else 0
    traffic = TrafficSpec(vehicles=vehicles, pedestrians=walkers, parked=between(0.1, 0.6), seed=number)
    intruder = _intruder(rng, cruise, intruder_kinds) if not busy and rng.random() < intruders else None
    route = _route(road, min(LONGEST_M[kind], max(60.0, 1.1 * seconds * cruise)), number)
    if at_bends and kind == "curves" and intruder is not None:
        bend = nearest_bend(plan_route(build_map(road), route), intruder.meet_s_m, BEND_S[0] * cruise, BEND_S[1] * cruise)
        intruder = intruder if bend is None else replace(intruder, meet_s_m=round(bend, 1))
    values: dict[str, Any] = {"start_speed_mps": 0.0 if rng.random() < 0.3 and intruder is None else round(0.9 * cruise, 2), "cruise_mps": cruise}
    pushes = _pushes(rng, seconds) if perturb and intruder is None else ()
    limit_s = seconds if intruder is None else min(seconds, round(intruder.meet_s_m / cruise + AFTER_INTRUDER_S, 1))
    return Scenario(
        name=f"drive/{seed}/{index:06d}",
        map=road,
        look=look,
        route=route,
        traffic=traffic,
        intruder=intruder,
        perturbations=pushes,
        start_offset_m=between(-0.3, 0.3),
        start_yaw_rad=between(-0.03, 0.03),
        stop_at_end=False,  # no picture shows where a route ends: a halt there would be learned as a halt for nothing
        time_limit_s=limit_s,
        **values,
    )


def hand_over(scenario: Scenario) -> tuple[float, Scenario]:
    """(s, scenario): when somebody who drove first gives the wheel to the expert, a whole number of `HAND_OVER_EVERY_S`, and the drive, ended soon after.

    Before an intruder is met, at any distance from it; else after two to ten seconds."""
    rng = np.random.default_rng((scenario.map.seed, 2))
    meeting = None if scenario.intruder is None else scenario.intruder.meet_s_m / scenario.cruise_mps
    at = float(rng.uniform(2.0, 10.0) if meeting is None else rng.uniform(0.3, 1.0) * meeting)
    at = max(HAND_OVER_EVERY_S, HAND_OVER_EVERY_S * round(at / HAND_OVER_EVERY_S))
    limit = scenario.time_limit_s if meeting is not None else min(scenario.time_limit_s, at + AFTER_INTRUDER_S)
    return at, replace(scenario, time_limit_s=limit)


def advised(scenario: Scenario) -> Scenario:
    """The drive, ended soon after an intruder would have been met."""
    if scenario.intruder is None:
        return scenario
    return replace(scenario, time_limit_s=min(scenario.time_limit_s, round(scenario.intruder.meet_s_m / scenario.cruise_mps + AFTER_ADVISED_S, 1)))


def sight_m(seed: int, index: int, between_m: tuple[float, float]) -> float:
    """How far the driver of that drive sees: another draw for each, so that it reacts early and late to the same things."""
    rng = np.random.default_rng((FIRST_SEED + SEEDS_EACH * seed + index, 1))
    return round(float(rng.uniform(*between_m)), 1)


def _route(road: MapSpec, length_m: float, seed: int) -> RouteSpec:
    """As long a route as the map has, down to 60 m."""
    road_map = build_map(road)
    length = length_m
    while length >= 60.0:
        spec = RouteSpec(length_m=round(length), seed=seed)
        try:
            plan_route(road_map, spec)
        except WorldError:  # none as long as that: the next shorter one
            length *= 0.8
        else:
            return spec
    raise ConfigError(f"recording: got no route on {road}, expected one of 60 m or more: another --seed")


def _intruder(rng: np.random.Generator, cruise_mps: float, kinds: Sequence[IntruderKind]) -> Intruder:
    kind = kinds[int(rng.integers(len(kinds)))]
    values: dict[str, Any] = {"meet_s_m": round(cruise_mps * float(rng.uniform(5.5, 8.0)), 1)}
    if kind == "stationary":
        values |= {"offset_m": round(float(rng.uniform(-0.8, 0.8)), 2), "angle_rad": round(float(rng.uniform(-0.5, 0.5)), 2)}
    else:
        values |= {"speed_mps": round(float(rng.uniform(3.0, 8.0)), 1), "from_left": bool(rng.integers(2))}
        if kind == "frontal":
            values |= {"offset_m": round(float(rng.uniform(-0.6, 0.6)), 2), "angle_rad": round(float(rng.uniform(-0.05, 0.05)), 3)}
        else:
            values |= {"angle_rad": round(float(rng.uniform(-0.4, 0.4)), 3)}
    return Intruder(kind=kind, **values)


def _pushes(rng: np.random.Generator, seconds: float) -> tuple[Perturbation, ...]:
    """One every 6 to 11 s: 0.9 m and six degrees at most, which still lies within the lane and needs a correction that can be seen."""
    made, at = [], float(rng.uniform(3.0, 6.0))
    while at < seconds - 4.0:
        made.append(Perturbation(at_s=round(at, 1), lateral_m=round(float(rng.uniform(-0.9, 0.9)), 2), yaw_rad=round(float(rng.uniform(-0.1, 0.1)), 3)))
        at += float(rng.uniform(6.0, 11.0))
    return tuple(made)
