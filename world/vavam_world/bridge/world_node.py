"""world_node: the world's ROS side. It publishes and accepts what CARLA's ROS bridge does (`qos.TOPICS`), without CARLA.

    python -m vavam_world.bridge.world_node --ros-args -p scenario:=FILE.json -p mode:=lock_step …

Ends when the scenario does. Exit code 0: the run came to its end, whatever it was, or was interrupted; 1: it could not be started or a result that
lock-step awaits did not come, and the last line says what. `run.py` holds the loop, `world_table.py` the parameters.

What the bridge has and this world has not: the services (the objects file is read by the world itself), IMU, GNSS and other sensors, OpenDRIVE in
world_info, weather. Pictures come at 10 Hz unless the objects file says otherwise (`sensor_tick`); CARLA's default is every step.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher

from vavam_ros.core.contracts import ConfigError, VavamError
from vavam_ros.nodes.parameters import Parameters
from vavam_world.bridge import messages
from vavam_world.bridge.ackermann import AckermannCommand
from vavam_world.bridge.controls import Controls
from vavam_world.bridge.extras import Extras
from vavam_world.bridge.objects import Objects
from vavam_world.bridge.outgoing import FaultInjector, Outbox, Outgoing, Sent
from vavam_world.bridge.qos import TOPICS
from vavam_world.bridge.run_state import RunState
from vavam_world.bridge.setup import awaits_of, check_result_file, choose_objects, read_scenario
from vavam_world.bridge.stamps import stamp_ns
from vavam_world.bridge.sync import PATH_ANSWERS, Answer, Lockstep
from vavam_world.bridge.world_table import PARAMETERS
from vavam_world.contracts import START_NS, Control, Scenario, Vehicle

DELIVERY_S = 3.0


class WorldNode(Node):
    """Topics in and out. The loop (run.Run) lives in the main thread, callbacks in the executor's; `changed` guards what both touch."""

    def __init__(self, *, injector: FaultInjector | None = None, vehicle: Vehicle | None = None, **kwargs: Any) -> None:
        """Raises ConfigError on parameters, a scenario or an objects file that cannot be meant."""
        super().__init__("world_node", **kwargs)
        self.parameters = p = Parameters(self, PARAMETERS)
        p.raise_errors()
        self.vehicle = vehicle or Vehicle()
        self.scenario: Scenario = read_scenario(p.text("scenario"))
        self.objects: Objects = choose_objects(p.text("objects_definition_file"), p.text("role_name"), self.vehicle)
        self.role = self.objects.role_name
        self.synchronous = p.flag("synchronous_mode")
        self.lock_step = p.text("mode") == "lock_step"
        self._check()
        self.changed = threading.Condition()
        self.lockstep = Lockstep(awaits_of(p, self.objects, START_NS) if self.lock_step else awaits_of(None, self.objects, START_NS))
        self.controls = Controls(self.vehicle)
        self.control_count = 0  # controls taken in; the bridge's own wait is for the next one
        self.run_state = RunState(paused=p.flag("start_paused"))
        self.outbox = Outbox(self._publish, injector)
        self.tick, self.stamp_ns = 0, START_NS
        self._this_tick: list[Sent] = []  # what can be said again
        self._late: Control | None = None  # the newest control that had not the awaited stamp
        camera = p.text("model_camera") or (self.objects.cameras[0].id if self.objects.cameras else "")
        self.model_image = TOPICS["image"].full(self.role, camera)
        self._topic_publishers: dict[str, Publisher[Any]] = {}
        self._make_publishers()
        self._make_subscriptions()
        if self.objects.unserved:
            self.get_logger().warning(f"the world does not publish {', '.join(self.objects.unserved)}")

    def _check(self) -> None:
        p = self.parameters
        check_result_file(p.text("result_file"))
        if self.lock_step and not self.synchronous:
            raise ConfigError("mode lock_step: got synchronous_mode false, expected true: an asynchronous world waits for nobody")
        if self.lock_step and p.flag("synchronous_mode_wait_for_vehicle_control_command"):
            raise ConfigError("mode lock_step waits for the control by its stamp: leave synchronous_mode_wait_for_vehicle_control_command false")
        if p.flag("start_paused") and not self.synchronous:
            raise ConfigError("start_paused: got synchronous_mode false, expected true: /carla/control is heeded in synchronous mode only")
        named, known = p.text("model_camera"), [c.id for c in self.objects.cameras]
        if named and named not in known:
            raise ConfigError(f"model_camera: got {named!r}, expected one of {', '.join(known) or 'none: the objects file has no camera'}")

    # ── topics ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_publishers(self) -> None:
        for kind in ("clock", "status", "world_info", "tf", "vehicle_status", "vehicle_info", "waypoints"):
            self._publisher(kind, "")
        if self.objects.odometry:
            self._publisher("odometry", self.objects.odometry)
        if self.objects.speedometer:
            self._publisher("speedometer", self.objects.speedometer)
        for camera in self.objects.cameras:
            for kind in ("camera_info", "image", *(("compressed",) if self.parameters.flag("compressed") else ())):
                self._publisher(kind, camera.id)

    def _publisher(self, kind: str, sensor: str) -> None:
        topic = TOPICS[kind]
        name = topic.full(self.role, sensor)
        self._topic_publishers[name] = self.create_publisher(topic.type, name, topic.qos)

    def _make_subscriptions(self) -> None:
        handlers: dict[str, Callable[[Any], None]] = {
            "world_control": self._on_world_control,
            "control": lambda m: self._on_control(m, manual=False),
            "manual": lambda m: self._on_control(m, manual=True),
            "override": self._on_override,
            "autopilot": self._on_autopilot,
            "ackermann": self._on_ackermann,
        }
        if not self.synchronous:
            del handlers["world_control"]
        for kind, handler in handlers.items():
            self.create_subscription(TOPICS[kind].type, TOPICS[kind].full(self.role), handler, TOPICS[kind].qos)
        p = self.parameters
        self.extras = Extras(self)
        if self.lock_step and (p.text("tokens_topic") or p.text("samples_topic")):
            from vavam_ros.msg import FrameTokens, TrajectorySamples  # only here: the world runs without a model, too

            if p.text("tokens_topic"):
                self.create_subscription(FrameTokens, p.text("tokens_topic"), self._on_tokens, 50)
            if p.text("samples_topic"):
                self.create_subscription(TrajectorySamples, p.text("samples_topic"), self._on_samples, 50)

    def answer_topics(self) -> dict[Answer, str]:
        """Where each kind of answer is expected, fully resolved."""
        p = self.parameters
        kinds: dict[Answer, str] = {"tokens": "tokens_topic", "samples": "samples_topic", "followed": "followed_topic", "gated": "path_seen_topic"}
        named = {what: p.text(name) for what, name in kinds.items()}
        topics: dict[Answer, str] = {what: self.resolve_topic_name(name) for what, name in named.items() if name}
        return topics | {"control": TOPICS["control"].full(self.role)}

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, kind: str, message: Any, sensor: str = "") -> None:
        """One message of the present tick, through the fault injector."""
        self.outbox.send(Outgoing(tick=self.tick, kind=kind, topic=TOPICS[kind].full(self.role, sensor), message=message))

    def say_status(self, running: bool) -> None:
        """/carla/status."""
        self.send("status", messages.status(self.tick, synchronous=self.synchronous, running=running))

    def _publish(self, sent: Sent) -> None:
        if not self.alive():
            return
        if sent.kind in ("odometry", "image"):
            with self.changed:
                at_ns = stamp_ns(sent.message.header)
                if sent.kind == "odometry" and sent.answered:
                    self.lockstep.odometry_goes_out(at_ns)
                elif sent.kind == "image" and sent.topic == self.model_image:
                    self.lockstep.image_goes_out(at_ns, answered=sent.answered)
        if sent.answered and self.lock_step:
            self._this_tick.append(sent)
        self._to_topic(sent)

    def begin_tick(self, tick: int, at_ns: int) -> int:
        """A tick begins. Returns how many controls have come so far."""
        with self.changed:
            self.tick, self.stamp_ns = tick, at_ns
            self._this_tick.clear()
            self.lockstep.new_tick()
            return self.control_count

    def repeat(self) -> None:
        """Publish what this tick has published again: a subscriber that listens with best effort, or had not found the world yet, may have lost it.

        A message with a stamp that is known already changes nothing for those that have it."""
        for sent in self._this_tick:
            self._to_topic(sent)

    def _to_topic(self, sent: Sent) -> None:
        if not self.alive():
            return
        try:
            self._topic_publishers[sent.topic].publish(sent.message)
        except RuntimeError:  # rclpy's errors descend from it
            if self.alive():
                raise

    def alive(self) -> bool:
        """Nobody has asked for the end."""
        return bool(rclpy.ok(context=self.context))

    def await_delivery(self) -> None:
        """What was published last is still under way: reliable subscribers get a moment to acknowledge it."""
        end = time.monotonic() + DELIVERY_S
        for publisher in self._topic_publishers.values():
            left_s = end - time.monotonic()
            if left_s > 0 and self.alive():
                publisher.wait_for_all_acked(Duration(seconds=left_s))

    def missing_peers(self) -> list[str]:
        """Who lock-step needs and is not there: publishers of the answers, subscribers to what they answer. Nobody, once the end was asked for."""
        if not self.alive():
            return []
        awaits, topics = self.lockstep.awaits, self.answer_topics()
        wanted: list[Answer] = [what for what in ("tokens", "samples", *PATH_ANSWERS) if getattr(awaits, what)]
        if awaits.control == "stamped":
            wanted.append("control")
        missing = [f"nobody publishes {topics[what]}" for what in wanted if not self.count_publishers(topics[what])]
        heard = []
        if awaits.control == "stamped" and self.objects.odometry:
            heard.append([TOPICS["odometry"].full(self.role, self.objects.odometry)])
        if awaits.tokens or awaits.samples:
            heard.append([self.model_image, *([f"{self.model_image}/compressed"] if self.parameters.flag("compressed") else [])])
        return missing + [f"nobody subscribes to {' or '.join(names)}" for names in heard if not any(self.count_subscribers(n) for n in names)]

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_control(self, msg: Any, *, manual: bool) -> None:
        control = messages.control_of(msg)
        if control is None:
            self.get_logger().error(f"{'manual ' if manual else ''}control with NaN or infinity: not taken in, the one before stays", throttle_duration_sec=1.0)
            return
        with self.changed:
            if not manual:
                self.extras.control_came(stamp_ns(msg.header))
            if not manual and not self.controls.override and self.lockstep.awaits.control == "stamped" and self.lockstep.outstanding("control"):
                if not self.lockstep.control_came(stamp_ns(msg.header)):
                    self._late = control
                    return
            elif not manual and self._taken():
                return
            elif self.lockstep.awaits.control == "any":
                self.lockstep.control_came(0)
            if self.controls.control_came(control, manual=manual):
                self.control_count += 1
                self._late = None
            self.changed.notify_all()

    def _taken(self) -> bool:
        """Lock-step has this tick's control already: another one, between the ticks, would make the run depend on the machine's speed."""
        return self.lock_step and self.lockstep.awaits.control == "stamped" and self.lockstep.control_settled and not self.lockstep.suspended

    def take_late(self) -> None:
        """The awaited control did not come: the newest other one that did counts, as it would in CARLA. Under `changed`."""
        if self._late is not None:
            self.controls.control_came(self._late, manual=False)
            self._late = None

    def _on_ackermann(self, msg: Any) -> None:
        with self.changed:
            command = AckermannCommand(came_ns=self.stamp_ns, steering_rad=msg.steering_angle, speed_mps=msg.speed, accel_mps2=msg.acceleration)
            if self.controls.ackermann_came(command):
                self.control_count += 1
                self.lockstep.control_came(0)
            self.changed.notify_all()

    def _on_override(self, msg: Any) -> None:
        with self.changed:
            self.controls.override = bool(msg.data)
            self._note_who_drives()

    def _on_autopilot(self, msg: Any) -> None:
        with self.changed:
            self.controls.autopilot = bool(msg.data)
            self._note_who_drives()

    def _note_who_drives(self) -> None:
        self.lockstep.suspended = self.controls.override or self.controls.autopilot
        self.changed.notify_all()

    def prime(self, on: bool) -> None:
        """The expert drives at the start, whatever was asked for."""
        with self.changed:
            self.controls.autopilot = on
            self._note_who_drives()

    def _on_world_control(self, msg: Any) -> None:
        try:
            self.run_state.command(int(msg.command))
        except ConfigError as e:
            self.get_logger().error(str(e))

    def _on_tokens(self, msg: Any) -> None:
        with self.changed:
            self.lockstep.tokens_came(stamp_ns(msg.header))
            self.changed.notify_all()

    def _on_samples(self, msg: Any) -> None:
        with self.changed:
            self.lockstep.samples_came(stamp_ns(msg.header), valid=bool(msg.valid))
            self.changed.notify_all()


