"""`vavam replay`: a model over a recorded drive, without a ROS graph. Plans into a bag, errors and a report for people."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tqdm import tqdm

from vavam_ros.bags import BagReader, BagWriter
from vavam_ros.core.artifact import LoadedArtifact, load_artifact
from vavam_ros.core.camera import CanonicalCamera, Mount
from vavam_ros.core.contracts import NS_PER_S, Command, ConfigError
from vavam_ros.core.device_clock import stage_clock
from vavam_ros.core.model.cpu_threads import cpu_threads, torch_threads, weights_of
from vavam_ros.core.model.number_format import AUTO, NUMBER_FORMATS, number_format
from vavam_ros.core.pipeline import FrameEncoder, Planner, PlannerConfig, PlanScheduler
from vavam_ros.core.planning.selection import Rule
from vavam_ros.replay.evaluate import evaluate, table
from vavam_ros.replay.inputs import BagInputs, CameraChoice, CameraSource, TopicChoice, find_inputs
from vavam_ros.replay.keep import KeptFrames, StepLog
from vavam_ros.replay.output import PlanBag
from vavam_ros.replay.report import write_report
from vavam_ros.replay.result import ReplayResult
from vavam_ros.replay.runner import Parts, RunConfig, Runner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam replay`."""
    parser.add_argument("bag", type=Path, help="rosbag2 directory, .mcap or .db3, with pictures and odometry")
    parser.add_argument("--model", type=Path, required=True, help="model directory (vavam inspect shows what it is)")
    parser.add_argument("--out", type=Path, required=True, help="bag to write: OUT.mcap, OUT.db3 or a directory")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bag")
    parser.add_argument("--report", type=Path, help="directory for index.html, one self-contained file")
    camera = parser.add_argument_group("camera")
    camera.add_argument("--camera", type=Path, help="ROS calibration YAML, with a mount block if the bag has no /tf_static (default: CameraInfo of the bag)")
    camera.add_argument(
        "--camera-mode", choices=("warp", "resize"), default="warp", help="look through the model's camera, or only resize (marked non-canonical)"
    )
    camera.add_argument("--mount", type=float, nargs=6, metavar=("X", "Y", "Z", "ROLL", "PITCH", "YAW"), help="camera in the ego frame, metres and radians")
    camera.add_argument("--min-coverage", type=float, default=0.9, help="smallest share of the canonical view that the camera must see (default %(default)s)")
    camera.add_argument("--image-time-offset-s", type=float, default=0.0, help="added to every picture's stamp")
    topics = parser.add_argument_group("topics (default: the only one of its type)")
    for name in ("image", "odometry", "camera-info", "command"):
        topics.add_argument(f"--{name}-topic")
    run_ = parser.add_argument_group("run")
    run_.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default %(default)s)")
    run_.add_argument("--dtype", choices=(AUTO, *NUMBER_FORMATS), default=AUTO, help="of the networks (default %(default)s, as the nodes')")
    run_.add_argument("--samples", type=int, default=8, help="trajectories per plan (default %(default)s)")
    run_.add_argument("--steps", type=int, help="Euler steps (default: the model's own)")
    run_.add_argument("--seed", type=int, default=0, help="of the noise, together with the image stamp")
    run_.add_argument("--noise", choices=("fresh", "held"), default=PlannerConfig().noise, help="drawn for each frame, or held (default %(default)s)")
    run_.add_argument("--selection", choices=get_args(Rule), default=PlannerConfig().selection, help="default %(default)s")
    run_.add_argument("--inference", choices=("fast", "plain"), default=PlannerConfig().inference, help="how the network is run (default %(default)s)")
    run_.add_argument(
        "--context", choices=("exact", "streaming"), default=PlannerConfig().context, help="plan from whole windows, or at a bounded work (default %(default)s)"
    )
    run_.add_argument("--batch", type=int, default=1, help="plans made at once: faster offline, equal up to rounding (default %(default)s)")
    run_.add_argument("--plan-rate", type=float, default=2.0, help="plans per second (default %(default)s; 0: from every token frame)")
    run_.add_argument("--tokenize-rate", type=float, default=2.0, help="pictures tokenised per second (default %(default)s; 0: all)")
    run_.add_argument(
        "--command", choices=["bag", *(c.name.lower() for c in Command)], default="bag", help="driving command: from the bag, or this one throughout"
    )
    run_.add_argument("--rear-axle-x-m", type=float, default=0.0, help="x of the rear axle in the odometry's child frame")
    run_.add_argument("--limit-s", type=float, help="only the first seconds of the bag")
    run_.add_argument("--threads", type=int, help="CPU threads of one torch operation (default: one for a small model, as in the nodes)")


def run(args: argparse.Namespace) -> int:
    """0 when the bag is written; 130 when interrupted, with a partial bag. Raises VavamError."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = replay(args)
    except KeyboardInterrupt:
        print(f"replay: interrupted; what was planned so far is in {BagWriter(args.out).partial_path}", file=sys.stderr)
        return 130
    print_result(args, result)
    return 0


def pick_device(name: str) -> torch.device:
    """auto: the GPU when there is one. A named device that is not there is an error, never another one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise ConfigError(f"device: got {name!r}, expected auto, cpu, cuda or cuda:N") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: got cuda, but torch finds no usable GPU here; use --device cpu, or install a CUDA build of torch")
    return device


