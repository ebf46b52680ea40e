"""One command from a path, a pose and the command before: pursuit of the line, tracking of the timing, within limits.

All motion is that of the rear axle, of a kinematic bicycle. First the pose is carried on by `actuation_delay_s`: that is when the command will act.

*Steering.* Pure pursuit: the arc from there through a point of the path that lies `lookahead_time_s` of travel ahead. Its curvature is bounded by lateral
acceleration, the wheel angle and its rate by the vehicle's.

*Speed.* The path says where to be when. Its own speed and acceleration are fed forward; the error in place corrects the speed, by a bounded amount; the
error in speed corrects the acceleration. Braking comes early enough for what lies ahead: the curves of the path, and its end where it stops there, or where
the path is so old that no other will come. Acceleration and jerk are bounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S, ConfigError, DensePath, EgoPose, InputError, Waiting, WaitReason
from vavam_ros.core.follow.track import MAX_SPEED_MPS, Track, track_of
from vavam_ros.core.geometry import yaw_of

FIRST_STEP_S = 0.05  # time that a first command is given to move from where the actuators are
MAX_STEP_S = 0.2  # a command may differ from an older one by no more than in this time
FORGET_S = 0.5  # a previous command older than this says nothing about the actuators
STANDING_MPS = 0.1
MOVE_M, MOVE_WITHIN_S = 0.3, 1.0  # a standing vehicle goes when the path moves by so much so soon
STOPPED_MPS = 0.3  # a path whose last speed is below this ends with a stop
AHEAD_S = 0.2  # the commanded speed is the one after this time, for controllers that follow speeds
LAST_METRES_M = 1.5
MAX_TURN_RADPS = 20.0  # no vehicle turns so fast
SPARE_M = 0.5  # an old path is not used up to its last point


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowConfig:
    """The vehicle and the limits of the commands. Lengths in m, times in s; suffixes say the rest."""

    wheelbase_m: float = 2.9
    max_steer_rad: float = 0.61
    max_steer_rate_radps: float = 0.7
    actuation_delay_s: float = 0.15  # from odometry stamp to effect: transport, the simulator's tick, the actuators' lag
    lookahead_time_s: float = 0.6
    min_lookahead_m: float = 2.5
    max_lookahead_m: float = 15.0
    max_lat_accel_mps2: float = 3.0  # speed is chosen for it in the curves ahead
    limit_lat_accel_mps2: float = 6.0  # no steering command exceeds it
    max_accel_mps2: float = 2.5
    max_decel_mps2: float = 6.0
    comfort_decel_mps2: float = 2.0  # braking for curves, and to the end of a path that gets old
    max_jerk_mps3: float = 6.0
    max_brake_jerk_mps3: float = 15.0  # building up the brake
    speed_gain_1ps: float = 1.5
    place_gain_1ps: float = 0.8
    max_place_correction_mps: float = 1.5
    stale_after_s: float = 1.25  # age of a path beyond which no other is expected: it is followed to a stop within its length
    over_after_s: float = 3.0  # how long past its last pose a path is still braked on
    early_s: float = 0.6  # how long before its first pose a path is followed
    max_offset_m: float = 3.0
    max_heading_error_rad: float = 1.2

    def __post_init__(self) -> None:
        zero = ("actuation_delay_s", "place_gain_1ps", "max_place_correction_mps", "over_after_s", "early_s")
        for field in fields(self):
            value, least = getattr(self, field.name), 0.0 if field.name in zero else 1e-6
            if not least <= value < 1e6:
                raise ConfigError(f"follow {field.name}: got {value}, expected a {'positive number' if least else 'number of 0 or more'}")
        if not self.max_steer_rad < math.pi / 2.0:
            raise ConfigError(f"follow max_steer_rad: got {self.max_steer_rad}, expected radians below π/2 (70° is 1.22)")
        for low, high in (("min_lookahead_m", "max_lookahead_m"), ("max_lat_accel_mps2", "limit_lat_accel_mps2"), ("comfort_decel_mps2", "max_decel_mps2")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"follow {low} {getattr(self, low):g} exceeds {high} {getattr(self, high):g}: swap or raise {high}")
        if self.actuation_delay_s > 1.0:
            raise ConfigError(f"follow actuation_delay_s: got {self.actuation_delay_s}, expected at most 1 s: nothing can be carried on for longer")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveCommand:
    """What the vehicle is to do, decided at the odometry stamp `stamp_ns`."""

    stamp_ns: int
    steer_rad: float  # angle of the bicycle's front wheel, + left
    speed_mps: float  # shortly after; 0: stand, with the brake held
    accel_mps2: float
    curvature_1pm: float  # that the steering is for, + left
    reason: str  # what decides the speed: "path", "curve", "end", "old", "hold"
    steer_under_way_rad: float | None = None  # mean of the commands that have not acted yet: this one and those before it
    accel_under_way_mps2: float | None = None


def follow(path: DensePath, pose: EgoPose, previous: DriveCommand | None, config: FollowConfig) -> DriveCommand | Waiting:
    """The command for a path (in the frame of the pose) at a pose. A pure function: equal arguments give equal commands.

    `previous` is the last command given, None for none. Waiting: POSE_UNUSABLE (NaN, absurd speed), PATH_UNUSABLE (NaN, another frame, times that do not grow),
    PATH_OVER (in the past, or not yet due), PATH_ELSEWHERE (too far to the side, or in another direction)."""
    v = float(pose.linear_mps[0])
    if not (np.isfinite(pose.T_odom_ego).all() and abs(v) <= MAX_SPEED_MPS and abs(float(pose.angular_radps[2])) <= MAX_TURN_RADPS):
        return Waiting(reason=WaitReason.POSE_UNUSABLE, detail=f"not finite, above {MAX_SPEED_MPS:g} m/s or above {MAX_TURN_RADPS:g} rad/s")
    if path.frame_id != pose.odom_frame_id:
        return Waiting(reason=WaitReason.PATH_UNUSABLE, detail=f"it is in frame {path.frame_id!r}, the odometry in {pose.odom_frame_id!r}")
    try:
        track = track_of(path)
    except InputError as e:
        return Waiting(reason=WaitReason.PATH_UNUSABLE, detail=str(e))
    t = (pose.stamp_ns - track.start_ns) / NS_PER_S
    if not -config.early_s <= t <= track.end_s + config.over_after_s:
        return Waiting(reason=WaitReason.PATH_OVER, detail=f"it begins in {-t:.2f} s" if t < 0.0 else f"it ended {t - track.end_s:.2f} s ago")
    before = _before(pose, previous, config)
    then = _carried_on(pose, before, config)
    wish = _stand_at(track, then, v, before, config) if track.is_place else _wish(track, t + config.actuation_delay_s, then, v, path, pose, config)
    if isinstance(wish, Waiting):
        return wish
    if abs(v) < STANDING_MPS and not wish.goes:  # and the wheels do not turn on the spot
        wish = _Wish(accel_mps2=-config.comfort_decel_mps2, curvature_1pm=math.tan(before.steer_rad) / config.wheelbase_m, reason="hold", goes=False)
    return _bounded(wish, pose.stamp_ns, v, then, before, config)


@dataclass(frozen=True, slots=True)
class _Before:
    """Time since the previous command, what it was, and the mean of those under way."""

    step_s: float
    steer_rad: float
    accel_mps2: float
    steer_mean_rad: float
    accel_mean_mps2: float


@dataclass(frozen=True, slots=True)
class _Then:
    """Where a command given now will act."""

    xy_m: F64  # (2,)
    yaw_rad: float
    speed_mps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What path and limits ask for, before the actuators' own limits."""

    accel_mps2: float
    curvature_1pm: float
    reason: str
    goes: bool  # the path leads on from here


