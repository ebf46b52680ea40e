"""Rigid motions, and the path a plan becomes: right now, in a fixed frame, with a time and a heading per pose.

Shape letters: K samples · H waypoints · N rows of a dense path.

Rotations go through transforms3d, whose quaternions are (w, x, y, z); those of ROS messages are (x, y, z, w). The two orders meet in `pose_matrix` and
`to_xyz_quat_xyzw` and nowhere else. All arithmetic is fp64.

A plan's waypoints are joined by a cubic spline over the origin (where the ego point was at the image stamp) and the H points. Its end is not-a-knot. Its start
is clamped to the measured twist: on turning, accelerating motion that is ten times more exact in the first half second than not-a-knot
(docs/results/latency_compensation.md), and a path that starts with the speed the vehicle has is what a follower needs. Where twist and points disagree by
more than `MAX_START_MISMATCH_MPS` the twist is not believed (many odometry sources leave it zero) and the start is not-a-knot too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from transforms3d.axangles import axangle2mat
from transforms3d.quaternions import mat2quat, quat2mat

from vavam_ros.core.contracts import F32, F64, NS_PER_S, ConfigError, DensePath, EgoPose, InputError, OdometrySample, Plan, Waiting, WaitReason

MAX_QUATERNION_NORM_ERROR = 0.01  # looser than rounding to three digits, tighter than any quaternion that was never normalised
MIN_HEADING_SPEED_MPS = 0.3  # slower than this the direction of travel is noise: the heading is held
MAX_START_MISMATCH_MPS = 3.0


# ── rigid motions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pose_matrix(xyz_m: Sequence[float] | F64, quat_xyzw: Sequence[float] | F64) -> F64:
    """(4, 4) matrix of a ROS pose. Raises InputError on NaN, on a zero quaternion and on one that is not normalised to 1 %."""
    xyz, (x, y, z, w) = np.asarray(xyz_m, dtype=np.float64), np.asarray(quat_xyzw, dtype=np.float64)
    norm = float(np.sqrt(x * x + y * y + z * z + w * w))
    if not (np.isfinite(norm) and np.isfinite(xyz).all()):
        raise InputError(f"pose is not finite: position {xyz.tolist()}, quaternion (x, y, z, w) {[float(v) for v in (x, y, z, w)]}")
    if abs(norm - 1.0) > MAX_QUATERNION_NORM_ERROR:
        hint = "an unset orientation? publish w = 1 for none" if norm < MAX_QUATERNION_NORM_ERROR else "normalise it at its source"
        raise InputError(f"quaternion (x, y, z, w): got norm {norm:.4g}, expected 1 ± {MAX_QUATERNION_NORM_ERROR}; {hint}")
    T = np.eye(4)
    T[:3, :3] = quat2mat((w, x, y, z))
    T[:3, 3] = xyz
    return T


def to_xyz_quat_xyzw(T: F64) -> tuple[F64, F64]:
    """Position (3,) and ROS quaternion (x, y, z, w) with w ≥ 0 of a (4, 4) matrix."""
    w, x, y, z = mat2quat(T[:3, :3])
    return T[:3, 3].copy(), np.array([x, y, z, w])


def yaw_of(T: F64) -> float:
    """Heading of a pose's x axis, projected on the ground, in (−π, π]."""
    return float(np.arctan2(T[1, 0], T[0, 0]))


def planar_T(x_m: float, y_m: float, yaw_rad: float) -> F64:
    """SE(2) as a (4, 4) matrix with z = 0."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0.0, x_m], [s, c, 0.0, y_m], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=np.float64)


def invert(T: F64) -> F64:
    """Inverse of a rigid motion: T_b_a from T_a_b."""
    out = np.eye(4)
    out[:3, :3] = T[:3, :3].T
    out[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return out


def transform_points(T_a_b: F64, xyz_b_m: F64) -> F64:
    """(N, 2) or (N, 3) points in b → (N, 3) points in a; missing z is 0."""
    xyz = np.zeros((len(xyz_b_m), 3))
    xyz[:, : xyz_b_m.shape[1]] = xyz_b_m
    return np.asarray(xyz @ T_a_b[:3, :3].T + T_a_b[:3, 3], dtype=np.float64)


def skew(v: F64) -> F64:
    """(3, 3) cross-product matrix: skew(v) @ u = v × u."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def rotation_vector(R: F64) -> F64:
    """(3,) axis times angle of a rotation matrix, |angle| ≤ π (the logarithm; atan2 keeps small angles exact)."""
    q = mat2quat(R)
    sine = float(np.linalg.norm(q[1:]))
    angle = 2.0 * np.arctan2(sine, q[0])
    return np.asarray(q[1:] * (angle / sine if sine > 0.0 else 2.0))