def main(args: list[str] | None = None, *, injector: Callable[[Scenario], FaultInjector] | None = None) -> int:
    """Entry point; returns the exit code. `injector` makes what spoils the outgoing messages."""
    from vavam_world.bridge.run import Run  # here: it needs the node's type

    # rclpy's own handler ends the context, and the loop with it, between two ticks; an exception in the middle of one would tear the recording.
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=args)
    node: WorldNode | None = None
    executor = None
    spinner: threading.Thread | None = None
    run: Run | None = None
    code = 0
    try:
        node = WorldNode()
        if injector is not None:
            node.outbox.inject(injector(node.scenario))
        elif text := node.parameters.text("faults"):
            from vavam_world.faults.wiring import attach  # here: it needs the node's type

            attach(node, text)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinner = threading.Thread(target=_spin, args=(executor,), name="executor", daemon=True)
        spinner.start()
        run = Run(node)
        run.play()
    except VavamError as e:
        print(f"world_node: {e}", file=sys.stderr, flush=True)
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if run is not None:
            print(f"world_node: {run.close()}", flush=True)
        if executor is not None:
            executor.shutdown(timeout_sec=1.0)
        if spinner is not None:
            spinner.join(timeout=2.0)
        if node is not None:
            node.destroy_node()  # else the middleware's shared memory (140 MB with our profile) outlives the process
        rclpy.try_shutdown()
    return code


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except (ExternalShutdownException, KeyboardInterrupt):
        return


if __name__ == "__main__":
    sys.exit(main())
