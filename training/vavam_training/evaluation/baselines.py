"""Trajectories that need no model: on at the speed, and at the yaw rate, with which the vehicle came to the newest frame.

Both are read off recorded poses up to the newest frame, never after it. Shape letters: n frames of a drive · M windows · H waypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S
from vavam_ros.core.planning.metrics import constant_turn_rate, constant_velocity
from vavam_training.contracts import I64, DriveRows
from vavam_training.windows.labels import rotation_matrices

LOOK_BACK_S = 0.2  # between the two poses: shorter, and noise of the poses counts; longer, and the motion is an old one
MAX_LOOK_BACK_S = 1.0  # in rarer recordings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """Mean motion over the last moments before the newest frame; NaN where no pose lies there."""

    speed_mps: F64  # (M,) along the vehicle, backwards negative
    yaw_rate_radps: F64  # (M,) to the left


def motion_before(rows: DriveRows, newest: I64) -> Motion:
    """Motion on the arc between the pose of the newest row (M,) and the one nearest to LOOK_BACK_S before it."""
    stamps = rows.stamp_ns
    target = stamps[newest] - round(LOOK_BACK_S * NS_PER_S)
    right = np.searchsorted(stamps, target)
    left = np.maximum(right - 1, 0)
    before = np.where(target - stamps[left] <= stamps[np.minimum(right, len(stamps) - 1)] - target, left, right)
    before = np.minimum(before, np.maximum(newest - 1, 0))
    dt_s = (stamps[newest] - stamps[before]) / NS_PER_S
    dt_s = np.where((dt_s > 0.0) & (dt_s <= MAX_LOOK_BACK_S), dt_s, np.nan)
    was, now = rotation_matrices(rows.rotation_wxyz[before]), rotation_matrices(rows.rotation_wxyz[newest])
    turned = was.swapaxes(-1, -2) @ now
    angle = np.arctan2(turned[:, 1, 0], turned[:, 0, 0])
    moved = np.einsum("mji,mj->mi", was, rows.position_m[newest] - rows.position_m[before])[:, :2]
    along = moved[:, 0] * np.cos(angle / 2) + moved[:, 1] * np.sin(angle / 2)  # the chord of an arc points half the angle to the side
    return Motion(speed_mps=along / np.sinc(angle / 2 / np.pi) / dt_s, yaw_rate_radps=angle / dt_s)


def carried_on(motion: Motion, horizon: int, dt_s: float) -> tuple[F64, F64]:
    """Constant velocity and constant turn rate, (M, H, 2) each, in the newest ego frame."""
    pairs = list(zip(motion.speed_mps.tolist(), motion.yaw_rate_radps.tolist(), strict=True))
    shape = (len(pairs), horizon, 2)
    straight = np.array([constant_velocity(v, horizon, dt_s) for v, _ in pairs]).reshape(shape)
    return straight, np.array([constant_turn_rate(v, w, horizon, dt_s) for v, w in pairs]).reshape(shape)
