"""Is a trajectory drivable? Limits in units, one violation per limit broken.

The limits catch what cannot be meant (a network that diverged, the wrong model, a frame error), not what is uncomfortable:
they lie near what a road car can do. To brake where the last plan went on, or to go on where it braked, is no fault: where something steps into the road,
or is gone, the last plan is what has to be given up, and a vehicle that refuses the new one drives on by the old (docs/decisions/0015).
Shape letter: H waypoints.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vavam_ros.core.contracts import F32, F64, ConfigError, Violation

FURTHER_M = 1e3  # as far as a way goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Each is the largest value that passes."""

    max_start_error_m: float = 2.0  # first waypoint beyond or beside the way straight on at the present speed, at standstill; grows with speed:
    max_start_error_s: float = 0.1  # … by so many metres per m/s
    max_curvature_1pm: float = 0.3  # 3.3 m radius: tighter than any car's turning circle
    min_motion_m: float = 0.25  # between waypoints; less is standing, where direction and hence curvature are noise
    max_lon_accel_mps2: float = 6.0
    max_lon_decel_mps2: float = 9.8
    max_lat_accel_mps2: float = 9.8
    max_speed_mps: float = 60.0
    max_reverse_m: float = 2.0  # furthest behind the origin
    max_jump_m: float = 5.0  # furthest beside the way of the last plan, or before or behind it where it leads straight on

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) > 0.0:
                raise ConfigError(f"validation {f.name}: got {getattr(self, f.name)}, expected a positive number")


def validate(xy_m: F32 | F64, dt_s: float, speed_mps: float, limits: Limits, previous: F64 | None = None) -> tuple[Violation, ...]:
    """Limits that the waypoints (H, 2) break, in the order of the list below; empty = drivable. The origin at time 0 belongs to the trajectory.

    ``finite`` (alone, then) · ``start`` · ``speed`` · ``reverse`` · ``lon_accel`` · ``lon_decel`` · ``curvature`` · ``lat_accel`` · ``jump``

    `speed_mps` is the measured one at the image stamp. `previous` (H, 2) is where the last plan wanted to be at the same times in the same frame
    (`geometry.expected_waypoints`), NaN where it says nothing. ``start`` is the distance to the way straight on, as far as that speed leads; ``jump`` that to
    the last plan's way, which goes on straight at its end: what is nearer brakes, what is further along goes on. Speeds are those of the segments,
    accelerations their differences, curvature that of the circle on which two neighbouring segments are chords; near standstill there is none."""
    xy = np.asarray(xy_m, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy):
        raise ConfigError(f"trajectory: got shape {xy.shape}, expected (H, 2) with H ≥ 1")
    bad = int((~np.isfinite(xy)).sum())
    if bad or not np.isfinite(speed_mps):
        return (Violation(check="finite", value=float(bad if bad else 1), limit=0.0, unit="values"),)
    points = np.vstack([np.zeros((1, 2)), xy])
    step = np.diff(points, axis=0)
    length = np.linalg.norm(step, axis=1)
    speed = length / dt_s
    accel = np.diff(speed) / dt_s
    curvature, lateral = _bend(step, length, dt_s, limits.min_motion_m)
    straight_on = np.array([[0.0, 0.0], [speed_mps * dt_s, 0.0]])
    found = [
        ("start", float(_off_the_way(xy[:1], straight_on)[0]), limits.max_start_error_m + limits.max_start_error_s * abs(speed_mps), "m"),
        ("speed", float(speed.max()), limits.max_speed_mps, "m/s"),
        ("reverse", float(-xy[:, 0].min()), limits.max_reverse_m, "m"),
        ("lon_accel", float(accel.max(initial=0.0)), limits.max_lon_accel_mps2, "m/s²"),
        ("lon_decel", float(-accel.min(initial=0.0)), limits.max_lon_decel_mps2, "m/s²"),
        ("curvature", float(curvature.max(initial=0.0)), limits.max_curvature_1pm, "1/m"),
        ("lat_accel", float(lateral.max(initial=0.0)), limits.max_lat_accel_mps2, "m/s²"),
        ("jump", _jump(xy, previous, limits.min_motion_m), limits.max_jump_m, "m"),
    ]
    return tuple(Violation(check=check, value=value, limit=limit, unit=unit) for check, value, limit, unit in found if value > limit)


def _bend(step: F64, length: F64, dt_s: float, min_motion_m: float) -> tuple[F64, F64]:
    """Curvature and lateral acceleration where two moving segments (H, 2) meet. A reversal is a very tight bend, not a straight line."""
    a, b = step[:-1], step[1:]
    moving = (length[:-1] >= min_motion_m) & (length[1:] >= min_motion_m)
    a, b, mean = a[moving], b[moving], 0.5 * (length[:-1] + length[1:])[moving]
    angle = np.abs(np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], np.sum(a * b, axis=1)))
    curvature = 2.0 * np.sin(0.5 * angle) / mean  # chord = 2 · radius · sin(angle / 2)
    return np.asarray(curvature), np.asarray(curvature * (mean / dt_s) ** 2)


def _jump(xy: F64, previous: F64 | None, min_motion_m: float) -> float:
    if previous is None:
        return 0.0
    known = np.asarray(np.isfinite(previous).all(axis=1))
    if not known.any():
        return 0.0
    way = np.vstack([np.zeros((1, 2)), previous[known]])
    moving = np.linalg.norm(np.diff(way, axis=0), axis=1) >= min_motion_m  # where it stands, its direction is noise
    way = way[np.concatenate([[True], moving])]
    ahead = way[-1] - way[-2] if len(way) > 1 else np.array([1.0, 0.0])
    way = np.vstack([way, way[-1] + FURTHER_M * ahead / np.linalg.norm(ahead)])
    return float(_off_the_way(xy[known], way).max())


def _off_the_way(points: F64, way: F64) -> F64:
    """Distance of each point (P, 2) to the polyline (N, 2), N ≥ 2: (P,), metres."""
    start, step = way[:-1], np.diff(way, axis=0)
    along = np.sum((points[:, None] - start) * step, axis=-1) / np.maximum(np.sum(step * step, axis=-1), 1e-12)  # (P, N − 1)
    nearest = start + np.clip(along, 0.0, 1.0)[..., None] * step
    distance: F64 = np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1)
    return distance
