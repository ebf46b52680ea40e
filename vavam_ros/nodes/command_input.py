"""`~/command` or `~/route` → the driving command of a frame."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal, cast

import rclpy.time
from nav_msgs.msg import Path
from tf2_ros import Buffer, TransformException, TransformListener

from vavam_ros.core.contracts import F64, Command, InputError, TokenFrame
from vavam_ros.core.planning.command import CommandSource
from vavam_ros.msg import DrivingCommand
from vavam_ros.nodes import convert

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode


class CommandInput:
    """Subscribes to what `command_source` names. `at` may be called from any thread."""

    def __init__(self, node: ModelNode, model_rule: str) -> None:
        p = node.parameters
        self._node = node
        self._lock = threading.Lock()
        self.source = CommandSource(
            mode=cast(Literal["topic", "route", "fixed"], p.text("command_source")),
            fixed=Command[p.text("fixed_command").upper()],
            timeout_s=p.number("command_timeout_s"),
            rule=p.text("command_rule") or model_rule,
        )
        self._subscription: Any = None
        self._buffer: Buffer | None = None
        self._listener: TransformListener | None = None

    def activate(self) -> None:
        """Subscribe."""
        if self.source.mode == "topic":
            self._monitor = self._node.monitor("~/command")
            self._subscription = self._node.subscribe(DrivingCommand, self._monitor, self._on_command, depth=1, reliable=True)
        elif self.source.mode == "route":
            self._monitor = self._node.monitor("~/route")
            self._subscription = self._node.subscribe(Path, self._monitor, self._on_route, depth=1, reliable=True, latched=True)

    def deactivate(self) -> None:
        """Unsubscribe. The last command and route stay."""
        if self._subscription is not None:
            self._node.unsubscribe(self._subscription)
            self._subscription = None
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None

    def at(self, frame: TokenFrame) -> Command:
        """The command for planning from a frame; straight, with the reason in diagnostics, where there is none."""
        board = self._node.board
        try:
            T_odom_route = self._route_transform(frame.pose.odom_frame_id)
            with self._lock:
                command, why = self.source.at(frame.stamp_ns, frame.pose, T_odom_route=T_odom_route)
        except InputError as e:
            board.event("bad_route", error=e)
            command, why = Command.STRAIGHT, "the route cannot be used"
        chosen = self.source.mode == "fixed" or why == "topic" or why.startswith("route at")
        board.state("command_default", not chosen, why=why)
        board.put("output", command=command.name, command_why=why)
        return command

    def _on_command(self, msg: DrivingCommand) -> None:
        stamp = convert.stamp_ns(msg.header)
        self._monitor.seen(stamp)
        try:
            command = convert.command(msg)
        except InputError as e:
            self._node.board.event("bad_command", error=e)
            return
        with self._lock:  # commands are often published without a stamp: then they count from now
            self.source.set_command(command, stamp or self._node.now_ns)

    def _on_route(self, msg: Path) -> None:
        self._monitor.seen(convert.stamp_ns(msg.header))
        try:
            xy = convert.route_xy(msg)
            with self._lock:
                self.source.set_route(xy, msg.header.frame_id)
        except InputError as e:
            self._node.board.event("bad_route", error=e)

    def _route_transform(self, odom_frame: str) -> F64 | None:
        """T_odom_route from TF, where the route is given in another frame; None where it is not needed, or not there (a FrameError follows)."""
        route_frame = self.source.route_frame_id if self.source.mode == "route" else None
        if route_frame is None or route_frame == odom_frame:
            return None
        if self._listener is None:
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, self._node)
        assert self._buffer is not None
        try:
            return convert.transform_T(self._buffer.lookup_transform(odom_frame, route_frame, rclpy.time.Time()))
        except TransformException:
            return None
