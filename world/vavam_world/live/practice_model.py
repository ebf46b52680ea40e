"""A model of a few kilobytes that has learned one thing: to go straight on at one speed, whatever it sees.

Faults and the plumbing of the control chain are tried with it. Random weights would not do: their plans do not pass validation, so nothing
would be followed. It learns in seconds, which also makes it the smallest example of the action loss at work.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vavam_ros.core.artifact import ModelCard, load_artifact, random_artifact, save_artifact
from vavam_ros.core.model.flow import sample_time_beta
from vavam_ros.core.spec import ActionSpec, FlowSpec, ModelSpec, VideoSpec
from vavam_ros.core.tokenizer import TokenizerSpec
from vavam_world.contracts import WORLD_CAMERA

PRACTICE = ModelSpec(
    name="practice",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=4, grid_h=3, grid_w=4, mup_base_width=16),
    action=ActionSpec(width=64, horizon=6, mup_base_width=16),
    flow=FlowSpec(steps=10, action_scale_m=15.0),
)
PRACTICE_TOKENIZER = TokenizerSpec(
    channels=8,
    encoder_multipliers=(1, 1, 1, 1, 1),
    decoder_multipliers=(1, 1, 1, 1, 1),
    res_blocks=1,
    latent=8,
    codebook_size=64,
    code_dim=8,
    groups=4,
    image_hw=(48, 64),
)


def practice_artifact(directory: Path, speed_mps: float = 3.5, *, steps: int = 1500, seed: int = 0) -> ModelCard:
    """Write the model to `directory`. Every plan: straight ahead at `speed_mps`, within some centimetres.

    Much above 3.5 m/s its plans are refused at standstill (they begin too far ahead: the limit `start`), so that it could not set off."""
    random_artifact(directory, PRACTICE, seed, tokenizer=PRACTICE_TOKENIZER, camera=WORLD_CAMERA.name)
    loaded = load_artifact(directory, device="cpu")
    model = loaded.model
    generator = torch.Generator("cpu").manual_seed(seed)
    video, action, flow = PRACTICE.video, PRACTICE.action, PRACTICE.flow
    ahead_m = speed_mps * PRACTICE.waypoint_dt_s * torch.arange(1, action.horizon + 1, dtype=torch.float32, device="cpu")
    batch = 16
    positions = torch.stack([ahead_m, torch.zeros_like(ahead_m)], dim=-1).expand(batch, video.frames, -1, -1)
    learned = list(model.action.parameters())
    for p in model.parameters():
        p.requires_grad_(False)
    for p in learned:
        p.requires_grad_(True)
    optimiser = torch.optim.AdamW(learned, lr=4e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        tokens = torch.randint(0, PRACTICE_TOKENIZER.codebook_size, (batch, video.frames, video.grid_h, video.grid_w), generator=generator)
        command = torch.randint(0, 3, (batch, video.frames), generator=generator)
        noise = torch.randn(positions.shape, generator=generator)
        time = sample_time_beta((batch, video.frames), flow.sigma_min, generator=generator, device="cpu")
        loss = model.action_loss(tokens, positions, noise, time, command)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        rate.step()
    card = loaded.card
    card = replace(loaded.card, domain="synthetic_world", trained=True, source=f"practice model, {speed_mps:g} m/s straight on, seed {seed}", notes="")
    return save_artifact(directory, card, model.eval(), loaded.tokenizer)


def plan_error_m(directory: Path, speed_mps: float) -> float:
    """Largest distance of any sampled waypoint from the straight line at `speed_mps`, over a few random contexts, metres."""
    model = load_artifact(directory, device="cpu").model
    generator = torch.Generator("cpu").manual_seed(1)
    want = np.stack([speed_mps * PRACTICE.waypoint_dt_s * np.arange(1, 7), np.zeros(6)], axis=-1)
    worst = 0.0
    with torch.inference_mode():
        for _ in range(4):
            tokens = torch.randint(0, 64, (1, 4, 3, 4), generator=generator)
            xy = model.sample(model.context(tokens), torch.randn((8, 6, 2), generator=generator), torch.full((8,), 2))
            worst = max(worst, float(np.linalg.norm(xy.numpy() - want, axis=-1).max()))
    return worst
