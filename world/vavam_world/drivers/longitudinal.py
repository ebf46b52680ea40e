"""How fast along the route: a static profile from curvature and limits, and a roll-out that also minds vehicles ahead and places to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vavam_world.contracts import F64
from vavam_world.drivers.frenet import GRID_M, RouteFrame

DT_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What the expert thinks comfortable. Intelligent Driver Model: Treiber, Hennecke, Helbing 2000, eq. 2–3, without its free-road term."""

    lat_accel_mps2: float = 1.8  # below 2, so that an offset path on a curve stays within it
    accel_mps2: float = 1.4
    decel_mps2: float = 1.4  # for curves, limits and stops that are known early
    follow_decel_mps2: float = 2.0  # b of the IDM
    follow_time_s: float = 1.4  # T
    follow_gap_m: float = 3.0  # s₀, bumper to bumper
    jerk_mps3: float = 2.0
    emergency_jerk_mps3: float = 20.0
    emergency_mps2: float = 3.2  # more braking than this is asked for: comfort ends
    max_brake_mps2: float = 7.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Something ahead that moves along the route: where the rear axle would be when the bumpers touch, and its speed there."""

    s_m: float
    speed_mps: float
    from_s: float = 0.0  # joins the ego's way only then; `s_m` is where its motion puts it now


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """Arc length, speed and acceleration of the rear axle at even times, each (T,), first row now."""

    s_m: F64
    speed_mps: F64
    accel_mps2: F64


class SpeedProfile:
    """The speed that the route itself allows: limits, cruise speed, lateral acceleration, with comfortable braking before each."""

    def __init__(self, frame: RouteFrame, cruise_mps: float, manners: Manners) -> None:
        bend = _moving(np.abs(frame.curvature_1pm), 2, np.max)
        allowed = np.minimum(np.minimum(frame.speed_limit_mps, cruise_mps), np.sqrt(manners.lat_accel_mps2 / np.maximum(bend, 1e-6)))
        allowed = _moving(allowed, 3, np.min)
        for i in range(len(allowed) - 2, -1, -1):  # braking must be possible
            allowed[i] = min(allowed[i], math.sqrt(allowed[i + 1] ** 2 + 2.0 * manners.decel_mps2 * GRID_M))
        smooth = _moving(allowed, 3, np.mean)
        self._start_m = float(frame.s_m[0])
        self._speed: list[float] = smooth.tolist()
        self._slope: list[float] = np.gradient(smooth, GRID_M).tolist()

    def at(self, s_m: float) -> tuple[float, float]:
        """Speed, and its change per metre."""
        q = min(max((s_m - self._start_m) / GRID_M, 0.0), len(self._speed) - 1.001)
        i = int(q)
        u = q - i
        return self._speed[i] * (1.0 - u) + self._speed[i + 1] * u, self._slope[i] * (1.0 - u) + self._slope[i + 1] * u


def roll_out(
    profile: SpeedProfile,
    manners: Manners,
    s_m: float,
    speed_mps: float,
    accel_mps2: float,
    *,
    stops_m: Sequence[float] = (),
    leads: Sequence[Lead] = (),
    steps: int = 40,
) -> Rollout:
    """Drive on in thought from (s, v, a): (steps + 1) rows 0.1 s apart.

    Each step takes the least acceleration that the profile, every lead (at constant speed) and every stop allow. It changes no faster than
    the comfortable jerk, unless more than `emergency_mps2` of braking is needed."""
    v = max(speed_mps, 0.0)
    a, s = accel_mps2, s_m
    rows_s, rows_v, rows_a = [s], [v], [a]
    for i in range(steps):
        wanted = _free(profile, manners, s, v)
        for lead in leads:
            behind = follow_accel(manners, lead.s_m + lead.speed_mps * i * DT_S - s, v, lead.speed_mps)
            wanted = min(wanted, behind if i * DT_S >= lead.from_s else max(behind, -manners.decel_mps2))  # room is made in good time, gently
        for stop in stops_m:
            wanted = min(wanted, _stop_accel(manners, stop - s, v))
        wanted = max(wanted, -manners.max_brake_mps2)
        jerk = (manners.emergency_jerk_mps3 if wanted < -manners.emergency_mps2 else manners.jerk_mps3) * DT_S
        if wanted > a:  # let go of the brake faster than it is pressed
            jerk *= 2.0
        a = min(max(wanted, a - jerk), a + jerk)
        after = v + a * DT_S
        if after <= 0.0:
            s += 0.5 * v * v / max(-a, 0.1) if v > 0.0 else 0.0
            v, a = 0.0, max(a, -0.3)
        else:
            s += 0.5 * (v + after) * DT_S
            v = after
        rows_s.append(s)
        rows_v.append(v)
        rows_a.append(a)
    return Rollout(s_m=np.array(rows_s), speed_mps=np.array(rows_v), accel_mps2=np.array(rows_a))


def follow_accel(manners: Manners, gap_m: float, v: float, lead_mps: float) -> float:
    """Acceleration behind a vehicle `gap_m` ahead, bumper to bumper."""
    lead = max(lead_mps, 0.0)
    wish = manners.follow_gap_m + max(0.0, v * manners.follow_time_s + v * (v - lead) / (2.0 * math.sqrt(manners.accel_mps2 * manners.follow_decel_mps2)))
    return manners.accel_mps2 * (1.0 - (wish / max(gap_m, 0.1)) ** 2)


def _free(profile: SpeedProfile, manners: Manners, s: float, v: float) -> float:
    target, slope = profile.at(s + 0.2 * v)
    return min(max(v * slope + 0.9 * (target - v), -3.0), manners.accel_mps2)


def _stop_accel(manners: Manners, distance_m: float, v: float) -> float:
    """Nothing until the comfortable braking distance is reached, then the constant deceleration that ends on the spot."""
    if distance_m <= 0.05:
        return -max(manners.decel_mps2, v * v / 0.5)
    needed = v * v / (2.0 * distance_m)
    if needed >= 0.85 * manners.decel_mps2:
        return -needed
    # From standstill, or slow: no faster than lets it stop again.
    return 1.2 * (math.sqrt(2.0 * 0.85 * manners.decel_mps2 * distance_m) - v)


def _moving(values: F64, half: int, reduce: Callable[..., Any]) -> F64:
    """A reduction over the window ±half around each value, ends repeated."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, half, mode="edge"), 2 * half + 1)
    return np.asarray(reduce(windows, axis=1))
