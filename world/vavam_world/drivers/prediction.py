"""Where the others will be: along their lanes at their present speed, or straight on where they keep to none.

Shape letters: A actors · T times 0, 0.2 … s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vavam_world.contracts import F64, ActorState, Lane
from vavam_world.drivers.frenet import RouteFrame

I64: TypeAlias = npt.NDArray[np.int64]

DT_S = 0.2
TIMES = 26
T_S = DT_S * np.arange(TIMES, dtype=np.float64)  # 0 … 5 s
RANGE_M = 110.0
STANDING_MPS = 0.3
STOPS_MPS2 = 3.0  # braking that is expected of somebody who has to wait
_CHAIN_M = 130.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """The actors within range, rolled forward. `s_m`, `d_m`, `turn_rad` are seen from the route; the latter is the heading against it."""

    actors: tuple[ActorState, ...]
    x_m: F64  # (A, T)
    y_m: F64
    yaw_rad: F64
    s_m: F64
    d_m: F64
    turn_rad: F64
    half_length_m: F64  # (A,)
    half_width_m: F64
    counts: npt.NDArray[np.bool_]  # (A,) false: will not come in the way, whatever it looks like


class Predictor:
    """Rolls actors forward on one road network; lanes are strung together once per first lane.

    At a junction actors go the route's way where they come along it, else straight on. Those who come to it from elsewhere and can
    still stop are taken to stop: whoever goes first is `junctions.RightOfWay`'s matter."""

    def __init__(self, lanes: Mapping[int, Lane], route_lanes: Iterable[int]) -> None:
        self._lanes = lanes
        self._route = frozenset(route_lanes)
        self._chains: dict[int, tuple[F64, F64, F64, F64]] = {}

    def predict(self, actors: Iterable[ActorState], frame: RouteFrame, ego_xy: tuple[float, float], ego_s_m: float) -> Predicted:
        """All actors within `RANGE_M` of the ego, parked ones within half of that."""
        near = []
        for a in actors:
            reach = 0.5 * RANGE_M if a.kind == "parked" else RANGE_M
            if abs(a.x_m - ego_xy[0]) < reach and abs(a.y_m - ego_xy[1]) < reach:
                near.append(a)
        x, y, yaw = (np.empty((len(near), TIMES)) for _ in range(3))
        for i, a in enumerate(near):
            x[i], y[i], yaw[i] = self._forward(a)
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        moving = np.array([a.speed_mps > STANDING_MPS for a in near], dtype=bool)
        s, d = np.empty_like(x), np.empty_like(x)
        if len(near):  # those that stand are looked up once
            pick = np.repeat(moving[:, None], TIMES, axis=1)
            pick[:, 0] = True
            found_s, found_d = frame.project_all(points[pick.ravel()], ego_s_m - 30.0, ego_s_m + RANGE_M + 20.0)
            s[pick], d[pick] = found_s, found_d
            s[~moving], d[~moving] = s[~moving][:, :1], d[~moving][:, :1]
        turn = yaw - np.interp(s, frame.s_m, frame.yaw_rad)
        return Predicted(
            actors=tuple(near),
            x_m=x,
            y_m=y,
            yaw_rad=yaw,
            s_m=s,
            d_m=d,
            turn_rad=np.remainder(turn + np.pi, 2.0 * np.pi) - np.pi,
            half_length_m=np.array([0.5 * a.length_m for a in near]),
            half_width_m=np.array([0.5 * a.width_m for a in near]),
            counts=np.ones(len(near), dtype=bool),
        )

    def _forward(self, a: ActorState) -> tuple[F64, F64, F64]:
        if a.lane_id < 0 or a.speed_mps <= STANDING_MPS or a.lane_id not in self._lanes:
            way = a.speed_mps * T_S
            return a.x_m + way * math.cos(a.yaw_rad), a.y_m + way * math.sin(a.yaw_rad), np.full(TIMES, a.yaw_rad)
        lane_s, lane_x, lane_y, lane_yaw = self._chain(a.lane_id)
        s = a.s_m + a.speed_mps * T_S
        lane = self._lanes[a.lane_id]
        if a.lane_id not in self._route and any(self._lanes[i].junction is not None for i in lane.successors):
            left = lane.length_m - a.s_m - 0.5 * a.length_m
            if left > 0.0 and a.speed_mps**2 / (2.0 * left) < STOPS_MPS2:
                s = np.minimum(s, a.s_m + left)
        x, y, yaw = np.interp(s, lane_s, lane_x), np.interp(s, lane_s, lane_y), np.interp(s, lane_s, lane_yaw)
        return x + (a.x_m - x[0]), y + (a.y_m - y[0]), yaw

    def _chain(self, lane_id: int) -> tuple[F64, F64, F64, F64]:
        """A lane and what follows it, straight on where there is a choice."""
        if lane_id not in self._chains:
            lane = self._lanes[lane_id]
            parts_s, parts_xy, parts_yaw, length = [lane.s_m], [lane.xy_m], [lane.yaw_rad], lane.length_m
            end = lane.length_m + _CHAIN_M
            while length < end and lane.successors:
                lane = self._lanes[min(lane.successors, key=lambda i: (i not in self._route, self._lanes[i].turn not in (None, "straight"), i))]
                turns = round(float(parts_yaw[-1][-1] - lane.yaw_rad[0]) / (2.0 * math.pi))
                parts_s.append(lane.s_m[1:] + length)
                parts_xy.append(lane.xy_m[1:])
                parts_yaw.append(lane.yaw_rad[1:] + 2.0 * math.pi * turns)
                length += lane.length_m
            xy = np.concatenate(parts_xy)
            self._chains[lane_id] = np.concatenate(parts_s), xy[:, 0].copy(), xy[:, 1].copy(), np.concatenate(parts_yaw)
        return self._chains[lane_id]


def nearest_contact(x_m: F64, y_m: F64, yaw_rad: F64, predicted: Predicted, index: I64, *, circles_x_m: tuple[float, ...], radius_m: float) -> F64:
    """(C, A, T) clearance between C ego motions, each (C, T) of the rear axle at the times `T_S[:T]`, and some actors.

    `index` (A,) says which actors. The ego is taken as circles along its axis, an actor as its box: exact between a circle and a box, negative in contact."""
    times = x_m.shape[1]
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    ax, ay = predicted.x_m[index, :times], predicted.y_m[index, :times]  # A, T
    ac, as_ = np.cos(predicted.yaw_rad[index, :times]), np.sin(predicted.yaw_rad[index, :times])
    hl, hw = predicted.half_length_m[index][:, None], predicted.half_width_m[index][:, None]
    best = np.full((len(x_m), len(index), times), np.inf)
    for ahead in circles_x_m:
        dx = (x_m + ahead * cos)[:, None, :] - ax
        dy = (y_m + ahead * sin)[:, None, :] - ay
        along = np.abs(dx * ac + dy * as_) - hl
        across = np.abs(dy * ac - dx * as_) - hw
        outside = np.hypot(np.maximum(along, 0.0), np.maximum(across, 0.0))
        np.minimum(best, outside + np.minimum(np.maximum(along, across), 0.0), out=best)
    return best - radius_m
