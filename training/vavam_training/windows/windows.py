"""Which frames of a drive make a window: T context frames on a time grid and, where labels are asked for, poses for H waypoints after each of them.

Shape letters: n frames of a drive · M windows · T context frames · H waypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vavam_ros.core.contracts import NS_PER_S
from vavam_training.contracts import I64, DriveRows
from vavam_training.windows.spec import WindowSpec

MAX_SPEED_MPS = 60.0  # faster between two frames, and 1 m more, is a pose that jumped
JUMP_M = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Windows of one drive, in the order of their oldest frame, and how many first frames gave none, by reason."""

    index: I64  # (M, T) rows of the context frames, oldest first
    left_out: dict[str, int]


def window_starts(rows: DriveRows, spec: WindowSpec) -> I64:
    """(M, T) rows of the frames of each window: one window for every frame that can be the oldest of one."""
    return find_windows(rows, spec).index


def find_windows(rows: DriveRows, spec: WindowSpec) -> Windows:
    """As `window_starts`, with the count of what was left out and why. Nothing is left out without a reason here."""
    n, stamps = len(rows.stamp_ns), rows.stamp_ns
    if n == 0:
        return Windows(index=np.zeros((0, spec.frames), np.int64), left_out={})
    if spec.labelled and not rows.has_motion:
        return Windows(index=np.zeros((0, spec.frames), np.int64), left_out={"no poses (video only)": n})
    offsets_ns = np.round(np.arange(spec.frames) * spec.frame_dt_s * NS_PER_S).astype(np.int64)
    targets = stamps[:, None] + offsets_ns  # (n, T)
    index = _nearest(stamps, targets)
    tolerance_ns = round(spec.tolerance_s * NS_PER_S)
    reasons = np.full(n, "", dtype=object)
    future_s = 0.0 if rows.advice_m is not None else spec.future_s  # what an adviser would have driven is there with the frame
    last_needed = targets[:, -1] + round(future_s * NS_PER_S)
    reasons[last_needed > stamps[-1] + tolerance_ns] = "the drive ends before the window does"
    off = (np.abs(stamps[index] - targets) > tolerance_ns).any(axis=1)
    reasons[(reasons == "") & off] = "a frame is missing on the grid"
    if spec.labelled:
        for reason, bad in _broken_steps(rows, spec):
            counts = np.concatenate([[0], np.cumsum(bad)])  # bad[i]: between row i and i + 1
            end = np.minimum(np.searchsorted(stamps, last_needed, side="left"), n - 1)
            reasons[(reasons == "") & (counts[end] - counts[np.arange(n)] > 0)] = reason
    left_out = {str(reason): int(np.sum(reasons == reason)) for reason in sorted(set(reasons)) if reason}
    return Windows(index=index[reasons == ""], left_out=left_out)


def _nearest(stamps: I64, targets: I64) -> I64:
    """Row whose stamp is nearest to each target; the earlier of two equally near."""
    right = np.clip(np.searchsorted(stamps, targets), 1, max(len(stamps) - 1, 1))
    left = right - 1
    if len(stamps) == 1:
        return np.zeros_like(targets)
    return np.where(targets - stamps[left] <= stamps[right] - targets, left, right).astype(np.int64)


def _broken_steps(rows: DriveRows, spec: WindowSpec) -> list[tuple[str, np.ndarray]]:
    """Between which rows poses cannot be interpolated: (n - 1,) masks with their reasons."""
    dt_s = np.diff(rows.stamp_ns) / NS_PER_S
    step_m = np.linalg.norm(np.diff(rows.position_m, axis=0), axis=1)
    return [
        ("a pose is missing", ~np.isfinite(step_m)),
        ("the pose jumps", np.nan_to_num(step_m, nan=0.0) > MAX_SPEED_MPS * dt_s + JUMP_M),
        ("poses have a gap", dt_s > spec.waypoint_dt_s + 2 * spec.tolerance_s),
    ]
