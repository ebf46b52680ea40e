"""A run of seconds: tokens that follow a rule, a video model and an expert of a few thousand weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.core.spec import ActionSpec, FlowSpec, ModelSpec, VideoSpec
from vavam_training.contracts import DriveRows
from vavam_training.dataset import TokenWriter
from vavam_training.loop.config import LoopConfig, PlayerConfig
from vavam_training.loop.schedule import ScheduleConfig
from vavam_training.mixing import InMemoryDataset, Mixture, Part
from vavam_training.windows import WindowSpec

SPEC = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=17, frames=3, grid_h=2, grid_w=3, mup_base_width=16),
    action=ActionSpec(width=16, horizon=4, mup_base_width=8),
    flow=FlowSpec(steps=4, action_scale_m=10.0),
)


def rows(name: str, frames: int = 60, hz: float = 2.0, seed: int = 0, grid_hw: tuple[int, int] = (2, 3)) -> DriveRows:
    """A drive on a circle; each token is its left neighbour plus a step that turns with the frame."""
    rng = np.random.default_rng([seed, len(name)])
    stamps = (np.arange(frames) * NS_PER_S / hz).astype(np.int64)
    s = 3.0 * np.arange(frames) / hz
    heading = s / 20.0
    tokens = (np.arange(grid_hw[0] * grid_hw[1]).reshape(grid_hw) + np.arange(frames)[:, None, None] + rng.integers(0, 4)) % 16
    return DriveRows(
        name=name,
        source="made",
        stamp_ns=stamps,
        tokens=tokens.astype(np.uint16),
        position_m=np.stack([20.0 * np.sin(heading), 20.0 * (1.0 - np.cos(heading)), np.zeros(frames)], axis=1),
        rotation_wxyz=np.stack([np.cos(heading / 2), np.zeros(frames), np.zeros(frames), np.sin(heading / 2)], axis=1),
        speed_mps=np.full(frames, 3.0, np.float32),
        command=np.full(frames, 2, np.int8),
    )


def mixture(*, labelled: bool = False, seed: int = 0, drives: int = 4) -> Mixture:
    """Windows of a few such drives."""
    data = InMemoryDataset([rows(f"d{i}", seed=i) for i in range(drives)])
    return Mixture([Part(name="made", dataset=data)], WindowSpec.of(SPEC, labelled=labelled), seed)


def token_set(out: Path, *, grid_hw: tuple[int, int], codebook_size: int, drives: int = 3, tokenizer_id: str = "tok") -> Path:
    """The same on disk."""
    head = {"name": "made", "source": "made", "licence": "Apache-2.0", "domain": "synthetic_world", "tokenizer_id": tokenizer_id, "git_revision": ""}
    settings: dict[str, Any] = head | {"tokenizer": {}, "canonical_camera": {}, "grid_hw": grid_hw, "codebook_size": codebook_size}
    with TokenWriter(out, **settings) as writer:
        for i in range(drives):
            writer.write(rows(f"d{i}", seed=i, grid_hw=grid_hw))
        writer.finish()
    return out


def config(steps: int = 6, **changes: object) -> LoopConfig:
    """Eight windows a step, in parts of two."""
    player = PlayerConfig(schedule=ScheduleConfig(lr=0.01, total_steps=max(steps, 12), warmup_steps=2, drop_steps=3))
    usual: dict[str, object] = {"players": {"model": player}, "micro_batch": 2, "workers": 0, "log_every": 1, "save_every": 3}
    usual |= {"held_out_every": 3, "held_out_batches": 2, "pictures_every": 0}
    return LoopConfig(steps=steps, batch_size=8, **(usual | changes))  # type: ignore[arg-type]
