"""What the node adds around the model: a raw picture published by another process, to the core, and a Path back.

    python bench/bench_node_overhead.py --out overhead.json [--seconds 20] [--core stub|view] [--rate 30] [--odometry 100] [--profile FILE|none]

The networks are stubs. `--core stub` stubs the camera's warp as well (it belongs to the core, not to the node); `--core view` runs it. The round trip is
split: transport and deserialising (publish → callback), waiting for odometry to pass the image's stamp, decoding, core, and the way back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WIDTH, HEIGHT = 1600, 900
CAMERA = "nuscenes_cam_front"
WARM_UP_S = 3.0
NS = 1_000_000_000


# ── the node's process ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def node_process(core: str, record: str, node_args: list[str]) -> None:
    """vavam_node with stubs for the networks; writes when each image arrived and was handed over."""
    import numpy as np

    from vavam_ros.core.contracts import Command, Plan, Selection, TokenFrame
    from vavam_ros.nodes import planning, tokenizing
    from vavam_ros.nodes.model_node import run
    from vavam_ros.nodes.vavam_node import VavamNode

    arrived: dict[int, int] = {}
    submitted: dict[int, int] = {}
    straight = np.stack([np.stack([np.arange(1, 7) * 4.0, np.zeros(6)], axis=1)] * 8).astype(np.float32)

    def encode(self: Any, image: Any, pose: Any) -> TokenFrame:
        began = time.perf_counter()
        if core == "view":
            self.last_model_image = self._view(image.rgb)
        self.stage_ms = (("core", (time.perf_counter() - began) * 1e3),)
        tokens = np.zeros((18, 32), np.uint16)
        return TokenFrame(
            stamp_ns=image.stamp_ns, epoch=self.epoch, camera_frame_id="", tokens=tokens, codebook_size=self._tokenizer.codebook_size,
            tokenizer_id=self._tokenizer.tokenizer_id, camera_id="", canonical=True, coverage=1.0, pose=pose,
        )  # fmt: skip

    def plan(self: Any, window: Any, command: Command) -> Plan:
        frame = window.newest
        return Plan(
            stamp_ns=frame.stamp_ns, epoch=frame.epoch, model_id="stub", command=command, xy_ego_m=straight, dt_s=0.5,
            selection=Selection(index=0, reason="first", spread_m=np.zeros(3, np.float32)), violations=(),
            context_stamps_ns=(frame.stamp_ns,), pose=frame.pose, canonical=True,
        )  # fmt: skip

    class Bench(VavamNode):
        def __init__(self) -> None:
            super().__init__()
            on_image = self.tokenizing._on_any_image

            def arrival(msg: Any) -> None:
                arrived[msg.header.stamp.sec * NS + msg.header.stamp.nanosec] = time.time_ns()
                on_image(msg)

            self.tokenizing._on_any_image = arrival  # type: ignore[method-assign]

    work = tokenizing.Tokenizing._work

    def timed(self: Any, job: Any, is_current: Any) -> None:
        submitted[job.stamp_ns] = time.time_ns()
        work(self, job, is_current)

    tokenizing.FrameEncoder.step = encode  # type: ignore[method-assign]
    planning.Planner.step = plan  # type: ignore[method-assign]
    planning.Planner.warm_up = lambda self, runs=2: None  # type: ignore[method-assign]
    tokenizing.Tokenizing._work = timed  # type: ignore[method-assign]
    nodes: list[Bench] = []

    def make() -> Bench:
        nodes.append(Bench())
        return nodes[-1]

    with contextlib.suppress(SystemExit):
        run(make, node_args)
    timings = nodes[0].timings
    stages = {s: timings.quantile(s, 0.5) for s in ("decode", "core")}
    Path(record).write_text(json.dumps({"arrived": arrived, "submitted": submitted, "stages": stages}))


# ── this process: the camera and the listener ────────────────────────────────────────────────────────────────────────────────────


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start the node, publish, listen."""
    from vavam_ros.core.artifact import random_artifact
    from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
    from vavam_ros.core.tokenizer import TokenizerSpec

    ones = (1, 1, 1, 1, 1)
    vq = TokenizerSpec(
        channels=8, encoder_multipliers=ones, decoder_multipliers=ones, res_blocks=1, latent=8, codebook_size=64, code_dim=8, groups=4, image_hw=(288, 512)
    )
    video = VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=4, grid_h=18, grid_w=32, mup_base_width=16)
    spec = ModelSpec(name="tiny", video=video, action=ActionSpec(width=16, mup_base_width=8))
    random_artifact(folder / "model", spec, tokenizer=vq, camera=CAMERA)
    params = {
        "model_dir": str(folder / "model"), "device": "cpu", "camera_mount_rpy_deg": "[0.0, 0.0, 0.0]", "command_source": "fixed", "tokenize_rate_hz": 0.0,
        "plan_rate_hz": 0.0, "check_golden": "false", "timing_window": 5000, "image_qos_depth": 5,
    }  # fmt: skip
    if args.odometry_wait is not None:
        params["odometry_wait_s"] = args.odometry_wait
    node_args = ["--ros-args", *(a for k, v in params.items() for a in ("-p", f"{k}:={v}"))]
    record = folder / "record.json"
    child = subprocess.Popen([sys.executable, __file__, "--node", args.core, "--record", str(record), *node_args])
    try:
        result = drive(args, child.pid)
    finally:
        child.terminate()
        child.wait(30)
    return summarise(result, json.loads(record.read_text()))


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drive(args: argparse.Namespace, pid: int) -> dict[str, Any]:
    """Publish images at the rate, odometry at its own; collect when each Path came back."""
    import rclpy
    from nav_msgs.msg import Path as PathMsg
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from vavam_ros.cli.live_camera import CameraSettings, LiveCamera
    from vavam_ros.core.camera import CANONICAL_CAMERAS

    rclpy.init(args=[])
    node = rclpy.create_node("bench_world")
    sent: dict[int, int] = {}
    back: dict[int, int] = {}

    def on_path(msg: Any) -> None:
        back.setdefault(msg.header.stamp.sec * NS + msg.header.stamp.nanosec, time.time_ns())

    node.create_subscription(PathMsg, "/vavam_node/path_raw", on_path, 50)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    threading.Thread(target=spin, daemon=True).start()
    settings = CameraSettings(width=WIDTH, height=HEIGHT, rate_hz=args.rate, odometry_hz=args.odometry)
    topics = {name: f"/vavam_node/{name}" for name in ("image", "camera_info", "odometry")}
    camera = LiveCamera(node, settings, CANONICAL_CAMERAS[CAMERA], topics, lambda stamp_ns: sent.setdefault(stamp_ns, time.time_ns()))
    camera.start()
    try:
        end_of_start_s = time.monotonic() + 120.0
        while not back:
            if time.monotonic() > end_of_start_s:
                raise SystemExit("no Path came back within two minutes")
            time.sleep(0.05)
        time.sleep(WARM_UP_S)
        first_ns, began_s, node_cpu_s, own_cpu_s = time.time_ns(), time.monotonic(), cpu_s(pid), cpu_s(os.getpid())
        time.sleep(args.seconds)
        took_s, node_cpu_s, own_cpu_s = time.monotonic() - began_s, cpu_s(pid) - node_cpu_s, cpu_s(os.getpid()) - own_cpu_s
    finally:
        camera.close()
    time.sleep(0.5)  # for the last Paths
    rclpy.try_shutdown()
    measured = {stamp_ns: at_ns for stamp_ns, at_ns in sent.items() if stamp_ns >= first_ns}
    return {"sent": measured, "back": back, "node_cores": node_cpu_s / took_s, "publisher_cores": own_cpu_s / took_s}


