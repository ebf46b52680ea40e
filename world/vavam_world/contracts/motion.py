"""Who moves: the ego with its vehicle and control, the others, contacts, the state of a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vavam_ros.core.contracts import EgoPose, PoseQuality
from vavam_ros.core.geometry import planar_T
from vavam_world.contracts.basics import MAP_FRAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """The ego's parameters. Steering angles are those of the equivalent bicycle's front wheel, + left."""

    wheelbase_m: float = 2.9
    actor_origin_x_m: float = 1.4  # CARLA's vehicle origin, ahead of the rear axle
    length_m: float = 4.7
    width_m: float = 1.9
    height_m: float = 1.5
    rear_overhang_m: float = 0.9  # rear bumper behind the rear axle
    wheel_radius_m: float = 0.35
    max_steer_rad: float = 0.61  # steer = ∓1
    max_steer_rate_radps: float = 0.8
    steer_time_constant_s: float = 0.10
    max_accel_mps2: float = 3.5  # throttle = 1 at standstill
    max_power_w_per_kg: float = 45.0  # bounds acceleration at speed
    max_brake_mps2: float = 8.0  # brake = 1
    accel_time_constant_s: float = 0.15
    rolling_mps2: float = 0.10  # resistance that does not depend on speed
    drag_1pm: float = 0.0006  # resistance = drag · v²
    delay_ticks: int = 1  # a control takes effect this many ticks after the one it came in


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """CarlaEgoVehicleControl's fields: throttle and brake 0..1, steer −1..1 with + to the RIGHT."""

    throttle: float = 0.0
    brake: float = 0.0
    steer: float = 0.0
    hand_brake: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoState:
    """The ego's motion: pose of the rear axle in map; speed signed along its heading; wheel angle as it really is, + left."""

    x_m: float
    y_m: float
    yaw_rad: float  # unwrapped
    speed_mps: float
    accel_mps2: float
    yaw_rate_radps: float
    steer_rad: float
    control: Control  # in effect

    def pose(self, stamp_ns: int) -> EgoPose:
        """As the core's ego pose in the frame `map`."""
        return EgoPose(
            stamp_ns=stamp_ns,
            odom_frame_id=MAP_FRAME,
            T_odom_ego=planar_T(self.x_m, self.y_m, self.yaw_rad),
            linear_mps=np.array([self.speed_mps, 0.0, 0.0]),
            angular_radps=np.array([0.0, 0.0, self.yaw_rate_radps]),
            quality=PoseQuality.MEASURED,
        )

    def ahead(self, x_m: float) -> tuple[float, float]:
        """The point `x_m` ahead of the rear axle, in map."""
        return self.x_m + x_m * math.cos(self.yaw_rad), self.y_m + x_m * math.sin(self.yaw_rad)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorState:
    """Any other road user, or a parked car: pose of its centre in map, size, and which look it has."""

    id: int
    kind: Literal["car", "van", "truck", "pedestrian", "parked"]
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    length_m: float
    width_m: float
    height_m: float
    variant: int
    braking: bool = False  # brake lights
    lane_id: int = -1  # lane it keeps to, −1 for none
    s_m: float = 0.0  # arc length of its centre on that lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """The first contact of the ego with one actor or prop. `impact_mps`: magnitude of the velocity difference at that tick."""

    tick: int
    with_id: int  # actor id, −1 − index of a prop
    kind: str
    impact_mps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldState:
    """Everything that changes, at one tick."""

    tick: int
    stamp_ns: int
    ego: EgoState
    actors: tuple[ActorState, ...]  # id order
