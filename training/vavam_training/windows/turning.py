"""How the vehicle turns after a frame: its headings at the waypoints. Nothing learns these (the model plans positions); reports of data sets show them.

Shape letters: n frames of a drive · M windows · T context frames · H waypoints.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from vavam_ros.core.contracts import F64, NS_PER_S
from vavam_training.contracts import I64, DriveRows
from vavam_training.windows.spec import WindowSpec


def future_rotations(rows: DriveRows, index: I64, spec: WindowSpec) -> F64:
    """index (M, T) of `window_starts` → (M, T, H, 4): rotation w x y z of the vehicle at each waypoint, seen from the frame; w ≥ 0.

    Spherically interpolated at the times of the waypoints. Source: VideoActionModel vam/datalib/ego_trajectory_dataset.py, `rotations`."""
    (m, t), base = index.shape, rows.stamp_ns[0]
    if len(rows.stamp_ns) < 2 or not m:
        return np.tile([1.0, 0.0, 0.0, 0.0], (m, t, spec.horizon, 1))
    turns = Rotation.from_quat(rows.rotation_wxyz, scalar_first=True)
    steps_ns = np.round(np.arange(1, spec.horizon + 1) * spec.waypoint_dt_s * NS_PER_S).astype(np.int64)
    stamps = np.minimum(rows.stamp_ns[index][..., None] + steps_ns, rows.stamp_ns[-1]) - base
    there = Slerp(rows.stamp_ns - base, turns)(stamps.reshape(-1))
    here = turns[np.repeat(index.reshape(-1), spec.horizon)]
    seen: F64 = (here.inv() * there).as_quat(canonical=True, scalar_first=True)
    return seen.reshape(m, t, spec.horizon, 4)


def yaw_rates(rotations_wxyz: F64, waypoint_dt_s: float) -> F64:
    """(…, H, 4) rotations at waypoints → (…,) rad/s: mean rate of the heading from the first to the last of them; positive to the left.

    # vs upstream: signed and in rad/s; there without sign, in radians a waypoint."""
    w, x, y, z = np.moveaxis(rotations_wxyz, -1, 0)
    yaw = np.unwrap(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)), axis=-1)
    steps = max(yaw.shape[-1] - 1, 1)
    rate: F64 = (yaw[..., -1] - yaw[..., 0]) / (steps * waypoint_dt_s)
    return rate
