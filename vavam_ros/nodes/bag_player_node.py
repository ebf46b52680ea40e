"""bag_player_node: plays a rosbag2 with /clock, for machines without `ros2 bag`, and in lock-step with the model.

The recorded bytes are published as they are. Topics keep the QoS that their recorder was offered; latched ones stay latched, and those recorded before
the start offset are published at the start. Remapping is that of any node (`--ros-args -r /a:=/b`).

In lock-step the next picture waits until the results of the one before have come back, so that a slow machine misses nothing: the same stamps then
give the same samples as `vavam replay`.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool

from vavam_ros.bags import BagMessage, BagReader, TopicInfo
from vavam_ros.core.contracts import NS_PER_S, BagError, ConfigError, VavamError
from vavam_ros.nodes.bag_player_table import PARAMETERS
from vavam_ros.nodes.parameters import Parameters
from vavam_ros.replay.playback import Lockstep, PlaybackStats, Timeline, header_stamp_ns

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
WAIT_SLICE_S = 0.05  # longest wait in which nobody looks at the pause switch or the shutdown
LATCHED_HEAD_START_S = 1.0
DELIVERY_S = 3.0
SHORT_PATIENCE_S = 0.2  # after three waits in vain


def qos_of(topic: TopicInfo) -> QoSProfile:
    """The strongest of the profiles that the recorded publishers offered; reliable and volatile where none is known."""
    best_effort = bool(topic.qos) and all(q.reliability is QosReliability.BEST_EFFORT for q in topic.qos)
    depth = max([10, *(q.depth for q in topic.qos if q.depth < 1000)])
    if topic.latched:
        depth = max(1, min(topic.count, 100))
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if any(q.durability is QosDurability.TRANSIENT_LOCAL for q in topic.qos) else DurabilityPolicy.VOLATILE,
    )


def message_class(type_name: str) -> Any:
    """The generated Python class of `package/msg/Name`, or None where this machine has no such package."""
    package, _, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ModuleNotFoundError:
        return None


class BagPlayerNode(Node):
    """Publishes a bag. `play()` runs in the caller's thread while an executor spins the node in another."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("bag_player", **kwargs)
        self.parameters = p = Parameters(self, PARAMETERS)
        p.raise_errors()
        self.stats = PlaybackStats()
        self._timeline = Timeline(p.number("rate"))
        self._running = threading.Event()
        if not p.flag("start_paused"):
            self._running.set()
        self._changed = threading.Condition()
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if p.number("clock_hz") > 0 else None
        self._clock_at_ns = -1
        self._topic_publishers: dict[str, Publisher[Any]] = {}
        self._lockstep: Lockstep | None = None
        self._vain_waits = 0
        self._pause_service = self.create_service(SetBool, "~/pause", self._on_pause)

    # --- set-up ---------------------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Play the bag to its end (or until shutdown). Raises BagError, ConfigError."""
        p = self.parameters
        if not p.text("bag"):
            raise ConfigError("parameter bag is empty: name a rosbag2 directory, or an .mcap or .db3 file")
        with BagReader(p.text("bag")) as reader:
            reader.require_messages()
            topics = self._choose(reader)
            for topic in topics:
                self._topic_publishers[topic.name] = self.create_publisher(message_class(topic.type_name), topic.name, qos_of(topic))
            image_topic = self._image_topic(topics)
            odometry_topics = {t.name for t in topics if t.type_name == ODOMETRY_TYPE}
            if p.flag("lockstep"):
                self._set_up_lockstep(image_topic, bool(odometry_topics))
            self._await_subscribers(image_topic)
            self.get_logger().info(f"{p['bag']}: {len(topics)} topics, {(reader.end_ns - reader.start_ns) / NS_PER_S:.2f} s, rate {p['rate']:g}")
            while rclpy.ok(context=self.context):
                self._play_once(reader, topics, image_topic, odometry_topics)
                self.stats.loops += 1
                if not p.flag("loop"):
                    break
        self._await_delivery()

    def _choose(self, reader: BagReader) -> list[TopicInfo]:
        """The topics to play. Those that cannot be are named in the stats with the reason."""
        wanted = self.parameters.text("topics").split()
        missing = [t for t in wanted if t not in reader.topics]
        if missing:
            raise BagError(f"{reader.path}: no topic {', '.join(missing)}; the bag has {', '.join(sorted(reader.topics))}")
        chosen = []
        for topic in sorted(reader.topics.values(), key=lambda t: t.name):
            if wanted and topic.name not in wanted:
                self.stats.skipped[topic.name] = "not asked for"
            elif topic.name == "/clock" and self._clock_publisher is not None:
                self.stats.skipped[topic.name] = "the player publishes its own clock (clock_hz 0 plays the recorded one)"
            elif message_class(topic.type_name) is None:
                self.stats.skipped[topic.name] = f"type {topic.type_name} is not installed here"
                self.get_logger().warning(f"{topic.name}: {self.stats.skipped[topic.name]}")
            elif topic.count:
                chosen.append(topic)
        if not chosen:
            raise BagError(f"{reader.path}: nothing to play: {self.stats.skipped or 'all topics are empty'}")
        return chosen

    def _image_topic(self, topics: list[TopicInfo]) -> str | None:
        """The camera's topic: the one named, else the only one."""
        named = self.parameters.text("lockstep_image_topic")
        images = [t.name for t in topics if t.type_name in IMAGE_TYPES]
        if named and named not in images:
            raise BagError(f"lockstep_image_topic {named} is not played; image topics are {images}")
        if not named and len(images) != 1 and self.parameters.flag("lockstep"):
            raise BagError(f"lock-step needs one image topic, the bag has {images or 'none'}; set lockstep_image_topic")
        return named or (images[0] if len(images) == 1 else None)

    def _set_up_lockstep(self, image_topic: str | None, has_odometry: bool) -> None:
        from vavam_ros.msg import FrameTokens, TrajectorySamples  # imported here: a player without lock-step works without our interfaces

        p = self.parameters
        lockstep = Lockstep(
            tokenize_rate_hz=p.number("lockstep_tokenize_rate_hz"),
            plan_rate_hz=p.number("lockstep_plan_rate_hz"),
            await_samples=bool(p.text("lockstep_samples_topic")),
            has_odometry=has_odometry,
        )
        self._lockstep = lockstep
        self.get_logger().info(f"lock-step on {image_topic}: tokens from {p['lockstep_tokens_topic']}, samples from {p['lockstep_samples_topic'] or 'nowhere'}")

        def tokens(message: Any) -> None:
            with self._changed:
                lockstep.tokens_came(message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec)
                self._changed.notify_all()

        def samples(message: Any) -> None:
            with self._changed:
                lockstep.samples_came(message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec)
                self._changed.notify_all()

        self.create_subscription(FrameTokens, p.text("lockstep_tokens_topic"), tokens, 50)
        if p.text("lockstep_samples_topic"):
            self.create_subscription(TrajectorySamples, p.text("lockstep_samples_topic"), samples, 50)

    def _await_subscribers(self, image_topic: str | None) -> None:
        """Give the other side time to be there: the camera's topic (or any) and each further one has a subscriber; in lock-step, answers a publisher."""
        p = self.parameters
        end = time.monotonic() + p.number("wait_for_subscribers_s")
        missing = ""
        while time.monotonic() < end and rclpy.ok(context=self.context):
            missing = self._missing(image_topic)
            if not missing:
                return
            time.sleep(WAIT_SLICE_S)
        if missing and rclpy.ok(context=self.context):
            self.get_logger().warning(f"after {p['wait_for_subscribers_s']:g} s {missing}; playing anyway")

    def _missing(self, image_topic: str | None) -> str:
        """Who is not there yet, empty when all are."""
        p = self.parameters
        watched = [self._topic_publishers[image_topic]] if image_topic else list(self._topic_publishers.values())
        deaf = [] if any(pub.get_subscription_count() for pub in watched) else [image_topic or "any topic"]
        deaf += [t for t in p.text("wait_for_subscribers_topics").split() if not self.count_subscribers(self.resolve_topic_name(t))]
        answers = [t for t in (p.text("lockstep_tokens_topic"), p.text("lockstep_samples_topic")) if t] if p.flag("lockstep") else []
        mute = [t for t in answers if not self.count_publishers(t)]
        return "; ".join([f"nobody subscribes to {t}" for t in deaf] + [f"nobody publishes {t}" for t in mute])

    def _await_delivery(self) -> None:
        """What was published last is still under way: reliable subscribers get a moment to acknowledge it before the player ends."""
        end = time.monotonic() + DELIVERY_S
        for publisher in self._topic_publishers.values():
            left_s = end - time.monotonic()
            if left_s > 0 and rclpy.ok(context=self.context):
                publisher.wait_for_all_acked(Duration(seconds=left_s))

    def _on_pause(self, request: Any, response: Any) -> Any:
        if request.data:
            self._running.clear()
        else:
            self._running.set()
        response.success, response.message = True, "paused" if request.data else "playing"
        return response

    # --- playing --------------------------------------------------------------------------------------------------------------------

    def _play_once(self, reader: BagReader, topics: list[TopicInfo], image_topic: str | None, odometry_topics: set[str]) -> None:
        p = self.parameters
        names = {t.name for t in topics}
        start_ns = reader.start_ns + round(p.number("start_offset_s") * NS_PER_S)
        stop_ns = start_ns + round(p.number("duration_s") * NS_PER_S) if p.number("duration_s") > 0 else None
        if start_ns > reader.end_ns:
            raise ConfigError(f"start_offset_s {p['start_offset_s']} lies past the end of the bag ({(reader.end_ns - reader.start_ns) / NS_PER_S:.2f} s)")
        self._clock_at_ns = -1
        if self._lockstep:
            self._lockstep.reset()
        self._timeline.anchor(start_ns, time.monotonic_ns())
        self._publish_clock(start_ns)
        latched = {t.name for t in topics if t.latched}
        self._publish_latched(reader, latched, start_ns)
        for message in reader.messages(names, start_ns=start_ns):
            if (stop_ns is not None and message.log_ns >= stop_ns) or not rclpy.ok(context=self.context):
                break
            if message.topic in latched and message.log_ns <= start_ns:
                continue  # went out at the start
            if message.topic == image_topic:
                self._await_results()
            self._publish_when_due(message)
            self._note_sent(message, image_topic, odometry_topics)
        self._await_results()

    def _publish_latched(self, reader: BagReader, latched: set[str], start_ns: int) -> None:
        """Publish what was latched at the start, and in the first round give it time to arrive: pictures need the mount of their camera."""
        if not latched:
            return
        for message in reader.messages(latched):
            if message.log_ns > start_ns:
                break
            self._topic_publishers[message.topic].publish(message.data)
            self.stats.played(0)
        if self.stats.loops == 0 and self.parameters.number("wait_for_subscribers_s") > 0:
            time.sleep(LATCHED_HEAD_START_S)
            self._timeline.anchor(start_ns, time.monotonic_ns())

    def _publish_when_due(self, message: BagMessage) -> None:
        p, due = self.parameters, self._timeline.due_ns(message.log_ns)
        tick_ns = round(NS_PER_S / p.number("clock_hz") * p.number("rate")) if self._clock_publisher else 0
        while rclpy.ok(context=self.context):
            if not self._running.is_set():
                paused_at = time.monotonic_ns()
                while not self._running.wait(WAIT_SLICE_S) and rclpy.ok(context=self.context):
                    pass
                self._timeline.hold(time.monotonic_ns() - paused_at)
                due = self._timeline.due_ns(message.log_ns)
            left_ns = due - time.monotonic_ns()
            if left_ns <= 0:
                break
            if tick_ns and self._timeline.bag_now(time.monotonic_ns()) >= self._clock_at_ns + tick_ns:
                self._publish_clock(min(self._timeline.bag_now(time.monotonic_ns()), message.log_ns))
            slice_s = min(WAIT_SLICE_S, 1.0 / self.parameters.number("clock_hz") if self._clock_publisher else WAIT_SLICE_S)
            time.sleep(min(left_ns / 1e9, slice_s))
        self._publish_clock(message.log_ns)
        self._topic_publishers[message.topic].publish(message.data)
        self.stats.played(time.monotonic_ns() - due if self.parameters.number("rate") > 0 else 0)

    def _publish_clock(self, bag_ns: int) -> None:
        if self._clock_publisher is None or bag_ns <= self._clock_at_ns:
            return
        self._clock_at_ns = bag_ns
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(bag_ns, NS_PER_S)
        self._clock_publisher.publish(message)

    def _note_sent(self, message: BagMessage, image_topic: str | None, odometry_topics: set[str]) -> None:
        if self._lockstep is None:
            return
        with self._changed:
            if message.topic == image_topic:
                self._lockstep.image_sent(header_stamp_ns(message.data))
            elif message.topic in odometry_topics:
                self._lockstep.odometry_sent(header_stamp_ns(message.data))

    def _await_results(self) -> None:
        """Hold the bag until the results of the pictures sent so far are there, or the patience ends."""
        if self._lockstep is None or not self._lockstep.outstanding():
            return
        lockstep, began = self._lockstep, time.monotonic()
        patience_s = self.parameters.number("lockstep_timeout_s") if self._vain_waits < 3 else SHORT_PATIENCE_S
        with self._changed:
            while lockstep.outstanding() and time.monotonic() - began < patience_s and rclpy.ok(context=self.context):
                self._changed.wait(WAIT_SLICE_S)
            missing = lockstep.outstanding()
            lockstep.give_up()
        waited = time.monotonic() - began
        self.stats.waits += 1
        self.stats.waited_s += waited
        self._timeline.hold(round(waited * NS_PER_S))
        self._vain_waits = self._vain_waits + 1 if missing else 0
        if missing:
            self.stats.timeouts += len(missing)
            if self._vain_waits <= 3:
                self.get_logger().warning(f"lock-step: no result for stamps {missing} within {patience_s:g} s (is the model's diagnostics Waiting?)")


def main(args: list[str] | None = None) -> int:
    """Entry point: 0 at the end of the bag or on interruption, 1 with a message when the bag cannot be played."""
    rclpy.init(args=args)
    node = executor = spinner = None
    try:
        node = BagPlayerNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinner = threading.Thread(target=_spin, args=(executor,), daemon=True)
        spinner.start()
        node.play()
        return 0
    except VavamError as e:
        print(f"bag_player: {e}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except RuntimeError:  # rclpy's, of a publisher whose context the signal has shut down
        if rclpy.ok():
            raise
        return 0
    finally:
        if node is not None:
            print(node.stats.line(), flush=True)
        if executor is not None:
            executor.shutdown(timeout_sec=1.0)
        if spinner is not None:
            spinner.join(timeout=2.0)
        if node is not None:
            node.destroy_node()  # else the middleware's shared memory outlives the process
        rclpy.try_shutdown()


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except (ExternalShutdownException, KeyboardInterrupt):
        return


if __name__ == "__main__":
    sys.exit(main())
