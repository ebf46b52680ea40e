"""The parameters of watchdog_node. Where the core owns a default, the row reads it from there."""

from __future__ import annotations

from dataclasses import fields

from vavam_ros.core.gate_checks import GateConfig
from vavam_ros.nodes.parameters import Parameters, Row

_LIMITS = {  # field of GateConfig → highest value, unit, what it is; a test holds the two sets of names equal
    "plan_period_s": (10.0, "s", "Time between two plans, for the limit of the path's age."),
    "path_margin_s": (5.0, "s", "Added to plan period and p99 of the latency."),
    "path_age_cap_s": (10.0, "s", "The path's age limit is never above this; it holds alone until a latency is known."),
    "max_path_age_s": (10.0, "s", "Oldest path that is followed; 0: plan_period_s + p99 of the measured latency + path_margin_s, at most path_age_cap_s."),
    "command_late_s": (5.0, "s", "A newest command older than this makes the gate DEGRADED; hold_s later it stops."),
    "odometry_late_s": (5.0, "s", "The same for odometry; when it is lost the stop is the harder one."),
    "image_late_s": (10.0, "s", "A newest image older than this makes the gate DEGRADED."),
    "image_lost_s": (10.0, "s", "One older than this stops the vehicle."),
    "heartbeat_late_s": (10.0, "s", "Without a heartbeat of a watched node for this long (wall time) no new command passes; hold_s later the gate stops."),
    "heartbeat_stuck_s": (60.0, "s", "A heartbeat whose number stands still for this long (wall time): the node hangs, the gate stops."),
    "diagnostics_grace_s": (60.0, "s", "How long (wall time) a watched node may report an ERROR that is not about its model; a single event shows for 5 s."),
    "hold_s": (1.0, "s", "Longest time that the last command is kept where no new one can be trusted."),
    "degraded_max_s": (60.0, "s", "Longest stay in DEGRADED, whatever the reasons; then the gate stops."),
    "recover_s": (10.0, "s", "DEGRADED becomes ACTIVE, and STOP accepts a new enable, after this long without a fault."),
    "stop_decel_mps2": (10.0, "m/s²", "Deceleration of the comfortable stop."),
    "stop_jerk_mps3": (50.0, "m/s³", "How fast it builds up."),
    "emergency_decel_mps2": (10.0, "m/s²", "Deceleration of the stop without odometry, and the most that is kept of what the follower was braking."),
    "emergency_jerk_mps3": (100.0, "m/s³", "How fast it builds up."),
    "standstill_mps": (1.0, "m/s", "Slower than this the vehicle stands: full brake, held."),
    "max_speed_mps": (100.0, "m/s", "A measured speed above this stops the vehicle."),
    "max_command_rate_hz": (1000.0, "Hz", "More commands per second (over half a second of the node's clock) are a flood: none passes."),
    "max_stamp_ahead_s": (5.0, "s", "A stamp further ahead of the clock is refused, on every input."),
}
LIMIT_NAMES = tuple(_LIMITS)
_ZERO_ALLOWED = ("path_margin_s", "max_path_age_s", "hold_s", "recover_s")
_defaults = GateConfig()

# fmt: off
_OWN = (
    Row(name="control_type", default="carla", choices=("carla", "ackermann_stamped", "ackermann"),
        description="Type of `~/control_in` and `~/control_out`: carla_msgs/CarlaEgoVehicleControl, ackermann_msgs/AckermannDriveStamped or AckermannDrive."),
    Row(name="rate_hz", default=20.0, low=1.0, high=200.0, unit="Hz",
        description="Rate at which the gate decides and re-emits, in the node's clock. In lock-step: not below the rate of the simulator's ticks."),
    Row(name="watched_nodes", default="tokenizer_node planner_node",
        description="Nodes whose heartbeat, diagnostics and lifecycle state are watched, separated by spaces; a name without a slash lies in the gate's own "
        "namespace. Empty: none (no model node drives)."),
    Row(name="image_evidence", default="camera_info", choices=("camera_info", "tokens", "none"),
        description="What shows that images come: `~/camera_info` (same stamps, far smaller), or `~/tokens` of the tokenizer (then image_late_s must exceed "
        "the token period), or nothing but the path's age."),
    Row(name="disarmed_output", default="nothing", choices=("nothing", "brake"),
        description="What the vehicle gets before the first enable: nothing (dry run), or the brake. Lock-step needs the brake."),
    Row(name="auto_enable", default=False, description="Arm once, at the first READY. Only with use_sim_time: refused otherwise."),
    Row(name="role_name", default="ego_vehicle",
        description="`/carla/<role_name>/vehicle_control_manual_override` is obeyed as `~/manual_override` is; empty: it is not."),
    Row(name="clock_stall_s", default=2.0, low=0.1, high=60.0, unit="s",
        description="With use_sim_time: after the clock has stood still for this long (wall time) without a command that answers the newest odometry, the "
        "follower counts as missing, and the gate answers in its place."),
    Row(name="odometry_jump_m", default=1.0, low=0.1, high=100.0, unit="m",
        description="A position further than this from where the twist leads is a jump: the gate stops."),
    Row(name="max_steer_rad", default=1.22, low=0.05, high=1.6, unit="rad",
        description="Full lock: the largest steering angle that passes (Ackermann types)."),
    Row(name="max_steer_rate", default=2.0, low=0.05, high=100.0, unit="locks/s",
        description="Full locks per second that the steering may change by; faster is clamped, three times faster refused."),
    Row(name="max_accel_mps2", default=10.0, low=0.1, high=20.0, unit="m/s²", description="Largest acceleration and deceleration that pass (Ackermann types)."),
    Row(name="max_throttle", default=1.0, low=0.0, high=1.0, description="Largest throttle that passes (carla)."),
    Row(name="brake_decel_mps2", default=8.0, low=0.5, high=20.0, unit="m/s²",
        description="Deceleration of brake 1.0 (carla): turns the stop into a brake value."),
)
# fmt: on

PARAMETERS: tuple[Row, ...] = (
    *_OWN,
    *(
        Row(name=name, default=float(getattr(_defaults, name)), low=0.0 if name in _ZERO_ALLOWED else 0.01, high=high, unit=unit, description=text)
        for name, (high, unit, text) in _LIMITS.items()
    ),
)


def gate_config(parameters: Parameters) -> GateConfig:
    """The limits as parameters give them. Raises ConfigError."""
    return GateConfig(**{field.name: parameters.number(field.name) for field in fields(GateConfig)})
