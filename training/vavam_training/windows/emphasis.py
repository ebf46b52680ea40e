"""How much a window asks for: how far its plans stray from going straight on. Most of driving is straight on, and is learned soon.

Shape letters: M windows · T context frames · H waypoints.
"""

from __future__ import annotations

import numpy as np

from vavam_ros.core.contracts import F64
from vavam_training.contracts import I64, DriveRows
from vavam_training.windows.labels import labels
from vavam_training.windows.spec import WindowSpec

MOST_COPIES = 5


def strays_m(rows: DriveRows, index: I64, spec: WindowSpec) -> F64:
    """index (M, T) of `window_starts` → (M,) metres between the last waypoint and where the vehicle would be if it went straight on as in the first step,
    mean over the window's frames. Frames whose trajectory is not learned (NaN) count as 0."""
    if not len(index):
        return np.zeros(0)
    positions = labels(rows, index, spec)[0].astype(np.float64)
    straight_on = np.zeros_like(positions[:, :, -1])
    straight_on[..., 0] = spec.horizon * np.linalg.norm(positions[:, :, 0], axis=-1)
    away = np.linalg.norm(positions[:, :, -1] - straight_on, axis=-1)
    strays: F64 = np.nan_to_num(away, nan=0.0).mean(axis=1)
    return strays


def copies(strays: F64, emphasis_m: float) -> I64:
    """(M,) how often each window comes in an epoch: once, and once more for each `emphasis_m` by which it strays, `MOST_COPIES` times at the most."""
    n: I64 = np.minimum(1 + np.floor(strays / emphasis_m), MOST_COPIES).astype(np.int64)
    return n
