"""A world in its own process, and the test's ears and hands on its topics."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from carla_msgs.msg import CarlaControl, CarlaEgoVehicleControl
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from vavam_world.bridge.qos import TOPICS
from vavam_world.contracts import MapSpec, RouteSpec, Scenario

NS = 1_000_000_000
ROLE = "ego_vehicle"
SENSORS = {"odometry": "odometry", "speedometer": "speedometer", "camera_info": "front", "image": "front", "compressed": "front"}


class WorldProcess:
    """world_node in a process of its own."""

    def __init__(self, scenario: Scenario, **params: Any) -> None:
        args = ["--ros-args", "-p", f"scenario:='{json.dumps(scenario.to_dict())}'"]
        for key, value in params.items():
            args += ["-p", f"{key}:={str(value).lower() if isinstance(value, bool) else value}"]
        self._log: list[str] = []
        command = [sys.executable, "-u", "-m", "vavam_world.bridge.world_node", *args]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._log.append(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self._log)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Exit code once it has ended by itself."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            pytest.fail(f"the world goes on:\n{self.text}")
        self._reader.join(5.0)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def stop(self) -> int:
        """Interrupt it."""
        if self.alive:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5.0)
            pytest.fail(f"the world does not end:\n{self.text}")
        return self.wait(1.0)


class Side:
    """The other side of the bridge: hears all, publishes, single-steps. Messages are kept with their source time, which is that of publishing."""

    def __init__(self, role: str = ROLE, kinds: tuple[str, ...] = ()) -> None:
        self.role = role
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node("side", context=self.context)
        self.heard: dict[str, list[Any]] = {}
        self.published_at: dict[str, list[int]] = {}
        self._publishers: dict[str, Any] = {}
        self.on: dict[str, Callable[[Any], None]] = {}
        for kind in kinds or tuple(t.kind for t in TOPICS.values() if t.direction == "out"):
            self.listen(kind)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def name(self, kind: str) -> str:
        return TOPICS[kind].full(self.role, SENSORS.get(kind, ""))

    def listen(self, kind: str, qos: QoSProfile | None = None, key: str = "") -> None:
        """Keep what comes on a topic, under `key`."""
        key = key or kind
        self.heard[key], self.published_at[key] = [], []

        def callback(message: Any, info: Any) -> None:
            self.published_at[key].append(info["source_timestamp"])
            self.heard[key].append(message)
            if key in self.on:
                self.on[key](message)

        self.node.create_subscription(TOPICS[kind].type, self.name(kind), callback, qos or QoSProfile(depth=1000, durability=TOPICS[kind].qos.durability))

    def is_known(self, seconds: float = 90.0) -> bool:
        """The world is ready to tick and has found every subscription made so far: nothing volatile is lost from here on.

        The world learns of subscriptions in the order in which they were made, and sends what is latched last of all before its first tick: once a
        latched topic's newest subscription hears, all is there."""
        self.listen("waypoints", key="found")
        return self.until(lambda: self.heard["found"], seconds)

    def publish(self, kind: str, message: Any) -> None:
        """To one of the bridge's inputs."""
        if kind not in self._publishers:
            self._publishers[kind] = self.node.create_publisher(TOPICS[kind].type, self.name(kind), TOPICS[kind].qos)
            assert self.until(lambda: self._publishers[kind].get_subscription_count() > 0), f"nobody subscribes to {self.name(kind)}"
        self._publishers[kind].publish(message)

    def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.002)
        return bool(condition())

    def last(self, kind: str) -> Any:
        return self.heard[kind][-1]

    def command(self, command: int) -> None:
        """To /carla/control."""
        self.publish("world_control", CarlaControl(command=command))

    def step(self, ticks: int = 1) -> None:
        """So many single steps, each complete: the vehicle's odometry, sent last in a step without a picture, and the picture of one with it, are here."""
        for _ in range(ticks):
            before = len(self.heard["odometry"])
            self.command(CarlaControl.STEP_ONCE)
            assert self.until(lambda: len(self.heard["odometry"]) > before), self._lost_step()  # noqa: B023
        assert self.until(lambda: self.stamp("clock") == self.stamp("vehicle_status") == self.stamp("odometry"))

    def _lost_step(self) -> str:
        return f"a step was asked for and did not come; heard so far: { {k: len(v) for k, v in self.heard.items()} }"

    def stamp(self, kind: str) -> int:
        """Of the newest message, nanoseconds."""
        message = self.last(kind)
        time_ = message.clock if kind == "clock" else message.header.stamp
        return int(time_.sec) * NS + int(time_.nanosec)

    def drive(self, ticks: int, **control: Any) -> None:
        """Send one control, step until the vehicle's status shows it, then `ticks` steps more."""
        message = CarlaEgoVehicleControl(**control)
        for _ in range(40):
            self.publish("control", message)  # again and again: topics overtake one another, and an override may have taken the first
            self.step()
            now = self.last("vehicle_status").control
            if all(abs(getattr(now, k) - v) < 1e-6 for k, v in control.items()):
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"control {control} never came into effect")
        self.step(ticks)

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.try_shutdown()
        del self.node, self._executor, self._publishers
        gc.collect()


def _worlds() -> Iterator[Callable[..., WorldProcess]]:
    made: list[WorldProcess] = []

    def make(scenario: Scenario, **params: Any) -> WorldProcess:
        made.append(WorldProcess(scenario, **params))
        return made[-1]

    yield make
    for process in made:
        if process.alive:
            process.stop()


def _sides() -> Iterator[Callable[..., Side]]:
    made: list[Side] = []

    def make(*args: Any, **kwargs: Any) -> Side:
        made.append(Side(*args, **kwargs))
        return made[-1]

    yield make
    for side in made:
        side.close()


@pytest.fixture
def start_world() -> Iterator[Callable[..., WorldProcess]]:
    yield from _worlds()


@pytest.fixture(scope="module")
def module_world() -> Iterator[Callable[..., WorldProcess]]:
    yield from _worlds()


@pytest.fixture
def make_side() -> Iterator[Callable[..., Side]]:
    yield from _sides()


@pytest.fixture(scope="module")
def module_side() -> Iterator[Callable[..., Side]]:
    yield from _sides()


@pytest.fixture
def no_cameras(tmp_path: Path) -> Path:
    """An objects file of a vehicle `hero` without cameras and without TF: such a world starts quickly."""
    path = tmp_path / "objects.json"
    sensors = [{"type": "sensor.pseudo.odom", "id": "odometry"}, {"type": "sensor.pseudo.speedometer", "id": "speedometer"}]
    path.write_text(json.dumps({"objects": [{"type": "vehicle.tesla.model3", "id": "hero", "sensors": sensors}]}))
    return path


CONTRACT_SCENARIO = Scenario(name="contract", map=MapSpec(kind="straight"), route=RouteSpec(length_m=300.0), start_speed_mps=5.0, time_limit_s=3600.0)


@pytest.fixture(scope="module")
def side(module_side: Any, module_world: Any) -> Any:
    """A paused world whose first two steps have been heard from the beginning."""
    side = module_side()
    process = module_world(CONTRACT_SCENARIO, start_paused=True, run_on=True, real_time_factor=0.0, compressed=True)
    assert side.is_known(), f"the world does not begin:\n{process.text}"
    side.step(2)
    assert side.until(lambda: side.heard["image"])
    yield side
    assert process.alive, process.text
