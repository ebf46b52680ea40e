"""Topics that CARLA's bridge has not: the paths that are followed and those beside, the gate's state, the expert's path."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nav_msgs.msg import Path
from std_msgs.msg import String

from vavam_ros.core.contracts import DensePath
from vavam_ros.nodes.motion_messages import dense_path_msg
from vavam_ros.nodes.qos import keep_last
from vavam_ros.nodes.stamps import stamp_ns
from vavam_world.bridge.followed import dense_path
from vavam_world.contracts import MAP_FRAME

if TYPE_CHECKING:
    from vavam_world.bridge.world_node import WorldNode

KEPT = 50  # messages that may wait for the executor


class Extras:
    """Subscribes to what parameters name. `node.changed` guards what it holds."""

    def __init__(self, node: WorldNode) -> None:
        self._node, p = node, node.parameters
        self.plans: list[DensePath] = []  # taken in by the follower, in the frame map
        self.beside: list[DensePath] = []  # planned, and followed by nobody
        self.gate_active = False
        if p.text("followed_topic"):
            node.create_subscription(Path, p.text("followed_topic"), self._on_followed, KEPT)
        if p.text("beside_topic"):
            node.create_subscription(Path, p.text("beside_topic"), self._on_beside, KEPT)
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

    def _on_beside(self, msg: Any) -> None:
        path = dense_path(msg) if msg.header.frame_id == MAP_FRAME else None
        with self._node.changed:
            if path is not None:
                self.beside.append(path)

    def _on_gate_state(self, msg: String) -> None:
        with self._node.changed:
            self.gate_active = msg.data.startswith("ACTIVE")
            self._node.changed.notify_all()
