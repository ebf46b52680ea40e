"""The pipeline over a bag, without a ROS graph: the objects of core/pipeline.py, fed in recording order as the nodes feed them.

A picture waits until odometry has passed its stamp (at most `odometry_wait_s` of recording time, then its pose is extrapolated or it is skipped), is
encoded, and planned from when the plan rate says so. Everything depends on stamps alone: two runs on one machine give the same samples bit for bit.

Shape letters: K samples · H waypoints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from vavam_ros.bags import BagMessage, BagReader
from vavam_ros.core.camera import ViewTransform, effective_stamp_ns
from vavam_ros.core.contracts import (
    NS_PER_S,
    U8,
    CameraError,
    CameraImage,
    Command,
    EgoPose,
    InputError,
    OdometrySample,
    Plan,
    TokenFrame,
    Waiting,
    WaitReason,
    Window,
)
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory
from vavam_ros.core.history.pacing import RateGate
from vavam_ros.core.history.token_ring import FrozenDetector, image_digest
from vavam_ros.core.pipeline import Clock, FrameEncoder, Planner, PlanScheduler
from vavam_ros.core.planning.command import CommandSource
from vavam_ros.replay import messages
from vavam_ros.replay.inputs import BagInputs, CameraSource, Tally
from vavam_ros.replay.playback import header_stamp_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Rates, limits and the command of a replay. The defaults are the nodes'."""

    tokenize_rate_hz: float = 2.0
    image_time_offset_s: float = 0.0
    odometry_wait_s: float = 0.2
    limit_s: float | None = None  # stop after so much of the bag
    command_mode: Literal["topic", "fixed"] = "topic"
    fixed_command: Command = Command.STRAIGHT
    command_timeout_s: float = 2.0
    rear_axle_x_m: float = 0.0
    frozen_after: int = 5
    frozen_min_speed_mps: float = 0.5
    batch: int = 1  # plans made at once: the same up to rounding, the network's work shared, memory in proportion
    odometry: OdometryConfig = field(default_factory=OdometryConfig)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One encoded picture and, when one was due, the plan from it or why there is none."""

    log_ns: int
    frame: TokenFrame
    plan: Plan | None
    waiting: Waiting | None
    encode_ms: tuple[tuple[str, float], ...]  # the stages beside the plan's own: of the picture, and what was prepared for the next plan
    command_reason: str
    picture: U8 | None  # (h, w, 3) as recorded
    model_image: U8 | None  # (H, W, 3) as the model sees it
    view: ViewTransform


@dataclass(slots=True)
class Parts:
    """The pipeline's objects, put together by the caller."""

    encoder: FrameEncoder
    scheduler: PlanScheduler
    planner: Planner
    camera: CameraSource


