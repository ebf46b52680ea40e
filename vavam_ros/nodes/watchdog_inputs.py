"""What the gate hears, kept as the facts that its core asks for. Every callback survives every message.

Stamps are compared in the node's clock; heartbeats and diagnostics, which come from threads that know no simulated clock, in the gate's own running time:
wall time without the moments in which the gate itself did not run, which must not be held against the others.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, UInt64

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.core.gate_checks import GateConfig, NodeHealth, path_limit_s
from vavam_ros.nodes.qos import keep_last
from vavam_ros.nodes.stamps import stamp_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rclpy.node import Node

    from vavam_ros.nodes.diagnostics import Board

LATENCIES = 100  # newest paths that the p99 is taken over
JUMP_BACK_S = 0.1
SPEED_SLACK_MPS, TURN_SLACK_RADPS, TURN_JUMP_RAD = 5.0, 1.0, 0.3
ERROR_LEVEL = 2


@dataclass(slots=True)
class _Watched:
    """One model node. Times are the gate's own running time, seconds."""

    name: str
    beat_s: float | None = None
    number: int | None = None
    grew_s: float = 0.0
    report_s: float | None = None
    active: bool | None = None
    errors: dict[str, tuple[str, float]] = field(default_factory=dict)  # task → text, since


@dataclass(slots=True)
class _Motion:
    stamp_ns: int
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    turn_radps: float


