"""READ FIRST. The whole way from picture and odometry to a plan, in the order the data takes.

    CameraImage + EgoPose ─ FrameEncoder.step ─▶ TokenFrame ─ PlanScheduler.push ─▶ Window ─ Planner.step ─▶ Plan ─ place_path ─▶ DensePath

Live nodes and the offline replay call these same objects in the same order, so that the same stamps give the same plans bit for bit.

Shape letters: K samples · H waypoints · T frames · h w token grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from vavam_ros.core.camera import ViewTransform, to_model_input
from vavam_ros.core.contracts import U16, CameraImage, Command, ConfigError, EgoPose, Plan, PoseQuality, TokenFrame, Waiting, Window
from vavam_ros.core.geometry import expected_waypoints
from vavam_ros.core.history.token_ring import RingConfig, RingOutcome, TokenRing
from vavam_ros.core.model.contexts import ContextKeeper, ExactContexts, StreamingContexts, stacked_tokens
from vavam_ros.core.model.fast import FastVaVAM, for_inference
from vavam_ros.core.model.flow import plan_noise
from vavam_ros.core.model.network import VaVAM
from vavam_ros.core.planning.selection import Rule, select
from vavam_ros.core.planning.validation import Limits, validate
from vavam_ros.core.spec import ModelSpec
from vavam_ros.core.tokenizer.vq16 import FrameTokenizer

Clock = Callable[[], Any]
"""Marks whose differences are seconds: seconds since any origin, or moments of a GPU (core/device_clock.py), which are not waited for between stages."""


class StageTimer:
    """Run times of the stages of one step, read from the caller's clock; without a clock there are no times."""

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._marks = [clock()] if clock else []
        self._stages: list[str] = []

    def lap(self, stage: str) -> None:
        """Charge everything since the last lap to `stage`."""
        if self._clock:
            self._marks.append(self._clock())
            self._stages.append(stage)

    @property
    def stage_ms(self) -> tuple[tuple[str, float], ...]:
        """(stage, milliseconds) in the order they ran. Asked for last: marks of a GPU are waited for here, not at each lap."""
        return tuple((stage, (b - a) * 1e3) for stage, (a, b) in zip(self._stages, pairwise(self._marks), strict=True))


class FrameEncoder:
    """Picture → the model's view → tokens. State: the epoch, which grows whenever frames before and after must not be mixed."""

    def __init__(self, tokenizer: FrameTokenizer, view: ViewTransform, *, device: torch.device, dtype: torch.dtype, clock: Clock | None = None) -> None:
        self._tokenizer, self._device, self._dtype, self._clock = tokenizer, device, dtype, clock
        self._view = view
        self.epoch = 0
        self.last_model_image: np.ndarray | None = None  # (H, W, 3) uint8, for the debug pictures
        self.stage_ms: tuple[tuple[str, float], ...] = ()

    @property
    def view(self) -> ViewTransform:
        """The transform from the camera's picture to the model's."""
        return self._view

    def reset(self) -> None:
        """Start a new epoch: time jumped back, or the source changed."""
        self.epoch += 1

    def set_view(self, view: ViewTransform) -> None:
        """Look through another camera, in a new epoch."""
        self._view = view
        self.reset()

    @torch.inference_mode()
    def step(self, image: CameraImage, pose: EgoPose) -> TokenFrame:
        """Encode one picture. `pose` is the ego pose at `image.stamp_ns`. Raises CameraError if the picture is not this camera's size."""
        timer = StageTimer(self._clock)
        model_image = self._view(image.rgb)  # (H, W, 3) uint8
        timer.lap("warp")
        x = to_model_input(model_image, device=self._device, dtype=self._dtype)  # (1, 3, H, W)
        codes = self._tokenizer.encode(x)[0]  # (h, w)
        tokens: U16 = codes.to("cpu").numpy().astype(np.uint16)
        timer.lap("tokenize")
        self.last_model_image, self.stage_ms = model_image, timer.stage_ms
        return TokenFrame(
            stamp_ns=image.stamp_ns,
            epoch=self.epoch,
            camera_frame_id=image.frame_id,
            tokens=tokens,
            codebook_size=self._tokenizer.codebook_size,
            tokenizer_id=self._tokenizer.tokenizer_id,
            camera_id=self._view.camera_id_of(image.rgb),
            canonical=self._view.canonical,
            coverage=self._view.coverage,
            pose=pose,
        )

    def warm_up(self, runs: int = 2) -> None:
        """Encode blank pictures so that the first real one is not the slow one. Leaves no trace in the state."""
        h, w = self._view.out_hw
        blank = np.zeros((h, w, 3), np.uint8)
        with torch.inference_mode():
            for _ in range(runs):
                self._tokenizer.encode(to_model_input(blank, device=self._device, dtype=self._dtype))


