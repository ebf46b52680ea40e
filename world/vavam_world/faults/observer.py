"""Eyes and hands of the harness on a running system's topics. What comes is kept with the world's tick (`/carla/status`, which no fault touches)."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from carla_msgs.msg import CarlaEgoVehicleControl, CarlaStatus
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool, Float32, String
from std_srvs.srv import SetBool

from vavam_ros.nodes.qos import keep_last
from vavam_world.faults.spec import Fault
from vavam_world.faults.wiring import INJECT, INJECTED

VEHICLE = "/carla/ego_vehicle"
CONTROL = f"{VEHICLE}/vehicle_control_cmd"
CODE = re.compile(r"\[([a-z_]+)\] ")


@dataclass(frozen=True, slots=True)
class Said:
    """Something that was said at a tick."""

    tick: int
    text: str


class Observer:
    """Listens in a thread of its own. Lists only grow; the main thread reads them."""

    def __init__(self, domain: int, namespace: str = "vavam") -> None:
        self.tick = -1
        self.states: list[Said] = []
        self.controls: list[tuple[int, float, float]] = []  # tick, throttle, brake
        self.speeds: list[tuple[int, float]] = []
        self.paths: list[tuple[int, int]] = []  # tick of arrival, stamp in ns
        self.codes: list[tuple[int, str, str]] = []  # tick, node, code
        self.begun: list[tuple[str, int]] = []
        self.path_limit_s = 1.5
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = node = Node("faults_harness", context=self._context)
        node.create_subscription(CarlaStatus, "/carla/status", self._on_status, 50)
        node.create_subscription(String, f"/{namespace}/gate_state", self._on_state, keep_last(20, reliable=True, latched=True))
        node.create_subscription(CarlaEgoVehicleControl, CONTROL, self._on_control, 200)
        node.create_subscription(Float32, f"{VEHICLE}/speedometer", lambda m: self.speeds.append((self.tick, float(m.data))), 50)
        node.create_subscription(Path, f"/{namespace}/path_raw", self._on_path, 20)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        node.create_subscription(String, INJECTED, self._on_begun, keep_last(50, reliable=True, latched=True))
        self._inject = node.create_publisher(String, INJECT, keep_last(10, reliable=True))
        self._autopilot = node.create_publisher(Bool, f"{VEHICLE}/enable_autopilot", 10)
        self._enable: Any = node.create_client(SetBool, f"/{namespace}/enable")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_status(self, msg: CarlaStatus) -> None:
        self.tick = int(msg.frame)

    def _on_state(self, msg: String) -> None:
        self.states.append(Said(self.tick, msg.data))

    def _on_control(self, msg: CarlaEgoVehicleControl) -> None:
        self.controls.append((self.tick, float(msg.throttle), float(msg.brake)))

    def _on_path(self, msg: Path) -> None:
        self.paths.append((self.tick, msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec))

    def _on_begun(self, msg: String) -> None:
        values = json.loads(msg.data)
        self.begun.append((values["name"], int(values["tick"])))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            node = status.name.partition(":")[0].rpartition("/")[2]
            self.codes += [(self.tick, node, code) for code in CODE.findall(status.message)]
            for value in status.values:
                if value.key == "path_limit_s":
                    self.path_limit_s = float(value.value)

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> str:
        """The gate's state, without the reasons."""
        return self.states[-1].text.partition(":")[0] if self.states else ""

    @property
    def speed_mps(self) -> float:
        """The vehicle's."""
        return self.speeds[-1][1] if self.speeds else 0.0

    def codes_since(self, tick: int) -> set[str]:
        """What diagnostics have said from a tick on."""
        return {code for at, _, code in self.codes if at >= tick}

    def publishers(self) -> tuple[str, ...]:
        """Who publishes to the vehicle."""
        return tuple(sorted(i.node_name for i in self._node.get_publishers_info_by_topic(CONTROL)))

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def inject(self, faults: Sequence[Fault]) -> None:
        """From the next tick on."""
        self.until(self._inject.get_subscription_count, 10.0)
        self._inject.publish(String(data=json.dumps([f.to_dict() for f in faults])))

    def autopilot(self, on: bool) -> None:
        """Let the expert drive, or not."""
        self._autopilot.publish(Bool(data=on))

    def enable(self) -> tuple[bool, str]:
        """Ask the gate once."""
        future = self._enable.call_async(SetBool.Request(data=True))
        self.until(future.done, 5.0)
        return (bool(future.result().success), str(future.result().message)) if future.done() else (False, "no answer")

    def until(self, condition: Callable[[], Any], seconds: float) -> bool:
        """Wait, in wall time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.01)
        return bool(condition())
