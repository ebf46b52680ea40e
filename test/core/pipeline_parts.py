"""What the tests of the pipeline share: pictures and poses of a drive, and what makes tokens, windows and plans of them."""

from __future__ import annotations

import numpy as np
import torch

from vavam_ros.core.artifact import LoadedArtifact
from vavam_ros.core.camera import CANONICAL_CAMERAS, ViewTransform
from vavam_ros.core.contracts import NS_PER_S, CameraImage, Command, EgoPose, Plan, TokenFrame, Window
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.history.token_ring import RingConfig
from vavam_ros.core.pipeline import FrameEncoder, Planner, PlannerConfig, PlanScheduler
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec

CPU = torch.device("cpu")
TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=4, grid_h=2, grid_w=4, mup_base_width=16),
    action=ActionSpec(width=8, horizon=6, mup_base_width=4),
)
START_NS = 100 * NS_PER_S


def pose(t_s: float, speed_mps: float = 8.0) -> EgoPose:
    return EgoPose(
        stamp_ns=START_NS + round(t_s * NS_PER_S),
        odom_frame_id="odom",
        T_odom_ego=planar_T(speed_mps * t_s, 0.0, 0.0),
        linear_mps=np.array([speed_mps, 0.0, 0.0]),
        angular_radps=np.zeros(3),
    )


def picture(t_s: float) -> CameraImage:
    rng = np.random.default_rng(round(t_s * 1000))
    return CameraImage(stamp_ns=START_NS + round(t_s * NS_PER_S), frame_id="camera", rgb=rng.integers(0, 256, (288, 512, 3), dtype=np.uint8))


def encoder(tiny: LoadedArtifact) -> FrameEncoder:
    view = ViewTransform(CANONICAL_CAMERAS["world_front"], (32, 64), "resize", None)
    return FrameEncoder(tiny.tokenizer, view, device=CPU, dtype=torch.float32)


def planner(tiny: LoadedArtifact, **config: object) -> Planner:
    return Planner(tiny.model, model_id=tiny.card.model_id, command_ids=tiny.card.command_ids, config=PlannerConfig(**config), device=CPU)  # type: ignore[arg-type]


def scheduler(tiny: LoadedArtifact, plan_rate_hz: float = 2.0, ring: RingConfig | None = None) -> PlanScheduler:
    card = tiny.card
    return PlanScheduler.for_model(
        card.spec, tokenizer_id=card.tokenizer_id, codebook_size=card.tokenizer.codebook_size, plan_rate_hz=plan_rate_hz, ring=ring
    )


def frames(tiny: LoadedArtifact, seconds: float, rate_hz: float = 10.0) -> list[TokenFrame]:
    enc = encoder(tiny)
    return [enc.step(picture(i / rate_hz), pose(i / rate_hz)) for i in range(round(seconds * rate_hz) + 1)]


def windows(tiny: LoadedArtifact, token_frames: list[TokenFrame], plan_rate_hz: float = 2.0) -> list[Window]:
    s = scheduler(tiny, plan_rate_hz)
    return [w for w in map(s.push, token_frames) if isinstance(w, Window)]


def plans(tiny: LoadedArtifact, found: list[Window], **config: object) -> list[Plan]:
    p = planner(tiny, **config)
    return [p.step(w, Command.STRAIGHT) for w in found]
