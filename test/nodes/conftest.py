"""Real nodes in real processes, and a second process (the test's) that publishes to them and listens."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.spec import ActionSpec, FlowSpec, ModelSpec, VideoSpec
from vavam_ros.core.tokenizer import TokenizerSpec
from vavam_ros.nodes import convert

sys.path.insert(0, str(Path(__file__).parent))  # what tests share: watchdog_rig.py
pytest.register_assert_rewrite("watchdog_rig")

TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=4, grid_h=3, grid_w=4, mup_base_width=16),
    action=ActionSpec(width=16, horizon=6, mup_base_width=8),
    flow=FlowSpec(steps=2),
)
TINY_TOKENIZER = TokenizerSpec(
    channels=8,
    encoder_multipliers=(1, 1, 1, 1, 1),
    decoder_multipliers=(1, 1, 1, 1, 1),
    res_blocks=1,
    latent=8,
    codebook_size=64,
    code_dim=8,
    groups=4,
    image_hw=(48, 64),
)
WIDTH, HEIGHT = 512, 288  # the canonical camera of the artifact, world_front
SPEED_MPS, YAW_RATE_RPS = 8.0, 0.1
NS = 1_000_000_000


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that plans in milliseconds, with random weights."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    random_artifact(path, TINY, tokenizer=TINY_TOKENIZER)
    return path


class NodeProcess:
    """One of the package's nodes in its own process."""

    def __init__(
        self, module: str, *, name: str = "", params: dict[str, Any] | None = None, remaps: dict[str, str] | None = None, env: dict[str, str] | None = None
    ) -> None:
        self.module = module
        args = ["--ros-args", "-r", f"__node:={name or module}"]
        for key, value in (params or {}).items():
            text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
            args += ["-p", f"{key}:={text}"]
        for a, b in (remaps or {}).items():
            args += ["-r", f"{a}:={b}"]
        self.log: list[str] = []
        command = [sys.executable, "-u", "-m", f"vavam_ros.nodes.{module}", *args]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line.rstrip())

    @property
    def text(self) -> str:
        """All it has printed."""
        return "\n".join(self.log)

    @property
    def alive(self) -> bool:
        """It runs."""
        return self._process.poll() is None

    def stop(self, sign: int = signal.SIGINT) -> int:
        """End it and return its exit code."""
        if self.alive:
            self._process.send_signal(sign)
        try:
            code = self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            pytest.fail(f"{self.module} did not end:\n{self.text}")
        self._reader.join(5.0)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