def copy_ms() -> float:
    """Median of copying one picture within memory: rclpy and the middleware make several on the way between two processes."""
    import numpy as np

    a, b = np.ones(WIDTH * HEIGHT * 3, np.uint8), np.ones(WIDTH * HEIGHT * 3, np.uint8)
    took = []
    for _ in range(50):
        time.sleep(0.005)
        began = time.perf_counter()
        np.copyto(b, a)
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took)


def summarise(result: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Quantiles in milliseconds of the whole and of its parts."""
    arrived, submitted = ({int(k): v for k, v in record[name].items()} for name in ("arrived", "submitted"))
    sent, back = result["sent"], result["back"]
    known = [s for s in sent if s in back and s in arrived and s in submitted]
    parts = {
        "round trip": [back[s] - sent[s] for s in known],
        "publish → callback": [arrived[s] - sent[s] for s in known],
        "waiting for odometry": [submitted[s] - arrived[s] for s in known],
        "decode, core, Path, back": [back[s] - submitted[s] for s in known],
        "round trip without the wait": [back[s] - sent[s] - (submitted[s] - arrived[s]) for s in known],
    }
    rows = {}
    for name, values in parts.items():
        ms = sorted(v / 1e6 for v in values)
        rows[name] = {"p50": statistics.median(ms), "p99": ms[min(len(ms) - 1, int(0.99 * len(ms)))], "max": ms[-1]}
    return {
        "ms": rows,
        "images": len(sent),
        "dropped": len(sent) - len([s for s in sent if s in back]),
        "node_cores": result["node_cores"],
        "publisher_cores": result["publisher_cores"],
        "stage_p50_ms": record["stages"],
    }


def main() -> None:
    """Run, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--odometry", type=float, default=100.0)
    parser.add_argument("--odometry-wait", type=float, help="seconds; 0: poses are carried on from the newest odometry at once (default: the node's)")
    parser.add_argument("--core", choices=("stub", "view"), default="stub")
    parser.add_argument("--profile", default=str(ROOT / "config" / "fastdds_shm.xml"))
    parser.add_argument("--node", help=argparse.SUPPRESS)
    parser.add_argument("--record", help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args()
    if args.node:
        node_process(args.node, args.record, rest)
        return
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.profile != "none":
        os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = args.profile
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    result |= {
        "seconds": args.seconds,
        "rate_hz": args.rate,
        "odometry_hz": args.odometry,
        "odometry_wait_s": args.odometry_wait,
        "core": args.core,
        "profile": Path(args.profile).name,
        "copy_ms": copy_ms(),
    }
    wait = "" if args.odometry_wait is None else f", odometry_wait_s {args.odometry_wait:g}"
    print(f"{WIDTH}×{HEIGHT} bgr8 at {args.rate:g} Hz, odometry {args.odometry:g} Hz{wait}, core {args.core}, profile {result['profile']}")
    for name, row in result["ms"].items():
        print(f"  {name:30s} p50 {row['p50']:6.1f} ms   p99 {row['p99']:6.1f} ms   max {row['max']:6.1f} ms")
    print(f"  images {result['images']}, dropped {result['dropped']}; cores: node {result['node_cores']:.2f}, publisher {result['publisher_cores']:.2f}")
    stages = ", ".join(f"{k} {v:.2f} ms" for k, v in result["stage_p50_ms"].items() if v is not None)
    print(f"  in the inference thread, p50: {stages}; one copy of the picture {result['copy_ms']:.2f} ms")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
