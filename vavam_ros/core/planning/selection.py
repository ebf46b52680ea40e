"""K samples → the one that is followed. Deterministic, with the reason; never a mean, which lies between the modes.

Shape letters: K samples · H waypoints.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import F32, F64, ConfigError, EgoPose, Plan, Selection
from vavam_ros.core.geometry import expected_waypoints

Rule = Literal["medoid", "continuity", "cautious", "first"]


def spread_m(xy_m: F32 | F64, index: int, dt_s: float) -> F32:
    """How far the other samples are from the selected one at 1, 2, 3 … s: mean distance, (floor(H·dt),). Zeros for K = 1.

    Samples that are not finite are left out; NaN where the selected one is. Between waypoints positions are interpolated linearly (from the origin at 0 s)."""
    xy = np.asarray(xy_m, dtype=np.float64)
    xy = np.where(np.isfinite(xy), xy, np.nan)
    samples, horizon = xy.shape[:2]
    seconds = np.arange(1, int(np.floor(horizon * dt_s + 1e-9)) + 1, dtype=np.float64)
    path = np.concatenate([np.zeros((samples, 1, 2)), xy], axis=1)
    slot = seconds / dt_s
    low = np.minimum(np.floor(slot + 1e-9).astype(np.int64), horizon - 1)
    share = (slot - low)[None, :, None]
    at = path[:, low] * (1.0 - share) + path[:, low + 1] * share  # K seconds 2
    others: npt.NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=(1, 2)))
    selected_is_finite, others[index] = bool(others[index]), False
    if not selected_is_finite or not others.any():
        return np.full(len(seconds), 0.0 if selected_is_finite else np.nan, dtype=np.float32)
    return np.asarray(np.linalg.norm(at[others] - at[index], axis=-1).mean(axis=0), dtype=np.float32)


def select(
    xy_m: F32 | F64,
    rule: Rule | str,
    previous: Plan | None,
    pose: EgoPose,
    dt_s: float,
    valid: npt.NDArray[np.bool_] | None = None,
) -> Selection:
    """Choose one of the (K, H, 2) samples, given in the ego frame of `pose`, which is that at the image stamp.

    ``medoid``      smallest sum of ADEs to the candidates
    ``continuity``  nearest on average to what the previous plan wants at the same times, carried into the present ego frame by the
                    odometry. Medoid, and the reason says so, without a previous plan that reaches this far, was valid, and was
                    made in the same odometry frame
    ``cautious``    lower quartile of the way gone until the end, in metres: the ⌈K/4⌉-th shortest. Brakes when a quarter of the samples do
    ``first``       the first

    Candidates are the `valid` (K,) samples; with none of those, all finite ones. Ties go to the lowest index. `reason` names what was done.
    Raises ConfigError on an unknown rule or shape."""
    xy = np.asarray(xy_m, dtype=np.float64)
    if xy.ndim != 3 or xy.shape[2] != 2 or 0 in xy.shape:
        raise ConfigError(f"samples: got shape {xy.shape}, expected (K, H, 2) with K, H ≥ 1")
    if rule not in get_args(Rule):
        raise ConfigError(f"selection rule: got {rule!r}, expected one of {get_args(Rule)}")
    finite = np.isfinite(xy).all(axis=(1, 2))
    candidates = np.flatnonzero(finite if valid is None else finite & np.asarray(valid, dtype=bool))
    note = ""
    if not len(candidates) and finite.any():
        candidates, note = np.flatnonzero(finite), ", no sample is valid"
    if not len(candidates):
        return Selection(index=0, reason="first, no sample is finite", spread_m=spread_m(xy, 0, dt_s))
    reason, cost = _cost(xy[candidates], rule, previous, pose, dt_s)
    index = int(candidates[int(np.argmin(cost))])
    return Selection(index=index, reason=reason + note, spread_m=spread_m(xy, index, dt_s))


def _cost(xy: F64, rule: str, previous: Plan | None, pose: EgoPose, dt_s: float) -> tuple[str, F64]:
    """What was done, and the cost (candidates,) that the choice minimises."""
    if rule == "first":
        return "first", np.arange(len(xy), dtype=np.float64)
    if rule == "cautious":
        steps = np.diff(xy, axis=1, prepend=np.zeros((len(xy), 1, 2)))
        length = np.round(np.linalg.norm(steps, axis=-1).sum(axis=1), 9)  # candidates
        return "cautious", np.abs(length - np.sort(length)[math.ceil(len(xy) / 4) - 1])
    medoid = np.linalg.norm(xy[:, None] - xy[None], axis=-1).mean(axis=-1).sum(axis=1)  # candidates
    medoid = np.round(medoid, 9)  # a tie is a tie whatever the order of summation
    if rule == "medoid":
        return "medoid", medoid
    if previous is None:
        return "medoid, no previous plan", medoid
    if previous.violations:
        return "medoid, previous plan was invalid", medoid
    if previous.pose.odom_frame_id != pose.odom_frame_id:
        return "medoid, odometry frame changed", medoid
    error = continuity_error_m(xy, expected_waypoints(previous, pose, dt_s, xy.shape[1]))
    if np.isnan(error).any():
        return "medoid, previous plan does not reach this far", medoid
    return "continuity", np.round(error, 9)


def continuity_error_m(xy_m: F32 | F64, expected_m: F64) -> F64:
    """Mean distance of (..., H, 2) to the expected positions (H, 2) where those are known; (...), NaN if nowhere."""
    known = np.isfinite(expected_m).all(axis=-1)
    xy = np.asarray(xy_m, dtype=np.float64)
    if not known.any():
        return np.full(xy.shape[:-2], np.nan)
    return np.asarray(np.linalg.norm(xy[..., known, :] - expected_m[known], axis=-1).mean(axis=-1), dtype=np.float64)
