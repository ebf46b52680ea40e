"""Live nodes under measurement: started as `vavam launch` starts them (or found running), fed with pictures, listened to."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import degrees
from pathlib import Path
from typing import Any, TextIO, cast

import yaml

from vavam_ros.bringup import SYSTEMS
from vavam_ros.cli.launch import Job, command_of, supervise
from vavam_ros.cli.live_camera import CameraSettings, LiveCamera
from vavam_ros.core.contracts import NS_PER_S, VavamError
from vavam_ros.measure.processes import Usage, processes_in
from vavam_ros.replay.profile import Journey

READY_S = 180.0  # a large model is read and warmed up within this
NAMESPACE = "vavam"
TOPICS = {"image": "/measure/image", "camera_info": "/measure/camera_info", "odometry": "/measure/odometry"}


class LiveError(VavamError):
    """Nodes that do not come up, or end while they are measured."""


@dataclass(slots=True)
class Listener:
    """What the nodes published. Written by the executor's thread."""

    namespace: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: dict[int, Journey] = field(default_factory=dict)  # by image stamp
    timing: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)  # node → task → newest values of /diagnostics
    faults: dict[str, str] = field(default_factory=dict)  # status → message, of warnings and errors
    gpu_mb: list[tuple[float, float]] = field(default_factory=list)  # monotonic s, sum over the nodes

    def attach(self, node: Any) -> None:
        """Subscribe with an rclpy node."""
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import Path as PathMsg

        from vavam_ros.msg import TrajectorySamples

        node.create_subscription(TrajectorySamples, f"/{self.namespace}/samples", self._on_samples, 50)
        node.create_subscription(PathMsg, f"/{self.namespace}/path_raw", self._on_raw, 50)
        node.create_subscription(PathMsg, f"/{self.namespace}/path", self._on_placed, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)

    def take(self) -> list[Journey]:
        """The journeys since the last call, oldest first, and forget them. One whose raw path has not come yet stays while it may."""
        with self.lock:
            done = [s for s in self.made if self.made[s].raw_path_ns is not None or s < time.time_ns() - 2 * NS_PER_S]
            return [self.made.pop(s) for s in sorted(done)]

    def _journey(self, msg: Any) -> Journey:
        stamp_ns = msg.header.stamp.sec * NS_PER_S + msg.header.stamp.nanosec
        return self.made.setdefault(stamp_ns, Journey(stamp_ns=stamp_ns))

    def _on_samples(self, msg: Any) -> None:
        heard_ns = time.time_ns()
        with self.lock:
            journey = self._journey(msg)
            journey.samples_ns = heard_ns
            journey.stage_ms = tuple(zip(map(str, msg.stage_names), map(float, msg.stage_ms), strict=True))

    def _on_raw(self, msg: Any) -> None:
        heard_ns = time.time_ns()
        with self.lock:
            self._journey(msg).raw_path_ns = heard_ns

    def _on_placed(self, msg: Any) -> None:
        """The first placed path after each raw one; its own stamp is the present."""
        heard_ns = time.time_ns()
        with self.lock:
            for journey in reversed(self.made.values()):
                if journey.path_ns is not None:
                    break
                if journey.raw_path_ns is not None:
                    journey.path_ns = heard_ns

    def _on_diagnostics(self, msg: Any) -> None:
        with self.lock:
            for status in msg.status:
                name, _, task = status.name.rpartition(": ")
                if not name.startswith(f"/{self.namespace}/"):
                    continue
                self.timing.setdefault(name.rpartition("/")[2], {})[task] = {v.key: v.value for v in status.values}
                if status.level > b"\0":
                    self.faults[status.name] = status.message
                else:
                    self.faults.pop(status.name, None)
            used = [float(tasks["model"]["gpu_reserved_mib"]) for tasks in self.timing.values() if "gpu_reserved_mib" in tasks.get("model", {})]
            if used:
                self.gpu_mb.append((time.monotonic(), sum(used) * 2**20 / 1e6))

    def count(self, task: str, key: str) -> int:
        """A counter of the diagnostics, summed over the nodes; 0 where none has it."""
        with self.lock:
            return sum(int(tasks[task][key]) for tasks in self.timing.values() if key in tasks.get(task, {}))


class _Log:
    """What the nodes print: into a file if one is given, the newest lines kept for an error's text."""

    def __init__(self, file: TextIO | None) -> None:
        self._file, self.newest = file, deque[str](maxlen=15)

    def write(self, text: str) -> None:
        if text.strip():
            self.newest.append(text.rstrip())
        if self._file is not None:
            self._file.write(text)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()


