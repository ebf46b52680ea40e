"""The way from the gate to the vehicle: what is sent when, and who else sends there."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from rclpy.duration import Duration

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.core.gate import Decision, Output
from vavam_ros.core.gate_checks import GateCommand
from vavam_ros.nodes.qos import keep_last

if TYPE_CHECKING:
    from rclpy.node import Node

    from vavam_ros.nodes.gate_messages import VehicleMessages

STANDING_CLOCK_EMIT_S = 0.5  # re-emission while the simulated clock stands: the simulator may have missed what it waits for
TIMER_SLACK_NS = 1_000_000
LAST_WORD_S = 0.5


class VehicleOutput:
    """Publishes `~/control_out`. Not thread safe."""

    def __init__(self, node: Node, messages: VehicleMessages, *, rate_hz: float, simulated: bool) -> None:
        self._node, self._messages, self._period_s, self._simulated = node, messages, 1.0 / rate_hz, simulated
        self._publisher = node.create_publisher(messages.msg_type, "~/control_out", keep_last(10, reliable=True))
        self.topic = str(self._publisher.topic_name)
        self.passes = 0
        self._passed: GateCommand | None = None  # the command that went out last …
        self._message: Any = None  # … and its message
        self._emitted_ns, self._emitted_s = 0, 0.0

    @property
    def braking_mps2(self) -> float:
        """Deceleration that the last passed command asked for; 0 where none has passed since the gate was armed."""
        return self._passed.decel_mps2 if self._passed is not None else 0.0

    def clock_jumped(self) -> None:
        """The next emission is due at once."""
        self._emitted_ns = 0

    def emit(self, decision: Decision, command: tuple[Any, GateCommand] | None, now_ns: int, *, changed: bool) -> None:
        """Send what is due: a command not sent yet at once, a changed decision at once, else at the rate. `command`: newest good one and its message."""
        output = decision.output
        if output not in (Output.PASS, Output.HOLD):
            self._passed = None  # what passed before a stop or a take-over is nothing to hold after it; its steering is kept in the message
        if output is Output.NOTHING:
            return
        fresh = output is Output.PASS and command is not None and command[1] is not self._passed
        silent_s = time.monotonic() - self._emitted_s
        due = now_ns - self._emitted_ns >= self._period_s * NS_PER_S - TIMER_SLACK_NS if self._simulated else silent_s >= 0.9 * self._period_s
        due = due or silent_s >= max(self._period_s, STANDING_CLOCK_EMIT_S)
        if not (fresh or due or (changed and output is not Output.PASS)):
            return
        if fresh and command is not None:
            self._message, self._passed = command
            self.passes += 1
        message = self._made(decision, now_ns)
        if message is None:
            return
        # a command that passes can be of a tick whose clock message is still under way
        self._emitted_ns = max(now_ns, self._passed.stamp_ns) if output is Output.PASS and self._passed is not None else now_ns
        self._emitted_s = time.monotonic()
        self._publisher.publish(message)

    def _made(self, decision: Decision, now_ns: int) -> Any | None:
        """The message, None where there is nothing to pass yet. A re-emitted command keeps its stamp; what the gate itself answers for is stamped now.
        Where nothing has passed that could be held, the throttle ends."""
        m, last, output = self._messages, self._message, decision.output
        if output is Output.PASS:
            return last
        if output is Output.HOLD and self._passed is not None:
            return m.restamped(last, now_ns)
        return m.hold(last, now_ns) if output is Output.BRAKE else m.stop(decision.decel_mps2, last, now_ns)

    def last_word(self, *, standing: bool, decel_mps2: float, now_ns: int) -> None:
        """What an orderly end leaves with the vehicle, which keeps it for ever. A harder brake under way is not eased."""
        m, decel_mps2 = self._messages, max(decel_mps2, self.braking_mps2)
        self._publisher.publish(m.hold(self._message, now_ns) if standing else m.stop(decel_mps2, self._message, now_ns))
        self._publisher.wait_for_all_acked(Duration(seconds=LAST_WORD_S))

    def other_publishers(self) -> tuple[str, ...]:
        """Nodes that publish to the vehicle beside this one."""
        node = self._node
        found = sorted(f"{i.node_namespace.rstrip('/')}/{i.node_name}" for i in node.get_publishers_info_by_topic(self.topic))
        with contextlib.suppress(ValueError):
            found.remove(node.get_fully_qualified_name())
        return tuple(found)
