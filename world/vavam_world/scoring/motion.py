"""How the ego moved: comfort, and the time that its route would take without anything in the way. Shape letters: T ticks · N route points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vavam_world.contracts import F64, TICK_S, Route, WorldState

JERK_WINDOW_TICKS = 4  # acceleration is differentiated over 0.2 s: a tick's change says more about the integrator than about the ride


@dataclass(frozen=True, slots=True, kw_only=True)
class ComfortLimits:
    """Beyond these a ride counts as uncomfortable. The defaults are nuPlan's (longitudinal and lateral acceleration, longitudinal jerk)."""

    accel_mps2: float = 2.40
    brake_mps2: float = 4.05
    lateral_mps2: float = 4.89
    jerk_mps3: float = 4.13


@dataclass(frozen=True, slots=True, kw_only=True)
class Comfort:
    """Largest magnitudes, 95th percentiles of the magnitudes, and the share of the time beyond any limit."""

    accel_max_mps2: float  # speeding up
    brake_max_mps2: float  # slowing down, positive
    accel_p95_mps2: float  # of the magnitude, both ways
    jerk_max_mps3: float
    jerk_p95_mps3: float
    lateral_max_mps2: float
    lateral_p95_mps2: float
    uncomfortable_share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """Columns of a trace, (T,) each."""

    t_s: F64  # since the first tick
    x_m: F64  # rear axle
    y_m: F64
    yaw_rad: F64
    speed_mps: F64
    accel_mps2: F64
    lateral_mps2: F64  # speed · yaw rate, + left
    steer_rad: F64  # front wheel as it is, + left


def motion_of(states: Sequence[WorldState]) -> Motion:
    """The ego's columns of a trace's states."""
    rows = np.array(
        [(s.tick, s.ego.x_m, s.ego.y_m, s.ego.yaw_rad, s.ego.speed_mps, s.ego.accel_mps2, s.ego.yaw_rate_radps, s.ego.steer_rad) for s in states], np.float64
    ).reshape(-1, 8)
    tick, x, y, yaw, speed, accel, rate, steer = rows.T
    t = (tick - tick[0]) * TICK_S if len(rows) else tick
    return Motion(t_s=t, x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed, accel_mps2=accel, lateral_mps2=speed * rate, steer_rad=steer)


def jerk_mps3(accel_mps2: F64) -> F64:
    """(T − window,) longitudinal jerk; empty where the trace is shorter than the window."""
    if len(accel_mps2) <= JERK_WINDOW_TICKS:
        return np.zeros(0)
    found: F64 = (accel_mps2[JERK_WINDOW_TICKS:] - accel_mps2[:-JERK_WINDOW_TICKS]) / (JERK_WINDOW_TICKS * TICK_S)
    return found


def comfort_of(motion: Motion, limits: ComfortLimits | None = None) -> Comfort:
    """Comfort over a run, the tick of a collision and those after it included."""
    limits = limits or ComfortLimits()
    accel, lateral = motion.accel_mps2, np.abs(motion.lateral_mps2)
    jerk = np.zeros(len(accel))
    inner = np.abs(jerk_mps3(accel))
    half = JERK_WINDOW_TICKS // 2
    jerk[half : half + len(inner)] = inner  # centred; the ends have none
    beyond = (accel > limits.accel_mps2) | (accel < -limits.brake_mps2) | (lateral > limits.lateral_mps2) | (jerk > limits.jerk_mps3)

    def p95(values: F64) -> float:
        return float(np.percentile(values, 95)) if len(values) else 0.0

    return Comfort(
        accel_max_mps2=max(0.0, float(accel.max(initial=0.0))),
        brake_max_mps2=max(0.0, float((-accel).max(initial=0.0))),
        accel_p95_mps2=p95(np.abs(accel)),
        jerk_max_mps3=float(inner.max(initial=0.0)),
        jerk_p95_mps3=p95(inner),
        lateral_max_mps2=float(lateral.max(initial=0.0)),
        lateral_p95_mps2=p95(lateral),
        uncomfortable_share=float(beyond.mean()) if len(beyond) else 0.0,
    )


IDEAL_ACCEL_MPS2, IDEAL_BRAKE_MPS2, IDEAL_LATERAL_MPS2 = 2.0, 2.0, 2.5


def ideal_times_s(route: Route, *, cruise_mps: float, start_speed_mps: float, stop_at_end: bool) -> F64:
    """(N,) time at which each route point would be reached on an empty road.

    Speed is bounded by the cruise speed, the lanes' limits, 2.5 m/s² to the side and 2 m/s² along the road both ways; it starts at
    `start_speed_mps`, and ends at 0 where the route ends with a halt."""
    s = route.s_m
    curve = np.sqrt(IDEAL_LATERAL_MPS2 / np.maximum(np.abs(route.curvature_1pm), 1e-6))
    speed = np.minimum.reduce([np.full(len(s), cruise_mps), route.speed_limit_mps, curve])
    speed[0] = min(speed[0], max(start_speed_mps, 0.0))
    if stop_at_end:
        speed[-1] = 0.0
    step = np.diff(s)
    for i in range(len(step)):
        speed[i + 1] = min(speed[i + 1], np.sqrt(speed[i] ** 2 + 2.0 * IDEAL_ACCEL_MPS2 * step[i]))
    for i in range(len(step) - 1, -1, -1):
        speed[i] = min(speed[i], np.sqrt(speed[i + 1] ** 2 + 2.0 * IDEAL_BRAKE_MPS2 * step[i]))
    mean = 0.5 * (speed[1:] + speed[:-1])  # exact for constant acceleration
    times: F64 = np.concatenate([[0.0], np.cumsum(step / np.maximum(mean, 1e-3))])
    return times
