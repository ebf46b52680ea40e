"""Where the vehicle was, is, and will be for a moment: a time-ordered history of odometry, the only store of it.

Poses between messages are interpolated by cubic Hermite curves that use the twists at both ends, in position and in rotation. Against linear position and
spherical rotation that takes the pose error of a turning, accelerating ego at 10 Hz from centimetres to a tenth of a millimetre
(docs/results/latency_compensation.md). Where the twists contradict the displacement (many sources leave the twist zero) the interpolation is linear.

The present is the newest message carried on by its twist and the twist's trend, for a bounded time.

Not thread safe: its owner holds a lock. Time is an argument.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S, ConfigError, EgoPose, OdometrySample, PoseQuality, Waiting, WaitReason
from vavam_ros.core.geometry import integrate_twist, interpolate_pose, rotation_matrix, rotation_vector, shift_origin, skew

MAX_TREND_MPS2, MAX_TREND_RADPS2 = 10.0, 2.0
MAX_SPEED_ERROR_MPS, MAX_TURN_ERROR_RADPS, MAX_RELATIVE_ERROR = 0.5, 0.1, 0.1  # between twists and poses, beyond which they contradict each other


@dataclass(frozen=True, slots=True, kw_only=True)
class OdometryConfig:
    """Limits of the history, in seconds unless the name says otherwise."""

    keep_s: float = 10.0
    max_gap_s: float = 0.25  # between the two messages around a stamp: one lost message at 10 Hz passes, two do not
    max_extrapolation_s: float = 0.2  # twist carried on past the newest message
    trend_s: float = 0.1  # time over which the twist's own trend is taken, long enough that noise makes no acceleration; 0: constant twist
    reset_jump_back_s: float = 1.0  # a message older than the newest by more is time that jumped; by less, one that is late
    max_speed_mps: float = 100.0  # a displacement that needs more is a pose that jumped (a respawn, a relocalisation)
    max_jump_m: float = 2.0  # on top of it
    interpolation: Literal["hermite", "linear"] = "hermite"

    def __post_init__(self) -> None:
        for name in ("keep_s", "max_gap_s", "reset_jump_back_s", "max_speed_mps", "max_jump_m"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"odometry {name}: got {getattr(self, name)}, expected a positive number")
        for name in ("max_extrapolation_s", "trend_s"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"odometry {name}: got {getattr(self, name)}, expected 0 or more")
        if not self.keep_s > self.reset_jump_back_s:
            raise ConfigError(f"odometry keep_s {self.keep_s} must exceed reset_jump_back_s {self.reset_jump_back_s}: late messages would fall out at once")
        if self.interpolation not in ("hermite", "linear"):
            raise ConfigError(f"odometry interpolation: got {self.interpolation!r}, expected 'hermite' or 'linear'")


class PushOutcome(Enum):
    """What became of a message. The value is the text of its counter."""

    ACCEPTED = "accepted"
    OUT_OF_ORDER = "out of order, inserted"
    DUPLICATE = "duplicate stamp, ignored"
    REJECTED_NONFINITE = "not finite, refused"
    REJECTED_NO_STAMP = "no header stamp, refused"
    TIME_JUMPED_BACK = "time jumped back, history reset"
    FRAME_CHANGED = "frame changed, history reset"
    POSE_JUMPED = "pose jumped, history reset"

    @property
    def was_reset(self) -> bool:
        """The history began anew with this message: what was derived from it before (plans, token contexts) is void."""
        return self in (PushOutcome.TIME_JUMPED_BACK, PushOutcome.FRAME_CHANGED, PushOutcome.POSE_JUMPED)


class OdometryHistory:
    """Odometry by stamp. `rear_axle_x_m` is the x of the ego point in base_link (0 where base_link is the rear axle)."""

    def __init__(self, config: OdometryConfig | None = None, rear_axle_x_m: float = 0.0) -> None:
        if not np.isfinite(rear_axle_x_m):
            raise ConfigError(f"rear_axle_x_m: got {rear_axle_x_m}, expected a finite length")
        self.config = config if config is not None else OdometryConfig()
        self.rear_axle_x_m = rear_axle_x_m
        self._outcomes: Counter[PushOutcome] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget all messages. The counters go on."""
        self._stamps_ns: list[int] = []
        self._samples: list[OdometrySample] = []

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest message, None before the first."""
        return self._stamps_ns[-1] if self._stamps_ns else None

    @property
    def oldest_stamp_ns(self) -> int | None:
        """Stamp of the oldest message kept, None before the first."""
        return self._stamps_ns[0] if self._stamps_ns else None

    @property
    def counters(self) -> dict[PushOutcome, int]:
        """How often each outcome came about since construction."""
        return {outcome: self._outcomes[outcome] for outcome in PushOutcome}

    def push(self, sample: OdometrySample) -> PushOutcome:
        """Take in one message, in whatever order it arrives."""
        outcome = self._classify(sample)
        self._outcomes[outcome] += 1
        if outcome in (PushOutcome.REJECTED_NONFINITE, PushOutcome.REJECTED_NO_STAMP, PushOutcome.DUPLICATE):
            return outcome
        if outcome.was_reset:
            self.reset()
        i = bisect_right(self._stamps_ns, sample.stamp_ns)
        self._stamps_ns.insert(i, sample.stamp_ns)
        self._samples.insert(i, sample)
        expired = bisect_left(self._stamps_ns, self._stamps_ns[-1] - _ns(self.config.keep_s))
        del self._stamps_ns[:expired], self._samples[:expired]
        return outcome

    def _classify(self, sample: OdometrySample) -> PushOutcome:
        if sample.stamp_ns <= 0:
            return PushOutcome.REJECTED_NO_STAMP
        if not all(np.isfinite(a).all() for a in (sample.T_odom_base, sample.linear_mps, sample.angular_radps)):
            return PushOutcome.REJECTED_NONFINITE
        if not self._samples:
            return PushOutcome.ACCEPTED
        newest = self._samples[-1]
        if (sample.odom_frame_id, sample.base_frame_id) != (newest.odom_frame_id, newest.base_frame_id):
            return PushOutcome.FRAME_CHANGED
        dt_s = (sample.stamp_ns - newest.stamp_ns) / NS_PER_S
        if dt_s < -self.config.reset_jump_back_s:
            return PushOutcome.TIME_JUMPED_BACK
        i = bisect_left(self._stamps_ns, sample.stamp_ns)
        if i < len(self._stamps_ns) and self._stamps_ns[i] == sample.stamp_ns:
            return PushOutcome.DUPLICATE
        if dt_s < 0.0:
            return PushOutcome.OUT_OF_ORDER
        moved_m = float(np.linalg.norm(sample.T_odom_base[:3, 3] - newest.T_odom_base[:3, 3]))
        return PushOutcome.POSE_JUMPED if moved_m > self.config.max_speed_mps * dt_s + self.config.max_jump_m else PushOutcome.ACCEPTED

    def base_at(self, stamp_ns: int, *, allow_extrapolation_s: float = 0.0) -> OdometrySample | Waiting:
        """base_link's pose and twist at a stamp, interpolated between the messages around it.

        Waiting: NO_ODOMETRY; STAMP_BEFORE_HISTORY; ODOMETRY_GAP (the messages around the stamp are more than `max_gap_s` apart); ODOMETRY_BEHIND
        (the stamp is newer than every message: ask again when more has come, or, when waiting has taken too long, allow extrapolation by that many
        seconds, which `max_extrapolation_s` bounds; the pose then says EXTRAPOLATED)."""
        if not self._samples:
            return Waiting(reason=WaitReason.NO_ODOMETRY)
        i = bisect_left(self._stamps_ns, stamp_ns)
        if i == len(self._stamps_ns):
            behind_s = (stamp_ns - self._stamps_ns[-1]) / NS_PER_S
            if behind_s > min(allow_extrapolation_s, self.config.max_extrapolation_s):
                return Waiting(reason=WaitReason.ODOMETRY_BEHIND, detail=f"by {behind_s:.3f} s")
            return self._carry_on(stamp_ns)
        if self._stamps_ns[i] == stamp_ns:
            return self._samples[i]
        if i == 0:
            return Waiting(reason=WaitReason.STAMP_BEFORE_HISTORY, detail=f"by {(self._stamps_ns[0] - stamp_ns) / NS_PER_S:.3f} s")
        gap_s = (self._stamps_ns[i] - self._stamps_ns[i - 1]) / NS_PER_S
        if gap_s > self.config.max_gap_s:
            return Waiting(reason=WaitReason.ODOMETRY_GAP, detail=f"{gap_s:.3f} s, limit {self.config.max_gap_s} s")
        return _between(self._samples[i - 1], self._samples[i], stamp_ns, self.config.interpolation)

    def base_now(self, now_ns: int) -> OdometrySample | Waiting:
        """base_link's present pose and twist: the newest message carried on by its twist for at most `max_extrapolation_s` (ODOMETRY_STALE past
        that), or interpolated where messages from after `now` are there already."""
        found = self.base_at(now_ns, allow_extrapolation_s=self.config.max_extrapolation_s)
        if isinstance(found, Waiting) and found.reason is WaitReason.ODOMETRY_BEHIND:
            return Waiting(reason=WaitReason.ODOMETRY_STALE, detail=f"{found.detail}, limit {self.config.max_extrapolation_s} s")
        return found

    def pose_at(self, stamp_ns: int, *, allow_extrapolation_s: float = 0.0) -> EgoPose | Waiting:
        """The ego point's pose and twist at a stamp; otherwise as `base_at`."""
        found = self.base_at(stamp_ns, allow_extrapolation_s=allow_extrapolation_s)
        return found if isinstance(found, Waiting) else shift_origin(found, self.rear_axle_x_m)

    def pose_now(self, now_ns: int) -> EgoPose | Waiting:
        """The ego point's present pose and twist; otherwise as `base_now`."""
        found = self.base_now(now_ns)
        return found if isinstance(found, Waiting) else shift_origin(found, self.rear_axle_x_m)

    def contradiction(self, over_s: float = 1.0) -> str | None:
        """Why the twists of the last `over_s` seconds cannot have made the displacement and turn between their poses; None when they agree.

        Over so long, noise averages out at any rate. Nothing is claimed across a gap, or with less than half of that time."""
        first = bisect_left(self._stamps_ns, self._stamps_ns[-1] - _ns(over_s)) if self._samples else 0
        samples = self._samples[first:]
        steps_s = np.diff([s.stamp_ns for s in samples]) / NS_PER_S
        if not steps_s.sum() >= 0.5 * over_s or steps_s.max() > self.config.max_gap_s:
            return None
        T_s, a, b = float(steps_s.sum()), samples[0].T_odom_base, samples[-1].T_odom_base
        velocity = np.stack([s.T_odom_base[:3, :3] @ s.linear_mps for s in samples])  # (N, 3) in odom
        turning = np.array([s.angular_radps[2] for s in samples])
        from_twist_mps = 0.5 * (velocity[:-1] + velocity[1:]).T @ steps_s / T_s
        from_poses_mps = (b[:3, 3] - a[:3, 3]) / T_s
        off_mps, speed_mps = float(np.linalg.norm(from_twist_mps - from_poses_mps)), float(np.linalg.norm(from_poses_mps))
        if off_mps > MAX_SPEED_ERROR_MPS + MAX_RELATIVE_ERROR * speed_mps:
            return f"the poses move at {speed_mps:.2f} m/s, the twists say {np.linalg.norm(from_twist_mps):.2f} m/s; they differ by {off_mps:.2f} m/s"
        rate_poses, rate_twist = float(rotation_vector(a[:3, :3].T @ b[:3, :3])[2]) / T_s, float(0.5 * (turning[:-1] + turning[1:]) @ steps_s) / T_s
        if abs(rate_poses - rate_twist) > MAX_TURN_ERROR_RADPS + MAX_RELATIVE_ERROR * abs(rate_poses):
            return f"the poses turn at {rate_poses:.2f} rad/s, the twists say {rate_twist:.2f} rad/s"
        return None

    def _carry_on(self, stamp_ns: int) -> OdometrySample:
        """The newest message carried on by its twist, and the twist by its own trend over the last `trend_s`, where there are messages for one."""
        newest, trend_s = self._samples[-1], self.config.trend_s
        dt_s = (stamp_ns - newest.stamp_ns) / NS_PER_S
        linear_trend, angular_trend = np.zeros(3), np.zeros(3)
        before = max(0, bisect_right(self._stamps_ns, newest.stamp_ns - _ns(trend_s)) - 1)
        span_s = (newest.stamp_ns - self._stamps_ns[before]) / NS_PER_S
        if 0.0 < trend_s <= 2.0 * span_s and span_s <= max(self.config.max_gap_s, trend_s):
            linear_trend = np.clip((newest.linear_mps - self._samples[before].linear_mps) / span_s, -MAX_TREND_MPS2, MAX_TREND_MPS2)
            angular_trend = np.clip((newest.angular_radps - self._samples[before].angular_radps) / span_s, -MAX_TREND_RADPS2, MAX_TREND_RADPS2)
        linear, angular = newest.linear_mps + 0.5 * dt_s * linear_trend, newest.angular_radps + 0.5 * dt_s * angular_trend
        return replace(
            newest,
            stamp_ns=stamp_ns,
            T_odom_base=integrate_twist(newest.T_odom_base, linear, angular, dt_s),
            linear_mps=newest.linear_mps + dt_s * linear_trend,
            angular_radps=newest.angular_radps + dt_s * angular_trend,
            quality=PoseQuality.EXTRAPOLATED if newest.quality is PoseQuality.MEASURED else newest.quality,
        )


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def _between(a: OdometrySample, b: OdometrySample, stamp_ns: int, interpolation: str) -> OdometrySample:
    """The sample at a stamp between two. The twist is linear in either case."""
    dt_s = (b.stamp_ns - a.stamp_ns) / NS_PER_S
    u = (stamp_ns - a.stamp_ns) / (b.stamp_ns - a.stamp_ns)
    T = _hermite(a, b, u, dt_s) if interpolation == "hermite" else None
    return replace(
        a,
        stamp_ns=stamp_ns,
        T_odom_base=T if T is not None else interpolate_pose(a.T_odom_base, b.T_odom_base, u),
        linear_mps=(1.0 - u) * a.linear_mps + u * b.linear_mps,
        angular_radps=(1.0 - u) * a.angular_radps + u * b.angular_radps,
        quality=a.quality if a.quality is not PoseQuality.MEASURED else b.quality,
    )


