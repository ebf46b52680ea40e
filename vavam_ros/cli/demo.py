"""`vavam demo`: a drive through live nodes, then its report; with random weights, so that it works from a fresh checkout.

Makes OUT/model (random weights), OUT/drive.mcap (a drawn road, or the real clip where VAVAM_DATA or ../shared/data has one), plays it through
the live nodes in lock-step, runs the same drive offline into OUT/plan.mcap and OUT/report/index.html, and compares the two.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.bringup import SYSTEMS
from vavam_ros.cli import make_bag, replay
from vavam_ros.cli.launch import Job, command_of, supervise
from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.contracts import F32, NS_PER_S, Plan, VavamError
from vavam_ros.core.spec import SMALL
from vavam_ros.replay.clip_bag import clip_for, write_clip

REAL_CLIP = "udacity_ch2_hmb3"
SAMPLES = 4
SHOWN_PATHS = 3


@dataclass(slots=True)
class Heard:
    """What the live nodes published."""

    paths: list[tuple[float, int, float, float]] = field(default_factory=list)  # stamp s, poses, last x, last y in the path's frame
    samples: dict[int, F32] = field(default_factory=dict)  # image stamp -> (K, H, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam demo`."""
    parser.add_argument("--out", type=Path, default=Path("out/demo-replay"), help="folder to write (default %(default)s)")
    parser.add_argument("--source", choices=("auto", "clip", "real"), default="auto", help="drawn clip, real clip, or the real one where it is (default)")
    parser.add_argument("--data", type=Path, help="folder of real recordings (default: $VAVAM_DATA, else ../shared/data beside the checkout)")
    parser.add_argument("--duration-s", type=float, default=12.0, help="length of the drive (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """0 when Paths came from the live nodes and the report is written; 1 otherwise. Raises VavamError."""
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    print("vavam demo: the weights are UNTRAINED (random). The paths mean nothing; what is shown is that they arrive.")
    # An untrained plan is little more than its noise times the action scale: at the usual 70 m it would lie outside of every picture.
    card = random_artifact(out / "model", replace(SMALL, flow=replace(SMALL.flow, action_scale_m=8.0)))
    drive, real = out / "drive.mcap", _real_clip(args)
    if real is None:
        write_clip(drive, clip_for(CanonicalCamera.from_dict(card.canonical_camera), duration_s=args.duration_s), overwrite=True)
        print(f"drive: a drawn road of {args.duration_s:g} s → {drive}")
    else:
        print(f"drive: {real}")
        make_bag.run(_parse(make_bag, [str(real), "--out", str(drive), "--overwrite"]))
    mode = "warp" if real is None else "resize"
    heard, status = play_live(out / "model", drive, mode, args.duration_s)
    print(f"live: {len(heard.paths)} Paths and {len(heard.samples)} sets of samples from the nodes (exit status {status})")
    for t, poses, x, y in heard.paths[:SHOWN_PATHS]:
        print(f"  Path at {t:.2f} s: {poses} poses, the last at x {x:.1f} m, y {y:.1f} m")
    options = ["--model", str(out / "model"), "--out", str(out / "plan.mcap"), "--overwrite", "--report", str(out / "report")]
    options += ["--camera-mode", mode, "--samples", str(SAMPLES), "--device", "cpu", "--limit-s", str(args.duration_s)]
    replay_args = _parse(replay, [str(drive), *options])
    result = replay.replay(replay_args)
    replay.print_result(replay_args, result)
    equal, common = compare(heard.samples, result.log.plans)
    print(f"live and offline: {equal} of {common} common stamps have bit-equal samples ({len(result.log.plans)} planned offline)")
    print(f"open {out / 'report' / 'index.html'}; bags: {drive}, {out / 'plan.mcap'}. The weights were untrained.")
    if not heard.paths:
        print("demo: no Path came from the live nodes; their output above says why (vavam doctor checks this machine)", file=sys.stderr)
        return 1
    return int(status != 0)


def _parse(module: Any, argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(argv)


def _real_clip(args: argparse.Namespace) -> Path | None:
    """The real clip's folder, or None for the drawn one."""
    if args.source == "clip":
        return None
    root = args.data or Path(os.environ.get("VAVAM_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
    folder: Path = root / REAL_CLIP
    if folder.is_dir():
        return folder
    if args.source == "real":
        raise VavamError(f"no real clip: {folder} does not exist; set VAVAM_DATA, or use --source clip")
    return None


def play_live(model: Path, drive: Path, mode: str, duration_s: float) -> tuple[Heard, int]:
    """Play a bag through the live nodes in a ROS domain of its own and listen. Returns what came and the system's exit status."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randrange(1, 100)))
    given = {"model": str(model), "bag": str(drive), "config": "rosbag,cpu", "camera_mode": mode, "lockstep": "true", "composed": "true"}
    system = SYSTEMS["rosbag"].build({**given, "duration_s": str(float(duration_s)), "rate": "1.0"})
    os.environ.update(system.environment_beside(os.environ))
    heard, stop = Heard(), threading.Event()
    listener = threading.Thread(target=_listen, args=(heard, stop), daemon=True)
    listener.start()
    with tempfile.TemporaryDirectory(prefix="vavam_demo_") as folder:
        jobs = [Job(name=p.name, command=tuple(command_of(p, Path(folder))), on_exit=p.on_exit) for p in system.processes]
        status = supervise(jobs, {**os.environ, "PYTHONUNBUFFERED": "1"}, sys.stdout, threading.Event())
    stop.set()
    listener.join(timeout=10.0)
    return heard, status


def _listen(heard: Heard, stop: threading.Event) -> None:
    """Collect Paths and samples until told to stop. ROS is imported here: the rest of the demo does not need it."""
    import rclpy
    from nav_msgs.msg import Path as PathMsg
    from rclpy.executors import SingleThreadedExecutor

    from vavam_ros.msg import TrajectorySamples

    def on_path(m: Any) -> None:
        last = m.poses[-1].pose.position
        heard.paths.append((m.header.stamp.sec + m.header.stamp.nanosec / NS_PER_S, len(m.poses), last.x, last.y))

    def on_samples(m: Any) -> None:
        stamp_ns = m.header.stamp.sec * NS_PER_S + m.header.stamp.nanosec
        heard.samples[stamp_ns] = np.array(m.xy, np.float32).reshape(m.num_samples, m.horizon, 2)

    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("vavam_demo", context=context)
    node.create_subscription(PathMsg, "/vavam/path", on_path, 50)
    node.create_subscription(TrajectorySamples, "/vavam/samples", on_samples, 50)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    context.try_shutdown()


def compare(live: dict[int, F32], plans: Sequence[Plan]) -> tuple[int, int]:
    """(bit-equal, common) stamps of live samples and offline plans."""
    common = [p for p in plans if p.stamp_ns in live]
    return sum(np.array_equal(live[p.stamp_ns], p.xy_ego_m) for p in common), len(common)
