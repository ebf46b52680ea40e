"""When braking in the lane does not do: a small set of ways round, rolled out and compared.

Shape letters: C candidates · A actors · T times 0, 0.2 … s · M grid points of the route.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vavam_world.contracts import F64, Prop, Vehicle
from vavam_world.drivers.frenet import RouteFrame, quintic, quintic_at
from vavam_world.drivers.prediction import I64, T_S, Predicted, nearest_contact
from vavam_world.sim.collision import SOLID_PROPS

OnRoad: TypeAlias = Callable[[F64], npt.NDArray[np.bool_]]

TIMES = 21  # looked ahead: 4 s
LOOK_T_S = T_S[:TIMES]
OFFSETS_M = np.array([0.0, 0.7, -0.7, 1.4, -1.4, 2.1, -2.1, 2.8, -2.8, 3.6, -3.6, 4.4, -4.4])  # of the lane centre
SHIFT_S = np.array([1.1, 1.7, 2.5])  # how long the way to the offset takes
ACCELS_MPS2 = np.array([0.0, 1.8, -1.0, -2.0, -4.5, -7.5])
PASSING_MPS = 5.0  # speed wished for beside somebody who is in the way
SLOWING_S, SLOWING_MPS2 = 2.0, 2.0  # how soon it is wished for, and how hard it is braked for
MAX_LATERAL_MPS2 = 6.5
BERTH_M = 0.5  # clearance wished for beside others
THIN_M = 1.5  # houses and fences stand well away from the road; poles, trees and signs do not
REACT_S = 0.15  # the actuators' delay and lag, before a change of speed takes hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """One way to drive on: the offset reached, over which length, and the acceleration, or None for the speeds of the ordinary plan."""

    offset_m: float
    length_m: float
    accel_mps2: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the ego is on the route, and how it moves: offset with its first two derivatives by arc length."""

    s_m: float
    d_m: float
    slope: float
    bend: float
    speed_mps: float
    accel_mps2: float


class Surroundings:
    """How far one may go to either side of the route, found once: to the road's edge, or to what stands beside it (poles, trees)."""

    def __init__(self, frame: RouteFrame, on_road: OnRoad, props: Iterable[Prop] = (), reach_m: float = 9.0, step_m: float = 0.25) -> None:
        offsets = np.arange(0.0, reach_m + step_m, step_m)
        self.left_m, self.right_m = (self._edge(frame, on_road, sign * offsets) for sign in (1.0, -1.0))  # M each, both positive
        self._s_m = frame.s_m
        self._keep_clear(frame, [p for p in props if p.kind in SOLID_PROPS and max(p.length_m, p.width_m) < THIN_M])

    def _keep_clear(self, frame: RouteFrame, solid: Sequence[Prop]) -> None:
        if not solid:
            return
        s, d = frame.project_all(np.array([[p.x_m, p.y_m] for p in solid]), float(frame.s_m[0]), float(frame.s_m[-1]))
        for prop, at, side in zip(solid, s.tolist(), d.tolist()):
            radius = 0.5 * math.hypot(prop.length_m, prop.width_m)
            if radius < abs(side) < 12.0 + radius:  # what seems to stand in the lane is none of this stretch's
                edge = self.left_m if side > 0.0 else self.right_m
                beside = np.abs(frame.s_m - at) < radius + 3.0  # a body is longer than its place
                edge[beside] = np.minimum(edge[beside], abs(side) - radius)

    def outside(self, s_m: F64, d_m: F64, half_width_m: float) -> F64:
        """How far (m) a body of that half width at (s, d) reaches over the road's edge; 0 on the road."""
        left, right = np.interp(s_m, self._s_m, self.left_m), np.interp(s_m, self._s_m, self.right_m)
        return np.asarray(np.maximum(np.maximum(d_m + half_width_m - left, -d_m + half_width_m - right), 0.0))

    @staticmethod
    def _edge(frame: RouteFrame, on_road: OnRoad, offsets: F64) -> F64:
        s, d = np.meshgrid(frame.s_m, offsets, indexing="ij")
        x, y, _ = frame.place(s, d)
        good = np.asarray(on_road(np.stack([x.ravel(), y.ravel()], axis=1))).reshape(s.shape)
        first_off = np.where(good.all(axis=1), len(offsets) - 1, np.argmin(good, axis=1))
        edge = np.abs(offsets)[np.maximum(first_off - 1, 0)]
        # The extensions before and past the route may lie on no road: there its ends hold.
        inside = (frame.s_m >= 0.0) & (frame.s_m <= frame.length_m)
        return np.asarray(np.interp(frame.s_m, frame.s_m[inside], edge[inside]))


