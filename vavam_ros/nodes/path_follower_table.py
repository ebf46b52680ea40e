"""The parameters of path_follower_node. Where the core owns a default, the row reads it from there."""

from __future__ import annotations

from dataclasses import replace

from vavam_ros.core.follow import CarlaActuation, FollowConfig
from vavam_ros.core.history.odometry import OdometryConfig
from vavam_ros.nodes.control_messages import VehicleGeometry
from vavam_ros.nodes.parameters import Parameters, Row

_FOLLOW = {  # field of FollowConfig → highest value, unit, what it is; wheelbase and largest wheel angle come from the vehicle
    "max_steer_rate_radps": (10.0, "rad/s", "Fastest change of the commanded wheel angle."),
    "actuation_delay_s": (1.0, "s", "From odometry stamp to effect: transport, the simulator's tick, the actuators' lag. The pose is carried on by it."),
    "lookahead_time_s": (5.0, "s", "The point steered for lies this far ahead at the present speed."),
    "min_lookahead_m": (20.0, "m", "And at least this far."),
    "max_lookahead_m": (100.0, "m", "And at most this far."),
    "max_lat_accel_mps2": (20.0, "m/s²", "The speed is chosen for this lateral acceleration in the curves ahead."),
    "limit_lat_accel_mps2": (20.0, "m/s²", "No steering command asks for more."),
    "max_accel_mps2": (10.0, "m/s²", "Largest commanded acceleration."),
    "max_decel_mps2": (10.0, "m/s²", "Largest commanded deceleration."),
    "comfort_decel_mps2": (10.0, "m/s²", "Deceleration for curves, and to the end of a path that gets old."),
    "max_jerk_mps3": (100.0, "m/s³", "Fastest change of acceleration."),
    "max_brake_jerk_mps3": (200.0, "m/s³", "The same while the brake is built up or let go."),
    "speed_gain_1ps": (10.0, "1/s", "Acceleration per error in speed."),
    "place_gain_1ps": (10.0, "1/s", "Speed per error in place along the path, against where the path wants to be now."),
    "max_place_correction_mps": (10.0, "m/s", "At most this much."),
    "stale_after_s": (10.0, "s", "Age of a path (its header's stamp) beyond which it is followed to a stop within its length."),
    "over_after_s": (10.0, "s", "How long past its last pose a path is still braked on."),
    "early_s": (10.0, "s", "How long before its first pose a path is followed."),
    "max_offset_m": (20.0, "m", "Further to the side of the path, it is not followed."),
    "max_heading_error_rad": (3.2, "rad", "Further off its direction, neither."),
}
_ACTUATION = {  # field of CarlaActuation, the same way
    "max_accel_mps2": (20.0, "m/s²", "Throttle 1 at low speed."),
    "max_power_w_per_kg": (1000.0, "W/kg", "Bounds acceleration at speed."),
    "max_brake_mps2": (20.0, "m/s²", "Brake 1."),
    "rolling_mps2": (2.0, "m/s²", "Resistance that does not depend on speed."),
    "drag_1pm": (0.1, "1/m", "Resistance per squared speed."),
    "hold_brake": (1.0, "", "Brake at standstill."),
    "hold_below_mps": (2.0, "m/s", "Slower than this, a vehicle that is to stand is held."),
}
FOLLOW_NAMES, ACTUATION_NAMES = tuple(_FOLLOW), tuple(_ACTUATION)
_ZERO_ALLOWED = ("actuation_delay_s", "place_gain_1ps", "max_place_correction_mps", "over_after_s", "early_s", "rolling_mps2", "drag_1pm")
_follow, _actuation, _odom = FollowConfig(), CarlaActuation(), OdometryConfig()

# fmt: off
_OWN = (
    Row(name="control_type", default="carla", choices=("carla", "ackermann_stamped", "ackermann"),
        description="Type of `~/control`: carla_msgs/CarlaEgoVehicleControl, ackermann_msgs/AckermannDriveStamped or AckermannDrive."),
    Row(name="wheelbase_m", default=0.0, low=0.0, high=15.0, unit="m", description="Front to rear axle; 0: from `~/vehicle_info`."),
    Row(name="max_steer_rad", default=0.0, low=0.0, high=1.57, unit="rad",
        description="Largest wheel angle, what steer 1 means to CARLA; 0: from `~/vehicle_info`. Nothing is assumed: without either, no command is given."),
    Row(name="rear_axle_x_m", default=0.0, low=-10.0, high=10.0, unit="m",
        description="x of the rear axle in the odometry's child frame, used when wheelbase_m and max_steer_rad are given; else `~/vehicle_info` has it."),
    Row(name="ego_frame_id", default="ego", description="Frame of paths that are placed at the odometry pose of their header's stamp (a raw plan)."),
    Row(name="min_plan_age_s", default=0.0, low=0.0, high=5.0, unit="s",
        description="A path is followed only from its header's stamp plus this on: a latency that is the same in every run. 0: after its stamp, at once."),
    Row(name="odometry_max_gap_s", default=_odom.max_gap_s, low=0.01, high=5.0, unit="s",
        description="Widest gap between two odometry messages across which a path's stamp is interpolated."),
)
# fmt: on

PARAMETERS: tuple[Row, ...] = (
    *_OWN,
    *(
        Row(name=f"{group}.{name}", default=float(getattr(owner, name)), low=0.0 if name in _ZERO_ALLOWED else 0.01, high=high, unit=unit, description=text)
        for group, owner, rows in (("follow", _follow, _FOLLOW), ("actuation", _actuation, _ACTUATION))
        for name, (high, unit, text) in rows.items()
    ),
)


def given_geometry(parameters: Parameters) -> VehicleGeometry | None:
    """The vehicle as parameters give it; None where it must come from vehicle_info, all of it or a part."""
    wheelbase, steer = parameters.number("wheelbase_m"), parameters.number("max_steer_rad")
    return VehicleGeometry(rear_axle_x_m=parameters.number("rear_axle_x_m"), wheelbase_m=wheelbase, max_steer_rad=steer) if wheelbase > 0.0 < steer else None


def with_given(parameters: Parameters, vehicle: VehicleGeometry) -> VehicleGeometry:
    """The vehicle of vehicle_info, but for what a parameter gives."""
    wheelbase, steer = parameters.number("wheelbase_m") or vehicle.wheelbase_m, parameters.number("max_steer_rad") or vehicle.max_steer_rad
    return replace(vehicle, wheelbase_m=wheelbase, max_steer_rad=steer)


def follow_config(parameters: Parameters, vehicle: VehicleGeometry) -> FollowConfig:
    """Raises ConfigError."""
    return FollowConfig(
        wheelbase_m=vehicle.wheelbase_m, max_steer_rad=vehicle.max_steer_rad, **{name: parameters.number(f"follow.{name}") for name in FOLLOW_NAMES}
    )


def carla_actuation(parameters: Parameters, vehicle: VehicleGeometry) -> CarlaActuation:
    """Raises ConfigError."""
    return CarlaActuation(max_steer_rad=vehicle.max_steer_rad, **{name: parameters.number(f"actuation.{name}") for name in ACTUATION_NAMES})
