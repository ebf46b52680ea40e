"""A model at the wheel, by the core's pipeline alone: no nodes, no ROS, the same plans. READ vavam_ros/core/pipeline.py FIRST.

What the live nodes add (transport, time, the gate) is left out, so that many runs can be driven in little time; `world evaluate --driver vavam` drives
through them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import torch

from vavam_ros.core.artifact import LoadedArtifact, load_artifact
from vavam_ros.core.camera import CameraModel, Mount, ViewTransform
from vavam_ros.core.contracts import CameraImage, ConfigError, DensePath, Plan, Waiting, Window
from vavam_ros.core.geometry import place_path
from vavam_ros.core.pipeline import FrameEncoder, Planner, PlannerConfig, PlanScheduler
from vavam_ros.core.planning.selection import Rule
from vavam_world.contracts import IMAGE_EVERY_TICKS, TICK_S, CameraSpec, View, WorldError

PLANNER_SETTINGS = ("samples", "steps", "seed", "selection", "noise", "context", "keep_frames")
RATE_SETTING = "plan_rate_hz"
MAX_PLAN_AGE_S = 1.0  # as the nodes' default: an older one is not driven on, the follower then brakes


class ModelDriver:
    """State: the pipeline's (frames, contexts, the last plan)."""

    name = "vavam_direct"
    needs_image = True

    def __init__(self, model: Path | str, *, frames: int | None = None, planner: Sequence[str] = ()) -> None:
        """`model`: a model directory. `frames`: longest context, None = the model's; `planner`: settings of the planner (see `checked_settings`).

        Raises ArtifactError, and ConfigError where the model's context has not so many frames or a setting is not the planner's."""
        loaded = _loaded(str(model))
        spec = loaded.card.spec
        self.command_rule: str = loaded.card.command_rule
        config, self.plan_every_ticks = checked_settings(planner, spec.frame_dt_s)
        if frames is not None and not 1 <= frames <= spec.video.frames:
            raise ConfigError(f"frames: got {frames}, expected 1 to {spec.video.frames}, the model's")
        self._loaded, self._config, self._frames = loaded, config, frames
        self._camera: CameraSpec | None = None
        self.reset()

    def reset(self) -> None:
        """Before a new scenario."""
        card, device = self._loaded.card, torch.device("cpu")
        self._scheduler = PlanScheduler.for_model(
            card.spec, tokenizer_id=card.tokenizer_id, codebook_size=card.tokenizer.codebook_size, plan_rate_hz=1.0 / (self.plan_every_ticks * TICK_S)
        )
        self._planner = Planner(self._loaded.model, model_id=card.model_id, command_ids=card.command_ids, config=self._config, device=device)
        self._encoder: FrameEncoder | None = None
        self.plan_made: Plan | None = None  # the last drivable one
        self._path: DensePath | None = None

    def plan(self, view: View) -> DensePath:
        """The path of a new plan; of the last drivable one, where the new one breaks a limit. Raises WorldError without a picture."""
        if view.image is None:
            raise WorldError(f"{self.name}: got a view without a picture, expected one: give the loop a renderer")
        if self._encoder is None or view.camera != self._camera:
            self._camera = view.camera
            self._encoder = self._encoder_for(view.camera)
        frame = self._encoder.step(CameraImage(stamp_ns=view.stamp_ns, frame_id=view.camera.name, rgb=view.image), view.pose)
        due = self._scheduler.push(frame)
        if isinstance(due, Window):
            seen = slice(None if self._frames is None else -self._frames, None)
            plan = self._planner.step(replace(due, frames=due.frames[seen], slot_error_s=due.slot_error_s[seen]), view.command)
            if not plan.violations:
                self.plan_made = plan
        if self.plan_made is not None:
            path = place_path(self.plan_made, view.stamp_ns, max_plan_age_s=MAX_PLAN_AGE_S)
            if not isinstance(path, Waiting):
                self._path = path
        if self._path is None:
            raise WorldError(f"{self.name}: no drivable plan since the start; is this a trained model?")
        return self._path

    def _encoder_for(self, camera: CameraSpec) -> FrameEncoder:
        card = self._loaded.card
        mount = Mount(x_m=camera.x_m, y_m=camera.y_m, z_m=camera.z_m, roll_rad=camera.roll_rad, pitch_rad=camera.pitch_rad, yaw_rad=camera.yaw_rad)
        source = CameraModel(name=camera.name, width=camera.width, height=camera.height, K=camera.K, T_ego_camera=mount.T_ego_camera)
        view = ViewTransform(card.camera, card.tokenizer.image_hw, source=source)
        return FrameEncoder(self._loaded.tokenizer, view, device=torch.device("cpu"), dtype=torch.float32)


