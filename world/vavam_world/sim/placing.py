"""Where traffic starts and which parking places are taken, by seed."""

from __future__ import annotations

import math

import numpy as np

from vavam_world.contracts import ActorState, RoadMap, Route, TrafficSpec
from vavam_world.sim.cars import COMFORT_MPS2, KINDS, Car
from vavam_world.sim.collision import Box, actor_box
from vavam_world.sim.obstacles import Obstacles
from vavam_world.sim.tracks import Tracks

FIRST_VEHICLE_ID, FIRST_PEDESTRIAN_ID, FIRST_PARKED_ID = 100, 1000, 2000
VARIANTS = 1_000_000
FROM_EGO_M = 22.0
APART_M = 16.0
NEAR_ROUTE_M = 60.0
START_SHARE = 0.7  # of the desired speed


def stream(spec: TrafficSpec, *key: int) -> np.random.Generator:
    """An independent source of chance per purpose."""
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))


def parked_cars(road_map: RoadMap, spec: TrafficSpec) -> list[ActorState]:
    """The parking places that are taken, each with the chance `spec.parked`; ids by the place's index among all props."""
    rng = stream(spec, 1)
    found = []
    for index, prop in enumerate(road_map.props):
        if prop.kind != "parking":
            continue
        taken, length, width, height, variant = rng.random(5)
        if taken < spec.parked:
            found.append(
                ActorState(
                    id=FIRST_PARKED_ID + index,
                    kind="parked",
                    x_m=prop.x_m,
                    y_m=prop.y_m,
                    yaw_rad=prop.yaw_rad,
                    speed_mps=0.0,
                    length_m=min(prop.length_m, 4.2 + 0.6 * length),
                    width_m=min(prop.width_m, 1.72 + 0.16 * width),
                    height_m=1.42 + 0.2 * height,
                    variant=int(variant * VARIANTS),
                )
            )
    return found


def start_cars(tracks: Tracks, spec: TrafficSpec, route: Route, ego: Box, standing: list[ActorState]) -> list[Car]:
    """Vehicles on lanes outside junctions, the first half of them near the ego's route, as many of `spec.vehicles` as find room."""
    rng = stream(spec, 2)
    places = _places(tracks, ego)
    blocked = Obstacles(tracks, [actor_box(a) for a in standing])
    xs, ys = route.xy_m[:, 0], route.xy_m[:, 1]
    order = [places[int(i)] for i in rng.permutation(len(places))]
    near = [p for p in order if float(((xs - p[2]) ** 2 + (ys - p[3]) ** 2).min()) < NEAR_ROUTE_M**2]
    cars: list[Car] = []
    for i in range(spec.vehicles):
        kind, _, length, width, height = KINDS[int(np.searchsorted(np.cumsum([k[1] for k in KINDS]), rng.random() * 0.9999))]
        size, temper, variant = rng.random(3)
        for lane, s, _, _ in near if 2 * i < spec.vehicles else order:
            if all(c.lane != lane or abs(c.s - s) >= APART_M for c in cars) and blocked.free(lane, s, 0.5 * APART_M):
                break
        else:
            continue
        track = tracks[lane]
        speed = START_SHARE * min(track.speed_at(s), math.sqrt(2.0 * COMFORT_MPS2 * max(0.0, track.stop_s - s - 0.5 * length)))
        cars.append(
            Car(
                id=FIRST_VEHICLE_ID + i,
                kind=kind,
                length=length * (0.95 + 0.1 * float(size)),
                width=width,
                height=height * (0.97 + 0.06 * float(size)),
                variant=int(variant * VARIANTS),
                temper=0.8 + 0.2 * float(temper),
                rng=stream(spec, 3, i),
                path=[lane],
                s=s,
                speed=speed,
            )
        )
    return cars


def _places(tracks: Tracks, ego: Box) -> list[tuple[int, float, float, float]]:
    """(lane, s, x, y) of everywhere a vehicle may start."""
    found = []
    for lane in tracks.ids():
        track = tracks[lane]
        if track.junction is not None:
            continue
        for s in np.arange(8.0, track.stop_s - 8.0, 6.0).tolist():
            x, y, _ = track.at(s)
            clear = all(abs(c.s_m - s) > c.half_m + 6.0 for c in track.crosswalks)
            if clear and math.hypot(x - ego[0], y - ego[1]) > FROM_EGO_M:
                found.append((lane, s, x, y))
    return found
