"""The first half of the pipeline in a node: image + camera_info + odometry → token frames.

Executor: counts, checks stamps, notices a frozen camera, paces, waits (without blocking) for odometry to pass the image's stamp, hands over.
Inference thread: decodes, warps, encodes, publishes.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from message_filters import ApproximateTimeSynchronizer, TimeSynchronizer
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # humble has no rclpy.clock_type
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vavam_ros.core.camera import CameraModel, CanonicalCamera, ViewTransform, effective_stamp_ns
from vavam_ros.core.contracts import NS_PER_S, U8, CameraError, ConfigError, EgoPose, EncodingError, TokenFrame, Waiting, WaitReason
from vavam_ros.core.history.pacing import RateGate
from vavam_ros.core.history.token_ring import FrozenDetector
from vavam_ros.core.pipeline import FrameEncoder
from vavam_ros.msg import FrameTokens
from vavam_ros.nodes import convert
from vavam_ros.nodes.camera_input import CameraInput
from vavam_ros.nodes.topic_monitor import LastUse, likely_cause, since_s
from vavam_ros.nodes.trip import Trip
from vavam_ros.nodes.worker import Worker

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode
    from vavam_ros.nodes.node_part import Loaded

JUMP_BACK_NS = NS_PER_S  # an image older than the newest by more is time that jumped back
PENDING = 8  # images that wait for odometry at once
DRAIN_PERIOD_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodeJob:
    """What the inference thread gets: the message as it came, and all that it needs to know about it."""

    msg: Image | CompressedImage
    stamp_ns: int  # effective: header stamp + image_time_offset_s
    offset_ns: int
    source: CameraModel | None  # mounted
    pose: EgoPose
    generation: int
    trip: Trip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pending:
    msg: Image | CompressedImage
    stamp_ns: int
    offset_ns: int
    source: CameraModel | None
    deadline_s: float
    trip: Trip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelPicture:
    """What the model saw, for the debug pictures."""

    stamp_ns: int
    image: U8
    view: ViewTransform


class Tokenizing:
    """Part of tokenizer_node and vavam_node. `on_frame` gets every token frame in this process, without DDS, and how long it took so far."""

    worker: Worker[EncodeJob] | None = None

    def __init__(self, node: ModelNode, on_frame: Callable[[TokenFrame, Trip], None] | None = None) -> None:
        self._node, self._on_frame = node, on_frame
        self._lock = threading.Lock()  # makes "is it still current?" and the publication of a result one step
        self._encoder: FrameEncoder | None = None
        self._subscriptions: list[Any] = []
        self.pictures: deque[ModelPicture] = deque(maxlen=4)
        self._generation = 0
        self._frozen = FrozenDetector()
        self.frames = 0

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Worker[EncodeJob]:
        """Start the inference thread."""
        self.worker = Worker("tokenize", self._work, self._on_error)
        self.worker.start()
        return self.worker

    def build(self, loaded: Loaded) -> None:
        """The encoder, looking through a plain resize until the camera is known."""
        assert loaded.tokenizer is not None
        p = self._node.parameters
        self._canonical = CanonicalCamera.from_dict(loaded.card.canonical_camera)
        self._out_hw = loaded.card.tokenizer.image_hw
        self._mode = cast(Literal["warp", "resize"], p.text("camera_mode"))
        yaml_path = p.text("camera_yaml")
        if p.text("camera_info_source") == "yaml" and not yaml_path:
            raise ConfigError("camera_info_source is yaml, but camera_yaml is empty: give the calibration file")
        self._yaml = CameraModel.from_yaml(Path(yaml_path)) if yaml_path else None
        self._from_topic = p.text("camera_info_source") == "topic" and self._mode == "warp"
        self._bands = {
            "min_coverage": p.number("min_coverage"),
            "max_pitch_rad": math.radians(p.number("camera_max_pitch_deg")),
            "min_height_m": p.number("camera_min_height_m"),
            "max_height_m": p.number("camera_max_height_m"),
        }
        self._view_source: CameraModel | None = None
        self._has_view = self._mode == "resize"
        self._encoder_generation = 0
        self._refused: tuple[CameraModel, CameraError] | None = None
        resize = ViewTransform(self._canonical, self._out_hw, "resize", self._yaml if self._mode == "resize" else None)
        self._encoder = FrameEncoder(loaded.tokenizer, resize, device=loaded.device, dtype=loaded.formats.tokenizer, clock=loaded.clock)
        self._encoder.warm_up()

    def advertise(self) -> None:
        """Create the publishers."""
        self._tokens = self._node.advertise(FrameTokens, "~/tokens", depth=10)
        self._model_image = self._node.advertise(Image, "~/model_image")

    def activate(self) -> None:
        """Subscribe."""
        node, p = self._node, self._node.parameters
        self._frozen = FrozenDetector(after=p.integer("frozen_after"), min_speed_mps=p.number("frozen_min_speed_mps"))
        self.reset()
        self._camera = CameraInput(node, self._canonical, self._yaml, from_topic=self._from_topic)
        self._usable = LastUse(node)
        compressed = p.text("image_transport") == "compressed"
        self._image = node.monitor("~/image", "/compressed" if compressed else "")
        depth = p.integer("image_qos_depth")
        image = node.subscribe(CompressedImage if compressed else Image, self._image, self._on_any_image, depth=depth, reliable=False)
        self._subscriptions = [image]
        if self._from_topic:
            self._info = node.monitor("~/camera_info")
            info = node.subscribe(CameraInfo, self._info, self._on_any_info, depth=10, reliable=False)
            self._subscriptions.append(info)
            queue, slop_s = p.integer("sync_queue"), p.number("sync_slop_s")
            self._sync: TimeSynchronizer | None = (
                ApproximateTimeSynchronizer([image, info], queue, slop_s) if slop_s > 0.0 else TimeSynchronizer([image, info], queue)
            )
            self._sync.registerCallback(self._on_pair)
        else:
            self._sync = None
            image.registerCallback(self._on_image)
        assert node.odometry is not None
        node.odometry.on_arrival.append(self._drain)
        self._timer = node.create_timer(DRAIN_PERIOD_S, self._drain, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()  # it runs only while an image waits

    def deactivate(self) -> None:
        """Unsubscribe; stay warm."""
        for subscription in self._subscriptions:
            self._node.unsubscribe(subscription)
        if self._subscriptions:
            self._camera.destroy()
            self._timer.cancel()
            self._node.destroy_timer(self._timer)
        self._subscriptions = []

    def cleanup(self) -> None:
        """End the thread and let go of the network."""
        if self.worker is not None:
            self.worker.stop()
        self.worker = None
        self._encoder = None
        self.pictures.clear()

    def reset(self) -> None:
        """Forget the past and discard what is in flight; the next frame begins a new epoch."""
        with self._lock:
            self._generation += 1
            if self.worker is not None:
                self.worker.bump()
        self._pending: deque[_Pending] = deque(maxlen=PENDING)
        self._newest_ns = 0
        self._rate_hz = -1.0  # a new gate
        self._given_up_ns = 0
        self._frozen.reset()

    # ── executor ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_any_image(self, msg: Image | CompressedImage) -> None:
        """Every image, before pairing: counting, time jumping back."""
        stamp = convert.stamp_ns(msg.header)
        if not self._image.seen(stamp):
            self._node.board.event("no_stamp", topic=self._image.topic)
            return
        if self._newest_ns and stamp < self._newest_ns - JUMP_BACK_NS:
            odometry = self._node.odometry
            newest = odometry.newest_stamp_ns if odometry is not None else None
            began_anew = newest is not None and newest < stamp + JUMP_BACK_NS  # odometry has jumped already, and reset itself
            if self._sync is not None:
                with self._sync.lock:  # old, larger stamps would crowd out the new ones
                    for queue in self._sync.queues:
                        queue.clear()
            self._node.reset_all(f"{self._image.topic}: stamps jumped back by {(self._newest_ns - stamp) / NS_PER_S:.1f} s", keep_odometry=began_anew)
        self._newest_ns = max(self._newest_ns, stamp)

    def _on_any_info(self, msg: CameraInfo) -> None:
        if not self._info.seen(convert.stamp_ns(msg.header)):
            self._node.board.event("no_stamp", topic=self._info.topic)

    def _on_pair(self, image: Image | CompressedImage, info: CameraInfo) -> None:
        if self._camera.update(info):
            self._on_image(image)

    def _on_image(self, msg: Image | CompressedImage) -> None:
        """An image whose camera is known (or not needed)."""
        stamp = convert.stamp_ns(msg.header)
        if stamp <= 0 or self._is_frozen(msg, stamp):
            return
        p = self._node.parameters
        offset_s = p.number("image_time_offset_s")
        effective = effective_stamp_ns(stamp, offset_s)
        if self._mode == "warp" and not self._camera.mount(msg.header.frame_id):
            return
        if not self._gate().due(effective) and effective != self._given_up_ns:
            return
        self._given_up_ns = 0
        deadline = time.monotonic() + p.number("odometry_wait_s")
        trip = Trip("transport", self._node, effective)
        source, offset_ns = self._camera.source, effective - stamp
        self._pending.append(_Pending(msg=msg, stamp_ns=effective, offset_ns=offset_ns, source=source, deadline_s=deadline, trip=trip))
        self._timer.reset()
        self._drain()

    def _is_frozen(self, msg: Image | CompressedImage, stamp_ns: int) -> bool:
        odometry = self._node.odometry
        newest = odometry.newest if odometry is not None else None
        # a speed from before odometry stopped proves nothing: the vehicle may stand by now
        fresh = newest is not None and abs(stamp_ns - newest.stamp_ns) <= self._node.parameters.number("odometry_max_gap_s") * NS_PER_S
        frozen = self._frozen.update(convert.data_digest(msg), stamp_ns, float(newest.linear_mps[0]) if newest is not None and fresh else None)
        self._node.board.state("image_frozen", frozen, reason=WaitReason.IMAGE_FROZEN.value)
        return frozen

    def _gate(self) -> RateGate:
        rate_hz = self._node.parameters.number("tokenize_rate_hz")
        if rate_hz != self._rate_hz:  # changed live, or reset
            self._rate_hz, self._pace = rate_hz, RateGate(rate_hz)
        return self._pace

    def _drain(self) -> None:
        """Hand over every image whose pose is known by now; give up on those that waited too long."""
        odometry, board = self._node.odometry, self._node.board
        if odometry is None or self.worker is None:
            return
        while self._pending:
            head = self._pending[0]
            pose = odometry.pose_at(head.stamp_ns, extrapolate=time.monotonic() >= head.deadline_s)
            if isinstance(pose, Waiting):
                late = pose.reason in (WaitReason.ODOMETRY_BEHIND, WaitReason.NO_ODOMETRY)
                if late and time.monotonic() < head.deadline_s:
                    return
                self._pending.popleft()
                self._given_up_ns = head.stamp_ns  # said again (a simulator in lock-step does), it may find its odometry
                board.event("no_pose", reason=pose)
                continue
            self._pending.popleft()
            self._usable.note()
            trip, generation = head.trip, self._generation
            trip.lap("wait")
            job = EncodeJob(
                msg=head.msg, stamp_ns=head.stamp_ns, offset_ns=head.offset_ns, source=head.source, pose=pose, generation=generation, trip=trip
            )
            self.worker.submit(job)
        self._timer.cancel()

    # ── inference thread ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self, job: EncodeJob, is_current: Callable[[], bool]) -> None:
        encoder, node, trip = self._encoder, self._node, job.trip
        assert encoder is not None
        trip.lap("queue")
        image = convert.camera_image(job.msg, job.offset_ns)
        trip.lap("decode")
        self._look_through(encoder, job.source)
        if job.generation != self._encoder_generation:
            encoder.reset()
            self._encoder_generation = job.generation
        frame = encoder.step(image, job.pose)
        trip.take(encoder.stage_ms)
        with self._lock:
            if not is_current():
                return
            self.frames += 1
            node.board.state("camera_unusable", False)
            node.board.state("bad_image", False)
            node.board.state("inference_failed", False)
            node.timings.add("tokens_latency", (node.now_ns - frame.stamp_ns) / 1e6)
            if encoder.last_model_image is not None:
                self.pictures.append(ModelPicture(stamp_ns=frame.stamp_ns, image=encoder.last_model_image, view=encoder.view))
            if self._on_frame is None or self._tokens.get_subscription_count() > 0:
                self._tokens.publish(convert.frame_tokens_msg(frame, node.parameters.text("ego_frame_id")))
            if self._on_frame is not None:
                self._on_frame(frame, trip)
        if self._model_image.get_subscription_count() > 0 and encoder.last_model_image is not None:
            self._model_image.publish(convert.rgb_msg(encoder.last_model_image, frame.stamp_ns, frame.camera_frame_id))

    def _look_through(self, encoder: FrameEncoder, source: CameraModel | None) -> None:
        """A new view, and epoch, when the camera or its mounting is another one."""
        if self._mode == "resize" or (self._has_view and source is not None and source.same_as(self._view_source)):
            return
        if self._refused is not None and source is not None and source.same_as(self._refused[0]):
            raise self._refused[1]  # looking again costs as much as it did the first time
        try:
            view = ViewTransform(self._canonical, self._out_hw, "warp", source, **self._bands)
        except CameraError as e:
            self._refused = (source, e.with_traceback(None)) if source is not None else None
            raise
        self._refused = None
        encoder.set_view(view)
        self._view_source, self._has_view = source, True
        self._node.get_logger().info(f"camera {view.camera_id}: {view.coverage:.1%} of the model's view covered")

    def _on_error(self, error: Exception, alive: bool) -> None:
        board = self._node.board
        if not self._node.context.ok():
            return  # a result of the last moment, which could not be published any more
        if not alive:
            board.state("thread_ended", True, stage="tokenize", error=f"{type(error).__name__}: {error}")
        elif isinstance(error, EncodingError):
            board.event("bad_image", error=error)
        elif isinstance(error, CameraError):
            board.event("camera_unusable", error=error)
        else:
            board.event("inference_failed", stage="tokenize", error=f"{type(error).__name__}: {error}")

    # ── diagnostics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def report(self) -> None:
        """Inputs, camera, and why they do not come together when they do not."""
        node, board, p = self._node, self._node.board, self._node.parameters
        odometry = node.odometry
        if odometry is None or not self._subscriptions:
            return
        topics = [self._image, *([self._info] if self._from_topic else []), odometry.monitor]
        for m in topics:
            board.put_all("input", m.values(self._image.last_stamp_ns))
        board.put_all("input", odometry.values())
        board.put("output", token_frames=self.frames)
        encoder = self._encoder
        if encoder is not None and self._has_view:
            view = encoder.view
            board.put("model", camera_id=view.camera_id, coverage=float(view.coverage), mount=self._camera.mount_source, epoch=encoder.epoch)
        board.state("not_canonical", self._mode == "resize")
        missing = [m.topic for m in topics if m.count == 0]
        board.state("waiting", bool(missing), reason=f"nothing on {', '.join(missing)}")
        limit_s = p.number("max_image_age_s")
        age_s = since_s(node, self._image.last_arrival_s, self._image.last_stamp_ns)
        board.state("image_stale", bool(self._image.count) and age_s > limit_s, age=age_s, limit=limit_s)
        rate_hz = p.number("tokenize_rate_hz")
        idle_s, patience_s = self._usable.age_s, max(p.number("pairing_report_s"), 2.0 / rate_hz if rate_hz > 0 else 0.0)
        lost = idle_s > patience_s
        cause, table = "", ""
        if lost:
            publishers = {m.topic: node.count_publishers(m.topic) for m in topics}
            cause = likely_cause(topics, publishers, paired=[self._info] if self._from_topic else [], slop_s=p.number("sync_slop_s"))
            blocked = next((code for code in ("camera_unusable", "mount_waiting", "image_frozen") if board.is_active(code)), None)
            cause = f"see [{blocked}]" if blocked else cause
            table = " | ".join(m.row(self._image.last_stamp_ns) for m in topics)
        board.state("not_paired", lost, seconds=idle_s, cause=cause, table=table)
