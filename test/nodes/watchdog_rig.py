"""A live stand-in for everything around watchdog_node: vehicle, camera, planner, follower."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ackermann_msgs.msg import AckermannDrive, AckermannDriveStamped
from carla_msgs.msg import CarlaEgoVehicleControl
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String, UInt64
from std_srvs.srv import SetBool

from vavam_ros.nodes.stamps import header_msg, time_msg

NS = 1_000_000_000
TICK_S = 0.05
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NAMES = (f"gate_{i}" for i in itertools.count())  # a name per test: what a gate that just ended leaves behind must not be taken for the next one


def command_msg(kind: str, ns: int, **changes: float) -> Any:
    # numbers that float32 holds exactly
    if kind == "carla":
        return CarlaEgoVehicleControl(header=header_msg(ns, "x"), **({"throttle": 0.5, "steer": 0.125} | changes))
    drive = AckermannDrive(**({"speed": 8.0, "acceleration": 0.5, "steering_angle": -0.125} | changes))
    return AckermannDriveStamped(header=header_msg(ns, "x"), drive=drive) if kind == "ackermann_stamped" else drive


class Rig:
    """Twenty times a second, everything that a gate listens to. What is named in `off` is not sent. The vehicle obeys brakes, after a fashion."""

    def __init__(self, world: Any, kind: str = "carla", *, simulated: bool = False) -> None:
        self.world, self.kind, self.simulated, self.name = world, kind, simulated, world.target
        self.off: set[str] = set()
        self.command: dict[str, float] = {}
        self.speed, self.x = 1.5, 0.0
        self.sim_ns = 100 * NS
        self.passed: list[tuple[float, Any]] = []
        self.states: list[str] = []
        self.flood = 0
        type_ = {"carla": CarlaEgoVehicleControl, "ackermann": AckermannDrive, "ackermann_stamped": AckermannDriveStamped}[kind]
        node = world.node
        self._client = node.create_client(SetBool, f"/{self.name}/enable")
        node.create_subscription(type_, f"/{self.name}/control_out", lambda m: self.passed.append((time.monotonic(), m)), 100)
        node.create_subscription(String, f"/{self.name}/state", lambda m: self.states.append(m.data), LATCHED)
        for msg_type, topic in (
            (type_, "control_in"), (Path, "path"), (Odometry, "odometry"), (CameraInfo, "camera_info"), (UInt64, "/planner/heartbeat"),
            (DiagnosticArray, "/diagnostics"),
        ):  # fmt: skip
            world.publisher(msg_type, topic)
        self._type = type_
        self._ended = threading.Event()
        self._n = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._ended.wait(TICK_S):
            self.tick()

    @property
    def now_ns(self) -> int:
        return self.sim_ns if self.simulated else time.time_ns()

    def tick(self) -> None:
        self._n += 1
        world = self.world
        if self.simulated and "clock" not in self.off:
            self.sim_ns += round(TICK_S * NS)
            now = self.sim_ns  # once: a test sets it back from another thread, and clock and stamps of a tick are to agree
            world.publisher(Clock, "/clock").publish(Clock(clock=time_msg(now)))
        else:
            now = self.now_ns
        self._brake()
        if "odometry" not in self.off:
            msg = Odometry(header=header_msg(now, "map"), child_frame_id="ego")
            msg.pose.pose.position.x, msg.twist.twist.linear.x = self.x, self.speed
            if "nan" in self.off:
                msg.pose.pose.position.x = float("nan")
            world.publisher(Odometry, "odometry").publish(msg)
        if "image" not in self.off:
            world.publisher(CameraInfo, "camera_info").publish(CameraInfo(header=header_msg(now, "camera")))
        if "path" not in self.off and self._n % 4 == 0:
            path = Path(header=header_msg(now - 50_000_000, "ego"), poses=[PoseStamped(), PoseStamped()])
            world.publisher(Path, "path").publish(path)
        if "heartbeat" not in self.off:
            world.publisher(UInt64, "/planner/heartbeat").publish(UInt64(data=self._n))
        if "diagnostics" not in self.off and self._n % 5 == 0:
            self.diagnose()
        if "command" not in self.off:
            world.publisher(self._type, "control_in").publish(command_msg(self.kind, now, **self.command))
        for i in range(self.flood):
            world.publisher(self._type, "control_in").publish(command_msg(self.kind, now + 1 + i, **self.command))

    def diagnose(self, *, level: int = 0, task: str = "model", message: str = "ok", state: str = "active") -> None:
        status = DiagnosticStatus(level=bytes([level]), name=f"/planner: {task}", message=message, values=[KeyValue(key="state", value=state)])
        self.world.publisher(DiagnosticArray, "/diagnostics").publish(DiagnosticArray(status=[status]))

    def _brake(self) -> None:
        last = self.passed[-1][1] if self.passed else None
        decel = 0.0
        if isinstance(last, CarlaEgoVehicleControl):
            decel = 8.0 * last.brake
        elif last is not None and (drive := getattr(last, "drive", last)).speed == 0.0:
            decel = abs(drive.acceleration) or 8.0
        if "clock" in self.off:
            return  # the vehicle stands with its clock
        self.speed = max(self.speed - decel * TICK_S, 0.0)
        self.x += self.speed * TICK_S

    # ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> str:
        return self.states[-1].split(":")[0] if self.states else ""

    def wait_for(self, state: str, seconds: float = 15.0) -> None:
        assert self.world.wait(lambda: self.state == state, seconds), f"{state} never came: {self.states[-8:]}"

    def enable(self, on: bool = True) -> tuple[bool, str]:
        assert self._client.wait_for_service(20.0)
        future = self._client.call_async(SetBool.Request(data=on))
        assert self.world.wait(future.done, 10.0)
        return bool(future.result().success), str(future.result().message)

    def arm(self) -> None:
        self.wait_for("READY")
        refused: list[str] = []  # a machine that stalls for a moment lets things grow old, and READY goes and comes back
        assert self.world.wait(lambda: (answer := self.enable()) == (True, "enabled") or bool(refused.append(answer[1]))), refused
        self.wait_for("ACTIVE")
        assert self.world.wait(lambda: len(self.passed) > 3)

    def is_held(self) -> bool:
        """The last message is the full brake."""
        last = self.passed[-1][1] if self.passed else None
        if isinstance(last, CarlaEgoVehicleControl):
            return bool(last.brake == 1.0 and last.throttle == 0.0)
        drive = getattr(last, "drive", last)
        return drive is not None and drive.speed == 0.0 and drive.acceleration == 0.0


Make = Callable[..., tuple[Rig, Any]]


def rigs(world: Any, start: Any) -> Iterator[Make]:
    """Starts gates, each with its rig, and ends the rigs."""
    made = []

    def make(kind: str = "carla", *, simulated: bool = False, **params: Any) -> tuple[Rig, Any]:
        name = next(NAMES)
        process = start("watchdog_node", name=name, params={"control_type": kind, "watched_nodes": "/planner", "use_sim_time": simulated} | params)
        made.append(Rig(world(name), kind, simulated=simulated))
        return made[-1], process

    yield make
    for r in made:
        r.close()