class WatchdogInputs:
    """Subscriptions and the newest of each. `now_ns` is the node's clock, `running_s` the gate's own running time."""

    def __init__(
        self,
        node: Node,
        board: Board,
        config: GateConfig,
        *,
        watched: tuple[str, ...],
        image_evidence: str,
        odometry_jump_m: float,
        now_ns: Callable[[], int],
        running_s: Callable[[], float],
    ) -> None:
        self._board, self._config, self._jump_m = board, config, odometry_jump_m
        self._now_ns, self._running_s = now_ns, running_s
        self._nodes = {name: _Watched(name) for name in watched}
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self.events: list[str] = []
        self.odometry_refused = ""
        self.odometry_ahead = False  # the newest message was refused because its stamp lies ahead of the clock
        self.forget()
        self._path_seen = node.create_publisher(Header, "~/path_seen", keep_last(10, reliable=True))
        # Best effort matches every publisher; depth 1: only the newest counts, and after a pause of this process nothing old is read first.
        # Paths are few and one that is lost ends the drive: reliable, as the planner publishes them and the follower listens.
        newest = keep_last(1, reliable=False)
        node.create_subscription(Path, "~/path", self._on_path, keep_last(5, reliable=True))
        node.create_subscription(Odometry, "~/odometry", self._on_odometry, newest)
        if image_evidence == "camera_info":
            node.create_subscription(CameraInfo, "~/camera_info", self._on_image, newest)
        elif image_evidence == "tokens":
            from vavam_ros.msg import FrameTokens

            node.create_subscription(FrameTokens, "~/tokens", self._on_image, keep_last(1, reliable=True))
        for name, one in self._nodes.items():
            node.create_subscription(UInt64, f"{name}/heartbeat", lambda msg, one=one: self._on_heartbeat(one, msg), newest)
        if self._nodes:
            node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, keep_last(50, reliable=False))

    def forget(self) -> None:
        """Drop everything with a stamp: the clock jumped."""
        self.path_ns: int | None = None
        self.image_ns: int | None = None
        self._motion: _Motion | None = None

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def odometry_ns(self) -> int | None:
        """Stamp of the newest good odometry."""
        return self._motion.stamp_ns if self._motion is not None else None

    @property
    def speed_mps(self) -> float | None:
        """Of the newest good odometry."""
        return self._motion.speed_mps if self._motion is not None else None

    @property
    def p99_latency_s(self) -> float | None:
        """p99 of now − header stamp at a path's arrival, over the newest paths; None without one."""
        if not self._latencies_s:
            return None
        ordered = sorted(self._latencies_s)
        return ordered[max(math.ceil(0.99 * len(ordered)) - 1, 0)]

    @property
    def path_limit_s(self) -> float:
        """Present limit of the path's age."""
        return path_limit_s(self._config, self.p99_latency_s)

    def nodes(self) -> tuple[NodeHealth, ...]:
        """Each watched node."""
        return tuple(self._node_health(one, self._running_s()) for one in self._nodes.values())

    @staticmethod
    def _node_health(one: _Watched, now_s: float) -> NodeHealth:
        model, others = one.errors.get("model"), [e for task, e in one.errors.items() if task != "model"]
        return NodeHealth(
            name=one.name,
            heartbeat_age_s=now_s - one.beat_s if one.beat_s is not None else None,
            still_for_s=now_s - one.grew_s if one.beat_s is not None else 0.0,
            active=one.active,
            report_age_s=now_s - one.report_s if one.report_s is not None else None,
            model_error=model[0] if model else "",
            other_error=others[0][0] if others else "",
            other_error_for_s=max((now_s - since for _, since in others), default=0.0),
        )

    # ── callbacks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _stamp(self, header: Any) -> tuple[int, str]:
        """(stamp, why it cannot be used)"""
        ns = stamp_ns(header)
        ahead_s = (ns - self._now_ns()) / NS_PER_S
        if ns <= 0:
            return ns, "its stamp is empty"
        if ahead_s > self._config.max_stamp_ahead_s:
            return ns, f"its stamp lies {ahead_s:.2f} s ahead (limit {self._config.max_stamp_ahead_s:g})"
        return ns, ""

    def _on_path(self, msg: Path) -> None:
        ns, why = self._stamp(msg.header)
        points = [p.pose.position for p in msg.poses]
        if not why and len(points) < 2:
            why = f"it has {len(points)} poses, expected 2 or more"
        if not why and not all(math.isfinite(p.x) and math.isfinite(p.y) for p in points):
            why = "it is not finite"
        if why:
            self._board.event("gate_bad_path", why=why)
        elif self.path_ns is None or ns > self.path_ns:
            self.path_ns = ns
            self._latencies_s.append(max((self._now_ns() - ns) / NS_PER_S, 0.0))
            self._path_seen.publish(msg.header)

    def _on_image(self, msg: Any) -> None:
        ns, why = self._stamp(msg.header)
        if why:
            self._board.event("gate_bad_image", why=why)
        elif self.image_ns is None or ns > self.image_ns:
            self.image_ns = ns

    def _on_odometry(self, msg: Odometry) -> None:
        ns, why = self._stamp(msg.header)
        p, q, t = msg.pose.pose.position, msg.pose.pose.orientation, msg.twist.twist
        norm = q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w
        if not why and not all(map(math.isfinite, (p.x, p.y, norm, t.linear.x, t.linear.y, t.angular.z))):
            why = "it is not finite"
        if not why and abs(norm - 1.0) > 0.1:
            why = f"its quaternion has the norm {math.sqrt(norm):.2f}"
        self.odometry_refused = why
        self.odometry_ahead = ns - self._now_ns() > self._config.max_stamp_ahead_s * NS_PER_S
        if why:
            self._board.event("bad_odometry", error=why)
            return
        last = self._motion
        if last is not None and ns <= last.stamp_ns:
            if (last.stamp_ns - ns) / NS_PER_S > JUMP_BACK_S:
                self.events.append(f"odometry jumped back by {(last.stamp_ns - ns) / NS_PER_S:.2f} s")
                self._motion = None
            return
        yaw = math.atan2(2.0 * (q.w * q.z + q.x * q.y), 1.0 - 2.0 * (q.y * q.y + q.z * q.z))
        self._motion = now = _Motion(ns, p.x, p.y, yaw, math.hypot(t.linear.x, t.linear.y), t.angular.z)
        if last is not None and (jump := self._jump(last, now)):
            self._board.event("odometry_reset", outcome=jump)
            self.events.append(jump)

    def _jump(self, last: _Motion, now: _Motion) -> str:
        dt_s = (now.stamp_ns - last.stamp_ns) / NS_PER_S
        moved = math.hypot(now.x_m - last.x_m, now.y_m - last.y_m)
        turned = abs(math.remainder(now.yaw_rad - last.yaw_rad, 2.0 * math.pi))
        if moved > (max(last.speed_mps, now.speed_mps) + SPEED_SLACK_MPS) * dt_s + self._jump_m:
            return f"odometry jumped by {moved:.1f} m within {dt_s:.2f} s"
        if turned > (max(abs(last.turn_radps), abs(now.turn_radps)) + TURN_SLACK_RADPS) * dt_s + TURN_JUMP_RAD:
            return f"odometry turned by {turned:.2f} rad within {dt_s:.2f} s"
        return ""

    def _on_heartbeat(self, one: _Watched, msg: UInt64) -> None:
        one.beat_s = self._running_s()
        if msg.data != one.number:  # a restarted node counts anew
            one.number, one.grew_s = msg.data, one.beat_s

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        now_s = self._running_s()
        for status in msg.status:
            name, _, task = status.name.partition(": ")
            one = self._nodes.get(name)
            if one is None:
                continue
            one.report_s = now_s
            if status.level and status.level[0] >= ERROR_LEVEL:
                _, since = one.errors.get(task, ("", now_s))
                one.errors[task] = status.message, since
            else:
                one.errors.pop(task, None)
            if task == "model":
                one.active = next((v.value == "active" for v in status.values if v.key == "state"), None)