class World:
    """The test's side: a camera and odometry on a circle, and everything that comes back."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node("world", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self.received: dict[str, list[Any]] = {}
        self.publishers: dict[str, Any] = {}
        self.diagnostics: dict[str, dict[str, Any]] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._rng = np.random.default_rng(0)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def close(self) -> None:
        """End the test's node."""
        self.executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.try_shutdown()

    # ── out of the node under test ───────────────────────────────────────────────────────────────────────────────────────────

    def listen(self, msg_type: Any, topic: str, *, depth: int = 100, reliable: bool = True) -> list[Any]:
        """Collect a topic of the node under test (a name without a leading slash is private to it)."""
        full = topic if topic.startswith("/") else f"/{self.target}/{topic}"
        messages: list[Any] = self.received.setdefault(topic, [])
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.node.create_subscription(msg_type, full, messages.append, QoSProfile(depth=depth, reliability=reliability))
        return messages

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for s in msg.status:
            values = {v.key: v.value for v in s.values}
            self.diagnostics[s.name] = {
                "level": s.level[0],
                "message": s.message,
                "values": values,
                "count": self.diagnostics.get(s.name, {}).get("count", 0) + 1,
            }

    def status(self, task: str) -> dict[str, Any]:
        """Newest diagnostics of one task of the node under test."""
        return self.diagnostics.get(f"/{self.target}: {task}", {"level": -1, "message": "", "values": {}, "count": 0})

    def says(self, code: str) -> bool:
        """Do diagnostics show this condition now?"""
        return any(f"[{code}]" in d["message"] for name, d in self.diagnostics.items() if name.startswith(f"/{self.target}:"))

    def counted(self, code: str) -> int:
        """How often the event came, as diagnostics say."""
        return max((int(d["values"].get(f"count.{code}", 0)) for d in self.diagnostics.values()), default=0)

    # ── into it ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def publisher(self, msg_type: Any, topic: str, qos: QoSProfile | int = 10) -> Any:
        """A publisher, made once."""
        full = topic if topic.startswith("/") else f"/{self.target}/{topic}"
        if full not in self.publishers:
            self.publishers[full] = self.node.create_publisher(msg_type, full, qos)
        return self.publishers[full]

    def odometry(self, stamp_ns: int, **changes: Any) -> Odometry:
        """On a circle, exact."""
        t = stamp_ns % (10_000 * NS) / NS
        yaw, r = YAW_RATE_RPS * t, SPEED_MPS / YAW_RATE_RPS
        msg = Odometry(header=convert.header_msg(stamp_ns, "odom"), child_frame_id="base_link")
        msg.pose.pose.position.x, msg.pose.pose.position.y = r * np.sin(yaw), r * (1 - np.cos(yaw))
        msg.pose.pose.orientation.z, msg.pose.pose.orientation.w = float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
        msg.twist.twist.linear.x, msg.twist.twist.angular.z = SPEED_MPS, YAW_RATE_RPS
        return msg

    def image(self, stamp_ns: int, *, encoding: str = "bgr8", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image:
        """Noise: no two alike."""
        w, h = size
        channels = {"bgra8": 4, "rgba8": 4, "mono8": 1}.get(encoding, 3)
        data = array("B", self._rng.integers(0, 256, w * h * channels, dtype=np.uint8).tobytes())
        return Image(header=convert.header_msg(stamp_ns, "camera"), width=w, height=h, encoding=encoding, step=w * channels, data=data)

    def jpeg(self, stamp_ns: int) -> CompressedImage:
        """A JPEG of noise."""
        import cv2

        picture = self._rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        data = array("B", cv2.imencode(".jpg", picture)[1].tobytes())
        return CompressedImage(header=convert.header_msg(stamp_ns, "camera"), format="jpeg", data=data)

    def camera_info(self, stamp_ns: int, fx: float = 409.6857) -> CameraInfo:
        """The canonical camera's own."""
        k = [fx, 0.0, WIDTH / 2, 0.0, fx, HEIGHT / 2, 0.0, 0.0, 1.0]
        return CameraInfo(header=convert.header_msg(stamp_ns, "camera"), width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5, k=k)

    def now_ns(self) -> int:
        """Wall time."""
        return time.time_ns()

    def drive(
        self,
        seconds: float,
        *,
        image_hz: float = 10.0,
        odometry_hz: float = 50.0,
        compressed: bool = False,
        clock_from_ns: int | None = None,
        speed: float = 1.0,
        until: Callable[[], bool] | None = None,
        info: bool = True,
        images: bool = True,
    ) -> tuple[int, int]:
        """Publish for a while, or until something holds; with `clock_from_ns` in simulated time. Returns first and last stamp."""
        start, first = time.monotonic(), clock_from_ns if clock_from_ns is not None else self.now_ns()
        n_odometry = n_image = 0
        stamp = first
        while (elapsed := (time.monotonic() - start) * speed) < seconds and not (until is not None and until()):
            if clock_from_ns is not None:
                self.publisher(Clock, "/clock").publish(Clock(clock=convert.time_msg(first + round(elapsed * NS))))
            while n_odometry / odometry_hz <= elapsed:
                stamp = first + round(n_odometry / odometry_hz * NS)
                self.publisher(Odometry, "odometry").publish(self.odometry(stamp))
                n_odometry += 1
            while images and n_image / image_hz <= elapsed:
                at = first + round(n_image / image_hz * NS)
                if info:
                    self.publisher(CameraInfo, "camera_info").publish(self.camera_info(at))
                if compressed:
                    self.publisher(CompressedImage, "image/compressed").publish(self.jpeg(at))
                else:
                    self.publisher(Image, "image").publish(self.image(at))
                n_image += 1
            time.sleep(0.005)
        return first, stamp

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> bool:
        """Wait for something, bounded."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return condition()

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def transition(self, transition: int, seconds: float = 30.0) -> bool:
        """Ask for a lifecycle transition and return its success."""
        client = self.node.create_client(ChangeState, f"/{self.target}/change_state")
        assert client.wait_for_service(seconds), "the node offers no lifecycle services"
        request = ChangeState.Request()
        request.transition.id = transition
        future = client.call_async(request)
        assert self.wait(future.done, seconds), "no answer"
        return bool(future.result().success)

    def state(self) -> str:
        """Lifecycle state."""
        client = self.node.create_client(GetState, f"/{self.target}/get_state")
        assert client.wait_for_service(20.0)
        future = client.call_async(GetState.Request())
        assert self.wait(future.done, 20.0)
        return str(future.result().current_state.label)


def _worlds() -> Iterator[Callable[[str], World]]:
    made: list[World] = []

    def make(target: str) -> World:
        made.append(World(target))
        return made[-1]

    yield make
    for w in made:
        w.close()


def _processes(model_dir: Path) -> Iterator[Callable[..., NodeProcess]]:
    running: list[NodeProcess] = []

    def make(module: str, *, params: dict[str, Any] | None = None, **kwargs: Any) -> NodeProcess:
        defaults: dict[str, Any] = {"model_dir": str(model_dir), "device": "cpu"}
        if module != "planner_node":
            defaults |= {"camera_mount_rpy_deg": [0.0, 0.0, 0.0]}
        if module != "tokenizer_node":
            defaults |= {"invalid_plan": "publish", "command_source": "fixed"}
        running.append(NodeProcess(module, params=defaults | (params or {}), **kwargs))
        return running[-1]

    yield make
    for process in running:
        process.stop()


@pytest.fixture
def world() -> Iterator[Callable[[str], World]]:
    """Makes the test's side for a node name."""
    yield from _worlds()


@pytest.fixture(scope="module")
def module_world() -> Iterator[Callable[[str], World]]:
    """The same for all tests of a file."""
    yield from _worlds()


@pytest.fixture
def start(model_dir: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts nodes under test, by default with the tiny model on the CPU, and ends them."""
    yield from _processes(model_dir)


@pytest.fixture(scope="module")
def module_start(model_dir: Path) -> Iterator[Callable[..., NodeProcess]]:
    """The same for all tests of a file."""
    yield from _processes(model_dir)


class Host:
    """A node in the test's own process, spinning, for what cannot be seen from outside."""

    made = 0

    def __init__(self, make: Callable[..., Any], params: dict[str, Any], remaps: dict[str, str]) -> None:
        self.context = Context()
        Host.made += 1
        self.name = f"hosted_{Host.made}"  # a name of its own: services of a node that just ended must not be mistaken for this one's
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
        for key, value in params.items():
            text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
            arguments += ["-p", f"{key}:={text}"]
        for a, b in remaps.items():
            arguments += ["-r", f"{a}:={b}"]
        rclpy.init(context=self.context)
        self.node = make(context=self.context, cli_args=arguments)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.node.pulse.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def close(self) -> None:
        """End it. Twice is once."""
        if not hasattr(self, "node"):
            return
        self.node.close()
        self.executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.try_shutdown()
        del self.node, self.executor
        gc.collect()  # a participant lives as long as anything of its node

    def says(self, code: str) -> str:
        """The text of a condition that holds now, empty otherwise."""
        shown = [part for status in self.node.board.statuses("n") for part in status.message.split("; [") if f"{code}]" in part]
        return shown[0] if shown else ""


@pytest.fixture
def host(model_dir: Path) -> Iterator[Callable[..., Host]]:
    """Makes nodes in this process, with the tiny model."""
    made: list[Host] = []

    def make(node: Callable[..., Any], remaps: dict[str, str] | None = None, **params: Any) -> Host:
        defaults = {"model_dir": str(model_dir), "device": "cpu", "camera_mount_rpy_deg": [0.0, 0.0, 0.0], "invalid_plan": "publish"}
        made.append(Host(node, defaults | {"command_source": "fixed"} | params, remaps or {}))
        return made[-1]

    yield make
    for h in made:
        h.close()
