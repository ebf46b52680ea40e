"""Topics that CARLA's bridge has not: the paths that are followed and those beside, the gate's state, the expert's path."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nav_msgs.msg import Path
from std_msgs.msg import Header, String

from vavam_ros.core.contracts import DensePath
from vavam_ros.nodes.motion_messages import dense_path_msg
from vavam_ros.nodes.qos import keep_last
from vavam_ros.nodes.stamps import stamp_ns
from vavam_world.bridge.followed import dense_path
from vavam_world.contracts import MAP_FRAME

if TYPE_CHECKING:
    from vavam_world.bridge.world_node import WorldNode

BRAKE_UNDER_WAY_S = 0.05  # the brake of the disarmed gate has the same stamp, and its topic may be read after that of the state
KEPT = 50  # messages that may wait for the executor


class Extras:
    """Subscribes to what parameters name. `node.changed` guards what it holds."""

    def __init__(self, node: WorldNode) -> None:
        self._node, p = node, node.parameters
        self.plans: list[DensePath] = []  # taken in by the follower, in the frame map
        self.beside: list[DensePath] = []  # planned, and followed by nobody
        self.gate_active = False
        self._active_since_s = 0.0
        self._passed: tuple[int, float] = 0, 0.0  # stamp and arrival (wall time) of the newest control
        if p.text("followed_topic"):
            node.create_subscription(Path, p.text("followed_topic"), self._on_followed, KEPT)
        if p.text("beside_topic"):
            node.create_subscription(Path, p.text("beside_topic"), self._on_beside, KEPT)
        if p.text("path_seen_topic"):
            node.create_subscription(Header, p.text("path_seen_topic"), self._on_path_seen, KEPT)
        if p.text("gate_state_topic"):
            node.create_subscription(String, p.text("gate_state_topic"), self._on_gate_state, keep_last(1, reliable=True, latched=True))
        topic = p.text("expert_path_topic")
        self._expert_path = node.create_publisher(Path, topic, keep_last(5, reliable=True)) if topic else None

    def say_expert_path(self, plan: Callable[[], DensePath]) -> None:
        """The expert's path, where somebody asked for it."""
        if self._expert_path is not None and self._node.alive():
            self._expert_path.publish(dense_path_msg(plan()))

    def _on_followed(self, msg: Any) -> None:
        path = dense_path(msg) if msg.header.frame_id == MAP_FRAME else None
        with self._node.changed:
            if path is not None:
                self.plans.append(path)
            self._node.lockstep.followed_came(stamp_ns(msg.header))
            self._node.changed.notify_all()

    def _on_path_seen(self, msg: Header) -> None:
        with self._node.changed:
            self._node.lockstep.gated_came(stamp_ns(msg))
            self._node.changed.notify_all()

    def _on_beside(self, msg: Any) -> None:
        path = dense_path(msg) if msg.header.frame_id == MAP_FRAME else None
        with self._node.changed:
            if path is not None:
                self.beside.append(path)

    def gate_passes(self, odometry_ns: int) -> bool:
        """The gate is armed, and a control that it has passed since then answers the odometry of this stamp. Under `node.changed`."""
        stamp, came_s = self._passed
        answered = stamp == odometry_ns and came_s > self._active_since_s + BRAKE_UNDER_WAY_S
        return self.gate_active and (answered or self._node.lockstep.awaits.control != "stamped")

    def lags(self, odometry_ns: int) -> bool:
        """There is a chain that answers with controls, and it has not answered the odometry of this stamp. Under `node.changed`."""
        return 0 < self._passed[0] < odometry_ns

    def control_came(self, stamp: int) -> None:
        """A control for the vehicle. Under `node.changed`."""
        self._passed = stamp, time.monotonic()

    def _on_gate_state(self, msg: String) -> None:
        with self._node.changed:
            active = msg.data.startswith("ACTIVE")
            if active and not self.gate_active:
                self._active_since_s = time.monotonic()
            self.gate_active = active
            self._node.changed.notify_all()