def planner_config(settings: Sequence[str]) -> PlannerConfig:
    """From texts like `samples=16`, `selection=medoid`, `steps=5`, `seed=1`, over the planner's defaults. Raises ConfigError."""
    given = dict(text.partition("=")[::2] for text in settings)
    if unknown := [name for name in given if name not in PLANNER_SETTINGS]:
        raise ConfigError(f"planner: got {', '.join(unknown)}, expected some of {', '.join((*PLANNER_SETTINGS, RATE_SETTING))}, as in samples=16")
    selection, context = given.pop("selection", PlannerConfig().selection), given.pop("context", PlannerConfig().context)
    noise = given.pop("noise", PlannerConfig().noise)
    if selection not in get_args(Rule):
        raise ConfigError(f"planner: got selection={selection}, expected one of {', '.join(get_args(Rule))}")
    try:
        numbers: dict[str, Any] = {name: int(text) for name, text in given.items()}
    except ValueError as error:
        raise ConfigError(f"planner: {error}; expected whole numbers for {', '.join(given)}") from error
    return PlannerConfig(selection=cast(Rule, selection), noise=cast(Any, noise), context=cast(Any, context), **numbers)


def as_set(planner: Sequence[str]) -> tuple[str, ...]:
    """Settings as they count, in order of their names: of a name that is given more than once the last one."""
    last = {text.partition("=")[0]: text for text in planner}
    return tuple(last[name] for name in sorted(last))


def checked_settings(planner: Sequence[str], frame_dt_s: float) -> tuple[PlannerConfig, int]:
    """The planner's configuration and the ticks from plan to plan, of texts as those two below take them. Raises ConfigError."""
    rates = [text for text in planner if text.partition("=")[0] == RATE_SETTING]
    return planner_config([text for text in planner if text not in rates]), plan_interval_ticks(rates, frame_dt_s)


def plan_interval_ticks(settings: Sequence[str], frame_dt_s: float) -> int:
    """Ticks from plan to plan, of `plan_rate_hz=10` (the last one counts) or, without it, of the model's frames: a picture is tokenized at each plan, and
    the frames of a context are `frame_dt_s` apart at any rate. Raises ConfigError where a plan has no picture, or the frames before it none."""
    frame_ticks = round(frame_dt_s / TICK_S)
    if not settings:
        return frame_ticks
    text = settings[-1].partition("=")[2]
    with contextlib.suppress(ValueError):
        for ticks in _ticks_with_frames(frame_ticks):
            if math.isclose(float(text) * ticks * TICK_S, 1.0):
                return ticks
    rates = ", ".join(f"{1.0 / (ticks * TICK_S):g}" for ticks in _ticks_with_frames(frame_ticks))
    raise ConfigError(f"planner: got {RATE_SETTING}={text}, expected one of {rates}: pictures come at 10 Hz and the model's frames are {frame_dt_s:g} s apart")


def _ticks_with_frames(frame_ticks: int) -> list[int]:
    """Distances of plans at which each has a picture, and so has the place of each frame before it."""
    return [ticks for ticks in range(IMAGE_EVERY_TICKS, frame_ticks + 1, IMAGE_EVERY_TICKS) if frame_ticks % ticks == 0]


@lru_cache(maxsize=1)
def _loaded(directory: str) -> LoadedArtifact:
    """This process's model: workers drive many scenarios with it."""
    return load_artifact(directory, "cpu")