def _before(pose: EgoPose, previous: DriveCommand | None, config: FollowConfig) -> _Before:
    if previous is not None:
        step_s = (pose.stamp_ns - previous.stamp_ns) / NS_PER_S
        if 0.0 <= step_s <= FORGET_S:
            steer, accel = previous.steer_under_way_rad, previous.accel_under_way_mps2
            steer, accel = previous.steer_rad if steer is None else steer, previous.accel_mps2 if accel is None else accel
            return _Before(min(step_s, MAX_STEP_S), previous.steer_rad, previous.accel_mps2, steer, accel)
    v = float(pose.linear_mps[0])
    steer = math.atan(config.wheelbase_m * float(pose.angular_radps[2]) / v) if v > 1.0 else 0.0
    steer = min(max(steer, -config.max_steer_rad), config.max_steer_rad)
    return _Before(FIRST_STEP_S, steer, 0.0, steer, 0.0)


def _carried_on(pose: EgoPose, before: _Before, config: FollowConfig) -> _Then:
    """The pose after the delay: the present twist goes over into that of the commands under way."""
    T, v, dt = pose.T_odom_ego, float(pose.linear_mps[0]), config.actuation_delay_s
    v_then = max(0.0, v + before.accel_mean_mps2 * dt) if v > 0.0 else v
    turn_then = v_then * math.tan(before.steer_mean_rad) / config.wheelbase_m
    turned = 0.5 * (float(pose.angular_radps[2]) + turn_then) * dt
    moved, middle = 0.5 * (v + v_then) * dt, yaw_of(T) + 0.5 * turned
    return _Then(np.array([T[0, 3] + moved * math.cos(middle), T[1, 3] + moved * math.sin(middle)]), yaw_of(T) + turned, v_then)


