"""ackermann_cmd → control: what carla_ackermann_control does for CARLA, here inside the world. No ROS.

The steering angle is met at once, within the vehicle's own limits: steer = −angle / largest angle (Ackermann is + left, CARLA is + right). Speed is held by
a proportional controller whose output is an acceleration, bounded by `acceleration` where that is not 0; pedals follow from the vehicle's parameters.
`steering_angle_velocity` and `jerk` are not heeded. As with CARLA's node, a second without a command ends its output, and the last control stays in force.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vavam_ros.core.contracts import NS_PER_S
from vavam_world.contracts import Control, Vehicle

SILENCE_NS = NS_PER_S
GAIN_1PS = 1.5
STANDSTILL_MPS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AckermannCommand:
    """AckermannDrive, and the simulated time at which it came."""

    came_ns: int
    steering_rad: float  # + left
    speed_mps: float
    accel_mps2: float = 0.0  # bound, 0: none


def ackermann_control(command: AckermannCommand, speed_mps: float, vehicle: Vehicle) -> Control:
    """The pedals and the wheel for now. Backwards only from standstill."""
    steer = min(max(-command.steering_rad / vehicle.max_steer_rad, -1.0), 1.0)
    target = command.speed_mps
    if abs(target) < 1e-3 and abs(speed_mps) < STANDSTILL_MPS:
        return Control(brake=1.0, steer=steer, hand_brake=True)
    turning_round = target * speed_mps < 0.0 and abs(speed_mps) > STANDSTILL_MPS
    direction = math.copysign(1.0, speed_mps if turning_round or abs(target) < 1e-3 else target)
    target = 0.0 if turning_round else target
    wanted = GAIN_1PS * (target - speed_mps) * direction
    if command.accel_mps2 != 0.0:
        bound = abs(command.accel_mps2)
        wanted = min(max(wanted, -bound), bound)
    along = speed_mps * direction
    resistance = (vehicle.rolling_mps2 if along > 0.0 else 0.0) + vehicle.drag_1pm * along * along
    push = wanted + resistance
    available = min(vehicle.max_accel_mps2, vehicle.max_power_w_per_kg / max(along, 1.0))
    throttle = min(max(push / available, 0.0), 1.0)
    brake = min(max(-push / vehicle.max_brake_mps2, 0.0), 1.0)
    return Control(throttle=throttle, brake=brake, steer=steer, reverse=direction < 0.0)