class Evader:
    """Compares ways to drive on. State: what was chosen last, so that it is not changed without need."""

    def __init__(self, frame: RouteFrame, surroundings: Surroundings, vehicle: Vehicle, berth_m: float = BERTH_M) -> None:
        self._berth_m = berth_m
        self._frame, self._road, self._vehicle = frame, surroundings, vehicle
        n = 4
        pitch = vehicle.length_m / n
        self._circles = tuple(-vehicle.rear_overhang_m + pitch * (i + 0.5) for i in range(n))
        self._radius = math.hypot(0.5 * pitch, 0.5 * vehicle.width_m)
        self.last: Motion | None = None

    def clearance(self, s_m: F64, d_m: F64, slope: F64, predicted: Predicted) -> tuple[F64, I64]:
        """(C, T) distance to the nearest of the actors, and which (row) that is; infinite with nobody near."""
        x, y, yaw = self._frame.place(s_m, d_m)
        rows = self._relevant(float(s_m[0, 0]), float(d_m[0, 0]), x, y, predicted)
        if not len(rows):
            return np.full(s_m.shape, np.inf), np.zeros(s_m.shape, dtype=np.int64)
        gaps = nearest_contact(x, y, yaw + np.arctan(slope), predicted, rows, circles_x_m=self._circles, radius_m=self._radius)
        which = np.argmin(gaps, axis=1)
        return gaps.min(axis=1), rows[which]

    def choose(self, start: Start, nominal: Motion, nominal_s_m: F64, predicted: Predicted, blocked: Sequence[int] = ()) -> Motion:
        """The cheapest motion. `nominal_s_m` (T,): arc lengths over `LOOK_T_S` of the ordinary plan, candidate 0's. `blocked`: rows of those
        who come head-on or stand in the lane, in whose way no motion should end, even at a stand."""
        motions, s = self._candidates(start, nominal, nominal_s_m)
        target = np.array([m.offset_m for m in motions])
        length = np.array([m.length_m for m in motions])
        d, slope, bend = quintic_at(quintic(np.float64(start.d_m), np.float64(start.slope), np.float64(start.bend), target, length), s - start.s_m, length)
        speed = np.gradient(s, LOOK_T_S, axis=1)
        gap, which = self.clearance(s, d, slope, predicted)
        cost = self._cost(motions, self._wish(start, predicted, blocked), s, d, bend, speed, gap, which, predicted)
        for row in blocked:
            cost += self._still_ahead(s[:, -1], d[:, -1], predicted, row)
        self.last = motions[int(np.argmin(cost))]
        return self.last

    @staticmethod
    def _wish(start: Start, predicted: Predicted, blocked: Sequence[int]) -> tuple[float, float]:
        """(m/s², price): the acceleration that costs nothing, and what each m/s² less costs.

        Gentle braking down to `PASSING_MPS` where one of `blocked` would be met within the look-ahead: who is slow has more time for the way. From below
        back to that speed where one of them stands: a stop beside the way would be a stop for ever."""
        t = TIMES - 1
        stands = any(predicted.actors[row].speed_mps == 0.0 for row in blocked)
        met = any(predicted.s_m[row, t] < start.s_m + start.speed_mps * LOOK_T_S[t] for row in blocked)
        wish = float(np.clip((PASSING_MPS - start.speed_mps) / SLOWING_S, -SLOWING_MPS2 if met else 0.0, ACCELS_MPS2.max() if stands else 0.0))
        return wish, 1.0 if stands else 0.4

    def _candidates(self, start: Start, nominal: Motion, nominal_s_m: F64) -> tuple[list[Motion], F64]:
        """The ordinary plan, last time's choice, and the grid of offsets, durations and accelerations."""
        motions, rows = [nominal], [nominal_s_m]
        if self.last is not None and self.last.accel_mps2 is not None:
            motions.append(self.last)
            rows.append(distance(start, self.last.accel_mps2, LOOK_T_S) + start.s_m)
        v = max(start.speed_mps, 2.0)
        for accel in ACCELS_MPS2:
            s = distance(start, float(accel), LOOK_T_S) + start.s_m
            for shift in SHIFT_S:
                for offset in OFFSETS_M:
                    move = abs(offset - start.d_m)
                    if 5.8 * move / shift**2 > MAX_LATERAL_MPS2 or (offset == 0.0 and shift != SHIFT_S[1]):
                        continue
                    motions.append(Motion(offset_m=float(offset), length_m=v * float(shift), accel_mps2=float(accel)))
                    rows.append(s)
        return motions, np.stack(rows)

    def _cost(self, motions: list[Motion], wish: tuple[float, float], s: F64, d: F64, bend: F64, speed: F64, gap: F64, which: I64, predicted: Predicted) -> F64:
        kappa = bend + np.interp(s, self._frame.s_m, self._frame.curvature_1pm)
        lateral = np.abs(kappa) * speed**2
        wished_mps2, price = wish
        accel = np.array([wished_mps2 if m.accel_mps2 is None else m.accel_mps2 for m in motions])
        offset = np.array([m.offset_m for m in motions])
        hit = (gap < 0.0) & (speed > 0.0)
        first = np.argmax(hit, axis=1)
        collides = hit.any(axis=1)
        cost = price * np.maximum(wished_mps2 - accel, 0.0) + 0.3 * np.maximum(accel - wished_mps2, 0.0) + 0.25 * np.abs(offset)
        cost = cost + 0.3 * np.maximum(lateral - 2.0, 0.0).max(axis=1) + 30.0 * np.maximum(lateral - MAX_LATERAL_MPS2, 0.0).max(axis=1)
        short = np.maximum(self._berth_m - gap, 0.0)
        cost = cost + 12.0 * (short * np.exp(-0.25 * LOOK_T_S)).max(axis=1)
        cost = cost + 60.0 * self._road.outside(s, d, 0.5 * self._vehicle.width_m + 0.1).max(axis=1)
        if collides.any():
            rows = np.arange(len(motions))
            row = which[rows, first]
            ego_v = speed[rows, first]
            other_v = np.array([a.speed_mps for a in predicted.actors])[row]
            turn = predicted.turn_rad[row, first]
            impact = np.hypot(ego_v - other_v * np.cos(turn), other_v * np.sin(turn))
            cost = cost + np.where(collides, 100.0 + 20.0 * impact - 5.0 * LOOK_T_S[first], 0.0)
        if self.last is not None:  # half a lane of change of mind costs as much as braking half as hard
            cost = cost + 0.8 * np.abs(offset - self.last.offset_m)
        return np.asarray(cost)

    def _still_ahead(self, s: F64, d: F64, predicted: Predicted, row: int) -> F64:
        """(C,) price of being in somebody's way at the end of the look-ahead: the collision then lies just beyond it."""
        t = TIMES - 1
        room = np.abs(d - predicted.d_m[row, t]) - 0.5 * self._vehicle.width_m - predicted.half_width_m[row] - 0.5 * self._berth_m
        return np.where(s < predicted.s_m[row, t], 60.0 * np.clip(-room, 0.0, 1.0), 0.0)

    def _relevant(self, s0: float, d0: float, x: F64, y: F64, predicted: Predicted) -> I64:
        """Rows of the actors that come within reach of any of the motions, without those who follow the ego: they mind themselves."""
        if not predicted.actors:
            return np.zeros(0, dtype=np.int64)
        times = x.shape[1]
        px, py = predicted.x_m[:, :times], predicted.y_m[:, :times]
        reach = predicted.half_length_m + self._vehicle.length_m + self._berth_m
        dx = np.maximum(np.maximum(x.min(axis=0) - px, px - x.max(axis=0)), 0.0)
        dy = np.maximum(np.maximum(y.min(axis=0) - py, py - y.max(axis=0)), 0.0)
        follows = (predicted.s_m[:, 0] < s0) & (np.abs(predicted.d_m[:, 0] - d0) < 1.5) & (np.cos(predicted.turn_rad[:, 0]) > 0.5)
        return np.flatnonzero((np.hypot(dx, dy) < reach[:, None]).any(axis=1) & ~follows & predicted.counts)


def distance(start: Start, accel_mps2: float, t_s: F64) -> F64:
    """Way covered by times t (N,), the acceleration setting in after `REACT_S` and ending at standstill."""
    v = max(start.speed_mps, 0.0)
    t = np.maximum(t_s - REACT_S, 0.0)
    if accel_mps2 < 0.0:
        t = np.minimum(t, v / -accel_mps2)
        moving = np.minimum(t_s, REACT_S + v / -accel_mps2)
        return np.asarray(v * np.minimum(moving, REACT_S) + v * t + 0.5 * accel_mps2 * t**2)
    return np.asarray(v * t_s + 0.5 * accel_mps2 * t**2)
