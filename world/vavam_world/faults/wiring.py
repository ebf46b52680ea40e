"""Faults in a running world_node: those of its parameter `faults`, and those asked for while it runs.

`/world/inject` (std_msgs/String): JSON as in the parameter, `begin_s` counted from the next tick. `/world/injected`: what has begun, and at which tick.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from std_msgs.msg import String

from vavam_ros.core.contracts import ConfigError
from vavam_ros.nodes.qos import keep_last
from vavam_world.faults.injector import Begun, Injector
from vavam_world.faults.spec import read_faults

if TYPE_CHECKING:
    from vavam_world.bridge.world_node import WorldNode

INJECT, INJECTED = "/world/inject", "/world/injected"


def attach(node: WorldNode, text: str) -> Injector:
    """Let faults be injected: those of `text` (`[]`: none yet), and those that come on `/world/inject`. Raises ConfigError."""
    publisher = node.create_publisher(String, INJECTED, keep_last(50, reliable=True, latched=True))

    def say(begun: Begun) -> None:
        node.get_logger().warning(f"tick {begun.tick}: fault {begun.fault.name} begins")
        publisher.publish(String(data=json.dumps({**begun.fault.to_dict(), "tick": begun.tick})))

    injector = Injector(read_faults(text), say)

    def on_request(msg: String) -> None:
        try:
            injector.request(read_faults(msg.data))
        except ConfigError as e:
            node.get_logger().error(f"{INJECT}: {e}")

    node.create_subscription(String, INJECT, on_request, keep_last(10, reliable=True))
    node.outbox.inject(injector)
    return injector
