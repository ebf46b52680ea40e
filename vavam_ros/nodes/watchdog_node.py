"""watchdog_node: the gate, and the only publisher to the vehicle. A process of its own, without torch. docs/gate.md says what it does and what it is not.

`~/control_in` (the follower's commands) → core/gate.py → `~/control_out` (the vehicle's topic). A command passes at its arrival, with its own stamp. Besides,
the gate decides and re-emits at `rate_hz` of the node's clock: with use_sim_time at each message of /clock, and by wall time where that clock stands still.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # humble has no rclpy.clock_type
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String
from std_srvs.srv import SetBool

from vavam_ros.core.contracts import NS_PER_S, ConfigError, InputError
from vavam_ros.core.gate import Decision, Gate, GateState, Output
from vavam_ros.core.gate_checks import CommandChecks, GateCommand, GateConfig, Health, Refused
from vavam_ros.nodes.conditions import Level
from vavam_ros.nodes.diagnostics import Board
from vavam_ros.nodes.gate_messages import VehicleMessages, vehicle_messages
from vavam_ros.nodes.manual_override import ManualOverride
from vavam_ros.nodes.parameters import Parameters
from vavam_ros.nodes.qos import keep_last
from vavam_ros.nodes.stamps import time_msg
from vavam_ros.nodes.vehicle_output import VehicleOutput
from vavam_ros.nodes.watchdog_inputs import JUMP_BACK_S, WatchdogInputs
from vavam_ros.nodes.watchdog_table import PARAMETERS, gate_config

REPORT_S = 1.0
PAUSE_S = 0.25  # this long without running (or two periods), the process was starved: what waits in the queues is taken before anything is judged
TASKS = ("input", "timing", "output")


class WatchdogNode(Node):
    """The gate as a node. All callbacks run in one thread."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("watchdog_node", **kwargs)
        self.parameters = p = Parameters(self, PARAMETERS)
        self.board = Board(self._log)
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._sim_ns = self._adrift_ns = 0
        self._ticked_s = self._ran_s = time.monotonic()
        self._running_s, self._starved = 0.0, False
        self._pause_s = max(PAUSE_S, 2.0 / p.number("rate_hz"))
        self._newest_ns = 0
        self._overridden: ManualOverride | None = None
        self._refused = ""
        self._command_missing = False
        self._auto_pending = p.flag("auto_enable")
        self._command: tuple[Any, GateCommand] | None = None  # newest good one, as it may pass
        self._said, self._said_s, self._reported_s = "", 0.0, 0.0
        self._others: tuple[str, ...] = ()
        self._problem = ""
        self.decision = Decision(state=GateState.INIT, output=Output.NOTHING)
        config = self._configure()
        self.gate = Gate(config, brake_while_disarmed=p.text("disarmed_output") == "brake")
        self._state_publisher = self.create_publisher(String, "~/state", keep_last(1, reliable=True, latched=True))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._vehicle: VehicleOutput | None = None
        if not self._problem:
            self._connect(config)
        p.fixed = True
        self.create_timer(1.0 / p.number("rate_hz"), self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._simulated:
            self.create_subscription(ClockMessage, "/clock", self._on_clock, keep_last(1, reliable=False))

    def _configure(self) -> GateConfig:
        """The limits; what cannot be meant keeps the gate in INIT, saying so, rather than ending the process."""
        try:
            self.parameters.raise_errors()
            self._messages: VehicleMessages = vehicle_messages(self.parameters)
            return gate_config(self.parameters)
        except ConfigError as e:
            self._problem = str(e)
            self.board.state("gate_parameters", True, error=e)
            return GateConfig()

    def _connect(self, config: GateConfig) -> None:
        p, vehicle = self.parameters, self._messages
        self._checks = CommandChecks(vehicle.channels, config)
        namespace = self.get_namespace().rstrip("/")
        watched = tuple(name if name.startswith("/") else f"{namespace}/{name}" for name in p.text("watched_nodes").split())
        self._inputs = WatchdogInputs(
            self,
            self.board,
            config,
            watched=watched,
            image_evidence=p.text("image_evidence"),
            odometry_jump_m=p.number("odometry_jump_m"),
            now_ns=lambda: self.now_ns,
            running_s=lambda: self._running_s,
        )
        self._vehicle = VehicleOutput(self, vehicle, rate_hz=p.number("rate_hz"), simulated=self._simulated)
        self.create_subscription(vehicle.msg_type, "~/control_in", self._on_command, keep_last(10, reliable=True))
        overrides = ["~/manual_override"]
        if p.text("role_name"):
            overrides.append(f"/carla/{p.text('role_name')}/vehicle_control_manual_override")
        self._overridden = ManualOverride(self, overrides, self._on_override)
        self.create_service(SetBool, "~/enable", self._on_enable)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def now_ns(self) -> int:
        """The node's clock. A simulated one is read here, not from rclpy: the decision belongs to the tick that the message brings."""
        return self._sim_ns + self._adrift_ns if self._simulated else int(self.get_clock().now().nanoseconds)

    def _on_clock(self, msg: ClockMessage) -> None:
        now_ns = msg.clock.sec * NS_PER_S + msg.clock.nanosec
        if now_ns != self._sim_ns:
            self._sim_ns, self._adrift_ns, self._ticked_s = now_ns, 0, time.monotonic()
            self._turn()

    def _on_timer(self) -> None:
        self._turn()
        if time.monotonic() - self._reported_s >= REPORT_S:
            self._reported_s = time.monotonic()
            self._report()

    def _ran(self) -> bool:
        """Count this process's running time. False right after a pause, when messages wait unread; never twice in a row, or slowness would keep it silent."""
        now_s = time.monotonic()
        gap_s, self._ran_s = now_s - self._ran_s, now_s
        self._running_s += min(gap_s, self._pause_s)
        self._starved = gap_s > self._pause_s and not self._starved
        return not self._starved

    def _check_jump(self) -> None:
        now_ns = self.now_ns
        back_s = (self._newest_ns - now_ns) / NS_PER_S
        self._newest_ns = now_ns
        if back_s > JUMP_BACK_S:
            self.board.event("time_jumped", what=f"the clock jumped by {-back_s:+.2f} s")
            self._inputs.forget()
            self._checks.reset()
            self._command = None
            if self._vehicle is not None:
                self._vehicle.clock_jumped()
            self._inputs.events.append(f"the clock jumped back by {back_s:.2f} s")

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_command(self, msg: Any) -> None:
        self._check_jump()
        now_ns = self.now_ns
        try:
            found = self._checks.check(self._messages.read(msg, now_ns, self._inputs.speed_mps or 0.0), now_ns, time.monotonic_ns())
        except InputError as e:
            found = Refused(str(e))
        if isinstance(found, Refused):
            if found.fault:
                self._refused = found.reason
                self.board.event("gate_bad_command", why=found.reason)
        else:
            self._refused, self._command_missing = "", False
            self._command = self._messages.amended(msg, found), found
        self._turn()

    def _on_override(self) -> None:
        if self._overridden:
            self._auto_pending = False  # whoever took over decides when it drives again
        self._turn()

    def _on_enable(self, request: Any, response: Any) -> Any:
        if not request.data:
            self._auto_pending = False
            response.success, response.message = True, self.gate.disable(braking_mps2=self._braking_mps2)
        else:
            self._check_publishers()
            self._turn()
            response.success, response.message = self.gate.enable(self._health())
        self._log(Level.OK if response.success else Level.WARN, f"enable {str(request.data).lower()}: {response.message}")
        self._turn()
        return response

    @property
    def _braking_mps2(self) -> float:
        return self._vehicle.braking_mps2 if self._vehicle is not None else 0.0

    # ── decide ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _health(self) -> Health:
        if self._problem or (self._simulated and self._sim_ns == 0):
            return Health(not_started=self._problem or "no clock: /clock has not ticked")
        i, now_ns = self._inputs, self.now_ns

        def age_s(stamp_ns: int | None) -> float | None:
            return max(now_ns - stamp_ns, 0) / NS_PER_S if stamp_ns is not None else None

        return Health(
            path_age_s=age_s(i.path_ns),
            path_limit_s=i.path_limit_s,
            image_age_s=age_s(i.image_ns),
            images_watched=self.parameters.text("image_evidence") != "none",
            odometry_age_s=age_s(i.odometry_ns),
            odometry_refused=i.odometry_refused,
            speed_mps=i.speed_mps,
            command_age_s=age_s(self._command[1].stamp_ns if self._command is not None else None),
            command_refused=self._refused,
            command_missing=self._command_missing,
            flooded_hz=self._checks.flooded_hz(now_ns, time.monotonic_ns()),
            nodes=i.nodes(),
            other_publishers=self._others,
            manual_override=bool(self._overridden),
            events=tuple(i.events),
        )

    def _turn(self) -> None:
        """Decide, and send what is due."""
        attentive = self._ran()
        if not self._problem:
            self._check_jump()
            self._check_stall()
        health = self._health()
        if not attentive and not self._overridden:
            return
        was = self.decision.state
        self.decision = d = self.gate.step(self.now_ns, health, braking_mps2=self._braking_mps2)
        if not self._problem:
            self._inputs.events.clear()
        if self._auto_pending and d.state is GateState.READY:
            self._auto_enable(health)
        if self._vehicle is not None:
            self._vehicle.emit(self.decision, self._command, self.now_ns, changed=d.state is not was)
        self._say(changed=d.state is not was)

    def _check_stall(self) -> None:
        """A simulator in lock-step waits for the command that answers its newest odometry. If the follower does not give it, nobody else would.

        Where odometry goes on though no clock comes, the vehicle moves and only the clock is lost: the drive ends, in wall time from then on."""
        over_s = time.monotonic() - self._ticked_s - self.parameters.number("clock_stall_s")
        stalled = self._simulated and self._sim_ns > 0 and over_s > 0.0
        if stalled and (self._adrift_ns or self._inputs.odometry_ahead):
            if not self._adrift_ns:
                self._inputs.events.append("/clock stands still, odometry goes on")
            self._adrift_ns = round(over_s * NS_PER_S)
        stamp_ns, odometry_ns = self._command[1].stamp_ns if self._command is not None else 0, self._inputs.odometry_ns
        missing = stalled and odometry_ns is not None and stamp_ns < odometry_ns
        if missing and not self._command_missing:
            self._command_missing = True
            self.board.event("gate_clock_stalled", seconds=time.monotonic() - self._ticked_s)

    def _auto_enable(self, health: Health) -> None:
        if not self._simulated:
            self._auto_pending = False
            self.board.state("gate_auto_enable", True)
            return
        self._check_publishers()
        accepted, text = self.gate.enable(replace(health, other_publishers=self._others))
        if accepted:
            self._auto_pending = False
            self.get_logger().info(f"auto_enable: {text}")

    def last_word(self) -> None:
        """An orderly end leaves the vehicle a brake, where commands were passing or a stop was under way."""
        if self._vehicle is not None and (self.gate.armed or self.gate.state is GateState.STOP):
            decel_mps2 = max(self.gate.config.stop_decel_mps2, self.decision.decel_mps2)
            self._vehicle.last_word(standing=self.gate.standing, decel_mps2=decel_mps2, now_ns=self.now_ns)

    # ── say ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, *, changed: bool) -> None:
        """`~/state`: at once when the state changes, else when the text does, twice a second at most."""
        text, now_s = self.decision.text, time.monotonic()
        if changed:
            self._log(Level.ERROR if self.decision.state is GateState.STOP else Level.OK, text)
        if changed or (text != self._said and now_s - self._said_s > 0.5):
            self._said, self._said_s = text, now_s
            self._state_publisher.publish(String(data=text))

    def _check_publishers(self) -> None:
        """Who else publishes to the vehicle."""
        if self._vehicle is None:
            return
        self._others = self._vehicle.other_publishers()
        self.board.state("gate_second_publisher", bool(self._others), others=", ".join(self._others), topic=self._vehicle.topic)

    def _report(self) -> None:
        board, d = self.board, self.decision
        self._check_publishers()
        why = "; ".join(d.reasons) or "all is well"
        board.state("gate_disarmed", d.state in (GateState.INIT, GateState.WARMUP, GateState.READY), state=d.state.value, why=why)
        board.state("gate_degraded", d.state is GateState.DEGRADED, why=why, then=d.output.value)
        board.state("gate_stopped", d.state is GateState.STOP, why=why, then="standing, the brake is held" if self.gate.standing else "braking")
        board.state("no_clock", self._simulated and self._sim_ns == 0, why="/clock has not ticked")
        board.put(
            "output", state=d.state.value, output=d.output.value, passed=self._vehicle.passes if self._vehicle is not None else 0, decel_mps2=d.decel_mps2
        )
        if not self._problem:
            i = self._inputs
            flooded = self._checks.flooded_hz(self.now_ns, time.monotonic_ns())
            board.state("gate_flood", bool(flooded), rate=flooded, limit=self.gate.config.max_command_rate_hz)
            board.put("timing", path_limit_s=i.path_limit_s, path_latency_p99_s=i.p99_latency_s if i.p99_latency_s is not None else "none")
        name = self.get_fully_qualified_name()
        message = DiagnosticArray(status=[s for s in board.statuses(name) if s.name.endswith(TASKS)])
        message.header.stamp = time_msg(self.now_ns)
        self._diagnostics.publish(message)

    def _log(self, level: Level, text: str) -> None:
        logger = self.get_logger()
        if level is Level.ERROR:  # a line each: rclpy refuses another severity from the same line
            logger.error(text)
        elif level is Level.WARN:
            logger.warning(text)
        else:
            logger.info(text)


def main(args: Sequence[str] | None = None) -> None:
    """Run the node. SIGINT and SIGTERM end it with exit code 0, after a last brake where commands were passing."""
    ending: list[int] = []
    rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)  # theirs end the context before that brake
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda number, _frame: ending.append(number))
    node = WatchdogNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not ending and rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    finally:  # after a defect as well
        if rclpy.ok():
            node.last_word()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
