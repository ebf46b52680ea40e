"""The parameters of world_node. Those of the bridge keep its names and defaults."""

from __future__ import annotations

from vavam_ros.nodes.parameters import Row

PARAMETERS = (
    Row(name="scenario", default="", description="What happens: a JSON file of a Scenario, or JSON itself; empty: an empty straight road."),
    Row(name="role_name", default="", description="The vehicle's name in topics and frames; empty: that of the objects file."),
    Row(name="objects_definition_file", default="", description="Objects file of carla_spawn_objects; empty: the world's own camera, and all pseudo sensors."),
    Row(
        name="mode",
        default="free_running",
        choices=("lock_step", "free_running"),
        description="lock_step: wait for the plan of each planned picture and for each tick's control, by their stamps; deterministic. "
        "free_running: go on at the wall clock's pace.",
    ),
    Row(name="synchronous_mode", default=True, description="As the bridge's: true: /carla/control is heeded, cameras hang below the vehicle in TF."),
    Row(
        name="synchronous_mode_wait_for_vehicle_control_command",
        default=False,
        description="As the bridge's, in free_running: wait for any one control per tick, 1 s at most, then warn and go on.",
    ),
    Row(name="real_time_factor", default=-1.0, low=-1.0, high=100.0, description="Pace against the wall clock; 0: as fast as possible; -1: 1 in free_running, "
        "0 in lock_step, where it is an upper bound."),
    Row(name="start_paused", default=False, description="Begin in PAUSE (synchronous mode)."),
    Row(name="compressed", default=False, description="Publish each picture as JPEG as well, on <image>/compressed."),
    Row(name="backend", default="auto", choices=("auto", "tiny", "egl"), description="Renderer."),
    Row(name="model_camera", default="", description="Id of the camera whose pictures are planned from; empty: the first."),
    Row(name="tokenize_rate_hz", default=2.0, low=0.0, high=60.0, unit="Hz", description="Lock-step: the tokenizer's rate; 0: every picture."),
    Row(name="plan_rate_hz", default=2.0, low=0.0, high=60.0, unit="Hz", description="Lock-step: the planner's rate; 0: every token frame."),
    Row(name="tokens_topic", default="", description="Lock-step: FrameTokens awaited for each picture taken; empty: not awaited."),
    Row(name="samples_topic", default="", description="Lock-step: TrajectorySamples awaited for each planned picture; empty: not awaited."),
    Row(name="followed_topic", default="", description="Path that the follower says it has taken in: kept as the run's plans, and in lock-step awaited for "
        "each planned picture; empty: neither."),
    Row(name="path_seen_topic", default="", description="Headers of the paths that the gate says it has seen: in lock-step awaited like the follower's word; "
        "empty: not awaited."),
    Row(name="followed_when_invalid", default=False, description="Lock-step: the planner's invalid_plan is publish, so that such plans are acknowledged too."),
    Row(
        name="await_control",
        default="stamped",
        choices=("stamped", "any", "none"),
        description="Lock-step: the control with the odometry's stamp is awaited and applied; any: the next one that comes, ackermann_cmd too; none.",
    ),
    Row(name="plans_from_s", default=0.0, low=0.0, high=3600.0, unit="s", description="Lock-step: plans are awaited for pictures from this time on; the model "
        "needs some pictures first."),
    Row(name="prime_s", default=0.0, low=0.0, high=3600.0, unit="s", description="For so long at the start the expert drives, and no control is awaited."),
    Row(name="gate_state_topic", default="", description="Lock-step with prime_s: the driving is handed over when the gate's state on this topic is "
        "ACTIVE, not before; empty: at prime_s."),
    Row(name="beside_topic", default="", description="Path in the frame map that nobody follows, kept in the trace beside what was followed; empty: none."),
    Row(name="expert_path_topic", default="", description="Publish the expert's path here, from each picture on, as a planner would; empty: not."),
    Row(name="wait_for_peers_s", default=30.0, low=0.0, high=600.0, unit="s", description="Lock-step: longest wait at the start for the publishers of what is "
        "awaited and for subscribers to odometry and picture."),
    Row(name="settle_s", default=1.0, low=0.0, high=60.0, unit="s", description="Lock-step: after all are found, time for their side to find the world too."),
    Row(name="answer_timeout_s", default=30.0, low=0.1, high=600.0, unit="s", description="Lock-step: longest wait for an answer."),
    Row(
        name="on_timeout",
        default="fail",
        choices=("fail", "continue"),
        description="Lock-step, an answer did not come: end with an error that names it, or warn and go on (for faults; no longer deterministic).",
    ),
    Row(name="faults", default="", description="Faults to inject: a JSON file of them, or JSON itself; []: none yet, but /world/inject is heard. Empty: none."),
    Row(name="run_on", default=False, description="Go on after the scenario has ended; only an interruption ends the world."),
    Row(name="result_file", default="", description="JSON result, written at the end; the trace goes beside it as .npz. Empty: neither."),
)