def _stand_at(track: Track, then: _Then, v: float, before: _Before, config: FollowConfig) -> _Wish | Waiting:
    """For a path that goes nowhere: stop, the wheel as it is."""
    distance = float(np.linalg.norm(then.xy_m - track.xy_m[-1]))
    if distance > config.max_offset_m + max(v, 0.0) ** 2 / (2.0 * config.comfort_decel_mps2):
        return Waiting(reason=WaitReason.PATH_ELSEWHERE, detail=f"it is a place {distance:.1f} m away")
    curvature = math.tan(before.steer_rad) / config.wheelbase_m
    needed = max(v, 0.0) ** 2 / (2.0 * max(distance, SPARE_M))  # no sharp brake for the last decimetres
    return _Wish(accel_mps2=-max(needed, 0.5 * config.comfort_decel_mps2), curvature_1pm=curvature, reason="end", goes=False)


def _wish(track: Track, t: float, then: _Then, v: float, path: DensePath, pose: EgoPose, config: FollowConfig) -> _Wish | Waiting:
    s, offset, path_yaw = track.nearest(then.xy_m, track.at_time(t)[0])
    error = math.remainder(then.yaw_rad - path_yaw, 2.0 * math.pi)
    if abs(offset) > config.max_offset_m or abs(error) > config.max_heading_error_rad:
        return Waiting(reason=WaitReason.PATH_ELSEWHERE, detail=f"{offset:+.1f} m to its left, {math.degrees(error):+.0f}° from its direction")
    before_m, after_m = -s, s - track.length_m
    if before_m > config.max_offset_m + max(v, 0.0) * config.early_s or after_m > config.max_offset_m:
        return Waiting(reason=WaitReason.PATH_ELSEWHERE, detail=f"its start is {before_m:.1f} m ahead, its end {-after_m:.1f} m")
    accel, why = _acceleration(track, t, s, then.speed_mps, path.age_s + (pose.stamp_ns - path.stamp_ns) / NS_PER_S, config)
    goes = min(track.at_time(t + MOVE_WITHIN_S)[0], track.length_m) - s > MOVE_M and why != "old"
    return _Wish(accel_mps2=accel, curvature_1pm=_pursuit(track, s, then, config), reason=why, goes=goes)


