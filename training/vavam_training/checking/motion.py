"""How the vehicle moves, from the poses of a drive: step by step, and summed over a set in histograms of fixed bins.

Shape letters: n frames of a drive · S steps between frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S
from vavam_training.contracts import I64, DriveRows
from vavam_training.windows.labels import rotation_matrices
from vavam_training.windows.windows import JUMP_M, MAX_SPEED_MPS

MAX_STEP_S = 0.75  # further apart, two poses do not say how the vehicle got from one to the other
STANDING_MPS = 0.3
TURNING_RADPS = 0.03  # from here on a turn says where the point lies that does not slip sideways
MOVING_MPS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Steps that poses describe; all (S,)."""

    row: I64  # of the earlier frame
    dt_s: F64
    forward_mps: F64  # in the vehicle's own axes, at the middle of the step
    left_mps: F64
    yaw_radps: F64
    recorded_mps: F64  # speed as stored, mean of both frames; NaN: unknown


def steps_of(rows: DriveRows) -> Steps:
    """Steps of at most `MAX_STEP_S` between finite poses that do not jump."""
    dt_s = np.diff(rows.stamp_ns) / NS_PER_S
    moved = np.diff(rows.position_m, axis=0)
    good = (dt_s <= MAX_STEP_S) & (np.nan_to_num(np.linalg.norm(moved, axis=1), nan=np.inf) <= MAX_SPEED_MPS * dt_s + JUMP_M)
    at = np.flatnonzero(good)
    R = rotation_matrices(rows.rotation_wxyz)
    dt, velocity = dt_s[at], moved[at] / dt_s[at, None]
    axes = 0.5 * (R[at] + R[at + 1])  # of a turn of less than a radian: 1 % short at 0.3 rad
    yaw = np.arctan2(R[:, 1, 0], R[:, 0, 0])
    turn = np.remainder(yaw[at + 1] - yaw[at] + np.pi, 2 * np.pi) - np.pi
    speed = rows.speed_mps.astype(np.float64)
    return Steps(
        row=at.astype(np.int64),
        dt_s=dt,
        forward_mps=np.einsum("si,si->s", axes[:, :, 0], velocity),
        left_mps=np.einsum("si,si->s", axes[:, :, 1], velocity),
        yaw_radps=turn / dt,
        recorded_mps=0.5 * (speed[at] + speed[at + 1]),
    )


@dataclass(slots=True)
class Histogram:
    """Seconds by value, in bins of fixed width; what lies outside counts in the last bin of its side."""

    low: float
    high: float
    width: float
    seconds: F64 = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = np.zeros(round((self.high - self.low) / self.width))

    def add(self, values: F64, seconds: F64) -> None:
        """Count values, each with its duration."""
        bins = np.clip(np.floor((values - self.low) / self.width), 0, len(self.seconds) - 1).astype(np.int64)
        self.seconds += np.bincount(bins, weights=seconds, minlength=len(self.seconds))

    @property
    def edges(self) -> F64:
        """(bins + 1,)."""
        return np.asarray(self.low + self.width * np.arange(len(self.seconds) + 1), np.float64)

    def share(self, low: float, high: float) -> float:
        """Of the time, between two values (edges of bins)."""
        middle = self.edges[:-1] + self.width / 2
        total = self.seconds.sum()
        return float(self.seconds[(middle > low) & (middle < high)].sum() / total) if total else 0.0


@dataclass(slots=True)
class Motion:
    """Sums over the drives of a set."""

    speed: Histogram = field(default_factory=lambda: Histogram(-5.0, 45.0, 0.5))  # m/s
    yaw_rate: Histogram = field(default_factory=lambda: Histogram(-1.0, 1.0, 0.02))  # rad/s, left positive
    curvature: Histogram = field(default_factory=lambda: Histogram(-0.2, 0.2, 0.005))  # 1/m, while moving
    slip: Histogram = field(default_factory=lambda: Histogram(-1.5, 1.5, 0.05))  # m/s sideways, while moving
    _lever: F64 = field(default_factory=lambda: np.zeros(2))  # Σ yaw·left, Σ yaw²
    _lever_steps: int = 0
    _scale: F64 = field(default_factory=lambda: np.zeros(3))  # Σ recorded·forward, Σ forward², Σ |recorded − forward|·dt
    _scale_s: float = 0.0

    def add(self, s: Steps) -> None:
        """Take in the steps of one drive."""
        moving = np.abs(s.forward_mps) > MOVING_MPS
        self.speed.add(s.forward_mps, s.dt_s)
        self.yaw_rate.add(s.yaw_radps, s.dt_s)
        self.curvature.add(s.yaw_radps[moving] / s.forward_mps[moving], s.dt_s[moving])
        self.slip.add(s.left_mps[moving], s.dt_s[moving])
        turning = moving & (np.abs(s.yaw_radps) > TURNING_RADPS)
        yaw, left = s.yaw_radps[turning], s.left_mps[turning]
        self._lever += np.array([np.sum(yaw * left), np.sum(yaw * yaw)])
        self._lever_steps += int(turning.sum())
        known = np.isfinite(s.recorded_mps) & moving
        recorded, forward = s.recorded_mps[known], s.forward_mps[known]
        self._scale += np.array([np.sum(recorded * forward), np.sum(forward * forward), np.sum(np.abs(recorded - forward) * s.dt_s[known])])
        self._scale_s += float(s.dt_s[known].sum())

    @property
    def lever_m(self) -> float | None:
        """How far ahead of the point that does not slip sideways (the rear axle of a car that does not skid) the poses are; None: too few turns.

        A point L ahead of it moves sideways at L times the yaw rate; L by least squares."""
        return float(self._lever[0] / self._lever[1]) if self._lever_steps >= 30 else None

    @property
    def speed_scale(self) -> float | None:
        """Recorded speed over that of the poses, by least squares; None: unknown."""
        return float(self._scale[0] / self._scale[1]) if self._scale[1] > 0.0 else None

    @property
    def speed_error_mps(self) -> float | None:
        """Mean distance of both; None: unknown."""
        return float(self._scale[2] / self._scale_s) if self._scale_s > 0.0 else None


def seen_from_above(rows: DriveRows, points: int = 400) -> F64:
    """(≤ points, 2) metres in the first frame's axes: ahead, left."""
    at = np.unique(np.linspace(0, len(rows.stamp_ns) - 1, points).round().astype(np.int64))
    difference = rows.position_m[at] - rows.position_m[0]
    R = rotation_matrices(rows.rotation_wxyz[:1])[0]
    ahead = np.array([R[0, 0], R[1, 0]]) / max(float(np.hypot(R[0, 0], R[1, 0])), 1e-9)
    return np.stack([difference[:, :2] @ ahead, difference[:, :2] @ np.array([-ahead[1], ahead[0]])], axis=1)