def rotation_matrix(rotation_vector_rad: F64) -> F64:
    """(3, 3) exponential of axis times angle."""
    angle = float(np.linalg.norm(rotation_vector_rad))
    return np.asarray(axangle2mat(rotation_vector_rad, angle)) if angle > 0.0 else np.eye(3)


def interpolate_pose(T0: F64, T1: F64, alpha: float) -> F64:
    """Pose a share alpha of the way: spherical interpolation of the rotation the short way round, linear of the position."""
    T = np.eye(4)
    T[:3, :3] = T0[:3, :3] @ rotation_matrix(alpha * rotation_vector(T0[:3, :3].T @ T1[:3, :3]))
    T[:3, 3] = (1.0 - alpha) * T0[:3, 3] + alpha * T1[:3, 3]
    return T


def integrate_twist(T: F64, linear_mps: F64, angular_radps: F64, dt_s: float) -> F64:
    """T · exp(twist · dt): the pose after moving at a constant twist (in the moving frame) for dt seconds."""
    phi = angular_radps * dt_s
    angle = float(np.linalg.norm(phi))
    S = skew(phi)
    if angle < 1e-4:  # series: the closed form divides by angle³
        a, b = 0.5 - angle**2 / 24.0, 1.0 / 6.0 - angle**2 / 120.0
    else:
        a, b = (1.0 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    step = np.eye(4)
    step[:3, :3] = rotation_matrix(phi)
    step[:3, 3] = (np.eye(3) + a * S + b * S @ S) @ (linear_mps * dt_s)
    return np.asarray(T @ step)


def shift_origin(sample: OdometrySample, rear_axle_x_m: float) -> EgoPose:
    """The ego point's pose and twist from base_link's, the rear axle lying at x = `rear_axle_x_m` in base_link: v_ego = v + ω × r."""
    lever = np.array([rear_axle_x_m, 0.0, 0.0])
    T = sample.T_odom_base.copy()
    T[:3, 3] += T[:3, :3] @ lever
    return EgoPose(
        stamp_ns=sample.stamp_ns,
        odom_frame_id=sample.odom_frame_id,
        T_odom_ego=T,
        linear_mps=sample.linear_mps + np.cross(sample.angular_radps, lever),
        angular_radps=sample.angular_radps,
        quality=sample.quality,
    )


# ── the spline through a plan ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spline:
    """Cubic spline through points at times 0, dt, 2·dt … in D dimensions: values and second derivatives at the knots."""

    points: F64  # (n, D)
    bend: F64  # (n, D) second derivatives
    dt_s: float

    @property
    def end_s(self) -> float:
        """Time of the last knot."""
        return (len(self.points) - 1) * self.dt_s

    def __call__(self, t_s: F64) -> tuple[F64, F64]:
        """Position and velocity, each (N, D), at times t (N,) within [0, end_s]."""
        h = self.dt_s
        i = np.clip(np.floor(t_s / h).astype(np.int64), 0, len(self.points) - 2)
        u = (t_s - i * h)[:, None]
        w = h - u
        p0, p1, m0, m1 = self.points[i], self.points[i + 1], self.bend[i], self.bend[i + 1]
        position = (m0 * w**3 + m1 * u**3) / (6 * h) + (p0 / h - m0 * h / 6) * w + (p1 / h - m1 * h / 6) * u
        velocity = (m1 * u**2 - m0 * w**2) / (2 * h) + (p1 - p0) / h - (m1 - m0) * h / 6
        return position, velocity


def fit_spline(points: F64, dt_s: float, start_velocity: F64 | None = None) -> Spline:
    """Cubic spline through (n, D) points, n ≥ 2. Start clamped to a velocity (D,), or not-a-knot without one; end not-a-knot.

    With too few points for not-a-knot (fewer than 3 intervals) that end's second derivative is its neighbour's: a parabola."""
    points = np.asarray(points, dtype=np.float64)
    n, h = len(points), dt_s
    if n < 2 or not h > 0.0:
        raise ConfigError(f"a spline needs two points or more and dt > 0: got {n} points, dt {h}")
    A = np.zeros((n, n))
    b = np.zeros_like(points)
    for i in range(1, n - 1):
        A[i, i - 1 : i + 2] = (1.0, 4.0, 1.0)
        b[i] = 6.0 * (points[i - 1] - 2.0 * points[i] + points[i + 1]) / h**2
    end = (1.0, -2.0, 1.0) if n >= 4 else (-1.0, 1.0)
    A[-1, -len(end) :] = end
    if start_velocity is not None:
        A[0, :2] = (2.0, 1.0)
        b[0] = 6.0 * ((points[1] - points[0]) / h - start_velocity) / h
    elif n == 2:
        A[0, 0] = 1.0
    else:
        start = (1.0, -2.0, 1.0) if n >= 4 else (1.0, -1.0)
        A[0, : len(start)] = start
    return Spline(points=points, bend=np.asarray(np.linalg.solve(A, b), dtype=np.float64), dt_s=h)


def plan_spline(xy_ego_m: F32 | F64, dt_s: float, start_velocity_mps: F64 | None) -> Spline:
    """Spline over the origin and (H, 2) waypoints; clamped to the velocity if that fits the points to `MAX_START_MISMATCH_MPS`."""
    points = np.vstack([np.zeros((1, 2)), np.asarray(xy_ego_m, dtype=np.float64)])
    free = fit_spline(points, dt_s)
    if start_velocity_mps is None or len(points) < 3:
        return free
    _, velocity = free(np.zeros(1))
    mismatch = float(np.linalg.norm(velocity[0] - start_velocity_mps[:2]))
    return fit_spline(points, dt_s, start_velocity_mps[:2]) if mismatch <= MAX_START_MISMATCH_MPS else free


def headings(velocity: F64, first_rad: float = 0.0, min_speed_mps: float = MIN_HEADING_SPEED_MPS) -> tuple[F64, F64]:
    """Yaw (N,) and signed speed (N,) along it, from velocities (N, 2) in time order.

    Slower than `min_speed_mps` the last heading is held, so standing still invents no direction. Of the two ways a velocity can be
    read (forwards, backwards) the one nearer to the heading before is meant: an overshoot at a halt, or reversing, does not flip it."""
    speed = np.linalg.norm(velocity, axis=1)
    yaw = np.empty(len(velocity))
    last = first_rad
    for i, (vx, vy) in enumerate(velocity):
        if speed[i] >= min_speed_mps:
            change = float(np.remainder(np.arctan2(vy, vx) - last + np.pi, 2 * np.pi) - np.pi)
            if abs(change) > np.pi / 2:
                change -= np.copysign(np.pi, change)
            last += change
        yaw[i] = last
    signed = velocity[:, 0] * np.cos(yaw) + velocity[:, 1] * np.sin(yaw)
    return np.remainder(yaw + np.pi, 2 * np.pi) - np.pi, signed


def rotate_yaw(R: F64, yaw_rad: F64) -> F64:
    """Headings (N,) given in b, seen in a and projected on a's ground: R is R_a_b."""
    directions = np.stack([np.cos(yaw_rad), np.sin(yaw_rad), np.zeros_like(yaw_rad)], axis=1) @ R.T
    return np.asarray(np.arctan2(directions[:, 1], directions[:, 0]))


# ── dense paths ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def place_path(plan: Plan, now_ns: int, *, step_s: float = 0.1, max_plan_age_s: float | None = None) -> DensePath | Waiting:
    """The selected trajectory in the odometry frame, from now on: latency compensation.

    The first row is where the plan wants the ego point exactly now; the others lie on the plan's own grid stamp + i·step (so they recur
    from one publication to the next, and the waypoints are among them when step divides dt), the last at stamp + H·dt. A grid row closer to
    now than half a step is left out. A clock up to one dt behind the image stamp gets the path from its beginning.
    Waiting(PLAN_EXPIRED) past the end, past `max_plan_age_s`, or further behind."""
    age_s = (now_ns - plan.stamp_ns) / NS_PER_S
    spline = plan_spline(plan.selected_xy_ego_m, plan.dt_s, plan.pose.linear_mps)
    limit_s = spline.end_s if max_plan_age_s is None else min(spline.end_s, max_plan_age_s)
    if not step_s > 0.0:
        raise ConfigError(f"path step: got {step_s} s, expected a positive time")
    if age_s >= limit_s or age_s < -plan.dt_s:
        early = f"its image stamp is {-age_s:.2f} s ahead of the clock" if age_s < 0.0 else ""
        return Waiting(reason=WaitReason.PLAN_EXPIRED, detail=early or f"age {age_s:.2f} s, usable for {limit_s:.2f} s")
    start_ns = max(0, now_ns - plan.stamp_ns)
    step_ns, end_ns = round(step_s * NS_PER_S), round(spline.end_s * NS_PER_S)
    grid_ns = np.append(np.arange(0, end_ns - step_ns // 2, step_ns), end_ns)
    keep = (grid_ns < start_ns) | (grid_ns > start_ns + step_ns // 2) | (grid_ns == end_ns)
    offset_ns = np.unique(np.append(grid_ns[keep], start_ns)).astype(np.int64)
    xy, velocity = spline(np.asarray(offset_ns / NS_PER_S, dtype=np.float64))
    yaw, speed = headings(velocity)  # from the image stamp on, so that a heading held through a halt is the one before it
    ahead = offset_ns >= start_ns
    T = plan.pose.T_odom_ego
    return DensePath(
        stamp_ns=now_ns,
        frame_id=plan.pose.odom_frame_id,
        stamps_ns=offset_ns[ahead] + plan.stamp_ns,
        xyz_m=transform_points(T, xy[ahead]),
        yaw_rad=rotate_yaw(T[:3, :3], yaw[ahead]),
        speed_mps=speed[ahead],
        age_s=age_s,
    )


def to_base_link(path: DensePath, T_odom_base_now: F64, base_frame_id: str) -> DensePath:
    """The same ego-point path expressed in base_link at the header's time. Row times stay."""
    T = invert(T_odom_base_now)
    return replace(path, frame_id=base_frame_id, xyz_m=transform_points(T, path.xyz_m), yaw_rad=rotate_yaw(T[:3, :3], path.yaw_rad))


def expected_waypoints(previous: Plan, pose: EgoPose, dt_s: float, count: int | None = None) -> F64:
    """Where the previous plan wanted to be at pose.stamp + (i + 1)·dt, in the ego frame of `pose`: (count, 2), by default as many as it has
    waypoints. NaN where it says nothing; all NaN if the two poses are not given in the same odometry frame."""
    out = np.full((previous.xy_ego_m.shape[1] if count is None else count, 2), np.nan)
    t_s = (pose.stamp_ns - previous.stamp_ns) / NS_PER_S + dt_s * np.arange(1, len(out) + 1, dtype=np.float64)
    spline = plan_spline(previous.selected_xy_ego_m, previous.dt_s, previous.pose.linear_mps)
    known = (t_s >= 0.0) & (t_s <= spline.end_s + 1e-6)
    if previous.pose.odom_frame_id == pose.odom_frame_id and known.any():
        xyz = transform_points(invert(pose.T_odom_ego) @ previous.pose.T_odom_ego, spline(t_s[known])[0])
        out[known] = xyz[:, :2]
    return out


def stop_path(
    pose_now: EgoPose,
    now_ns: int,
    decel_mps2: float,
    *,
    last: DensePath | None = None,
    step_s: float = 0.1,
    max_offset_m: float = 1.0,
    max_curvature_1pm: float = 0.2,
) -> DensePath:
    """A comfortable stop from the present pose: speed falls to zero at `decel_mps2`, along `last` (a path in the odometry frame) where
    that lies within `max_offset_m`, else along the present heading with the present curvature held (bounded).

    The last row, and every row of a vehicle that already stands, has speed 0. Raises ConfigError unless decel > 0."""
    if not (decel_mps2 > 0.0 and step_s > 0.0):
        raise ConfigError(f"stop path: got decel {decel_mps2} m/s², step {step_s} s, expected both positive")
    v = float(pose_now.linear_mps[0])
    stop_s = abs(v) / decel_mps2
    t = np.append(np.arange(0.0, max(stop_s - 0.5 * step_s, 1e-9), step_s), max(stop_s, step_s))
    braking = np.minimum(t, stop_s)
    speed = np.sign(v) * np.maximum(abs(v) - decel_mps2 * t, 0.0)
    s = v * braking - np.sign(v) * 0.5 * decel_mps2 * braking**2  # signed arc length
    followed = _along(last, pose_now, s, max_offset_m) if last is not None and v > MIN_HEADING_SPEED_MPS else None
    if followed is None:
        k = np.clip(pose_now.angular_radps[2] / v, -max_curvature_1pm, max_curvature_1pm) if abs(v) > 1.0 else 0.0
        # sin(ks)/k and (1 − cos(ks))/k, both finite at k = 0
        half = 0.5 * k * s
        chord = s * np.sinc(half / np.pi)
        T = pose_now.T_odom_ego
        followed = transform_points(T, np.stack([chord * np.cos(half), chord * np.sin(half)], axis=1)), rotate_yaw(T[:3, :3], k * s)
    xyz, yaw = followed
    stamps = now_ns + np.round(t * NS_PER_S).astype(np.int64)
    return DensePath(stamp_ns=now_ns, frame_id=pose_now.odom_frame_id, stamps_ns=stamps, xyz_m=xyz, yaw_rad=yaw, speed_mps=speed, age_s=0.0)


def _along(path: DensePath, pose: EgoPose, s_m: F64, max_offset_m: float) -> tuple[F64, F64] | None:
    """Positions (N, 3) and yaw (N,) at arc lengths s along `path`, joined smoothly from where the ego point is; None if it is elsewhere."""
    here = pose.T_odom_ego[:3, 3]
    if path.frame_id != pose.odom_frame_id or len(path.xyz_m) < 2:
        return None
    arc = arc_lengths(path.xyz_m[:, :2])
    foot, distance = project(path.xyz_m[:, :2], here[:2])
    if distance > max_offset_m or arc[-1] - foot < 1.0:
        return None

    def at(s: F64) -> F64:
        xyz = np.stack([np.interp(s, arc, path.xyz_m[:, i]) for i in range(3)], axis=1)
        xyz[:, :2] += np.maximum(s - arc[-1], 0.0)[:, None] * np.array([np.cos(path.yaw_rad[-1]), np.sin(path.yaw_rad[-1])])  # past its end: straight on
        return xyz

    u = np.clip(s_m / max(float(s_m[-1]), 1e-9), 0.0, 1.0)
    fade = 1.0 - u * u * (3.0 - 2.0 * u)
    yaw = np.interp(foot + s_m, arc, np.unwrap(path.yaw_rad))
    return at(foot + s_m) + fade[:, None] * (here - at(np.array([foot]))), np.remainder(yaw + np.pi, 2 * np.pi) - np.pi


def arc_lengths(xy_m: F64) -> F64:
    """Distance along a polyline (N, 2) at each of its points, (N,), from 0."""
    return np.concatenate([[0.0], np.cumsum(_lengths(xy_m[1:] - xy_m[:-1]))])


def _lengths(d: F64) -> F64:
    """(N, 2) → (N,). What numpy.linalg.norm gives, to the bit, in a third of the time: its sum over two columns is a loop of loops."""
    x, y = d[:, 0], d[:, 1]
    return np.sqrt(x * x + y * y)


def project(xy_m: F64, point_m: F64) -> tuple[float, float]:
    """Arc length of, and distance to, the point of a polyline (N ≥ 2, 2) nearest to `point_m` (2,); the first of equals."""
    arc, distance, _ = project_on_segments(xy_m, point_m)
    i = int(np.argmin(distance))
    return float(arc[i]), float(distance[i])


def project_on_segments(xy_m: F64, point_m: F64) -> tuple[F64, F64, F64]:
    """Per segment of a polyline (N ≥ 2, 2): arc length of its nearest point, distance to it, and its unit direction (N − 1, 2)."""
    d = xy_m[1:] - xy_m[:-1]
    length = _lengths(d)
    safe = np.where(length > 0.0, length, 1.0)
    along = (point_m - xy_m[:-1]) * d
    u = np.minimum(np.maximum((along[:, 0] + along[:, 1]) / safe**2, 0.0), 1.0)
    distance = _lengths(xy_m[:-1] + u[:, None] * d - point_m)
    starts = np.concatenate([[0.0], np.cumsum(length[:-1])])
    return starts + u * length, distance, d / safe[:, None]
