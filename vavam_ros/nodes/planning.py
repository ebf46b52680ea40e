"""The second half of the pipeline in a node: token frames → plans → paths that are right now.

Whoever brings a frame (the executor, or the tokenizer's thread in the same process) pushes it into the scheduler. Inference thread: plans, publishes
the raw path and the samples. Executor: the path timer places the last plan at the present time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from nav_msgs.msg import Path
from std_msgs.msg import Float64
from visualization_msgs.msg import MarkerArray

from vavam_ros.core.contracts import NS_PER_S, Command, DensePath, InputError, Plan, TokenError, TokenFrame, Waiting, WaitReason, Window
from vavam_ros.core.geometry import place_path, stop_path, to_base_link
from vavam_ros.core.history.token_ring import RingConfig
from vavam_ros.core.pipeline import Planner, PlannerConfig, PlanScheduler
from vavam_ros.core.planning.selection import Rule
from vavam_ros.core.planning.validation import Limits
from vavam_ros.msg import FrameTokens, TrajectorySamples
from vavam_ros.nodes import convert, visual
from vavam_ros.nodes.command_input import CommandInput
from vavam_ros.nodes.parameter_table import LIMIT_NAMES
from vavam_ros.nodes.topic_monitor import LastUse, likely_cause
from vavam_ros.nodes.trip import Trip
from vavam_ros.nodes.worker import Worker

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode
    from vavam_ros.nodes.node_part import Loaded


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanJob:
    """What the inference thread gets."""

    window: Window
    command: Command
    trip: Trip


class Planning:
    """Part of planner_node (with `subscribe_tokens`) and vavam_node. `on_plan` gets every published plan in this process."""

    worker: Worker[PlanJob] | None = None

    def __init__(self, node: ModelNode, *, subscribe_tokens: bool, on_plan: Callable[[Plan], None] | None = None) -> None:
        self._node, self._subscribe_tokens, self._on_plan = node, subscribe_tokens, on_plan
        self._lock = threading.Lock()  # scheduler, command source, present plan
        self._planner: Planner | None = None
        self._scheduler: PlanScheduler | None = None
        self._subscriptions: list[Any] = []
        self._plan: Plan | None = None
        self._had_plan = False
        self._last_path: DensePath | None = None
        self._waiting = Waiting(reason=WaitReason.NO_TOKENS)
        self.plans = self.invalid_plans = self.paths = 0

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Worker[PlanJob]:
        """Start the inference thread."""
        self.worker = Worker("plan", self._work, self._on_error)
        self.worker.start()
        return self.worker

    def build(self, loaded: Loaded) -> None:
        """Planner, scheduler and command source."""
        assert loaded.model is not None
        p, card = self._node.parameters, loaded.card
        config = PlannerConfig(
            samples=p.integer("num_samples"),
            steps=p.integer("num_steps") or None,
            seed=p.integer("seed"),
            selection=cast(Rule, p.text("selection")),
            noise=cast(Literal["fresh", "held"], p.text("noise")),
            limits=Limits(**{name: p.number(f"limits.{name}") for name in LIMIT_NAMES}),
            max_contexts=p.integer("max_contexts"),
            inference=cast(Literal["fast", "plain"], p.text("inference")),
            context=cast(Literal["exact", "streaming"], p.text("context")),
            keep_frames=p.integer("streaming_keep_frames") or None,
        )
        self._planner = Planner(
            loaded.model, model_id=card.model_id, command_ids=card.command_ids, config=config, device=loaded.device, clock=loaded.clock
        )
        ring = RingConfig(tolerance_s=p.number("slot_tolerance_s"), warmup=cast(Literal["shrink", "wait", "repeat"], p.text("warmup")))
        self._scheduler = PlanScheduler.for_model(
            card.spec, tokenizer_id=card.tokenizer_id, codebook_size=card.tokenizer.codebook_size, plan_rate_hz=p.number("plan_rate_hz"), ring=ring
        )
        self._full_context = card.spec.video.frames
        self._commands = CommandInput(self._node, card.command_rule)
        self._planner.warm_up()

    def advertise(self) -> None:
        """Create the publishers."""
        node = self._node
        self._raw = node.advertise(Path, "~/path_raw", depth=5)
        self._samples = node.advertise(TrajectorySamples, "~/samples", depth=5)
        self._path = node.advertise(Path, "~/path")
        self._base_path = node.advertise(Path, "~/path_base_link")
        self._age = node.advertise(Float64, "~/age_ms")
        self._markers = node.advertise(MarkerArray, "~/markers")

    def activate(self) -> None:
        """Subscribe, and start the path timer."""
        node, p = self._node, self._node.parameters
        self.reset()
        self._had_plan, self._usable = False, LastUse(node)
        self._tokens = node.monitor("~/tokens") if self._subscribe_tokens else None
        if self._tokens is not None:
            self._subscriptions.append(node.subscribe(FrameTokens, self._tokens, self._on_tokens, depth=10, reliable=True))
        self._commands.activate()
        self._timer = node.create_timer(1.0 / p.number("path_rate_hz"), self._on_timer)
        self._timing = True

    def deactivate(self) -> None:
        """Unsubscribe; stay warm."""
        for subscription in self._subscriptions:
            self._node.unsubscribe(subscription)
        self._subscriptions = []
        if getattr(self, "_timing", False):
            self._timer.cancel()
            self._node.destroy_timer(self._timer)
            self._timing = False
            self._commands.deactivate()

    def cleanup(self) -> None:
        """End the thread and let go of the network."""
        if self.worker is not None:
            self.worker.stop()
        self.worker = self._planner = self._scheduler = self._plan = None

    def reset(self) -> None:
        """Forget frames and plans and discard what is in flight. Command and route stay."""
        with self._lock:
            if self._scheduler is not None:
                self._scheduler.reset()
            self._drop_plan()

    def _drop_plan(self) -> None:
        self._plan = self._last_path = None
        self._waiting = Waiting(reason=WaitReason.NO_TOKENS)
        if self.worker is not None:
            self.worker.bump()

    # ── frames in ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_tokens(self, msg: FrameTokens) -> None:
        assert self._tokens is not None
        if not self._tokens.seen(convert.stamp_ns(msg.header)):
            self._node.board.event("no_stamp", topic=self._tokens.topic)
        try:
            frame = convert.token_frame(msg)
        except InputError as e:
            self._node.board.event("bad_tokens", error=e)
            return
        self.push(frame, Trip("tokens", self._node, frame.stamp_ns))

    def push(self, frame: TokenFrame, trip: Trip) -> None:
        """Take in a frame and, when a plan is due, hand it to the inference thread. Any thread; never waits for work."""
        board = self._node.board
        with self._lock:
            scheduler, worker = self._scheduler, self.worker
            if scheduler is None or worker is None:
                return
            resets = scheduler.resets
            try:
                window = scheduler.push(frame)
            except TokenError as e:
                board.event("bad_tokens", error=e)
                return
            self._usable.note()
            if scheduler.resets != resets:
                board.event("time_jumped", what="the token frames began a new epoch")
                self._drop_plan()
            if window is None:
                return
            if isinstance(window, Waiting):
                self._waiting = window
                return
            command = self._commands.at(frame)
            trip.lap("ring")
            worker.submit(PlanJob(window=window, command=command, trip=trip))

    # ── inference thread ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self, job: PlanJob, is_current: Callable[[], bool]) -> None:
        node, planner = self._node, self._planner
        assert planner is not None
        job.trip.lap("plan_queue")
        plan = planner.step(job.window, job.command)
        job.trip.take(plan.stage_ms)
        with self._lock:
            if is_current():
                self._publish(plan, job.window, job.trip)
        if self._on_plan is not None and is_current():
            self._on_plan(plan)
        for stage, ms in planner.prepare():
            node.timings.add(stage, ms)

    def _publish(self, plan: Plan, window: Window, trip: Trip) -> None:
        node, board, p = self._node, self._node.board, self._node.parameters
        ego_frame = p.text("ego_frame_id")
        follow = not plan.violations or p.text("invalid_plan") == "publish"
        self.plans += 1
        self.invalid_plans += bool(plan.violations)
        self._samples.publish(convert.samples_msg(replace(plan, stage_ms=tuple(trip.stage_ms)), ego_frame))
        if follow:
            self._plan, self._had_plan = plan, True
            self._raw.publish(convert.raw_path_msg(plan, ego_frame))
        else:
            self._waiting = Waiting(reason=WaitReason.PLAN_INVALID)
        trip.lap("publish")
        node.timings.add("latency", (node.now_ns - plan.stamp_ns) / 1e6)
        board.state("inference_failed", False)
        then = "published all the same" if follow else "not followed"
        board.state("plan_invalid", bool(plan.violations), then=then, violations="; ".join(str(v) for v in plan.violations))
        frames, reason = len(set(plan.context_stamps_ns)), window.shrunk_by
        board.state("short_context", reason is not None, frames=frames, full=self._full_context, reason=reason.value if reason else "")
        spread = " ".join(f"{v:.2f}" for v in plan.selection.spread_m.tolist())
        board.put("output", context_frames=frames, selection=plan.selection.reason, spread_m=spread, canonical=plan.canonical, epoch=plan.epoch)
        if self._markers.get_subscription_count() > 0:
            self._markers.publish(visual.markers(plan, p.number("samples_line_m")))

    def _on_error(self, error: Exception, alive: bool) -> None:
        if not self._node.context.ok():
            return  # a result of the last moment, which could not be published any more
        text = f"{type(error).__name__}: {error}"
        if alive:
            self._node.board.event("inference_failed", stage="plan", error=text)
        else:
            self._node.board.state("thread_ended", True, stage="plan", error=text)

    # ── path timer ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_timer(self) -> None:
        """Place the present plan at the present time, or say why there is none."""
        node, p = self._node, self._node.parameters
        now_ns = node.now_ns
        with self._lock:
            plan, waiting = self._plan, self._waiting
        placed: DensePath | Waiting = waiting
        if plan is not None:
            placed = place_path(plan, now_ns, step_s=p.number("path_step_s"), max_plan_age_s=p.number("max_plan_age_s"))
        expired = isinstance(placed, Waiting)
        stopping = expired and self._had_plan and p.text("on_expired") == "stop_path"
        board = node.board
        board.state("no_plan", expired and not self._had_plan, reason=placed)
        board.state("plan_expired", expired and self._had_plan, reason=placed, then="a stop path is published" if stopping else "nothing is published")
        if plan is not None:
            self._age.publish(Float64(data=(now_ns - plan.stamp_ns) / 1e6))
        path = self._stop(now_ns) if stopping else None if isinstance(placed, Waiting) else placed
        if path is None:
            return
        if not stopping:
            self._last_path = path
        self.paths += 1
        self._path.publish(convert.dense_path_msg(path))
        base = node.odometry.base_now(now_ns) if node.odometry is not None else Waiting(reason=WaitReason.NO_ODOMETRY)
        known = not isinstance(base, Waiting) and base.odom_frame_id == path.frame_id
        board.state(
            "no_base_pose", not known, reason=base if isinstance(base, Waiting) else f"odometry is in {base.odom_frame_id!r}, the path in {path.frame_id!r}"
        )
        if not isinstance(base, Waiting) and known:
            self._base_path.publish(convert.dense_path_msg(to_base_link(path, base.T_odom_base, base.base_frame_id)))

    def _stop(self, now_ns: int) -> DensePath | None:
        odometry = self._node.odometry
        pose = odometry.pose_now(now_ns) if odometry is not None else Waiting(reason=WaitReason.NO_ODOMETRY)
        if isinstance(pose, Waiting):
            return None
        p = self._node.parameters
        return stop_path(pose, now_ns, p.number("stop_decel_mps2"), last=self._last_path, step_s=p.number("path_step_s"))

    # ── diagnostics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def report(self) -> None:
        """Inputs of this half, plans and paths, latency."""
        node, board, p = self._node, self._node.board, self._node.parameters
        odometry, scheduler, plan = node.odometry, self._scheduler, self._plan
        if odometry is None or scheduler is None:
            return
        board.put("output", plans=self.plans, invalid_plans=self.invalid_plans, paths=self.paths)
        if self._planner is not None and (held := self._planner.buffer_bytes) is not None:
            board.put("model", kv_buffers_mib=held / 2**20)
        board.put("output", plan_age_s=(node.now_ns - plan.stamp_ns) / NS_PER_S if plan is not None else "none")
        board.put_all("input", {f"frames {outcome.value}": n for outcome, n in scheduler.ring.counters.items() if n})
        limit_s, latency_ms = p.number("max_plan_age_s"), node.timings.quantile("latency", 0.95)
        late = latency_ms is not None and latency_ms > 800.0 * limit_s
        board.state("late", late, latency=(latency_ms or 0.0) / 1e3, limit=limit_s)
        if self._tokens is None:
            return
        topics = [self._tokens, odometry.monitor]
        for m in topics:
            board.put_all("input", m.values(self._tokens.last_stamp_ns))
        board.put_all("input", odometry.values())
        missing = [m.topic for m in topics if m.count == 0]
        board.state("waiting", bool(missing), reason=f"nothing on {', '.join(missing)}")
        idle_s = self._usable.age_s
        lost = idle_s > p.number("pairing_report_s")
        cause = likely_cause(topics, {m.topic: node.count_publishers(m.topic) for m in topics}, paired=[], slop_s=0.0) if lost else ""
        if lost and board.is_active("bad_tokens"):
            cause = "see [bad_tokens]"
        table = " | ".join(m.row(self._tokens.last_stamp_ns) for m in topics)
        board.state("not_paired", lost, seconds=idle_s, cause=cause, table=table)