class PlanScheduler:
    """Token frames in, windows to plan from out: the ring and the plan rate, driven by stamps alone."""

    def __init__(self, ring: TokenRing) -> None:
        self.ring = ring
        self.resets = 0

    @classmethod
    def for_model(cls, spec: ModelSpec, *, tokenizer_id: str, codebook_size: int, plan_rate_hz: float, ring: RingConfig | None = None) -> PlanScheduler:
        """The scheduler for one model's grid, rates and tokenizer."""
        config = replace(ring or RingConfig(), anchor_rate_hz=plan_rate_hz)  # the ring's anchors are the frames to plan from
        return cls(TokenRing(spec, config, tokenizer_id, codebook_size))

    def push(self, frame: TokenFrame) -> Window | Waiting | None:
        """Buffer a frame. A `Window` when a plan is due from it, `Waiting` when one is due but cannot be made, None when none is due.

        Raises TokenError for a frame that this model cannot read.
        """
        outcome = self.ring.push(frame)
        self.resets += outcome.was_reset
        if not (outcome is RingOutcome.ACCEPTED or outcome.was_reset):
            return None  # duplicates and late frames fill the ring; only news is planned from
        return self.ring.window(frame.stamp_ns) if self.ring.is_anchor(frame.stamp_ns) else None

    def reset(self) -> None:
        """Forget all frames."""
        self.ring.reset()
        self.resets += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """How many samples, how they are drawn and how one is chosen; and how the network is run."""

    samples: int = 8
    steps: int | None = None  # None: the model's own number of Euler steps
    seed: int = 0
    selection: Rule = "medoid"  # docs/decisions/0015, 0020
    noise: Literal["fresh", "held"] = "fresh"  # another draw for each frame planned from, or the same for all: plans then differ by what is seen alone
    limits: Limits = field(default_factory=Limits)
    max_contexts: int = 1  # growing contexts kept; one per phase when planning faster than the frame grid
    inference: Literal["fast", "plain"] = "fast"  # model/fast.py, or model/network.py itself
    context: Literal["exact", "streaming"] = "exact"  # the whole window, or its newest frames at a bounded work per plan (model/contexts.py)
    keep_frames: int | None = None  # of streaming: frames that the shortest window has beside the newest; None: half of the model's

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.steps is not None and self.steps < 1) or self.max_contexts < 1:
            raise ConfigError(f"samples {self.samples}, steps {self.steps} and max_contexts {self.max_contexts} must be at least 1")
        if self.noise not in ("fresh", "held"):
            raise ConfigError(f"noise: got {self.noise!r}, expected 'fresh' or 'held'")
        if self.context not in ("exact", "streaming"):
            raise ConfigError(f"context: got {self.context!r}, expected 'exact' or 'streaming'")
        if self.context == "streaming" and self.inference == "plain":
            raise ConfigError("context: got 'streaming' with inference 'plain', expected inference 'fast': only its buffers can be built in parts")


