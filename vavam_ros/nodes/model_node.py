"""What the model nodes have in common: lifecycle, loading off the executor, resets, QoS, heartbeat and diagnostics. Their parts do the rest.

Threads of a node: the executor (callbacks, timers, transitions asked for by service), one inference thread per part (worker.py), the pulse (heartbeat
and diagnostics, which therefore go on whatever the others do), and, with `autostart`, one that configures.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import rclpy
import torch
from message_filters import Subscriber
from rclpy.clock import Clock, ClockType, JumpThreshold  # type: ignore[attr-defined]  # humble has no rclpy.clock_type
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from vavam_ros.core.contracts import ConfigError, VavamError
from vavam_ros.core.model.cpu_threads import cpu_threads, weights_of
from vavam_ros.core.model.number_format import NumberFormat, number_format
from vavam_ros.nodes.conditions import Level
from vavam_ros.nodes.diagnostics import Board, Timings
from vavam_ros.nodes.node_part import Loaded, NodePart, chosen_device
from vavam_ros.nodes.odometry_input import OdometryInput
from vavam_ros.nodes.parameter_table import rows_of
from vavam_ros.nodes.parameters import Parameters, Part
from vavam_ros.nodes.pulse import Pulse
from vavam_ros.nodes.qos import OVERRIDABLE, keep_last, qos_mismatch
from vavam_ros.nodes.topic_monitor import TopicMonitor
from vavam_ros.nodes.worker import Worker

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # humble
    from rclpy.qos_event import SubscriptionEventCallbacks

CONFIGURE_ERRORS = (VavamError, RuntimeError, OSError, ValueError, MemoryError)
CLOCK_JUMP_BACK_NS = -100_000_000
END_S, END_LOADING_S = 10.0, 1.0  # how long an inference may take to end; a model that is being read is not waited for
WAKE_S = 0.5


def keep_awake(node: Node) -> None:
    """Let the executor look up now and then. A signal can wake rclpy's executor a moment before the context says that it has ended; it then waits again,
    and where nothing else happens (no timer, no message), for ever."""
    node.create_timer(WAKE_S, _nothing, clock=Clock(clock_type=ClockType.STEADY_TIME))


def _nothing() -> None:
    """Being called is all."""


def _build(part: NodePart, loaded: Loaded, threads: int) -> None:
    torch.set_num_threads(threads)  # here: OpenMP keeps the number for each calling thread
    part.build(loaded)


class ModelNode(LifecycleNode):
    """A lifecycle node around one or two parts. Subclasses set `parts` in their constructor and say how to load."""

    def __init__(self, name: str, kinds: Sequence[Part], **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.parameters = Parameters(self, rows_of(kinds))
        self.board = Board(self._log)
        self.timings = Timings(self.parameters.integer("timing_window"))
        self.parts: tuple[NodePart, ...] = ()
        self.odometry: OdometryInput | None = None
        self.active = False
        self.loaded: Loaded | None = None
        self.monitors: dict[str, TopicMonitor] = {}
        self.guard = threading.Lock()  # what activate makes and deactivate destroys, against the pulse that reads it
        self._torch_threads = torch.get_num_threads()  # as it chose or OMP_NUM_THREADS says
        self._stage: tuple[str, float] | None = None
        self._walk: threading.Thread | None = None
        self._workers: list[Worker[Any]] = []  # of the last configure, also of one that failed
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=CLOCK_JUMP_BACK_NS), on_clock_change=True), post_callback=self._on_clock_jump
        )
        self.board.state("unconfigured", True)
        self.pulse = Pulse(self)

    # ── for the parts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def now_ns(self) -> int:
        """The node's clock (simulated with use_sim_time), nanoseconds."""
        return int(self.get_clock().now().nanoseconds)

    def monitor(self, name: str, suffix: str = "") -> TopicMonitor:
        """A fresh monitor for an input topic; `suffix` is image_transport's, appended to the remapped base name."""
        given = name if not suffix else self.resolve_topic_name(name) + suffix
        monitor = TopicMonitor(name=name + suffix, topic=self.resolve_topic_name(given), given=given)
        self.monitors = {**self.monitors, name: monitor}  # replaced, never changed: other threads go through it
        return monitor

    def subscribe(
        self, msg_type: Any, monitor: TopicMonitor, callback: Callable[[Any], None], *, depth: int, reliable: bool, latched: bool = False
    ) -> Subscriber:
        """A message_filters subscriber whose QoS can be overridden and whose QoS mismatches are reported."""
        qos = keep_last(depth, reliable=reliable, latched=latched)
        subscriber = Subscriber(
            self,
            msg_type,
            monitor.given,
            qos_profile=qos,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=partial(self._on_incompatible_qos, monitor)),
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
        )
        monitor.requested = subscriber.sub.qos_profile
        subscriber.registerCallback(callback)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Undo `subscribe`."""
        self.destroy_subscription(subscriber.sub)
        self.monitors = {name: m for name, m in self.monitors.items() if m.given != subscriber.topic}

    def advertise(self, msg_type: Any, topic: str, *, depth: int = 1) -> LifecyclePublisher[Any]:
        """A reliable publisher that is silent while the node is not active."""
        qos = keep_last(depth, reliable=True)
        return self.create_lifecycle_publisher(msg_type, topic, qos, qos_overriding_options=QoSOverridingOptions(OVERRIDABLE))

    def reset_all(self, what: str, *, keep_odometry: bool) -> None:
        """Flush tokens, plans and, unless it began anew by itself, odometry; discard what is in flight."""
        self.board.event("time_jumped", what=what)
        if self.odometry is not None and not keep_odometry:
            self.odometry.reset()
        for part in self.parts:
            part.reset()

    def load(self, device: torch.device, formats: NumberFormat) -> Loaded:
        """Read the model directory. Raises ArtifactError and its kinds."""
        raise NotImplementedError

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def autostart(self) -> None:
        """Configure in a thread of its own, so that the executor answers meanwhile; then activate in the executor.

        Activation subscribes. Done beside a spinning executor, a message (a latched route, say) could arrive at a filter that is half made.
        """

        def activate() -> None:
            with self._unless_ending():
                self.trigger_activate()

        def walk() -> None:
            with self._unless_ending():
                if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
                    return
                while self.context.ok():
                    if (executor := self.executor) is not None:
                        executor.create_task(activate)
                        return
                    time.sleep(0.01)  # nobody spins this node yet

        self._walk = threading.Thread(target=walk, name="autostart", daemon=True)
        self._walk.start()

    @contextlib.contextmanager
    def _unless_ending(self) -> Iterator[None]:
        """Pass over the errors that rclpy raises while the process ends."""
        try:
            yield
        except RuntimeError:
            if self.context.ok():
                raise

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, check and warm up in the inference threads."""
        self.board.state("configure_failed", False)
        self.board.state("unconfigured", False)
        try:
            self.parameters.raise_errors()
            self.parameters.fixed = True
            self._configure()
        except CONFIGURE_ERRORS as e:
            text = f"{type(e).__name__}: {e}"
            del e
            self._release()
            if self.context.ok():
                self.board.state("configure_failed", True, error=text)
                self.board.state("unconfigured", True)
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def _configure(self) -> None:
        device = chosen_device(self.parameters)
        formats = number_format(self.parameters.text("dtype"), device)
        self._workers = workers = [part.start() for part in self.parts]
        found: list[Loaded] = []
        self._run_in(workers[-1], "reading the model", lambda: found.append(self.load(device, formats)))
        self.loaded = loaded = found.pop()
        threads = self._threads(loaded)
        for part, worker in zip(self.parts, workers, strict=True):
            self._run_in(worker, f"warming up {worker.name}", partial(_build, part, loaded, threads))
            part.advertise()
        card = loaded.card
        self.board.state("untrained", not card.trained or card.domain == "random")
        self.board.state("synthetic", card.domain == "synthetic_world")
        self.board.put("model", model_id=card.model_id, device=str(device), dtype=formats.text, threads=threads, domain=card.domain, licence=card.licence)
        self.get_logger().info(f"configured: model {card.model_id} on {device}, CPU threads of an operation: {threads}")

    def _threads(self, loaded: Loaded) -> int:
        asked = self.parameters.integer("num_threads")
        if loaded.device.type != "cpu":
            return asked or self._torch_threads
        return cpu_threads(weights_of(loaded.model, loaded.tokenizer), asked=asked, torch_has=self._torch_threads)

    def _run_in(self, worker: Worker[Any], stage: str, function: Callable[[], None]) -> None:
        """Run something long in an inference thread and wait, unless the process is asked to end."""
        self.get_logger().info(f"configure: {stage}")
        self._stage = stage, time.monotonic()
        call = worker.call(function)
        try:
            while not call.wait(0.1):
                if not self.context.ok():
                    raise ConfigError("interrupted")
            if call.error is not None:
                raise call.error
        finally:
            self._stage = None

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and publish."""
        result = super().on_activate(state)
        with self.guard:
            self.odometry = OdometryInput(self, partial(self.reset_all, keep_odometry=True))
            for part in self.parts:
                part.activate()
            self.active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and publishing; stay warm."""
        self._stop()
        return super().on_deactivate(state)

    def _stop(self) -> None:
        with self.guard:
            self.active = False
            for part in self.parts:
                part.deactivate()
                part.reset()
            if self.odometry is not None:
                self.odometry.destroy()
                self.odometry = None
        self.board.forget("input", "timing", "output")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the memory."""
        self._release()
        self.board.state("unconfigured", True)
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything from whatever state."""
        if self.active:
            self._stop()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A defect in a transition: back to unconfigured."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        for part in self.parts:
            part.cleanup()
        for publisher in [e for e in self._managed_entities if isinstance(e, LifecyclePublisher)]:
            self.destroy_lifecycle_publisher(publisher)
        on_gpu = self.loaded is not None and self.loaded.device.type == "cuda"
        self.loaded = None
        self.parameters.fixed = False
        self.board.forget("model", "input", "timing", "output")
        self.timings.clear()
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_clock_jump(self, jump: Any) -> None:
        if self.active:
            delta = jump["delta"] if isinstance(jump, dict) else jump.delta
            delta_ns = delta if isinstance(delta, int) else delta.nanoseconds
            self.reset_all(f"the clock jumped by {delta_ns / 1e9:+.1f} s", keep_odometry=False)

    def _on_incompatible_qos(self, monitor: TopicMonitor, _event: object) -> None:
        self.check_qos([monitor])

    def check_qos(self, monitors: Sequence[TopicMonitor]) -> None:
        """Compare both sides of these topics and report the first pair that does not match."""
        for m in monitors:
            problems = [problem for info in self.get_publishers_info_by_topic(m.topic) for problem in [qos_mismatch(m.requested, info)] if problem]
            m.qos_problem = "; ".join("publisher {publisher} offers {policy} {offered}, {requested} requested".format(**p) for p in problems)
            if problems:
                self.board.state("qos_incompatible", True, topic=m.topic, **problems[0])
        if not any(m.qos_problem for m in self.monitors.values()):
            self.board.state("qos_incompatible", False)

    def stage_report(self) -> None:
        """Say what is being loaded."""
        stage = self._stage
        name, since = stage if stage else ("", 0.0)
        self.board.state("loading", stage is not None, stage=name, seconds=time.monotonic() - since)

    def _log(self, level: Level, text: str) -> None:
        logger = self.get_logger()
        if level is Level.ERROR:
            logger.error(text)
        else:
            logger.warning(text)

    def close(self) -> bool:
        """End all threads. False if an inference thread did not end in time."""
        self.pulse.stop()
        self._jump.unregister()  # the clock holds it, and through it the node, where no garbage collector looks
        end_s = time.monotonic() + (END_S if self.loaded is not None else END_LOADING_S)
        ended = [worker.stop(timeout_s=max(0.1, end_s - time.monotonic())) for worker in self._workers]
        if self._walk is not None:
            self._walk.join(1.0)
        return all(ended)


def run(make_node: Callable[[], ModelNode], args: Sequence[str] | None) -> None:
    """The main function of a node. SIGINT and SIGTERM end it with exit code 0."""
    rclpy.init(args=list(args) if args is not None else None)
    node: ModelNode | None = None
    ended, loading = True, False
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        keep_awake(node)
        node.pulse.start()
        if node.parameters.flag("autostart"):
            node.autostart()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # rclpy's: a callback was publishing when the signal came
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            ended, loading = node.close(), node.loaded is None
            node.destroy_node()
        rclpy.try_shutdown()
    gc.freeze()  # everything is closed; the interpreter's last collection would go through all of torch, which takes seconds on a busy machine
    if not ended:  # a thread in a driver, or in the reading of a model, cannot be joined, and Python must not be torn down around it
        sys.stderr.flush()
        os._exit(0 if loading else 1)
