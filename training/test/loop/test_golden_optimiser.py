"""Three steps of the reference's optimiser and its learning rates, reproduced: test/golden/vavam (what the arrays hold: README there)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import next_token_loss
from vavam_ros.core.upstream.checkpoints import open_checkpoint
from vavam_ros.core.upstream.key_table import upstream_to_native
from vavam_training.loop.optim import OptimConfig, adamw, mup_groups_video, set_rate
from vavam_training.loop.schedule import ScheduleConfig, learning_rate

GOLDEN = Path(__file__).resolve().parents[3] / "test" / "golden" / "vavam"


def test_three_steps_of_mup_adamw_are_the_references() -> None:
    config = json.loads((GOLDEN / "config.json").read_text())["optimizer"]
    outputs, tokens = load_file(GOLDEN / "outputs.safetensors"), load_file(GOLDEN / "inputs.safetensors")["tokens"]
    video = open_checkpoint(GOLDEN / "vavam_ckpt_plain.pt", grid_hw=(3, 4)).build("cpu").video
    for p in video.parameters():
        p.requires_grad_(True)
    optimizer = adamw(mup_groups_video(video), OptimConfig(betas=tuple(config["betas"]), eps=config["eps"], weight_decay=config["weight_decay"]))
    losses, norms = [], []
    for _ in range(config["steps"]):
        optimizer.zero_grad()
        loss = next_token_loss(video(tokens), tokens)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(video.parameters(), config["grad_clip"])))
        set_rate(optimizer, config["lr"])
        optimizer.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(torch.tensor(losses), outputs["optim.losses"].float(), rtol=5e-4, atol=0)
    torch.testing.assert_close(torch.tensor(norms), outputs["optim.grad_norms_before_clip"].float(), rtol=5e-4, atol=0)
    native = dict(video.named_parameters())
    compared = 0
    for name, after in outputs.items():
        if name.startswith("optim.param_after."):
            ours = upstream_to_native("gpt." + name.removeprefix("optim.param_after.")) or ""
            torch.testing.assert_close(native[ours.removeprefix("video.")].detach(), after, rtol=0, atol=5e-4 * float(after.abs().max()))
            compared += 1
    assert compared == 5


PUBLISHED = {
    "pretrain": ScheduleConfig(lr=0.0041, total_steps=155_293, warmup_steps=15_529),
    "finetune": ScheduleConfig(lr=0.0041, total_steps=155_292, drop_steps=15_529, first_step=139_763),
    "action": ScheduleConfig(lr=0.0194, total_steps=7_251, warmup_steps=75, drop_steps=725),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_learning_rates_are_the_references(name: str) -> None:
    misc = load_file(GOLDEN / "misc.safetensors")
    for step, value in zip(misc[f"lr.{name}.step"].tolist(), misc[f"lr.{name}.value"].tolist(), strict=True):
        assert learning_rate(step, PUBLISHED[name]) == pytest.approx(value, rel=1e-6, abs=1e-12), step


def test_a_schedule_that_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="do not fit into 10"):
        ScheduleConfig(lr=1.0, total_steps=10, warmup_steps=6, drop_steps=5)
