"""A person at the wheel, as topics say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from std_msgs.msg import Bool

from vavam_ros.nodes.qos import keep_last

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from rclpy.node import Node


class ManualOverride:
    """std_msgs/Bool on some topics. It is on while any of them said true last: what one says, another does not take back."""

    def __init__(self, node: Node, topics: Iterable[str], changed: Callable[[], None]) -> None:
        self._on: dict[str, bool] = {}
        self._changed = changed
        for topic in topics:  # the first matches every publisher, the second loses nothing, the third hears what a latched one said before this node began
            for qos in (keep_last(1, reliable=False), keep_last(1, reliable=True), keep_last(1, reliable=True, latched=True)):
                node.create_subscription(Bool, topic, lambda msg, topic=topic: self._hear(topic, msg), qos, event_callbacks=_silent())

    def __bool__(self) -> bool:
        return any(self._on.values())

    def _hear(self, topic: str, msg: Bool) -> None:
        self._on[topic] = bool(msg.data)
        self._changed()


def _silent() -> Any:
    """Event callbacks of a subscription that many publishers do not match, which is meant: rclpy must not warn."""
    try:
        from rclpy.event_handler import SubscriptionEventCallbacks
    except ImportError:  # humble
        from rclpy.qos_event import SubscriptionEventCallbacks
    return SubscriptionEventCallbacks(use_default_callbacks=False)