class Planner:
    """Window + command → K trajectories, one selected. State: contexts that can still grow, and the last drivable plan."""

    def __init__(
        self, model: VaVAM, *, model_id: str, command_ids: Mapping[Command, int], config: PlannerConfig, device: torch.device, clock: Clock | None = None
    ) -> None:
        """`command_ids`: the number that this model knows each command by (`ModelCard.command_ids`)."""
        self._model_id, self._config, self._clock = model_id, config, clock
        self._command_ids = dict(command_ids)
        self._model = for_inference(model, config.inference, samples=config.samples)
        self._on_gpu = device.type == "cuda"
        self._inputs = torch.device("cpu") if isinstance(self._model, FastVaVAM) else device  # the fast path places them itself, without waiting
        self._contexts: ContextKeeper
        if isinstance(self._model, FastVaVAM) and config.context == "streaming":
            self._contexts = StreamingContexts(self._model, config.max_contexts, config.keep_frames)
        else:
            self._contexts = ExactContexts(self._model, config.max_contexts, self._inputs)
        self._previous: Plan | None = None

    def reset(self) -> None:
        """Forget contexts and the last plan: a new epoch begins."""
        self._contexts.reset()
        self._previous = None

    @property
    def buffer_bytes(self) -> int | None:
        """Memory of the fast path's keys and values; None for the plain one, which does not keep count."""
        return self._model.buffer_bytes if isinstance(self._model, FastVaVAM) else None

    @torch.inference_mode()
    def step(self, window: Window, command: Command) -> Plan:
        """Plan from the newest frame of `window`.

        Same window, command, seed and history of windows: the same plan bit for bit (on one device with one thread count).
        """
        self._follow_epoch(window)
        timer = StageTimer(self._clock)
        held = self._contexts.of(window)
        timer.lap("context")
        commands = torch.full((self._config.samples,), self._command_ids[command], dtype=torch.int64, device=self._inputs)
        xy = self._model.sample(held.context, self._noise(window), commands, steps=self._config.steps).to("cpu", torch.float32).numpy()  # (K, H, 2)
        timer.lap("denoise")
        return self._select(held.frames, command, xy, timer)

    @torch.inference_mode()
    def prepare(self) -> tuple[tuple[str, float], ...]:
        """Work ahead for the next frame, after a plan was passed on; left undone, it is done in `step`. Returns its stage time, nothing if there was none."""
        if self._config.context == "exact":
            return ()
        timer = StageTimer(self._clock)
        if self._contexts.prepare():
            timer.lap("prepare")
        return timer.stage_ms

    @torch.inference_mode()
    def step_many(self, windows: Sequence[Window], commands: Sequence[Command]) -> list[Plan]:
        """The plans that `step` gives one after the other, up to rounding: windows of one length go through the network together.

        For work offline. Every context is computed whole and none is kept; memory grows with the number of windows. Raises ConfigError when streaming.
        """
        if self._config.context == "streaming":
            raise ConfigError("many windows at once: got context 'streaming', expected 'exact'")
        self._contexts.reset()
        timer = StageTimer(self._clock)
        drawn: dict[int, np.ndarray] = {}
        for length in sorted({len(w.frames) for w in windows}):
            chosen = [i for i, w in enumerate(windows) if len(w.frames) == length]
            context = self._model.context(torch.cat([stacked_tokens(windows[i].frames, self._inputs) for i in chosen]))
            noise = torch.stack([self._noise(windows[i]) for i in chosen])  # (B, K, H, 2)
            codes = torch.tensor([[self._command_ids[commands[i]]] for i in chosen], dtype=torch.int64, device=self._inputs).expand(noise.shape[:2])
            xy = self._model.sample(context, noise, codes, steps=self._config.steps).to("cpu", torch.float32).numpy()
            drawn |= dict(zip(chosen, xy, strict=True))
        timer.lap("network")
        shared = tuple((stage, ms / max(1, len(windows))) for stage, ms in timer.stage_ms)
        plans = []
        for i, (window, command) in enumerate(zip(windows, commands, strict=True)):
            self._follow_epoch(window)
            plan = self._select(window.frames, command, drawn[i], StageTimer(self._clock))
            plans.append(replace(plan, stage_ms=(*shared, *plan.stage_ms)))
        return plans

    def _follow_epoch(self, window: Window) -> None:
        if self._previous is not None and self._previous.epoch != window.newest.epoch:
            self.reset()

    def _noise(self, window: Window) -> torch.Tensor:
        """(K, H, 2), of the seed and, where it is fresh, the newest frame's stamp."""
        action = self._model.spec.action
        stamp_ns = window.newest.stamp_ns if self._config.noise == "fresh" else 0
        return plan_noise(self._config.seed, stamp_ns, (self._config.samples, action.horizon, action.action_dim), device=self._inputs)

    def _select(self, frames: tuple[TokenFrame, ...], command: Command, xy: np.ndarray, timer: StageTimer) -> Plan:
        """`frames`: those of the context, oldest first."""
        newest, spec, cfg, previous = frames[-1], self._model.spec, self._config, self._previous
        speed_mps = float(newest.pose.linear_mps[0])
        expected = expected_waypoints(previous, newest.pose, spec.waypoint_dt_s) if previous is not None else None
        violations = [validate(sample, spec.waypoint_dt_s, speed_mps, cfg.limits, expected) for sample in xy]
        selection = select(
            xy,
            rule=cfg.selection,
            previous=previous,
            pose=newest.pose,
            dt_s=spec.waypoint_dt_s,
            valid=np.array([not v for v in violations]),
        )
        timer.lap("select")
        plan = Plan(
            stamp_ns=newest.stamp_ns,
            epoch=newest.epoch,
            model_id=self._model_id,
            command=command,
            xy_ego_m=xy,
            dt_s=spec.waypoint_dt_s,
            selection=selection,
            violations=violations[selection.index],
            context_stamps_ns=tuple(f.stamp_ns for f in frames),
            pose=newest.pose,
            canonical=all(f.canonical for f in frames),
            stage_ms=timer.stage_ms,
        )
        if not plan.violations:
            self._previous = plan
        return plan

    def warm_up(self, runs: int = 2) -> None:
        """Plan from blank frames, so that the first real plan is not the slow one. Leaves no trace in the state.

        On a GPU the fast path records a graph for each length of context that a drive comes by: from the first frame until the window has slid a full turn.
        """
        spec = self._model.spec
        full = spec.video.frames
        pose = EgoPose(
            stamp_ns=0, odom_frame_id="", T_odom_ego=np.eye(4), linear_mps=np.zeros(3), angular_radps=np.zeros(3), quality=PoseQuality.UNKNOWN
        )
        blank = np.zeros((spec.video.grid_h, spec.video.grid_w), np.uint16)
        recorded = self._on_gpu and isinstance(self._model, FastVaVAM)
        phases = self._config.max_contexts if recorded else 1
        ends = range(1, 3 * full + 1) if recorded else range(full, full + runs)
        self.reset()
        for end in ends:
            for phase in range(phases):
                frames = tuple(
                    TokenFrame(
                        stamp_ns=i * phases + phase,
                        epoch=-1,
                        camera_frame_id="",
                        tokens=blank,
                        codebook_size=1,
                        tokenizer_id="",
                        camera_id="",
                        canonical=True,
                        coverage=1.0,
                        pose=pose,
                    )
                    for i in range(max(0, end - full), end)
                )
                self.step(Window(frames=frames, slot_error_s=(0.0,) * len(frames)), Command.STRAIGHT)
                self.prepare()
        self.reset()