def _hermite(a: OdometrySample, b: OdometrySample, u: float, dt_s: float) -> F64 | None:
    """Pose a share u of the way on a cubic with the measured velocities at its ends; None where those contradict the displacement."""
    Ra, Rb = a.T_odom_base[:3, :3], b.T_odom_base[:3, :3]
    moved, va, vb = b.T_odom_base[:3, 3] - a.T_odom_base[:3, 3], Ra @ a.linear_mps, Rb @ b.linear_mps
    phi = rotation_vector(Ra.T @ Rb)
    # rate of the rotation vector at its end: inverse right Jacobian of SO(3), to second order in phi
    S = skew(phi)
    wa, wb = a.angular_radps, (np.eye(3) + 0.5 * S + S @ S / 12.0) @ b.angular_radps
    speed = float(np.linalg.norm(moved)) / dt_s
    if np.linalg.norm(0.5 * (va + vb) * dt_s - moved) > (0.5 + 0.1 * speed) * dt_s or np.linalg.norm(0.5 * (wa + wb) * dt_s - phi) > 0.3 * dt_s:
        return None
    T = np.eye(4)
    T[:3, :3] = Ra @ rotation_matrix(_cubic(phi, wa * dt_s, wb * dt_s, u))
    T[:3, 3] = a.T_odom_base[:3, 3] + _cubic(moved, va * dt_s, vb * dt_s, u)
    return T


def _cubic(end: F64, slope0: F64, slope1: F64, u: float) -> F64:
    """Hermite cubic from 0 to `end` over u in [0, 1]."""
    return (3 * u**2 - 2 * u**3) * end + (u - 2 * u**2 + u**3) * slope0 + (u**3 - u**2) * slope1