@dataclass(slots=True, kw_only=True)
class Live:
    """Nodes that run. `usages`: their processes; `camera` is None when they are fed by somebody else."""

    listener: Listener
    usages: list[Usage]
    camera: LiveCamera | None
    ended: threading.Event
    log: _Log

    def wait_for_path(self, timeout_s: float = READY_S) -> None:
        """Return when a raw path has come. Raises LiveError."""
        end_s = time.monotonic() + timeout_s
        while not any(j.raw_path_ns for j in list(self.listener.made.values())):
            self.check()
            if time.monotonic() > end_s:
                said = "; ".join(f"{k}: {v}" for k, v in self.listener.faults.items()) or "no diagnostics came from them"
                raise LiveError(f"no Path within {timeout_s:.0f} s, expected one from the nodes in /{self.listener.namespace}: {said}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises LiveError when a node has ended."""
        if self.ended.is_set():
            raise LiveError("a node ended while it was measured; its last lines:\n" + "\n".join(self.log.newest))

    def sample(self) -> None:
        """Take one sample of every process."""
        for usage in self.usages:
            usage.take()


def parameters_for(model: Path, folder: Path) -> Path:
    """A parameter file for measuring: nobody drives by these plans, so all are published, and the camera sits where the model's own does."""
    from vavam_ros.core.artifact import read_card
    from vavam_ros.core.camera import CanonicalCamera

    mount = CanonicalCamera.from_dict(read_card(str(model)).canonical_camera).mount
    values = {
        "invalid_plan": "publish",
        "command_source": "fixed",
        "camera_mount_xyz_m": [mount.x_m, mount.y_m, mount.z_m],
        "camera_mount_rpy_deg": [degrees(mount.roll_rad), degrees(mount.pitch_rad), degrees(mount.yaw_rad)],
    }
    path = folder / "measure.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    return path


@contextlib.contextmanager
def started(model: Path | None, camera: CameraSettings, assignments: Mapping[str, str], log_file: TextIO | None = None) -> Iterator[Live]:
    """The system `vavam` in a ROS domain of its own, fed by a LiveCamera and ended at exit. Without a model: random weights, on the CPU.

    `assignments`: launch arguments of that system, which win. Raises LiveError, ConfigError.
    """
    from vavam_ros.core.artifact import random_artifact, read_card
    from vavam_ros.core.camera import CanonicalCamera
    from vavam_ros.core.spec import SMALL

    with tempfile.TemporaryDirectory(prefix="vavam_measure_") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if model is None:
            model = folder / "model"
            random_artifact(model, SMALL)
            assignments = {"config": "cpu", **assignments}
        image = TOPICS["image"] + ("/compressed" if camera.compressed else "")
        topics = {"image_topic": image, "camera_info_topic": TOPICS["camera_info"], "odometry_topic": TOPICS["odometry"]}
        given = {"model": str(model), "composed": "true", "namespace": NAMESPACE, **topics, **assignments}
        if "params_file" not in given:
            given["params_file"] = str(parameters_for(model, folder))
        system = SYSTEMS["vavam"].build(given)
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        os.environ.setdefault("ROS_DOMAIN_ID", str(random.randrange(1, 100)))
        os.environ.update(system.environment_beside(os.environ))
        jobs = [Job(name=p.name, command=tuple(command_of(p, folder)), on_exit=p.on_exit) for p in system.processes]
        log, stop, ended, usages = _Log(log_file), threading.Event(), threading.Event(), list[Usage]()

        def supervised() -> None:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            supervise(jobs, environment, cast(TextIO, log), stop, on_start=lambda name, pid: usages.append(Usage(name=name, pid=pid)))
            ended.set()

        supervisor = threading.Thread(target=supervised, name="supervisor")
        node, listener = stack.enter_context(_listening(given["namespace"]))
        live_camera = LiveCamera(node, camera, CanonicalCamera.from_dict(read_card(str(model)).canonical_camera), {**TOPICS, "image": image})
        supervisor.start()
        try:
            live_camera.start()
            yield Live(listener=listener, usages=usages, camera=live_camera, ended=ended, log=log)
        finally:
            live_camera.close()
            stop.set()
            supervisor.join()


@contextlib.contextmanager
def attached(namespace: str) -> Iterator[Live]:
    """Nodes that run already, in the ROS domain of this process, fed by whoever feeds them. Figures of processes only for those on this machine."""
    namespace = namespace.strip("/")
    with _listening(namespace) as (_, listener):
        usages = [Usage(name=name, pid=pid) for name, pid in sorted(processes_in(namespace).items())]
        yield Live(listener=listener, usages=usages, camera=None, ended=threading.Event(), log=_Log(None))


@contextlib.contextmanager
def _listening(namespace: str) -> Iterator[tuple[Any, Listener]]:
    """An rclpy node that spins in a thread, and its listener."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("vavam_measure", context=context)
    listener = Listener(namespace)
    listener.attach(node)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield node, listener
    finally:
        executor.shutdown(timeout_sec=5.0)
        thread.join(5.0)
        node.destroy_node()
        context.try_shutdown()
