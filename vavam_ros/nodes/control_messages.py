"""Control messages ↔ plain numbers: the only file that builds or reads CarlaEgoVehicleControl, AckermannDriveStamped, AckermannDrive and CarlaEgoVehicleInfo.

`control_type` names one of three messages:

- ``carla``: carla_msgs/CarlaEgoVehicleControl; throttle and brake 0..1, steer −1..1 of the largest wheel angle, + to the RIGHT.
- ``ackermann_stamped``: ackermann_msgs/AckermannDriveStamped; rad + to the LEFT, m/s, m/s².
- ``ackermann``: the same without a header, hence without a stamp: a gate cannot tell how old one is.

Both packages are imported when a type is first asked for: whoever drives without CARLA needs no carla_msgs.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from vavam_ros.core.contracts import NS_PER_S, ConfigError, InputError
from vavam_ros.nodes.stamps import header_msg  # not convert.py's: the gate reads this file too, and runs without torch

ControlType = Literal["carla", "ackermann_stamped", "ackermann"]
CONTROL_TYPES: tuple[ControlType, ...] = ("carla", "ackermann_stamped", "ackermann")
_CLASSES = {
    "carla": ("carla_msgs", "CarlaEgoVehicleControl"),
    "ackermann_stamped": ("ackermann_msgs", "AckermannDriveStamped"),
    "ackermann": ("ackermann_msgs", "AckermannDrive"),
}
_SOURCES = {
    "carla_msgs": "it comes with the CARLA-ROS bridge (ros-carla-msgs); without ROS, `make setup` builds it from pip_ros/interfaces",
    "ackermann_msgs": "install ros-<distro>-ackermann-msgs; without ROS, `make setup` builds it from pip_ros/interfaces",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CarlaValues:
    """The numbers of a CarlaEgoVehicleControl. `steer` + is to the right."""

    throttle: float = 0.0
    brake: float = 0.0
    steer: float = 0.0
    hand_brake: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AckermannValues:
    """The numbers of an AckermannDrive. `steer_rad` + is to the left. `accel_mps2` and `jerk_mps3` 0 mean: as fast as possible."""

    steer_rad: float = 0.0
    speed_mps: float = 0.0
    accel_mps2: float = 0.0
    jerk_mps3: float = 0.0


ControlValues: TypeAlias = "CarlaValues | AckermannValues"


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleGeometry:
    """What a follower needs to know of a vehicle. `rear_axle_x_m`: of the rear axle ahead of the origin that odometry reports (negative: behind it)."""

    rear_axle_x_m: float
    wheelbase_m: float
    max_steer_rad: float


def checked_type(name: str) -> ControlType:
    """One of CONTROL_TYPES, or ConfigError."""
    if name not in CONTROL_TYPES:
        raise ConfigError(f"control_type: got {name!r}, expected one of {', '.join(CONTROL_TYPES)}")
    return name


def message_class(control_type: str) -> Any:
    """The generated class of a control type. ConfigError, naming how to get it, where this machine has no such package."""
    return _generated(*_CLASSES[checked_type(control_type)], f"control_type {control_type!r}")


def vehicle_info_class() -> Any:
    """carla_msgs/CarlaEgoVehicleInfo. ConfigError where this machine has no carla_msgs."""
    return _generated("carla_msgs", "CarlaEgoVehicleInfo", "~/vehicle_info")


def has_stamp(control_type: str) -> bool:
    """Does this type carry a header?"""
    return checked_type(control_type) != "ackermann"


def to_message(control_type: str, values: ControlValues, stamp_ns: int, frame_id: str = "") -> Any:
    """The message of these values. Raises ConfigError where type and values do not belong together, InputError for values that are not finite."""
    cls = message_class(control_type)
    if isinstance(values, CarlaValues) != (control_type == "carla"):
        raise ConfigError(f"control_type {control_type!r}: got {type(values).__name__}, expected {'Carla' if control_type == 'carla' else 'Ackermann'}Values")
    _require_finite(values)
    if isinstance(values, CarlaValues):
        return cls(
            header=header_msg(stamp_ns, frame_id),
            throttle=float(values.throttle),
            brake=float(values.brake),
            steer=float(values.steer),
            hand_brake=values.hand_brake,
            reverse=values.reverse,
        )
    drive = message_class("ackermann")(
        steering_angle=float(values.steer_rad), speed=float(values.speed_mps), acceleration=float(values.accel_mps2), jerk=float(values.jerk_mps3)
    )
    return cls(header=header_msg(stamp_ns, frame_id), drive=drive) if control_type == "ackermann_stamped" else drive


def stop_message(
    control_type: str,
    stamp_ns: int,
    *,
    decel_mps2: float,
    speed_mps: float,
    steering: float = 0.0,
    brake_decel_mps2: float = 8.0,
    hold: bool = False,
    frame_id: str = "",
) -> Any:
    """A command that brakes at `decel_mps2` ≥ 0, or, with `hold`, one that keeps a standing vehicle standing: full brake, no throttle.

    `steering` is kept, in the message's own unit and sign (carla: −1..1 + right; else rad + left). `speed_mps` is the present speed, from which an
    Ackermann controller brakes to 0. `brake_decel_mps2`: deceleration of brake 1.0 (carla)."""
    if not (decel_mps2 >= 0.0 and brake_decel_mps2 > 0.0):
        raise ConfigError(f"stop: got deceleration {decel_mps2}, of full brake {brake_decel_mps2}; expected 0 or more, and a positive number")
    if control_type == "carla":
        brake = 1.0 if hold else min(1.0, decel_mps2 / brake_decel_mps2)
        return to_message(control_type, CarlaValues(brake=brake, steer=steering), stamp_ns, frame_id)
    # AckermannDrive: speed is the target; acceleration is its bound, and 0 means no bound
    decel = 0.0 if hold or abs(speed_mps) < 1e-3 else -decel_mps2
    return to_message(control_type, AckermannValues(steer_rad=steering, accel_mps2=decel), stamp_ns, frame_id)


def stamp_of(msg: Any) -> int | None:
    """Header stamp in nanoseconds; 0 for an empty one; None for a type without a header."""
    header = getattr(msg, "header", None)
    return None if header is None else int(header.stamp.sec) * NS_PER_S + int(header.stamp.nanosec)


def values_of(msg: Any) -> ControlValues:
    """The numbers of a control message of any of the three types, as they are: they may lie outside their range, or be NaN."""
    if hasattr(msg, "throttle"):
        return CarlaValues(throttle=msg.throttle, brake=msg.brake, steer=msg.steer, hand_brake=bool(msg.hand_brake), reverse=bool(msg.reverse))
    drive = getattr(msg, "drive", msg)
    return AckermannValues(steer_rad=drive.steering_angle, speed_mps=drive.speed, accel_mps2=drive.acceleration, jerk_mps3=drive.jerk)


def vehicle_geometry(msg: Any) -> VehicleGeometry:
    """CarlaEgoVehicleInfo → geometry. Raises InputError where the wheels cannot be meant.

    The wheels that steer are the front ones. The bridge gives their positions from the vehicle's origin along the axes of the MAP, as the vehicle stood
    when it was spawned: only lengths and angles between them count here, so that its heading then does not matter. `max_steer_angle` is taken in radians,
    which the bridge sends (the comment in its message says degrees)."""
    wheels = [(w.position.x, w.position.y, w.max_steer_angle) for w in msg.wheels]
    if not wheels or not all(math.isfinite(v) for w in wheels for v in w):
        raise InputError(f"vehicle_info: got wheels (x, y, max_steer_angle) {wheels}, expected finite ones")
    front, rear = [w for w in wheels if abs(w[2]) > 1e-6], [w for w in wheels if abs(w[2]) <= 1e-6]
    if not front or not rear:
        raise InputError(f"vehicle_info: got {len(front)} wheels that steer and {len(rear)} that do not, expected some of both: set wheelbase_m, max_steer_rad")
    max_steer = max(abs(w[2]) for w in front)
    if max_steer > math.pi / 2.0:
        raise InputError(f"vehicle_info: got max_steer_angle {max_steer:.4g}, expected radians up to π/2; a sender that gives degrees must be repaired")
    rear_x, rear_y = (sum(w[i] for w in rear) / len(rear) for i in (0, 1))
    along_x, along_y = (sum(w[i] for w in front) / len(front) - r for i, r in ((0, rear_x), (1, rear_y)))
    wheelbase = math.hypot(along_x, along_y)
    if not 0.5 <= wheelbase <= 15.0:
        raise InputError(f"vehicle_info: wheel positions give a wheelbase of {wheelbase:.3g} m, expected 0.5 … 15 m; positions are in metres")
    return VehicleGeometry(rear_axle_x_m=(rear_x * along_x + rear_y * along_y) / wheelbase, wheelbase_m=wheelbase, max_steer_rad=max_steer)


def _generated(package: str, name: str, what: str) -> Any:
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ModuleNotFoundError, AttributeError) as e:
        raise ConfigError(f"{what} needs {package}/{name}, which is not installed: {_SOURCES[package]}") from e


def _require_finite(values: ControlValues) -> None:
    numbers = [values.throttle, values.brake, values.steer] if isinstance(values, CarlaValues) else [values.steer_rad, values.speed_mps, values.accel_mps2]
    if not all(math.isfinite(v) for v in numbers):
        raise InputError(f"control: got {values}, expected finite numbers")
