"""The two faults that need a system of their own: a model whose weights are NaN, and a bag that is played in a loop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from safetensors.numpy import load_file, save_file
from vavam_ros.msg import FrameTokens, TrajectorySamples

from vavam_ros.core.artifact.directory import MODEL_FILE
from vavam_world.contracts import MapSpec, RouteSpec, Scenario, WorldError
from vavam_world.faults.cases import BY_NAME
from vavam_world.faults.harness import READY_S, Config, Outcome, driving
from vavam_world.faults.observer import CODE
from vavam_world.faults.system import System
from vavam_world.record.bag import CAMERA_INFO_TOPIC, IMAGE_TOPIC, ODOMETRY_TOPIC, ROUTE_TOPIC
from vavam_world.record.drives import DriveJob, record_drive
from vavam_world.report.run import close_studio

WATCH_TICKS = 100  # so long the gate must not become READY
BAG_S = 6.0


def spoilt_model(model: Path, folder: Path) -> Path:
    """A copy of a model directory with NaN in its weights."""
    made = folder / "nan_model"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(model, made)
    tensors = load_file(made / MODEL_FILE)
    name = max(tensors, key=lambda n: tensors[n].size)
    tensors[name].reshape(-1)[0] = float("nan")
    save_file(tensors, made / MODEL_FILE)
    return made


def nan_weights(model: Path, config: Config, folder: Path, domain: int) -> Outcome:
    """The system with such a model: the planner names it, the gate never gets ready, nothing dies and nothing moves."""
    case = BY_NAME["nan_weights"]
    outcome = Outcome(case=case.name, compressed=config.compressed, composed=config.composed)
    more = {"wait_for_peers_s": 8.0, "prime_s": 0.0}
    try:
        with driving(spoilt_model(model, folder), config, folder / case.name, domain, wait_active=False, world=more) as drive:
            eyes = drive.eyes
            drive.wait(lambda: "configure_failed" in eyes.codes_since(-1), READY_S, "configure_failed in diagnostics")
            drive.wait(lambda: eyes.tick >= WATCH_TICKS, READY_S, f"tick {WATCH_TICKS}")
            said = [s for s in eyes.states if s.text.split(":")[0] not in ("INIT", "WARMUP")]
            outcome.reaction = said[0].text if said else "never READY"
            outcome.said = next((line for line in drive.system.log(drive.planner).splitlines() if "NaN" in line), "")[-300:]
            outcome.codes = sorted(eyes.codes_since(-1))
            if said:
                outcome.problems.append(f"the gate went to {said[0].text}")
            if "NaN" not in outcome.said:
                outcome.problems.append("the planner's log does not say NaN")
            if max((v for _, v in eyes.speeds), default=0.0) > 0.05:
                outcome.problems.append("the vehicle moved")
            outcome.resumed = "not tried"
    except WorldError as e:
        outcome.problems.append(str(e))
    return outcome


def bag_loop(model: Path, config: Config, folder: Path, domain: int) -> Outcome:
    """A recorded drive played in a loop: tokens of another epoch, and plans go on."""
    case = BY_NAME["bag_loop"]
    outcome = Outcome(case=case.name, compressed=True, composed=config.composed)
    arguments = {
        "model": str(model),
        "bag": str(_bag(folder)),
        "loop": "true",
        "composed": str(config.composed).lower(),
        "device": "cpu",
        "config": "carla",
        "image_topic": IMAGE_TOPIC,
        "camera_info_topic": CAMERA_INFO_TOPIC,
        "odometry_topic": ODOMETRY_TOPIC,
        "route_topic": ROUTE_TOPIC,
    }
    ears = _Ears(domain)
    try:
        with System("rosbag", arguments, folder / case.name, domain) as system:
            ears.until(system, lambda: len(set(ears.epochs)) >= 2, 120.0, "a second epoch of tokens")
            first = ears.epochs.index(ears.epochs[-1])
            plans = len(ears.plans)
            ears.until(system, lambda: len(ears.plans) >= plans + 4, 30.0, "plans after the loop")
            ears.until(system, lambda: "time_jumped" in ears.codes, 10.0, "time_jumped in diagnostics")
            stamps = ears.stamps
            outcome.ticks = sum(1 for i in range(first) if i and stamps[i] < stamps[i - 1])  # tokens of the old epoch with stamps of the new round
            outcome.reaction, outcome.codes, outcome.resumed = "new epoch", sorted(ears.codes), "by itself"
            outcome.said = f"epochs {sorted(set(ears.epochs))}, {len(ears.plans)} plans"
            if outcome.ticks > outcome.limit_ticks:
                outcome.problems.append(f"{outcome.ticks} token frames of the second round belong to the first epoch")
    except WorldError as e:
        outcome.problems.append(str(e))
    finally:
        ears.close()
    return outcome


def _bag(folder: Path) -> Path:
    made = folder / "loop.mcap"
    road = Scenario(name="loop", map=MapSpec(kind="straight", lanes=2), route=RouteSpec(length_m=200.0), time_limit_s=BAG_S)
    try:
        record_drive(DriveJob(index=0, make_scenario=lambda: road, path=made, labels=False, backend="auto"))
    finally:
        close_studio()
    return made


class _Ears:
    """Tokens, plans and diagnostics of the rosbag system."""

    def __init__(self, domain: int) -> None:
        self.epochs: list[int] = []
        self.stamps: list[int] = []
        self.plans: list[int] = []
        self.codes: set[str] = set()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = node = Node("faults_ears", context=self._context)
        node.create_subscription(FrameTokens, "/vavam/tokens", self._on_tokens, 50)
        node.create_subscription(TrajectorySamples, "/vavam/samples", lambda m: self.plans.append(m.header.stamp.sec), 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)

    def _on_tokens(self, msg: FrameTokens) -> None:
        self.epochs.append(int(msg.epoch))
        self.stamps.append(msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.codes |= {code for status in msg.status for code in CODE.findall(status.message)}

    def until(self, system: System, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Raises WorldError."""
        end = time.monotonic() + seconds
        while not condition():
            self._executor.spin_once(timeout_sec=0.1)
            system.check()
            if time.monotonic() > end:
                raise WorldError(f"rosbag, loop: {what} did not come within {seconds:g} s")

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown(timeout_sec=5.0)
        self._node.destroy_node()
        self._context.try_shutdown()