def _bounded(wish: _Wish, stamp_ns: int, v: float, then: _Then, before: _Before, config: FollowConfig) -> DriveCommand:
    """The command: the wish within the limits of acceleration, jerk, lateral acceleration, wheel angle and its rate."""
    wanted = min(max(wish.accel_mps2, -config.max_decel_mps2), config.max_accel_mps2)
    down = (config.max_brake_jerk_mps3 if wanted < 0.0 else config.max_jerk_mps3) * before.step_s
    up = (config.max_brake_jerk_mps3 if before.accel_mps2 < 0.0 else config.max_jerk_mps3) * before.step_s
    accel = min(max(wanted, before.accel_mps2 - down), before.accel_mps2 + up)
    most, turned = config.limit_lat_accel_mps2 / max(v * v, 1e-6), config.max_steer_rate_radps * before.step_s
    steer = math.atan(config.wheelbase_m * min(max(wish.curvature_1pm, -most), most))
    steer = min(max(steer, before.steer_rad - turned), before.steer_rad + turned)
    steer = min(max(steer, -config.max_steer_rad), config.max_steer_rad)
    # commands stay under way for actuation_delay_s: their mean follows with half of that
    share = 1.0 - math.exp(-2.0 * before.step_s / max(config.actuation_delay_s, 1e-3))
    return DriveCommand(
        stamp_ns=stamp_ns,
        steer_rad=steer,
        speed_mps=0.0 if wish.reason == "hold" else max(0.0, then.speed_mps + AHEAD_S * accel),
        accel_mps2=accel,
        curvature_1pm=wish.curvature_1pm,
        reason=wish.reason,
        steer_under_way_rad=before.steer_mean_rad + share * (steer - before.steer_mean_rad),
        accel_under_way_mps2=before.accel_mean_mps2 + share * (accel - before.accel_mean_mps2),
    )


def _pursuit(track: Track, s: float, then: _Then, config: FollowConfig) -> float:
    """Curvature of the arc through the path's point ahead."""
    ahead = min(max(config.lookahead_time_s * then.speed_mps, config.min_lookahead_m), config.max_lookahead_m)
    (x, y), _ = track.place(s + ahead)
    dx, dy = float(x - then.xy_m[0]), float(y - then.xy_m[1])
    left = -dx * math.sin(then.yaw_rad) + dy * math.cos(then.yaw_rad)
    return 2.0 * left / max(dx * dx + dy * dy, 0.25 * config.min_lookahead_m**2)


def _acceleration(track: Track, t: float, s: float, v: float, age_s: float, config: FollowConfig) -> tuple[float, str]:
    """The acceleration that path and limits want at time t, arc length s and speed v, and what decides it."""
    s_wanted, v_wanted, a_wanted = track.at_time(t)
    correction = min(max(config.place_gain_1ps * (s_wanted - s), -config.max_place_correction_mps), config.max_place_correction_mps)
    wanted, why = a_wanted + config.speed_gain_1ps * (max(0.0, v_wanted + correction) - v), "path"
    v = max(v, 0.0)
    # curves ahead: the deceleration that each still needs
    first = min(max(int(s / track.length_m * (len(track.xy_m) - 1)), 0), len(track.xy_m) - 1)
    curvature = np.abs(track.curvature_1pm[first:])
    if v * v * float(curvature.max()) > config.max_lat_accel_mps2:
        allowed = config.max_lat_accel_mps2 / np.maximum(curvature, 1e-9)  # squared speed
        way = np.maximum(np.linspace(first, len(track.xy_m) - 1, len(curvature)) / (len(track.xy_m) - 1) * track.length_m - s, 0.25 * v)
        needed = float(((v * v - allowed) / (2.0 * way)).max())
        if needed > 0.7 * config.comfort_decel_mps2 and -needed < wanted:
            wanted, why = max(-needed, -config.max_decel_mps2), "curve"
    left = max(track.length_m - s, 0.05)
    needed = v * v / (2.0 * left)
    stops = float(track.speed_mps[-1]) < STOPPED_MPS
    if age_s > config.stale_after_s and not (stops and t < track.end_s):
        end, reason = -max(v * v / (2.0 * max(left - SPARE_M, 0.05)), config.comfort_decel_mps2), "old"
    elif (stops and (needed > config.comfort_decel_mps2 or (left < LAST_METRES_M and v_wanted < 1.0))) or needed > config.max_decel_mps2 or t >= track.end_s:
        end, reason = -needed, "end"
    else:
        return wanted, why
    return (end, reason) if end < wanted else (wanted, why)
