"""What is learned from a window: where the vehicle is at each waypoint after each frame, and the command that fits.

Positions lie in the ego frame of their own frame (x forward, y left), metres. Only x and y of the difference count, turned by the whole inverse rotation, as in
VaVAM's data (arXiv 2502.15672; valeoai/VideoActionModel, ego trajectory data set).

# vs upstream: positions are interpolated at the exact times of the waypoints; there the nearest recorded row is taken, which is the same at regular rates.

Shape letters: n frames of a drive · M windows · T context frames · H waypoints.
"""

from __future__ import annotations

import numpy as np

from vavam_ros.core.contracts import F32, F64, NS_PER_S, Command, InputError
from vavam_training.contracts import ADVICE_DT_S, I64, NO_COMMAND, DriveRows
from vavam_training.windows.spec import RULES, Rule, WindowSpec

LATERAL_M = 2.0  # further to the side than this is a turn


def labels(rows: DriveRows, index: I64, spec: WindowSpec) -> tuple[F32, I64]:
    """index (M, T) of `window_starts` → `positions` (M, T, H, 2) float32 and commands (M, T) int64.

    Raises InputError as `positions`; where the rule is `recorded` and a window has a frame without a command; and where commands of drives with advice are
    to be read off what was driven."""
    if rows.advice_m is not None and not RULES[spec.command_rule].recorded:
        raise InputError(f"drive {rows.name!r}: got command rule {spec.command_rule}, expected recorded: what was driven is not what was advised")
    inverse = _into_ego(rows, index)
    return _waypoints(rows, index, spec, inverse), _commands(rows, index, inverse, rows.position_m[index], RULES[spec.command_rule])


def positions(rows: DriveRows, index: I64, spec: WindowSpec) -> F32:
    """index (M, T) → (M, T, H, 2) waypoints in the ego frame of each frame; NaN where the vehicle was moved meanwhile (`WindowSpec.max_sideways_m`).

    Of drives with advice they are the adviser's, NaN where it gave none; what was driven is not learned.

    Raises InputError where advice does not reach the waypoints."""
    return _waypoints(rows, index, spec, _into_ego(rows, index))


def _into_ego(rows: DriveRows, index: I64) -> F64:
    """(M, T, 3, 3) world → ego."""
    return rotation_matrices(rows.rotation_wxyz[index]).swapaxes(-1, -2)


def _waypoints(rows: DriveRows, index: I64, spec: WindowSpec, inverse: F64) -> F32:
    stamps = rows.stamp_ns[index]  # (M, T)
    steps_ns = np.round(np.arange(1, spec.horizon + 1) * spec.waypoint_dt_s * NS_PER_S).astype(np.int64)
    here = rows.position_m[index]
    if rows.advice_m is not None:
        return _in_ego(inverse, here, _advised(rows, index, spec)).astype(np.float32)
    found = _in_ego(inverse, here, _positions_at(rows, stamps[..., None] + steps_ns))
    if spec.max_sideways_m is not None:
        moved = np.concatenate([[0], np.cumsum(sideways_m(rows) > spec.max_sideways_m)])  # how often before each row
        end = np.minimum(np.searchsorted(rows.stamp_ns, stamps + steps_ns[-1]), len(rows.stamp_ns) - 1)
        found[moved[end] > moved[index]] = np.nan
    return found.astype(np.float32)


def _advised(rows: DriveRows, index: I64, spec: WindowSpec) -> F64:
    """(M, T, H, 3) positions in world, at the height of the frame."""
    assert rows.advice_m is not None
    if spec.waypoint_dt_s != ADVICE_DT_S or spec.horizon > rows.advice_m.shape[1]:
        got = f"{spec.horizon} waypoints {spec.waypoint_dt_s:g} s apart"
        raise InputError(f"drive {rows.name!r}: got {got}, but advice is kept at {rows.advice_m.shape[1]} times {ADVICE_DT_S:g} s apart")
    xy = rows.advice_m[index][:, :, : spec.horizon]
    height = np.broadcast_to(rows.position_m[index][:, :, None, 2:], (*xy.shape[:3], 1))
    return np.concatenate([xy, height], axis=-1)


def _commands(rows: DriveRows, index: I64, inverse: F64, here: F64, rule: Rule) -> I64:
    if rule.recorded:
        found = rows.command[index].astype(np.int64)
        if (found == NO_COMMAND).any():
            raise InputError(f"drive {rows.name!r}: frames without a recorded command; expected one for each, or another command_rule than recorded")
        return found
    if rule.rows:
        there = rows.position_m[np.minimum(index + rule.rows, len(rows.stamp_ns) - 1)]
    else:
        there = _positions_at(rows, rows.stamp_ns[index] + round(rule.horizon_s * NS_PER_S))
    y_m = _in_ego(inverse, here, there[:, :, None])[:, :, 0, 1]
    return np.where(y_m > LATERAL_M, Command.LEFT, np.where(y_m < -LATERAL_M, Command.RIGHT, Command.STRAIGHT)).astype(np.int64)


def sideways_m(rows: DriveRows) -> F64:
    """(n − 1,) how far the rear axle moved across its mean heading between rows, metres. On an arc: not at all, however tight."""
    forward = rotation_matrices(rows.rotation_wxyz)[:, :2, 0]
    mean = forward[:-1] + forward[1:]
    mean /= np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)
    step = np.diff(rows.position_m[:, :2], axis=0)
    across: F64 = np.abs(mean[:, 0] * step[:, 1] - mean[:, 1] * step[:, 0])
    return across


def _positions_at(rows: DriveRows, stamps_ns: I64) -> F64:
    """(…, 3) positions in world, linear between rows; beyond the last row the last (within the tolerance of the window's end)."""
    base = rows.stamp_ns[0]
    at, known = (stamps_ns - base).astype(np.float64), (rows.stamp_ns - base).astype(np.float64)
    return np.stack([np.interp(at, known, rows.position_m[:, axis]) for axis in range(3)], axis=-1)


def _in_ego(inverse: F64, here: F64, there: F64) -> F64:
    """inverse (M, T, 3, 3), here (M, T, 3), there (M, T, H, 3) → (M, T, H, 2): x and y of the difference, turned; z is left out before, as upstream does."""
    difference = there - here[:, :, None]
    difference[..., 2] = 0.0
    turned: F64 = np.einsum("mtij,mthj->mthi", inverse, difference)
    return turned[..., :2]


def rotation_matrices(wxyz: F64) -> F64:
    """(…, 4) quaternions, normalised here → (…, 3, 3)."""
    q = np.asarray(wxyz, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    m = np.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], axis=-1)  # fmt: skip
    return m.reshape(*q.shape[:-1], 3, 3)
