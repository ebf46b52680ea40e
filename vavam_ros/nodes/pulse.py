"""The heartbeat and the diagnostics of a model node, in a thread of their own: they go on while the executor or the inference is busy."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import torch
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import UInt64

from vavam_ros.nodes.topic_monitor import CLOCKS_DIFFER_S
from vavam_ros.nodes.worker import Worker

if TYPE_CHECKING:
    from typing import Any

    from vavam_ros.nodes.model_node import ModelNode

STUCK_S = 30.0
DIAGNOSTICS_PERIOD_S = 1.0
AHEAD_S = 0.5  # a stamp may lag, but what is stamped with a time to come is of another clock


class Pulse:
    """Publishes `~/heartbeat` and `/diagnostics`. The heartbeat's number grows whenever every inference thread has turned over since it last grew."""

    def __init__(self, node: ModelNode) -> None:
        self._node = node
        self._heartbeat = node.create_publisher(UInt64, "~/heartbeat", 1)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self.number = 0
        self._seen: dict[int, int] = {}  # id of worker → its progress when the number last grew
        self._skipped: dict[str, tuple[int, int]] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        period_s = 1.0 / self._node.parameters.number("heartbeat_rate_hz")
        next_report_s = time.monotonic()
        while not self._stop.wait(period_s) and self._node.context.ok():
            try:
                self.beat()
                if time.monotonic() >= next_report_s:
                    next_report_s = max(next_report_s + DIAGNOSTICS_PERIOD_S, time.monotonic())
                    self.report()
            except RuntimeError:  # rclpy's errors descend from it
                if self._node.context.ok() and not self._stop.is_set():
                    raise

    def beat(self) -> None:
        """Publish one heartbeat."""
        workers = self._workers()
        if all(worker.progress != self._seen.get(id(worker)) for worker in workers):
            self.number += 1
            self._seen = {id(worker): worker.progress for worker in workers}
        self._heartbeat.publish(UInt64(data=self.number))

    def report(self) -> None:
        """Publish diagnostics."""
        node = self._node
        self._model()
        with node.guard:
            node.board.state("not_active", not node.active)
            if node.active:
                self._clock()
                self._odometry()
                node.check_qos(list(node.monitors.values()))
                for part in node.parts:
                    part.report()
                self._timing()
        name = node.get_fully_qualified_name()
        stamp = node.get_clock().now().to_msg()
        message = DiagnosticArray(status=node.board.statuses(name))
        message.header.stamp = stamp
        self._diagnostics.publish(message)

    def _workers(self) -> list[Worker[Any]]:
        return [worker for part in self._node.parts if (worker := part.worker) is not None]

    def _model(self) -> None:
        node, board = self._node, self._node.board
        node.stage_report()
        board.put("model", state="active" if node.active else "inactive" if node.loaded is not None else "unconfigured")
        for worker in self._workers():
            if worker.busy_s > STUCK_S and node.loaded is not None:
                board.event("thread_stuck", stage=worker.name, seconds=worker.busy_s)
        loaded = node.loaded
        if loaded is not None and loaded.device.type == "cuda":
            mib = 2.0**20
            board.put(
                "model",
                gpu_allocated_mib=torch.cuda.memory_allocated(loaded.device) / mib,
                gpu_reserved_mib=torch.cuda.memory_reserved(loaded.device) / mib,
                gpu_peak_mib=torch.cuda.max_memory_allocated(loaded.device) / mib,
            )

    def _clock(self) -> None:
        node, board = self._node, self._node.board
        simulated = bool(node.get_parameter("use_sim_time").value)
        why = "nobody publishes /clock" if node.count_publishers("/clock") == 0 else "/clock has not ticked" if node.now_ns == 0 else ""
        board.state("no_clock", simulated and bool(why), why=why)
        off = [(m, m.offset_s(node.now_ns)) for m in node.monitors.values() if m.age_s < 2.0]
        worst = max(((m, o) for m, o in off if o is not None and not -CLOCKS_DIFFER_S <= o <= AHEAD_S), key=lambda mo: abs(mo[1]), default=None)
        board.state("clock_mismatch", worst is not None, topic=worst[0].topic if worst else "", offset=worst[1] if worst else 0.0)

    def _odometry(self) -> None:
        odometry = self._node.odometry
        why = odometry.contradiction() if odometry is not None else None
        self._node.board.state("odometry_inconsistent", why is not None, why=why)

    def _timing(self) -> None:
        node, board = self._node, self._node.board
        board.put_all("timing", node.timings.values())
        for worker in self._workers():
            c = worker.counts
            counts = {"submitted": c.submitted, "skipped": c.skipped, "done": c.done, "failed": c.failed, "discarded": c.discarded}
            board.put_all("timing", {f"{worker.name}.{k}": v for k, v in counts.items()})
            was = self._skipped.get(worker.name, (0, 0))
            new, skipped = c.submitted - was[0], c.skipped - was[1]
            self._skipped[worker.name] = c.submitted, c.skipped
            if new > 0 and skipped > 0:
                board.event("overrun", stage=worker.name, share=skipped / new, count=new)
