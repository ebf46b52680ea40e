"""Everything that diagnostics can say: one entry per condition, with cause and remedy. docs/diagnostics.md is made from this table.

python -m vavam_ros.nodes.conditions --markdown > docs/diagnostics.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Task = Literal["input", "model", "timing", "output"]
TASKS: tuple[Task, ...] = ("input", "model", "timing", "output")


class Level(IntEnum):
    """Severity; the numbers are those of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that diagnostics report. `text` is a format string; the code stands in front of it and in the table of the documentation."""

    code: str
    task: Task
    level: Level
    text: str
    cause: str
    remedy: str


def _row(task: Task, level: Level, code: str, text: str, cause: str, remedy: str) -> Condition:
    return Condition(code=code, task=task, level=level, text=text, cause=cause, remedy=remedy)


_OK, _W, _E = Level.OK, Level.WARN, Level.ERROR

# fmt: off
ALL: tuple[Condition, ...] = (
    _row("input", _OK, "waiting", "waiting: {reason}", "A first message is missing, or the node is not active.",
         "None, unless it lasts: after pairing_report_s it becomes not_paired."),
    _row("input", _E, "not_paired", "no usable set of inputs for {seconds:.0f} s. Likely cause: {cause}. {table}",
         "Per topic: count, rate, last stamp, offset to the image. The text names the likeliest cause.",
         "See the cause that is named; `ros2 topic info -v` shows both sides."),
    _row("input", _E, "qos_incompatible",
         "{topic}: {policy} of publisher {publisher} and this subscription do not match: publisher {offered}, subscription {requested}",
         "A reliable or latched subscription and a publisher that offers less.",
         "Set qos_overrides.<topic>.subscription.<policy>, or change the publisher. For bags: --qos-profile-overrides-path."),
    _row("input", _E, "no_stamp", "{topic}: header stamp is empty; the message is refused", "The publisher does not fill header.stamp.",
         "Stamp with the time of exposure or measurement at the source."),
    _row("input", _E, "bad_image", "image refused: {error}", "Encoding that carries no usable colour, truncated data, or a corrupt JPEG.",
         "As the text says; check the driver and the transport."),
    _row("input", _E, "bad_odometry", "odometry refused: {error}", "NaN, a zero or unnormalised quaternion, no stamp, or no frame.",
         "Repair the odometry source. The last good poses are used while they are young enough."),
    _row("input", _W, "odometry_inconsistent", "odometry contradicts itself: {why}",
         "The twist is left empty, is in another frame or unit, or pose and twist come from different sources.",
         "Fill the twist in child_frame_id (m/s, rad/s). Until then poses are interpolated without it, but what is carried on by it "
         "(the present pose, the start of a path) is wrong."),
    _row("input", _W, "odometry_reset", "odometry: {outcome}", "Localisation was reset, the vehicle respawned, or time jumped back.",
         "None if it was meant. Plans, tokens and poses from before are dropped."),
    _row("input", _W, "no_pose", "image dropped: {reason}", "Odometry is late, has a gap, or runs on another clock.",
         "Raise odometry_wait_s for late odometry; repair gaps; compare the clocks (offsets in the values)."),
    _row("input", _E, "camera_unusable", "camera cannot be used: {error}",
         "Uncalibrated or wrong camera_info, unknown mounting, or too little of the model's view is covered.", "As the text says."),
    _row("input", _W, "mount_waiting", "no transform {base} → {camera} yet ({seconds:.0f} s); {then}",
         "TF of the camera mount is not published, or a frame name differs.",
         "Publish it (static), or set camera_mount_rpy_deg, or camera_yaml with a mount."),
    _row("input", _W, "camera_changed", "camera changed: new view, new epoch", "camera_info differs from before.",
         "None if it was meant; else two cameras publish on one topic."),
    _row("input", _E, "image_frozen", "{reason}", "The driver repeats its last picture.", "Restart the camera. No tokens are made meanwhile."),
    _row("input", _E, "image_stale", "newest image is {age:.1f} s old (max_image_age_s {limit:g})", "The camera stopped, or the transport drops everything.",
         "Restart the camera; for large raw images use the shared-memory profile."),
    _row("input", _W, "time_jumped", "{what}; everything is flushed, a new epoch begins", "A bag loop, a simulator reset, or a clock correction.",
         "None if it was meant."),
    _row("input", _E, "no_clock", "use_sim_time is true, but {why}", "Nothing publishes /clock.",
         "Start the player with /clock (`ros2 bag play --clock`, bag_player_node), or set use_sim_time to false."),
    _row("input", _E, "clock_mismatch", "{topic} is {offset:+.1f} s from this node's clock",
         "Recorded stamps without use_sim_time, or machines whose clocks differ.", "Set use_sim_time and publish /clock, or synchronise the clocks."),
    _row("input", _E, "bad_tokens", "tokens refused: {error}", "Another tokenizer's tokens, another grid, or a corrupt message.",
         "Give both nodes the same model directory."),
    _row("input", _E, "bad_command", "command refused: {error}", "A number that is no command, or another schema.",
         "Publish vavam_ros/DrivingCommand with schema_version 1 and RIGHT 0, LEFT 1 or STRAIGHT 2."),
    _row("input", _E, "bad_route", "route refused: {error}", "Fewer than two finite points, or a frame that is not connected to the odometry's.",
         "Publish the route in the odometry frame, or the transform between the two."),
    _row("input", _W, "command_default", "command is straight: {why}", "No command or route came, or it timed out.",
         "Publish ~/command or ~/route, or set command_source: fixed."),
    _row("model", _OK, "unconfigured", "not configured", "Nobody asked for it: autostart is false, or after cleanup.",
         "`ros2 lifecycle set <node> configure`, or autostart: true."),
    _row("model", _W, "loading", "loading: {stage} ({seconds:.0f} s)", "Weights are read and checked, then the network warms up.", "Wait."),
    _row("model", _E, "configure_failed", "configure failed: {error}", "As the text says.", "As the text says; then configure again (lifecycle) or restart."),
    _row("model", _W, "untrained", "the weights are untrained: the paths mean nothing", "A random model, for tests and demos.",
         "Use a trained model. allow_untrained: false refuses this."),
    _row("model", _W, "synthetic", "the model was trained in a synthetic world, not on a road", "Its card says so.",
         "Do not use it on a vehicle. allow_synthetic: false refuses this."),
    _row("model", _W, "not_canonical", "the camera is only resized: its geometry is not the model's", "camera_mode: resize.",
         "Use camera_mode: warp with a calibrated camera."),
    _row("model", _E, "inference_failed", "{stage} failed: {error}", "Out of memory, or a defect.",
         "Fewer num_samples, a smaller model or dtype; else report it. The node goes on with the next image."),
    _row("model", _E, "thread_ended", "the {stage} thread ended: {error}", "A defect in this package.",
         "Report it with the log. `cleanup` and `configure` start a new thread."),
    _row("model", _E, "thread_stuck", "{stage} has been running for {seconds:.0f} s", "A hanging driver or device.", "Check the GPU; restart the node."),
    _row("timing", _W, "overrun", "{stage}: {share:.0%} of {count} jobs skipped since the last report", "The model is slower than the rate asked for.",
         "Lower tokenize_rate_hz or plan_rate_hz, num_samples or num_steps; a smaller model; a GPU."),
    _row("timing", _W, "late", "pipeline latency p95 is {latency:.2f} s, max_plan_age_s {limit:g}", "Plans are nearly too old when they are made.",
         "As for overrun; or raise max_plan_age_s."),
    _row("output", _OK, "not_active", "not active", "Lifecycle state is not active.", "`ros2 lifecycle set <node> activate`, or autostart: true."),
    _row("output", _W, "no_plan", "no plan yet: {reason}", "Inputs are missing, or the context is too short (warmup: wait).", "See input."),
    _row("output", _E, "plan_expired", "{reason}; {then}", "No new plan for max_plan_age_s: input lost, or inference too slow.", "See input and timing."),
    _row("output", _W, "plan_invalid", "plan {then}: {violations}", "All samples break a limit.",
         "Look at ~/samples; with a trained model this is rare. Limits are the parameters limits.*."),
    _row("output", _W, "short_context", "planning on {frames} of {full} frames: {reason}", "After start or a reset, or a gap in the token frames.",
         "None after a start; else see input for lost images."),
    _row("output", _W, "no_base_pose", "~/path_base_link not published: {reason}", "Odometry is too old to say where the vehicle is now.",
         "Repair the odometry; see odometry_max_extrapolation_s."),
    # path_follower_node's own
    _row("input", _E, "follower_no_vehicle_info", "no vehicle on {topic} yet: no command is given",
         "Wheelbase and largest wheel angle are not known, and nothing is assumed: a wrong angle is a wrong steering gain.",
         "Connect ~/vehicle_info (transient local; the bridge sends it once), or set wheelbase_m, max_steer_rad and rear_axle_x_m."),
    _row("input", _E, "follower_bad_vehicle_info", "vehicle refused: {error}", "Wheels that cannot be meant, or angles in degrees.",
         "Repair the sender, or set wheelbase_m, max_steer_rad and rear_axle_x_m."),
    _row("input", _E, "follower_bad_path", "path refused: {error}", "NaN, times that do not grow, another frame, or a stamp that odometry does not cover.",
         "Publish ~/path in the odometry frame, or in ego_frame_id with the image's stamp."),
    _row("input", _W, "follower_input_missing", "nothing on {topics}", "Not connected, QoS that does not match, or the sender stopped.",
         "`ros2 topic info -v` shows both sides."),
    _row("output", _OK, "follower_idle", "no path to follow yet", "The planner has not begun.", "None, unless it lasts: see the planner's diagnostics."),
    _row("output", _E, "follower_no_command", "no command: {reason}", "The path is over, of another place or frame, or its time is not that of the odometry.",
         "As the text says; the gate stops the vehicle meanwhile."),
    _row("output", _E, "follower_parameters", "no command is ever given: {error}",
         "A parameter value that cannot be meant, or a message package that is missing.",
         "As the text says; then restart it."),
    # watchdog_node's own
    _row("input", _W, "gate_clock_stalled", "/clock has stood still for {seconds:.0f} s and no command answers the newest odometry",
         "A simulator in lock-step waits for a command, and the follower gives none.",
         "Look at the follower. The gate answers in its place: last command, then a stop."),
    _row("input", _E, "gate_bad_path", "path refused: {why}", "Fewer than two poses, NaN, or a stamp that is empty or of another clock.",
         "Repair the planner; a path that is refused counts as none."),
    _row("input", _E, "gate_bad_image", "evidence of images refused: {why}", "A camera_info (or tokens) with a stamp that is empty or of another clock.",
         "Repair the camera driver's stamps, or use_sim_time; what is refused counts as no image."),
    _row("input", _E, "gate_bad_command", "command refused: {why}",
         "NaN, out of range, a leap of the steering, or a stamp that is empty, old or of another clock.",
         "Repair the follower. The last command is kept for hold_s, then the gate stops."),
    _row("input", _E, "gate_flood", "commands at {rate:.0f} Hz (limit {limit:g}): none passes", "A follower out of control, or two of them.",
         "Run one follower; or raise max_command_rate_hz."),
    _row("output", _OK, "gate_disarmed", "disarmed, {state}: {why}", "Not enabled since the start, or since a person took over.",
         "`ros2 service call <gate>/enable std_srvs/srv/SetBool '{data: true}'` once it is READY."),
    _row("output", _W, "gate_degraded", "degraded: {why}; the vehicle gets {then}", "An input is late.",
         "See the input that is named. It recovers by itself, or stops."),
    _row("output", _E, "gate_stopped", "stopped: {why}; {then}", "The first reason is the likeliest cause; or the enable service was called with false.",
         "Repair it; when the vehicle stands and all is healthy, enable again."),
    _row("output", _E, "gate_second_publisher", "{others} also publish(es) {topic}", "A second controller, or a gate that was killed a moment ago.",
         "Only the gate may publish to the vehicle: remap the other. What a killed process leaves disappears within half a minute."),
    _row("output", _E, "gate_auto_enable", "auto_enable is refused without use_sim_time", "It is for simulation and tests.", "Call the enable service."),
    _row("output", _E, "gate_parameters", "the gate stays in INIT: {error}", "A parameter value that cannot be meant, or a message package that is missing.",
         "As the text says; then restart it."),
)
# fmt: on

BY_CODE: dict[str, Condition] = {c.code: c for c in ALL}


def markdown() -> str:
    """docs/diagnostics.md."""
    out = [
        "# Diagnostics",
        "",
        "Made by `python -m vavam_ros.nodes.conditions --markdown` from `vavam_ros/nodes/conditions.py`; a test holds the two equal.",
        "",
        "Each node publishes `/diagnostics` once a second, from a thread of its own, with four statuses: `<node>: input`, `model`, `timing`, `output`.",
        "A status has the level of its worst condition. Its message lists the active conditions as `[code] text`; the value `remedy` is that of the worst one.",
        "Events (a refused message) stay for 5 s after the last one; the value `count.<code>` says how often they came.",
        "Each condition is logged when it begins.",
        "`watchdog_node` and `path_follower_node` have no model and no heartbeat: fewer statuses, from their only thread.",
        "",
        "`~/heartbeat` (std_msgs/UInt64, `heartbeat_rate_hz`, at least 10 Hz) comes from the same thread, also while a model loads. Its number grows",
        "as long as every inference thread turns over: *no message* = the process is gone or hangs; *messages with a number that stands still* =",
        "an inference (or the load) has been running since it last grew.",
    ]
    for task in TASKS:
        out += ["", f"## {task}", "", "| level | code | text | cause | remedy |", "|---|---|---|---|---|"]
        out += [f"| {c.level.name} | `{c.code}` | {c.text.replace('|', chr(92) + '|')} | {c.cause} | {c.remedy} |" for c in ALL if c.task == task]
    out += ["", "## Values", "", *_VALUES]
    return "\n".join(out) + "\n"


_VALUES = (
    "- input: per topic `<topic>.count`, `.rate_hz`, `.last_stamp`, `.offset_to_image_s`, `.empty_stamps`;",
    "  odometry and token ring outcomes (accepted, duplicates, out of order, resets).",
    "- model: `model_id`, `device`, `dtype`, lifecycle `state`, `coverage`, camera id, mount source, "
    "`kv_buffers_mib` (keys and values of contexts); on a GPU allocated, reserved and peak memory.",
    "- timing: `<stage>.p50_ms`, `.p95_ms`, `.p99_ms`, `.max_ms` over the last `timing_window` runs; `latency` = now − image stamp when the plan is published;",
    "  stages in the order of the way: transport, wait, queue, decode, warp, tokenize, ring, plan_queue, context, denoise, select, publish (`nodes/trip.py`);",
    "  per thread submitted, skipped, done, failed, discarded.",
    "- output: plans, invalid plans, paths published, age of the plan, context frames, command and why, selection reason, spread.",
)


def main(args: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Everything that diagnostics can say.")
    parser.add_argument("--markdown", action="store_true", required=True, help="print docs/diagnostics.md")
    parser.parse_args(args)
    print(markdown(), end="")


if __name__ == "__main__":
    main()
