"""READ FIRST. The whole way from picture and odometry to a plan, in the order the data takes.

    CameraImage + EgoPose ─ FrameEncoder.step ─▶ TokenFrame ─ PlanScheduler.push ─▶ Window ─ Planner.step ─▶ Plan ─ place_path ─▶ DensePath

Live nodes and the offline replay call these same objects in the same order, so that the same stamps give the same plans bit for bit.

Shape letters: K samples · H waypoints · T frames · h w token grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from einops import rearrange

from vavam_ros.core.camera import ViewTransform, to_model_input
from vavam_ros.core.contracts import U16, CameraImage, Command, ConfigError, EgoPose, Plan, PoseQuality, TokenFrame, Waiting, Window
from vavam_ros.core.geometry import expected_waypoints
from vavam_ros.core.history.token_ring import RingConfig, RingOutcome, TokenRing
from vavam_ros.core.model.flow import plan_noise
from vavam_ros.core.model.network import Context, VaVAM
from vavam_ros.core.planning.selection import select
from vavam_ros.core.planning.validation import Limits, validate
from vavam_ros.core.spec import ModelSpec
from vavam_ros.core.tokenizer.vq16 import FrameTokenizer

Clock = Callable[[], float]
"""Seconds since any origin. On a GPU the caller's clock synchronises first, so that a stage is charged for its own work."""


class StageTimer:
    """Run times of the stages of one step, read from the caller's clock; without a clock there are no times."""

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._last = clock() if clock else 0.0
        self._stages: list[tuple[str, float]] = []

    def lap(self, stage: str) -> None:
        """Charge everything since the last lap to `stage`."""
        if self._clock:
            now = self._clock()
            self._stages.append((stage, (now - self._last) * 1e3))
            self._last = now

    @property
    def stage_ms(self) -> tuple[tuple[str, float], ...]:
        """(stage, milliseconds) in the order they ran."""
        return tuple(self._stages)


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
    """How many samples, how they are drawn and how one is chosen."""

    samples: int = 8
    steps: int | None = None  # None: the model's own number of Euler steps
    seed: int = 0
    selection: Literal["medoid", "continuity", "first"] = "continuity"
    limits: Limits = field(default_factory=Limits)
    max_contexts: int = 1  # growing contexts kept; one per phase when planning faster than the frame grid

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.steps is not None and self.steps < 1) or self.max_contexts < 1:
            raise ConfigError(f"samples {self.samples}, steps {self.steps} and max_contexts {self.max_contexts} must be at least 1")


class Planner:
    """Window + command → K trajectories, one selected. State: contexts that can still grow, and the last drivable plan."""

    def __init__(
        self, model: VaVAM, *, model_id: str, command_ids: Mapping[Command, int], config: PlannerConfig, device: torch.device, clock: Clock | None = None
    ) -> None:
        """`command_ids`: the number that this model knows each command by (`ModelCard.command_ids`)."""
        self._model, self._model_id, self._config, self._device, self._clock = model, model_id, config, device, clock
        self._command_ids = dict(command_ids)
        self._contexts: list[tuple[_ContextKey, Context]] = []  # oldest first
        self._previous: Plan | None = None

    def reset(self) -> None:
        """Forget contexts and the last plan: a new epoch begins."""
        self._contexts.clear()
        self._previous = None

    @torch.inference_mode()
    def step(self, window: Window, command: Command) -> Plan:
        """Plan from the newest frame of `window`.

        Same window, command, seed and history of windows: the same plan bit for bit (on one device with one thread count).
        """
        newest, spec, cfg = window.newest, self._model.spec, self._config
        if self._previous is not None and self._previous.epoch != newest.epoch:
            self.reset()
        timer = StageTimer(self._clock)
        context = self._context(window)
        timer.lap("context")
        noise = plan_noise(cfg.seed, newest.stamp_ns, (cfg.samples, spec.action.horizon, spec.action.action_dim), device=self._device)
        commands = torch.full((cfg.samples,), self._command_ids[command], dtype=torch.int64, device=self._device)
        xy = self._model.sample(context, noise, commands, steps=cfg.steps).to("cpu", torch.float32).numpy()  # (K, H, 2)
        timer.lap("denoise")
        plan = self._select(window, command, xy, timer)
        if not plan.violations:
            self._previous = plan
        return plan

    def _select(self, window: Window, command: Command, xy: np.ndarray, timer: StageTimer) -> Plan:
        newest, spec, cfg, previous = window.newest, self._model.spec, self._config, self._previous
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
        return Plan(
            stamp_ns=newest.stamp_ns,
            epoch=newest.epoch,
            model_id=self._model_id,
            command=command,
            xy_ego_m=xy,
            dt_s=spec.waypoint_dt_s,
            selection=selection,
            violations=violations[selection.index],
            context_stamps_ns=tuple(f.stamp_ns for f in window.frames),
            pose=newest.pose,
            canonical=all(f.canonical for f in window.frames),
            stage_ms=timer.stage_ms,
        )

    def _context(self, window: Window) -> Context:
        """The window's context: the longest kept one that it continues, extended by the missing frames, else computed whole."""
        key = _ContextKey.of(window)
        best = max((item for item in self._contexts if key.continues(item[0])), key=lambda item: len(item[0].stamps_ns), default=None)
        have = 0 if best is None else len(best[0].stamps_ns)
        if best is not None and have == len(window.frames):
            return best[1]
        # a full context cannot grow: drop it before the next one is made, not after, so that two never exist at once
        self._contexts = [item for item in self._contexts if len(item[0].stamps_ns) < self._model.spec.video.frames]
        stacked = np.stack([f.tokens.astype(np.int64) for f in window.frames[have:]])
        tokens = rearrange(torch.from_numpy(stacked).to(self._device), "t h w -> 1 t h w")
        context = self._model.context(tokens) if best is None else self._model.extend(best[1], tokens)
        if best is not None:
            self._contexts = [item for item in self._contexts if item is not best]
        self._contexts = [*self._contexts, (key, context)][-self._config.max_contexts :]
        return context

    def warm_up(self, runs: int = 2) -> None:
        """Plan from blank frames, so that the first real plan is not the slow one. Leaves no trace in the state."""
        spec = self._model.spec
        pose = EgoPose(
            stamp_ns=0, odom_frame_id="", T_odom_ego=np.eye(4), linear_mps=np.zeros(3), angular_radps=np.zeros(3), quality=PoseQuality.UNKNOWN
        )
        blank = np.zeros((spec.video.grid_h, spec.video.grid_w), np.uint16)
        frames = tuple(
            TokenFrame(
                stamp_ns=i, epoch=-1, camera_frame_id="", tokens=blank, codebook_size=1, tokenizer_id="", camera_id="", canonical=True, coverage=1.0, pose=pose
            )
            for i in range(spec.video.frames)
        )
        for _ in range(runs):
            self.reset()
            self.step(Window(frames=frames, slot_error_s=(0.0,) * len(frames)), Command.STRAIGHT)
        self.reset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContextKey:
    """Which frames a context was made from."""

    epoch: int
    stamps_ns: tuple[int, ...]

    @classmethod
    def of(cls, window: Window) -> _ContextKey:
        return cls(epoch=window.newest.epoch, stamps_ns=tuple(f.stamp_ns for f in window.frames))

    def continues(self, other: _ContextKey) -> bool:
        """This window begins with all of the other's frames."""
        return self.epoch == other.epoch and self.stamps_ns[: len(other.stamps_ns)] == other.stamps_ns
