"""Every parameter of every node, each declared once: name, type, default, bounds, unit, what it does, when it may change, which nodes have it.

Where a core module owns a default, the row reads it from there, so that each default has one home.

    python -m vavam_ros.nodes.parameter_table --markdown > docs/parameters.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import get_args

from vavam_ros.core.camera import view
from vavam_ros.core.history.odometry import OdometryConfig
from vavam_ros.core.history.token_ring import RingConfig
from vavam_ros.core.pipeline import PlannerConfig
from vavam_ros.core.planning.selection import Rule
from vavam_ros.core.planning.validation import Limits
from vavam_ros.nodes import path_follower_table, watchdog_table
from vavam_ros.nodes.parameters import BOTH, PLANNER, TOKENIZER, Part, Row

_odom, _ring, _plan, _limits = OdometryConfig(), RingConfig(), PlannerConfig(), Limits()

# fmt: off
_GENERAL = (
    Row(name="autostart", default=True, description="Configure and activate without a lifecycle manager."),
    Row(name="model_dir", default="", description="Model directory: model.yaml and its safetensors files (`vavam convert`, `vavam inspect`)."),
    Row(
        name="device",
        default="auto",
        description="`auto` (the GPU when there is one), `cpu`, `cuda` or `cuda:<n>`. `cuda` without a usable GPU fails configure; it never falls back.",
    ),
    Row(name="dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"),
        description="Type the networks run in; `auto`: bfloat16 for the driving model on a GPU that computes it, float32 for the tokenizer and on a CPU. "
        "Sampling state, time and poses stay fp32/fp64."),
    Row(name="num_threads", default=0, low=0, high=256,
        description="CPU threads of one torch operation; 0: one for a small model (under 5 million weights), "
        "else torch's own choice. Bit-equal plans need equal numbers."),
    Row(name="check_golden", default=True, description="Replay the model's recorded output at load and refuse a model that does not reproduce it."),
    Row(name="allow_untrained", default=True, description="Accept a model that was never trained (with a warning). The vehicle launch sets false."),
    Row(name="allow_synthetic", default=True, description="Accept a model trained in a synthetic world (with a warning). The vehicle launch sets false."),
    Row(name="ego_frame_id", default="ego",
        description="Name of the frame of the raw plan: the ego point (rear axle) at the image stamp. It is not a TF frame."),
    Row(name="rear_axle_x_m", default=0.0, low=-10.0, high=10.0, unit="m",
        description="x of the rear axle in the odometry's child frame; 0 where base_link is the rear axle, about -1.4 for CARLA."),
    Row(name="odometry_keep_s", default=_odom.keep_s, low=2.0, high=600.0, unit="s", description="Odometry kept for interpolation."),
    Row(name="odometry_max_gap_s", default=_odom.max_gap_s, low=0.01, high=5.0, unit="s",
        description="Widest gap between two odometry messages that is interpolated across."),
    Row(name="odometry_max_extrapolation_s", default=_odom.max_extrapolation_s, low=0.0, high=1.0, unit="s",
        description="How long the newest odometry is carried on by its twist."),
    Row(name="odometry_is_estimated", default=False,
        description="The odometry itself is an estimate (made from poses or video): everything derived says so (pose_quality)."),
    Row(name="heartbeat_rate_hz", default=20.0, low=10.0, high=100.0, unit="Hz", description="Rate of `~/heartbeat`, published by a thread of its own."),
    Row(name="pairing_report_s", default=5.0, low=0.5, high=60.0, unit="s",
        description="Without a usable set of inputs for this long, diagnostics give the table of topics and the likely cause."),
    Row(name="timing_window", default=200, low=10, high=10_000, description="Number of newest runs that p50, p95 and max are taken over."),
)

_TOKENIZER = (
    Row(name="image_transport", default="raw", choices=("raw", "compressed"),
        description="`raw`: `~/image` (sensor_msgs/Image). `compressed`: `~/image/compressed` (JPEG or PNG)."),
    Row(name="image_qos_depth", default=2, low=1, high=5, description="History depth of the image subscription, which is best effort (sensor data)."),
    Row(name="sync_slop_s", default=0.0, low=0.0, high=1.0, unit="s", description="Pair image and camera_info within this time; 0 pairs equal stamps only."),
    Row(name="sync_queue", default=10, low=2, high=100, description="Messages per topic that pairing keeps."),
    Row(name="image_time_offset_s", default=0.0, low=-1.0, high=1.0, unit="s", read_only=False,
        description="Added to every image stamp: exposure and clock offset between camera and odometry."),
    Row(name="camera_info_source", default="topic", choices=("topic", "yaml"),
        description="Intrinsics from `~/camera_info`, or from the file `camera_yaml` (then nothing is paired)."),
    Row(name="camera_yaml", default="",
        description="ROS calibration file, with an optional `mount:` block. Needed for `camera_info_source: yaml`; else only its mount is used."),
    Row(name="camera_mode", default="warp", choices=("warp", "resize"),
        description="`warp`: look through the model's canonical camera. `resize`: only resize, as upstream does; outputs are marked non-canonical, "
        "no camera_info is needed."),
    Row(name="min_coverage", default=view.MIN_COVERAGE, low=0.0, high=1.0, description="Smallest share of the canonical view that the camera must see."),
    Row(name="camera_max_pitch_deg", default=view.MAX_PITCH_DEG, low=0.0, high=90.0, unit="deg",
        description="Under `warp`, the camera may look this far up or down against the canonical one; more is taken for a wrong mounting, and refused."),
    Row(name="camera_min_height_m", default=view.MIN_HEIGHT_M, low=-20.0, high=20.0, unit="m",
        description="Under `warp`, the lowest camera above the ego point that is accepted: a warp turns the view, it cannot change the height."),
    Row(name="camera_max_height_m", default=view.MAX_HEIGHT_M, low=-20.0, high=20.0, unit="m", description="Under `warp`, the highest one."),
    Row(name="image_rectified", default=False, description="The images are rectified ones (image_rect): P and R of camera_info hold instead of K and D."),
    Row(name="camera_mount_xyz_m", default=(), low=-20.0, high=20.0, unit="m",
        description="Camera position in the ego frame, used with camera_mount_rpy_deg; empty: the model's."),
    Row(name="camera_mount_rpy_deg", default=(), low=-180.0, high=180.0, unit="deg",
        description="Roll, pitch (nose down positive), yaw of the camera body in the ego frame (x forward, not optical); empty: from TF, else "
        "YAML, else level and straight ahead."),
    Row(name="camera_mount_from_tf", default=True, description="Without a mount in parameters, look base_link → camera frame up in TF: once, then cached."),
    Row(name="camera_mount_tf_wait_s", default=3.0, low=0.0, high=60.0, unit="s",
        description="How long to wait for that transform before the mount of the YAML file is taken, with a warning."),
    Row(name="base_frame_id", default="", description="TF frame that the mount is looked up in; empty: the odometry's child frame."),
    Row(name="tokenize_rate_hz", default=2.0, low=0.0, high=60.0, unit="Hz", read_only=False,
        description="Images tokenised per second, by stamp; 0: every image."),
    Row(name="odometry_wait_s", default=0.2, low=0.0, high=2.0, unit="s", read_only=False,
        description="How long an image waits for odometry to pass its stamp before the pose is extrapolated, or the image dropped."),
    Row(name="max_image_age_s", default=1.0, low=0.05, high=60.0, unit="s", read_only=False,
        description="Without a newer image for this long, diagnostics call the camera stale."),
    Row(name="frozen_after", default=5, low=2, high=1000, description="Equal pictures in a row, while the vehicle moves, that count as a frozen camera."),
    Row(name="frozen_min_speed_mps", default=0.5, low=0.0, high=50.0, unit="m/s", description="Slower than this a picture may stay the same."),
)

_PLANNER = (
    Row(name="plan_rate_hz", default=2.0, low=0.0, high=60.0, unit="Hz", description="Plans per second, by image stamp; 0: from every token frame."),
    Row(name="num_samples", default=_plan.samples, low=1, high=256, description="Trajectories drawn per plan (K), in one batch."),
    Row(name="num_steps", default=0, low=0, high=1000, description="Euler steps per trajectory; 0: the model's own number."),
    Row(name="seed", default=_plan.seed, low=0, high=2**31 - 1, description="Noise is drawn from (seed, image stamp); of the seed alone with `noise: held`."),
    Row(name="selection", default=_plan.selection, choices=get_args(Rule), description="How one of the K trajectories is chosen."),
    Row(name="noise", default=_plan.noise, choices=("fresh", "held"),
        description="What plans are drawn from: another draw for each frame, or the same for all, so that plans change by what is seen alone."),
    Row(name="max_contexts", default=_plan.max_contexts, low=1, high=16,
        description="Growing contexts kept; one per phase when planning faster than the model's frame grid."),
    Row(name="inference", default=_plan.inference, choices=("fast", "plain"),
        description="How the network is run. `fast`: buffers that stay and, on a GPU, CUDA graphs. `plain`: the readable form. Equal up to rounding."),
    Row(name="context", default=_plan.context, choices=("exact", "streaming"),
        description="`exact`: plan from the whole window, computed anew once it slides. `streaming`: from its newest frames, half to all of them by "
        "turns, at the work of two frames per plan."),
    Row(name="streaming_keep_frames", default=0, low=0, high=64,
        description="Under `streaming`, frames that the shortest window has beside the newest; 0: half of the model's. More: longer windows, more work."),
    Row(name="warmup", default=_ring.warmup, choices=("shrink", "wait", "repeat"),
        description="Until the frame grid is full: plan on fewer frames, wait, or repeat the oldest."),
    Row(name="slot_tolerance_s", default=_ring.tolerance_s, low=0.0, high=0.25, unit="s",
        description="How far a frame may lie from its place on the time grid."),
    Row(name="command_source", default="topic", choices=("topic", "route", "fixed"),
        description="Where the driving command comes from: `~/command`, `~/route`, or `fixed_command`."),
    Row(name="fixed_command", default="straight", choices=("right", "left", "straight"), description="The command when `command_source` is `fixed`."),
    Row(name="command_timeout_s", default=2.0, low=0.1, high=600.0, unit="s", description="A command older than this counts as none: straight, and reported."),
    Row(name="command_rule", default="", choices=("", "reference", "neuroncap", "lookahead"),
        description="Rule from route to command; empty: the rule that the model was trained with."),
    Row(name="path_rate_hz", default=10.0, low=0.5, high=100.0, unit="Hz",
        description="Rate of `~/path` and `~/path_base_link`, re-anchored to the present pose."),
    Row(name="path_step_s", default=0.1, low=0.02, high=1.0, unit="s", read_only=False, description="Time between poses of `~/path`."),
    Row(name="max_plan_age_s", default=1.0, low=0.05, high=10.0, unit="s", read_only=False,
        description="Age (now − image stamp) beyond which a plan is no longer published."),
    Row(name="on_expired", default="silent", choices=("silent", "stop_path"), read_only=False,
        description="Without a young enough plan: publish nothing, or a path that brakes to a halt."),
    Row(name="stop_decel_mps2", default=2.0, low=0.2, high=10.0, unit="m/s²", read_only=False, description="Deceleration of the stop path."),
    Row(name="invalid_plan", default="drop", choices=("drop", "publish"), read_only=False,
        description="A plan that breaks a limit: keep it from `~/path` (samples still show it, marked invalid), or publish it."),
    Row(name="samples_line_m", default=0.08, low=0.01, high=1.0, unit="m", read_only=False, description="Line width in `~/markers`."),
)

# fmt: on
_LIMITS = {  # field of validation.Limits → unit, what it bounds; a test holds the two sets of names equal
    "max_start_error_m": ("m", "First waypoint beyond or beside the way straight on at the present speed, at standstill; nearer is braking."),
    "max_start_error_s": ("s", "What that limit grows by per m/s of speed."),
    "max_curvature_1pm": ("1/m", "Curvature."),
    "min_motion_m": ("m", "Waypoints closer than this count as standing, where curvature is noise."),
    "max_lon_accel_mps2": ("m/s²", "Longitudinal acceleration."),
    "max_lon_decel_mps2": ("m/s²", "Longitudinal deceleration."),
    "max_lat_accel_mps2": ("m/s²", "Lateral acceleration."),
    "max_speed_mps": ("m/s", "Speed."),
    "max_reverse_m": ("m", "How far behind the present place a plan may lead."),
    "max_jump_m": ("m", "Distance to the way of the last plan, which goes on straight at its end."),
}


LIMIT_NAMES = tuple(_LIMITS)


def _limit_rows() -> tuple[Row, ...]:
    """One parameter per field of the validation limits: `limits.<field>`."""
    return tuple(
        Row(name=f"limits.{name}", default=float(getattr(_limits, name)), low=1e-3, high=1000.0, unit=unit, description=f"Limit of a drivable plan. {text}")
        for name, (unit, text) in _LIMITS.items()
    )


ROWS: tuple[Row, ...] = (
    *_GENERAL,
    *(replace(row, parts=TOKENIZER) for row in _TOKENIZER),
    *(replace(row, parts=PLANNER) for row in (*_PLANNER, *_limit_rows())),
)


def rows_of(parts: Iterable[Part]) -> tuple[Row, ...]:
    """The parameters of a node that consists of these parts."""
    wanted = frozenset(parts)
    return tuple(row for row in ROWS if row.parts & wanted)


def markdown() -> str:
    """docs/parameters.md."""
    sections: tuple[tuple[str, frozenset[Part]], ...] = (
        ("All nodes", BOTH),
        ("tokenizer_node and vavam_node", TOKENIZER),
        ("planner_node and vavam_node", PLANNER),
    )
    out = [
        "# Parameters",
        "",
        "Made by `python -m vavam_ros.nodes.parameter_table --markdown` from `vavam_ros/nodes/parameter_table.py`; a test holds the two equal.",
        "",
        "*When*: `live` takes effect at once. `configure` is fixed while the node is configured; setting it then is refused with the reason.",
        "Configuration files put values under `/**: ros__parameters:`. A value out of bounds makes configure fail and is named in the log and in /diagnostics.",
        "Subscriptions also take `qos_overrides.<topic>.subscription.{reliability,depth,history}`, publishers the same with `publisher` (docs/topics.md).",
    ]
    for title, parts in sections:
        out += _section(title, [row for row in ROWS if row.parts == parts])
    text = "All are fixed once it runs; one that cannot be meant keeps it silent, and diagnostics name it."
    out += _section("path_follower_node", path_follower_table.PARAMETERS, text, when="start")
    fixed = "All are fixed once it runs; one that cannot be meant keeps it in INIT (gate.md)."
    out += _section("watchdog_node", watchdog_table.PARAMETERS, fixed, when="start")
    return "\n".join(out) + "\n"


def _section(title: str, rows: Sequence[Row], text: str = "", *, when: str = "configure") -> list[str]:
    """One table. `when`: when the rows that are not live take effect."""
    out = ["", f"## {title}", *(["", text] if text else []), "", "| name | type | default | bounds | unit | when | what |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        default = f'"{row.default}"' if row.kind == "str" else str(list(row.default)) if isinstance(row.default, tuple) else str(row.default).lower()
        out.append(f"| `{row.name}` | {row.kind} | `{default}` | {row.bounds} | {row.unit} | {when if row.read_only else 'live'} | {row.description} |")
    return out


def main(args: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The parameters of all nodes.")
    parser.add_argument("--markdown", action="store_true", required=True, help="print docs/parameters.md")
    parser.parse_args(args)
    print(markdown(), end="")


if __name__ == "__main__":
    main()
