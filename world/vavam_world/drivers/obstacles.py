"""What the others mean for the expert's speed: someone to follow, a place to stop before, or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vavam_world.contracts import F64, Vehicle
from vavam_world.drivers.evasion import OnRoad
from vavam_world.drivers.longitudinal import DT_S as ROLL_DT_S
from vavam_world.drivers.longitudinal import Lead, Rollout
from vavam_world.drivers.prediction import STANDING_MPS, T_S, Predicted

VEHICLE_MARGIN_M = 0.35  # beside a vehicle
PEDESTRIAN_MARGIN_M = 0.7
ALONG = 0.5  # cosine of the heading against the route from which on a vehicle counts as going the same way
CROSSING_MARGIN_S = 0.8  # between the ego's leaving a place and another's coming, and the reverse
STANDING_GAP_M = 2.5  # to somebody on foot
COURTESY_MPS2 = 1.9  # braking for somebody who may step on the road
PASS_S = 4.0  # who is further away than that needs no way round yet
PASS_LEAST_M = 8.0  # the same for an ego that hardly moves
PASSED_M = 20.0  # beyond the place where one would stop behind somebody who is passed, until one is back in the lane
PASSING_LEAST_MPS = 4.0  # how fast one passes, where it is reckoned whether there is time for it
UNDER_WAY_M = 1.0  # beside the lane centre: passing has begun, and is ended
OTHER_WAY_M = 5.0  # of the lane centre: who comes the other way further to the side does not mind


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrances:
    """Leads and stops, as places of the rear axle, and rows: of those who come head-on, of vehicles that stand in the way and wait for nothing (to be
    passed where there is room, stopped behind where there is none), of pedestrians who will wait at the kerb."""

    leads: tuple[Lead, ...]
    stops_m: tuple[float, ...]
    oncoming: tuple[int, ...] = ()
    standing: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()


def hindrances(
    predicted: Predicted, free: Rollout, offset_at: Callable[[F64], F64], vehicle: Vehicle, on_road: OnRoad, stops_m: Sequence[float] = ()
) -> Hindrances:
    """Sort the predicted actors by what the ego, driving `free` along the offsets `offset_at(s)`, has to do about them.

    A vehicle in the ego's corridor going its way is followed; so is one that joins it ahead of the ego. One that crosses, or turns off
    across it, is let through, unless the ego is gone before it comes or comes after it is gone. A pedestrian is stopped for likewise.
    `stops_m`: where the ego has to stop in any case; nobody is passed shortly before such a place, or before somebody who waits."""
    if not predicted.actors:
        return Hindrances(leads=(), stops_m=())
    front = vehicle.length_m - vehicle.rear_overhang_m
    half_width = 0.5 * vehicle.width_m
    turn = predicted.turn_rad
    across = predicted.half_length_m[:, None] * np.abs(np.sin(turn)) + predicted.half_width_m[:, None] * np.abs(np.cos(turn))
    along = predicted.half_length_m[:, None] * np.abs(np.cos(turn)) + predicted.half_width_m[:, None] * np.abs(np.sin(turn))
    margin = np.array([PEDESTRIAN_MARGIN_M if a.kind == "pedestrian" else VEHICLE_MARGIN_M for a in predicted.actors])
    inside = np.abs(predicted.d_m - offset_at(predicted.s_m)) < half_width + across + margin[:, None]
    inside &= predicted.s_m + along > free.s_m[0] + 0.5  # those behind mind themselves
    leads: list[Lead] = []
    stops: list[float] = []
    oncoming: list[int] = []
    standing: dict[int, float] = {}  # row → where to stop behind it
    waited_for: list[float] = list(stops_m)
    waiting: list[int] = []
    for row in np.flatnonzero(inside.any(axis=1)).tolist():
        actor = predicted.actors[row]
        t_in = int(np.argmax(inside[row]))
        s, cosine = float(predicted.s_m[row, t_in]), math.cos(predicted.turn_rad[row, t_in])
        rear = s - float(along[row, t_in]) - front
        if actor.kind == "pedestrian":
            if actor.speed_mps <= STANDING_MPS:
                stops.append(rear - STANDING_GAP_M)
            elif (stop := _let_cross(predicted, row, inside[row], along[row], free, front, vehicle, CROSSING_MARGIN_S + 0.4)) is not None:
                room = max(stop - STANDING_GAP_M - float(free.s_m[0]), 0.1)
                soft = float(free.speed_mps[0]) ** 2 / (2.0 * room) < COURTESY_MPS2
                if soft or bool(on_road(np.array([[actor.x_m, actor.y_m]]))[0]):
                    stops.append(stop - STANDING_GAP_M)
                else:
                    waiting.append(row)
        elif actor.speed_mps <= STANDING_MPS:
            leads.append(Lead(s_m=rear, speed_mps=0.0))
            if actor.braking or actor.speed_mps > 0.0:  # its brake lights are on: for its turn, or in a queue
                waited_for.append(rear)
            elif rear - free.s_m[0] < max(PASS_S * free.speed_mps[0], PASS_LEAST_M):
                standing[row] = rear
        elif cosine > ALONG and (t_in == 0 or s > _at(free, T_S[t_in]) + 0.5 * front):
            speed = actor.speed_mps * cosine
            leads.append(Lead(s_m=rear - speed * float(T_S[t_in]), speed_mps=speed, from_s=float(T_S[t_in])))
        elif cosine < -ALONG and actor.lane_id < 0:
            oncoming.append(row)
        elif cosine <= ALONG and (stop := _let_cross(predicted, row, inside[row], along[row], free, front, vehicle, CROSSING_MARGIN_S)) is not None:
            stops.append(stop - 1.5)
    waits_at = min([*waited_for, *stops], default=math.inf)
    follows_at = min((lead.s_m for lead in leads if lead.speed_mps > 0.0), default=math.inf)
    under_way = abs(float(offset_at(free.s_m[:1])[0])) > UNDER_WAY_M
    before_m = math.inf if under_way else min(waits_at - PASSED_M, follows_at)
    passed = [r for r, rear in standing.items() if rear < before_m and (under_way or not _comes_the_other_way(predicted, free, rear))]
    return Hindrances(leads=tuple(leads), stops_m=tuple(stops), oncoming=tuple(oncoming), standing=tuple(passed), waiting=tuple(waiting))


def _comes_the_other_way(predicted: Predicted, free: Rollout, rear_m: float) -> bool:
    """Whether somebody who keeps to a lane comes along it from ahead before the ego could have passed who stands at `rear_m`."""
    s, speed = float(free.s_m[0]), max(float(free.speed_mps[0]), PASSING_LEAST_MPS)
    back_m = rear_m + PASSED_M
    takes_s = (back_m - s) / speed
    for row, actor in enumerate(predicted.actors):
        there = float(predicted.s_m[row, 0])
        comes = actor.lane_id >= 0 and actor.speed_mps > STANDING_MPS and math.cos(predicted.turn_rad[row, 0]) < -ALONG
        if comes and abs(predicted.d_m[row, 0]) < OTHER_WAY_M and s < there and there - actor.speed_mps * takes_s < back_m:
            return True
    return False


def _let_cross(predicted: Predicted, row: int, inside: F64, along: F64, free: Rollout, front: float, vehicle: Vehicle, margin_s: float) -> float | None:
    """Where the rear axle has to stop, or None where the two do not meet in time."""
    times = np.flatnonzero(inside)
    low = float((predicted.s_m[row, times] - along[times]).min()) - front
    high = float((predicted.s_m[row, times] + along[times]).max()) + vehicle.rear_overhang_m
    t_in, t_out = float(T_S[times[0]]), float(T_S[times[-1]])
    stays = times[-1] == len(T_S) - 1
    arrives = float(np.interp(low, free.s_m, ROLL_DT_S * np.arange(len(free.s_m)), right=np.inf))
    leaves = float(np.interp(high, free.s_m, ROLL_DT_S * np.arange(len(free.s_m)), right=np.inf))
    if leaves < t_in - margin_s or (not stays and arrives > t_out + margin_s) or math.isinf(arrives):
        return None
    return low


def _at(rollout: Rollout, t_s: float) -> float:
    return float(np.interp(t_s, ROLL_DT_S * np.arange(len(rollout.s_m)), rollout.s_m))
