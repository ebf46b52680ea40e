"""Transforms over /tf and /tf_static. `tf2_msgs` is imported when the first of these is made: a bare buffer works without it."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Thread
from typing import Any, TypeAlias

from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile

from tf2_ros._buffer import Buffer

Transforms: TypeAlias = TransformStamped | Iterable[TransformStamped]


class TransformListener:
    """Feeds a buffer from the topics, through `node`'s executor or, with `spin_thread`, through one of its own."""

    def __init__(
        self,
        buffer: Buffer,
        node: Any,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
        tf_topic: str = "/tf",
        tf_static_topic: str = "/tf_static",
    ) -> None:
        self.buffer = buffer
        self.node = node
        # Reentrant: a callback that waits for a transform must not shut out the one that brings it.
        self.group = ReentrantCallbackGroup()
        message_type = _message_type()
        self.tf_sub = node.create_subscription(message_type, tf_topic, self.callback, _qos(qos, 100), callback_group=self.group)
        self.tf_static_sub = node.create_subscription(
            message_type, tf_static_topic, self.static_callback, _qos(static_qos, 100, latched=True), callback_group=self.group
        )
        self.executor: SingleThreadedExecutor | None = None
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.executor.add_node(node)
            self.dedicated_listener_thread = Thread(target=self.executor.spin, daemon=True)
            self.dedicated_listener_thread.start()

    def callback(self, data: Any) -> None:
        """Receive a message of /tf."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def static_callback(self, data: Any) -> None:
        """Receive a message of /tf_static."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, "default_authority")

    def unregister(self) -> None:
        """Stop listening."""
        if self.executor is not None:
            self.executor.shutdown()
            self.dedicated_listener_thread.join()
            self.executor = None
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)


class TransformBroadcaster:
    """Sends transforms on /tf."""

    def __init__(self, node: Any, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(_message_type(), "/tf", _qos(qos, 100))

    def sendTransform(self, transform: Transforms) -> None:
        """Send one transform, or several in one message."""
        self.pub_tf.publish(_message_type()(transforms=_as_list(transform)))


class StaticTransformBroadcaster:
    """Sends transforms on /tf_static, latched: each message carries all that were sent, the newest of each child frame."""

    def __init__(self, node: Any, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(_message_type(), "/tf_static", _qos(qos, 1, latched=True))
        self._by_child: dict[str, TransformStamped] = {}

    def sendTransform(self, transform: Transforms) -> None:
        """Send one transform, or several."""
        self._by_child.update({one.child_frame_id: one for one in _as_list(transform)})
        self.pub_tf.publish(_message_type()(transforms=list(self._by_child.values())))


def _as_list(transform: Transforms) -> list[TransformStamped]:
    return [transform] if isinstance(transform, TransformStamped) else list(transform)


def _qos(given: QoSProfile | int | None, depth: int, latched: bool = False) -> QoSProfile | int:
    if given is not None:
        return given
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    return QoSProfile(depth=depth, durability=durability, history=HistoryPolicy.KEEP_LAST)


def _message_type() -> Any:
    from tf2_msgs.msg import TFMessage  # has no wheel: pip_ros builds it

    return TFMessage
