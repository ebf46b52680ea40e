"""A filter hands what it lets through to its callbacks; a subscriber is the filter at the head of a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SimpleFilter:
    """Callbacks, called in the order of registration with the filter's output and the arguments given at registration."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Have `cb(*output, *args)` called on every output. Returns the connection's number."""
        number = len(self.callbacks)
        self.callbacks[number] = (cb, args)
        return number

    def signalMessage(self, *msg: Any) -> None:
        """Pass one output (a message, or one message per input) on to every callback."""
        for cb, args in list(self.callbacks.values()):
            cb(*msg, *args)


class Subscriber(SimpleFilter):
    """An rclpy subscription as a filter: `Subscriber(node, msg_type, topic, qos_profile=10, **create_subscription's own)`.

    Attributes that the filter lacks are the subscription's.
    """

    def __init__(self, node: Any, msg_type: Any, topic: str, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        kwargs.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(msg_type, topic, *args, self.callback, **kwargs)

    def callback(self, msg: Any) -> None:
        """Receive one message of the subscription."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """The topic as it was given, before remapping."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        if key == "sub":  # not there yet while the subscription is being made
            raise AttributeError(key)
        return getattr(self.sub, key)
