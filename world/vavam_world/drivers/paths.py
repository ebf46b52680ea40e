"""Rows of a plan: from places and speeds at even times to the path that is followed."""

from __future__ import annotations

import numpy as np

from vavam_ros.core.contracts import NS_PER_S, DensePath
from vavam_world.contracts import F64, MAP_FRAME

STEP_S = 0.1
HORIZON_S = 3.0
ROWS = 31  # 0.0 … 3.0 s
ROW_T_S = STEP_S * np.arange(ROWS, dtype=np.float64)


def timed_path(stamp_ns: int, x_m: F64, y_m: F64, yaw_rad: F64, speed_mps: F64) -> DensePath:
    """The path through places (N,) in `map`, row i at stamp + i · 0.1 s. Headings are wrapped to (−π, π]."""
    stamps = stamp_ns + np.round(STEP_S * np.arange(len(x_m)) * NS_PER_S).astype(np.int64)
    return DensePath(
        stamp_ns=stamp_ns,
        frame_id=MAP_FRAME,
        stamps_ns=stamps,
        xyz_m=np.stack([x_m, y_m, np.zeros_like(x_m)], axis=1),
        yaw_rad=np.remainder(yaw_rad + np.pi, 2 * np.pi) - np.pi,
        speed_mps=speed_mps,
        age_s=0.0,
    )
