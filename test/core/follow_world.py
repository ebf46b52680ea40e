"""A vehicle for the follower's tests: a bicycle behind actuators with lag, limits and delay, driven with throttle, brake and steer (+ = right)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S, DensePath, EgoPose, Waiting
from vavam_ros.core.follow import CarlaActuation, DriveCommand, FollowConfig, carla_control, follow
from vavam_ros.core.geometry import planar_T

START_NS = 100 * NS_PER_S
STEP_S = 0.01
WHEELBASE_M, MAX_STEER_RAD, STEER_RATE, STEER_LAG_S, ACCEL_LAG_S = 2.9, 0.61, 0.8, 0.10, 0.15
MAX_ACCEL, POWER, MAX_BRAKE, ROLLING, DRAG = 3.5, 45.0, 8.0, 0.10, 0.0006


@dataclass
class Car:
    """State of the rear axle, + left and counter-clockwise."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    v: float = 0.0
    a: float = 0.0
    wheel: float = 0.0

    def step(self, throttle: float, brake: float, steer: float) -> None:
        """STEP_S further. CARLA's steer: + turns to the right."""
        error = -steer * MAX_STEER_RAD - self.wheel
        self.wheel += math.copysign(min(abs(error) * STEP_S / STEER_LAG_S, STEER_RATE * STEP_S), error)
        drive = throttle * min(MAX_ACCEL, POWER / max(self.v, 0.1))
        resistance = brake * MAX_BRAKE + ROLLING + DRAG * self.v**2
        if self.v <= 0.0 and drive <= resistance:
            self.v = self.a = 0.0
            return
        self.a += (drive - resistance - self.a) * STEP_S / ACCEL_LAG_S
        v = max(0.0, self.v + self.a * STEP_S)
        mean = 0.5 * (self.v + v)
        self.x += mean * STEP_S * math.cos(self.yaw)
        self.y += mean * STEP_S * math.sin(self.yaw)
        self.yaw += mean * STEP_S * math.tan(self.wheel) / WHEELBASE_M
        self.v = v

    def pose(self, stamp_ns: int) -> EgoPose:
        """As odometry gives it."""
        return EgoPose(
            stamp_ns=stamp_ns,
            odom_frame_id="map",
            T_odom_ego=planar_T(self.x, self.y, self.yaw),
            linear_mps=np.array([self.v, 0.0, 0.0]),
            angular_radps=np.array([0.0, 0.0, self.v * math.tan(self.wheel) / WHEELBASE_M]),
        )


@dataclass
class Drive:
    """What came of it, a row per odometry message."""

    t: list[float] = field(default_factory=list)
    xy: list[tuple[float, float]] = field(default_factory=list)
    v: list[float] = field(default_factory=list)
    commands: list[DriveCommand] = field(default_factory=list)
    controls: list[tuple[float, float, float]] = field(default_factory=list)
    car: Car = field(default_factory=Car)


def path_of(points: Callable[[F64], F64], duration_s: float, *, start_s: float = 0.0, step_s: float = 0.1) -> DensePath:
    """The path through `points(t)` (N, 2), t seconds after START_NS."""
    t = np.linspace(start_s, start_s + duration_s, round(duration_s / step_s) + 1)
    xy, ahead, behind = points(t), points(t + 1e-3), points(np.maximum(t - 1e-3, 0.0))
    velocity = (ahead - behind) / (1e-3 + np.minimum(t, 1e-3))[:, None]
    stamps = START_NS + np.round(t * NS_PER_S).astype(np.int64)
    speed = np.linalg.norm(velocity, axis=1)
    return DensePath(
        stamp_ns=int(stamps[0]),
        frame_id="map",
        stamps_ns=stamps,
        xyz_m=np.column_stack([xy, np.zeros(len(xy))]),
        yaw_rad=np.arctan2(velocity[:, 1], velocity[:, 0]),
        speed_mps=speed,
        age_s=0.0,
    )


def drive(
    paths: Callable[[float], DensePath],
    car: Car,
    seconds: float,
    *,
    config: FollowConfig | None = None,
    actuation: CarlaActuation | None = None,
    odometry_hz: float = 20.0,
    latency_s: float = 0.05,
) -> Drive:
    """Closed loop: `paths(t)` is the path in use at t; each command acts `latency_s` after its odometry."""
    config, actuation = config or FollowConfig(), actuation or CarlaActuation()
    out, previous, control = Drive(car=car), None, (0.0, 0.0, -car.wheel / MAX_STEER_RAD)
    under_way: deque[tuple[int, tuple[float, float, float]]] = deque()
    every, late = round(1.0 / odometry_hz / STEP_S), round(latency_s / STEP_S)
    for i in range(round(seconds / STEP_S)):
        if i % every == 0:
            stamp = START_NS + round(i * STEP_S * NS_PER_S)
            command = follow(paths(i * STEP_S), car.pose(stamp), previous, config)
            assert not isinstance(command, Waiting), f"after {i * STEP_S:.2f} s: {command}"
            previous = command
            under_way.append((i + late, carla_control(command, car.v, actuation)))
            out.t.append(i * STEP_S)
            out.xy.append((car.x, car.y))
            out.v.append(car.v)
            out.commands.append(command)
            out.controls.append(under_way[-1][1])
        while under_way and under_way[0][0] <= i:
            control = under_way.popleft()[1]
        car.step(*control)
    return out


def lateral(points: Callable[[F64], F64], xy: list[tuple[float, float]], duration_s: float) -> F64:
    """Distance of each place to the line."""
    line = points(np.linspace(0.0, duration_s, 4000))
    return np.array([np.min(np.linalg.norm(line - p, axis=1)) for p in np.array(xy)])
