"""A path as the follower reads it: a line by arc length, and a place and speed on it by time.

Shape letters: N rows of a path · M points of its line, `STEP_M` apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import F64, NS_PER_S, DensePath, InputError
from vavam_ros.core.geometry import arc_lengths, fit_spline, headings, project_on_segments, rotate_yaw, transform_points

STEP_M = 0.25
MIN_MOVE_M = 0.05  # rows closer than this are one place: between them, direction is noise
SHORT_M = 0.3  # a shorter path is a place to stand at
HEADING_WINDOW_M = 0.5  # direction is taken over at least this much of the line
CURVATURE_WINDOW_M = 2.0  # and curvature over this much: shorter is the noise of the rows
SPARSE_S = 0.15  # rows further apart in time are joined by a spline instead of lines
MAX_ROWS, MAX_LENGTH_M, MAX_DURATION_S, FARTHEST_M, MAX_SPEED_MPS = 10_000, 1000.0, 120.0, 1e8, 100.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """The line and the timing of a path."""

    xy_m: F64  # (M, 2)
    yaw_rad: F64  # (M,) unwrapped
    curvature_1pm: F64  # (M,) + left
    length_m: float
    start_ns: int
    t_s: F64  # (N,) from start_ns
    s_m: F64  # (N,) arc length where the path wants to be at t; never falls
    speed_mps: F64  # (N,) ≥ 0

    @property
    def is_place(self) -> bool:
        """Too short to have a direction."""
        return self.length_m < SHORT_M

    @property
    def end_s(self) -> float:
        """Time of the last row, from start_ns."""
        return float(self.t_s[-1])

    def at_time(self, t_s: float) -> tuple[float, float, float]:
        """Arc length, speed and acceleration wanted at a time. Before the first row its speed holds; after the last the path has ended: it stands."""
        if t_s < 0.0:
            v = float(self.speed_mps[0])
            return v * t_s, v, 0.0
        if t_s >= self.end_s:
            return float(self.s_m[-1]), 0.0, 0.0
        before, now, after = np.interp((max(t_s - 0.1, 0.0), t_s, min(t_s + 0.1, self.end_s)), self.t_s, self.speed_mps).tolist()
        span = min(t_s + 0.1, self.end_s) - max(t_s - 0.1, 0.0)
        return float(np.interp(t_s, self.t_s, self.s_m)), now, (after - before) / span

    def place(self, s_m: float) -> tuple[F64, float]:
        """Point (2,) and heading at an arc length; before and past the line, straight on."""
        i = min(max(s_m / self.length_m, 0.0), 1.0) * (len(self.xy_m) - 1)
        low = min(int(i), len(self.xy_m) - 2)
        u = i - low
        yaw = float((1.0 - u) * self.yaw_rad[low] + u * self.yaw_rad[low + 1])
        beyond = s_m - min(max(s_m, 0.0), self.length_m)
        return (1.0 - u) * self.xy_m[low] + u * self.xy_m[low + 1] + beyond * np.array([np.cos(yaw), np.sin(yaw)]), yaw

    def nearest(self, point_m: F64, expected_m: float) -> tuple[float, float, float]:
        """Arc length (negative before the start, beyond the length past the end), offset (+ left of the line) and heading of the foot of a point.

        Where the line passes the point twice, the foot nearer to `expected_m` is meant."""
        arc, distance, _ = project_on_segments(self.xy_m, point_m)
        s = float(arc[int(np.argmin(distance + 0.05 * np.abs(arc - expected_m)))])
        at, yaw = self.place(s)
        dx, dy = (point_m - at).tolist()
        along = dx * np.cos(yaw) + dy * np.sin(yaw)
        if (s <= 0.0 and along < 0.0) or (s >= self.length_m - 1e-9 and along > 0.0):
            s += along
        return float(s), float(-dx * np.sin(yaw) + dy * np.cos(yaw)), yaw


@lru_cache(maxsize=8)
def track_of(path: DensePath) -> Track:
    """The track of a path. Raises InputError for a path that cannot be meant. (A path is immutable and compares by identity, so remembering is safe.)"""
    xy, t_s, speed = check_rows(path.stamps_ns, path.xyz_m, path.speed_mps)
    keep = [0]
    for i in range(1, len(xy)):
        if np.linalg.norm(xy[i] - xy[keep[-1]]) >= MIN_MOVE_M:
            keep.append(i)
    line = xy[keep]
    at_kept = arc_lengths(line)
    length = float(at_kept[-1])
    if length > MAX_LENGTH_M:
        raise InputError(f"path: got a length of {length:.0f} m, expected at most {MAX_LENGTH_M:g} m")
    s = np.interp(t_s, t_s[keep], at_kept)  # rows between two kept ones are shared out by time, so that slow motion has no steps
    if length < SHORT_M:
        line, at_kept, length = np.stack([xy[-1], xy[-1]]), np.array([0.0, 1.0]), 0.0
    points = max(2, int(np.ceil(length / STEP_M)) + 1)
    grid = np.linspace(0.0, float(at_kept[-1]), points)
    even = np.stack([np.interp(grid, at_kept, line[:, i]) for i in (0, 1)], axis=1)
    yaw = _heading(line, at_kept, grid) if length > 0.0 else np.full(points, path.yaw_rad[-1])
    return Track(
        xy_m=even,
        yaw_rad=yaw,
        curvature_1pm=_slope(yaw, grid, CURVATURE_WINDOW_M),
        length_m=length,
        start_ns=int(path.stamps_ns[0]),
        t_s=t_s,
        s_m=s if length > 0.0 else np.zeros(len(s)),
        speed_mps=np.maximum(speed, 0.0),
    )


def check_rows(stamps_ns: npt.NDArray[np.int64], xyz_m: F64, speed_mps: F64 | None) -> tuple[F64, F64, F64]:
    """xy (N, 2), seconds from the first stamp (N,) and speed (N,) of rows that can be meant; InputError for others."""
    n = len(stamps_ns)
    if not 2 <= n <= MAX_ROWS or len(xyz_m) != n or (speed_mps is not None and len(speed_mps) != n):
        raise InputError(f"path: got {n} stamps, {len(xyz_m)} positions; expected 2 … {MAX_ROWS} of both")
    xy = np.asarray(xyz_m, dtype=np.float64)[:, :2]
    if not (np.abs(xyz_m) <= FARTHEST_M).all():  # true for NaN as well; a NaN in z would spread when the rows are rotated
        raise InputError(f"path: got positions that are not finite or beyond {FARTHEST_M:g} m")
    t_s = (stamps_ns - stamps_ns[0]) / NS_PER_S
    if not (np.diff(stamps_ns) > 0).all():
        raise InputError("path: stamps do not grow from pose to pose; each pose needs its own time (header.stamp of the pose)")
    if t_s[-1] > MAX_DURATION_S:
        raise InputError(f"path: got poses over {t_s[-1]:.0f} s, expected at most {MAX_DURATION_S:g} s; are their stamps and the header's of one clock?")
    steps = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    if (steps > MAX_SPEED_MPS * np.diff(t_s) + 0.5).any():
        raise InputError(f"path: poses lie up to {steps.max():.1f} m apart, more than {MAX_SPEED_MPS:g} m/s")
    if speed_mps is None:
        return xy, t_s, np.zeros(n)
    if not (np.abs(speed_mps) <= MAX_SPEED_MPS).all():
        raise InputError(f"path: got speeds that are not finite or above {MAX_SPEED_MPS:g} m/s")
    return xy, t_s, np.asarray(speed_mps, dtype=np.float64)


def dense_path(
    stamp_ns: int,
    frame_id: str,
    stamps_ns: npt.NDArray[np.int64],
    xyz_m: F64,
    *,
    T_frame_ego: F64 | None = None,
    start_velocity_mps: F64 | None = None,
    start_yaw_rad: float = 0.0,
) -> DensePath:
    """Rows of a message, which have no speeds, → DensePath in `frame_id`.

    With `T_frame_ego` the rows are given in the ego frame at `stamp_ns` and placed by it; where they begin later, the ego point itself comes first
    (its velocity (2,) in the ego frame, if known, is the path's first). Sparse rows, evenly spaced in time, are joined by a cubic spline; headings
    and speeds follow from the positions. `start_yaw_rad`: heading while standing, in `frame_id`. Raises InputError for rows that cannot be meant."""
    stamps_ns, xyz = np.asarray(stamps_ns, dtype=np.int64), np.asarray(xyz_m, dtype=np.float64).reshape(-1, 3)
    if T_frame_ego is not None and len(stamps_ns) and stamps_ns[0] > stamp_ns:
        stamps_ns, xyz = np.concatenate([[stamp_ns], stamps_ns]), np.concatenate([np.zeros((1, 3)), xyz])
    xy, t_s, _ = check_rows(stamps_ns, xyz, None)
    dt_s = np.diff(t_s)
    if dt_s.max() > SPARSE_S and np.ptp(dt_s) < 0.01 and len(xy) > 2:
        spline = fit_spline(xyz, float(dt_s.mean()), None if start_velocity_mps is None else np.append(start_velocity_mps[:2], 0.0))
        t_s = np.linspace(0.0, spline.end_s, max(2, round(spline.end_s / 0.1) + 1))
        xyz, velocity = spline(t_s)
    else:
        velocity = np.asarray(np.gradient(xyz, t_s, axis=0, edge_order=2 if len(t_s) > 2 else 1))
    first_yaw = start_yaw_rad if T_frame_ego is None else 0.0
    yaw, speed = headings(velocity[:, :2], first_yaw)
    if T_frame_ego is not None:
        xyz, yaw = transform_points(T_frame_ego, xyz), rotate_yaw(T_frame_ego[:3, :3], yaw)
    rows_ns = int(stamps_ns[0]) + np.round(t_s * NS_PER_S).astype(np.int64)
    return DensePath(stamp_ns=stamp_ns, frame_id=frame_id, stamps_ns=rows_ns, xyz_m=xyz, yaw_rad=yaw, speed_mps=speed, age_s=0.0)


def _heading(xy_m: F64, at_m: F64, grid_m: F64) -> F64:
    """Direction of a line (n, 2) at arc lengths `grid_m` (M,), unwrapped: that of its pieces, each at least HEADING_WINDOW_M long, between their middles."""
    ends = [0]
    for i in range(1, len(at_m)):
        if at_m[i] - at_m[ends[-1]] >= HEADING_WINDOW_M or (i == len(at_m) - 1 and len(ends) == 1):
            ends.append(i)
    d, middle = np.diff(xy_m[ends], axis=0), 0.5 * (at_m[ends][1:] + at_m[ends][:-1])
    yaw = np.unwrap(np.arctan2(d[:, 1], d[:, 0]))
    out = np.interp(grid_m, middle, yaw)
    if len(yaw) > 1:  # before the first middle and past the last the line bends on as it did
        for outside, i, j in ((grid_m < middle[0], 0, 1), (grid_m > middle[-1], -1, -2)):
            out[outside] = yaw[i] + (grid_m[outside] - middle[i]) * (yaw[i] - yaw[j]) / (middle[i] - middle[j])
    return np.asarray(out)


def _slope(values: F64, s_m: F64, window_m: float) -> F64:
    """Derivative (M,) by arc length over a window."""
    reach = max(1, round(0.5 * window_m / (s_m[1] - s_m[0])))
    index = np.arange(len(s_m))
    high, low = np.minimum(index + reach, len(s_m) - 1), np.maximum(index - reach, 0)
    return np.asarray((values[high] - values[low]) / (s_m[high] - s_m[low]))