class Runner:
    """One pass over a bag. Iterate over `steps()`; `tally` says what became of every message, `odometry` keeps all of it for the evaluation."""

    def __init__(self, reader: BagReader, inputs: BagInputs, parts: Parts, config: RunConfig, *, clock: Clock | None = None) -> None:
        self._reader, self._inputs, self._parts, self._config, self._clock = reader, inputs, parts, config, clock
        self.tally = Tally()
        self.odometry: list[OdometrySample] = []
        self._history = OdometryHistory(config.odometry, config.rear_axle_x_m)
        self._gate = RateGate(config.tokenize_rate_hz)
        self._frozen = FrozenDetector(config.frozen_after, config.frozen_min_speed_mps)
        self._commands = CommandSource(config.command_mode, config.fixed_command, config.command_timeout_s)
        self._pending: deque[BagMessage] = deque()
        self._newest_picture_ns = 0
        self._held: list[Step] = []  # with `batch`: steps up to those whose plans are made together
        self._due: list[tuple[int, Window, Command]] = []  # which of them get a plan

    def steps(self, progress: Callable[[int], object] = lambda n: None) -> Iterator[Step]:
        """Run. `progress` is called with 1 for every message read.

        Raises BagError on a damaged bag, CameraError when the camera changes to an unusable one."""
        inputs, stop_ns = self._inputs, None
        if self._config.limit_s is not None:
            stop_ns = self._reader.start_ns + round(self._config.limit_s * NS_PER_S)
        log_ns = 0
        for message in self._reader.messages(inputs.topics):
            if stop_ns is not None and message.log_ns > stop_ns:
                break
            log_ns = message.log_ns
            if message.topic == inputs.odometry.name:
                self._take_odometry(message)
            elif message.topic == inputs.image.name:
                self._take_picture(message)
            elif inputs.camera_info is not None and message.topic == inputs.camera_info.name:
                self._take_camera_info(message)
            else:
                self._take_command(message)
            yield from self._planned(self._encode_pending(log_ns))
            progress(1)
        yield from self._planned(self._encode_pending(log_ns, at_end=True))
        yield from self._plan_held()

    # --- input ----------------------------------------------------------------------------------------------------------------------

    def _take_odometry(self, message: BagMessage) -> None:
        self.tally.odometry += 1
        try:
            sample = messages.odometry_from(self._reader.decode(message), self._inputs.quality)
        except InputError as e:
            self.tally.add(self.tally.odometry_errors, str(e))
            return
        outcome = self._history.push(sample)
        self.tally.add(self.tally.odometry_outcomes, outcome.value)
        if outcome.was_reset:
            self._reset(keep_odometry=True)
        self.odometry.append(sample)

    def _reset(self, *, keep_odometry: bool) -> None:
        """Time or frame jumped: nothing from before may be mixed with what comes. Odometry that began anew by itself is kept."""
        self.tally.resets += 1
        if not keep_odometry:
            self._history.reset()
        for _ in range(len(self._pending)):
            self._pending.popleft()
            self.tally.add(self.tally.skipped, "the odometry was reset while it waited")
        self._parts.encoder.reset()
        self._frozen.reset()
        self._gate.reset()

    def _take_picture(self, message: BagMessage) -> None:
        self.tally.images += 1
        stamp_ns = self._stamp_ns(message)
        if stamp_ns <= 0:
            self.tally.add(self.tally.skipped, "no header stamp")
            return
        if self._newest_picture_ns and stamp_ns < self._newest_picture_ns - NS_PER_S:
            self._reset(keep_odometry=bool(self.odometry) and self.odometry[-1].stamp_ns < stamp_ns + NS_PER_S)
            self._newest_picture_ns = 0
        self._newest_picture_ns = max(self._newest_picture_ns, stamp_ns)
        speed = float(self.odometry[-1].linear_mps[0]) if self.odometry else None
        frozen = self._frozen.update(self._digest(message), stamp_ns, speed)
        if frozen:
            self.tally.add(self.tally.skipped, WaitReason.IMAGE_FROZEN.value)
        elif self._gate.due(stamp_ns):
            self._pending.append(message)
        else:
            self.tally.not_due += 1

    def _digest(self, message: BagMessage) -> int:
        data = np.asarray(self._reader.decode(message).data, np.uint8)  # a view of the recorded bytes
        return image_digest(data, compressed=message.type_name == messages.COMPRESSED_IMAGE)

    def _stamp_ns(self, message: BagMessage) -> int:
        recorded_ns = header_stamp_ns(message.data)
        return effective_stamp_ns(recorded_ns, self._config.image_time_offset_s) if recorded_ns else 0

    def _take_camera_info(self, message: BagMessage) -> None:
        view = self._parts.camera.updated_view(self._reader, message)
        if view is not None:
            self._parts.encoder.set_view(view)
            self.tally.resets += 1

    def _take_command(self, message: BagMessage) -> None:
        try:
            decoded = self._reader.decode(message)
            self._commands.set_command(Command(int(decoded.command)), messages.stamp_ns_of(decoded) or message.log_ns)
        except (ValueError, InputError) as e:  # a number that is no Command is a ValueError
            self.tally.add(self.tally.command_reasons, f"ignored: {e}")

    # --- pictures → tokens → plans --------------------------------------------------------------------------------------------------

    def _encode_pending(self, log_ns: int, *, at_end: bool = False) -> Iterator[Step]:
        while self._pending:
            message = self._pending[0]
            stamp_ns = self._stamp_ns(message)
            pose = self._history.pose_at(stamp_ns)
            if isinstance(pose, Waiting) and pose.reason in (WaitReason.ODOMETRY_BEHIND, WaitReason.NO_ODOMETRY):
                if not at_end and log_ns - message.log_ns < round(self._config.odometry_wait_s * NS_PER_S):
                    return
                pose = self._history.pose_at(stamp_ns, allow_extrapolation_s=self._config.odometry.max_extrapolation_s)
            self._pending.popleft()
            if isinstance(pose, Waiting):
                self.tally.add(self.tally.skipped, pose.reason.value)
                continue
            step = self._encode(message, stamp_ns, pose)
            if step is not None:
                yield step

    def _encode(self, message: BagMessage, stamp_ns: int, pose: EgoPose) -> Step | None:
        try:
            recorded = messages.image_from(self._reader.decode(message), message.type_name)
            image = CameraImage(stamp_ns=stamp_ns, frame_id=recorded.frame_id, rgb=recorded.rgb)
            frame = self._parts.encoder.step(image, pose)
        except (InputError, CameraError) as e:
            self.tally.add(self.tally.skipped, str(e))
            return None
        self.tally.tokenized += 1
        due = self._parts.scheduler.push(frame)
        why = ""
        if isinstance(due, Window):
            command, why = self._commands.at(stamp_ns, pose)
            self.tally.add(self.tally.command_reasons, f"{command.name} ({_kind(why)})")
            self._due.append((len(self._held), due, command))
        elif isinstance(due, Waiting):
            self.tally.add(self.tally.no_plan, due.reason.value)
        return Step(
            log_ns=message.log_ns,
            frame=frame,
            plan=None,
            waiting=due if isinstance(due, Waiting) else None,
            encode_ms=self._parts.encoder.stage_ms,
            command_reason=why,
            picture=image.rgb,
            model_image=self._parts.encoder.last_model_image,
            view=self.view,
        )

    def _planned(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The same steps with their plans, held back until a batch is full."""
        for step in steps:
            self._held.append(step)
            if not self._due or len(self._due) >= self._config.batch:
                yield from self._plan_held()

    def _plan_held(self) -> Iterator[Step]:
        planner, held, due = self._parts.planner, self._held, self._due
        self._held, self._due = [], []
        if self._config.batch == 1:
            plans = [planner.step(window, command) for _, window, command in due]
        else:
            plans = planner.step_many([window for _, window, _ in due], [command for *_, command in due]) if due else []
        ahead = planner.prepare() if due else ()
        for (i, *_), plan in zip(due, plans, strict=True):
            held[i] = replace(held[i], plan=plan, encode_ms=(*held[i].encode_ms, *ahead))
            self.tally.plans += 1
            self.tally.plans_invalid += bool(plan.violations)
        yield from held

    @property
    def view(self) -> ViewTransform:
        """The view in use."""
        return self._parts.encoder.view


def _kind(why: str) -> str:
    """A command's reason without the changing numbers in it, to count by."""
    return why.split(":")[0]