def replay(args: argparse.Namespace) -> ReplayResult:
    """Run it all. Raises VavamError of every kind; KeyboardInterrupt leaves a partial bag."""
    device = pick_device(args.device)
    if args.out.resolve() == args.bag.resolve():
        raise ConfigError(f"--out: got {args.out}, the drive itself, expected another name: --overwrite replaces old plans, never the recording")
    with BagReader(args.bag) as reader:
        choice = TopicChoice(image=args.image_topic, odometry=args.odometry_topic, camera_info=args.camera_info_topic, command=args.command_topic)
        inputs = find_inputs(reader, choice)
        formats = number_format(args.dtype, device)
        artifact = load_artifact(args.model, device, formats.model, tokenizer_dtype=formats.tokenizer)
        work = args.batch * weights_of(artifact.model, artifact.tokenizer)  # one plan at a time: the node's number
        threads = cpu_threads(work, asked=args.threads, torch_has=torch.get_num_threads())
        with torch_threads(threads):  # the fast path computes tables when it is made, whose rounding depends on it
            runner, parts = build_runner(args, reader, inputs, artifact, device)
        stop_ns = None if args.limit_s is None else reader.start_ns + round(args.limit_s * NS_PER_S)
        log = StepLog(KeptFrames.spread(reader.start_ns, reader.end_ns if stop_ns is None else min(stop_ns, reader.end_ns)))
        total = sum(reader.topics[t].count for t in inputs.topics)
        data = {"model_id": artifact.card.model_id, "source_bag": args.bag.name, "canonical": str(runner.view.canonical)}
        with ExitStack() as during:
            during.enter_context(torch_threads(threads))
            writer = during.enter_context(BagWriter(args.out, overwrite=args.overwrite, custom_data=data))
            bar = during.enter_context(tqdm(total=total, unit="msg", disable=None))
            plan_bag = PlanBag(writer, inputs, reader.start_ns)
            for step in runner.steps(bar.update):
                plan_bag.write(step)
                log.take(step)
            plan_bag.copy_odometry(reader, stop_ns)
    evaluation = evaluate(log.plans, runner.odometry, RunConfig().odometry, args.rear_axle_x_m)
    result = ReplayResult(
        card=artifact.card,
        inputs=inputs,
        log=log,
        tally=runner.tally,
        drive_xy_m=[(float(s.T_odom_base[0, 3]), float(s.T_odom_base[1, 3])) for s in runner.odometry],
        evaluation=evaluation,
        camera_notes=tuple(parts.camera.notes),
    )
    if args.report is not None:
        write_report(args.report / "index.html", args.bag.name, settings_of(args, device, threads), result)
    return result


def build_runner(args: argparse.Namespace, reader: BagReader, inputs: BagInputs, artifact: LoadedArtifact, device: torch.device) -> tuple[Runner, Parts]:
    """The pipeline for this bag and model."""
    card = artifact.card
    mount = None
    if args.mount is not None:
        x, y, z, roll, pitch, yaw = args.mount
        mount = Mount(x_m=x, y_m=y, z_m=z, roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw)
    mode: Literal["warp", "resize"] = "resize" if args.camera_mode == "resize" else "warp"
    choice = CameraChoice(mode=mode, camera_yaml=args.camera, mount=mount, min_coverage=args.min_coverage)
    source = CameraSource(choice, inputs, CanonicalCamera.from_dict(card.canonical_camera), card.tokenizer.image_hw, args.rear_axle_x_m)
    view = source.first_view(reader)

    clock = stage_clock(device, time.perf_counter)
    if args.batch < 1 or (args.batch > 1 and args.context == "streaming"):
        raise ConfigError(f"--batch: got {args.batch} with --context {args.context}, expected at least 1, and 1 when streaming, which goes plan by plan")
    config = PlannerConfig(
        samples=args.samples, steps=args.steps, seed=args.seed, selection=args.selection, noise=args.noise, inference=args.inference, context=args.context
    )
    parts = Parts(
        encoder=FrameEncoder(artifact.tokenizer, view, device=device, dtype=artifact.tokenizer.dtype, clock=clock),
        scheduler=PlanScheduler.for_model(card.spec, tokenizer_id=card.tokenizer_id, codebook_size=card.tokenizer.codebook_size, plan_rate_hz=args.plan_rate),
        planner=Planner(artifact.model, model_id=card.model_id, command_ids=card.command_ids, config=config, device=device, clock=clock),
        camera=source,
    )
    parts.encoder.warm_up()
    parts.planner.warm_up()
    run_config = RunConfig(
        tokenize_rate_hz=args.tokenize_rate,
        image_time_offset_s=args.image_time_offset_s,
        batch=args.batch,
        limit_s=args.limit_s,
        command_mode="topic" if args.command == "bag" else "fixed",
        fixed_command=Command.STRAIGHT if args.command == "bag" else Command[args.command.upper()],
        rear_axle_x_m=args.rear_axle_x_m,
    )
    return Runner(reader, inputs, parts, run_config), parts


def settings_of(args: argparse.Namespace, device: torch.device, threads: int) -> dict[str, Any]:
    """What the report states about the run."""
    shown = {k: v for k, v in vars(args).items() if k not in ("report", "overwrite", "run", "func", "handler") and not callable(v)}
    return {**shown, "device": str(device), "dtype": number_format(args.dtype, device).text, "torch": torch.__version__, "threads": threads}


def print_result(args: argparse.Namespace, result: ReplayResult) -> None:
    """Numbers for people, with everything that was left out."""
    card, log = result.card, result.log
    print(f"{args.out}: {len(log.plans)} plans by {card.spec.name} ({card.model_id[:12]})")
    for line in (*(f"WARNING: {w}" for w in result.warnings), *result.tally.lines(), *(f"note: {n}" for n in result.camera_notes)):
        print(f"  {line}")
    if not log.plans:
        print("  nothing was planned; the lines above say why")
    if result.evaluation is not None:
        print(table(result.evaluation))
        print(f"  {result.evaluation.plans_without_truth} plans without any recorded future (end of the bag, gaps)")
    if args.report is not None:
        print(f"report: {args.report / 'index.html'}")
