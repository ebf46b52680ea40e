"""Losses, gradients, optimiser steps and the discriminator of the reference's tokenizer, reproduced: test/golden/vq16 (what is in it: README there)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vavam_ros.core.tokenizer import VQ16, TokenizerSpec
from vavam_ros.core.tokenizer.vq16 import DROPPED_BUFFERS
from vavam_training.contracts import Batch
from vavam_training.loop.optim import OptimConfig, adamw, set_rate
from vavam_training.stages.tokenizer.discriminator import PatchDiscriminator
from vavam_training.stages.tokenizer.losses import hinge_discriminator, hinge_generator
from vavam_training.stages.tokenizer.stage import TokenizerNet, TokenizerOptions, TokenizerStage

GOLDEN = Path(__file__).resolve().parents[3] / "test" / "golden" / "vq16"
RECORD: dict[str, Any] = json.loads((GOLDEN / "training.json").read_text())
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    return load_file(GOLDEN / "training.safetensors")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load_file(GOLDEN / "inputs.safetensors")["A.image"]


def stage_and_net(entropy: float, discriminator: float = 0.0) -> tuple[TokenizerStage, TokenizerNet]:
    c = json.loads((GOLDEN / "config.json").read_text())
    spec = TokenizerSpec(
        channels=c["ch"], encoder_multipliers=tuple(c["enc"]), decoder_multipliers=tuple(c["dec"]), res_blocks=c["nrb"], latent=c["z"], codebook_size=c["K"],
        code_dim=c["D"], groups=c["groups"], image_hw=(64, 96),
    )  # fmt: skip
    vq = VQ16(spec, device="cpu")
    weights = load_file(GOLDEN / "weights.safetensors")
    vq.load_state_dict({name: value for name, value in weights.items() if name not in DROPPED_BUFFERS})
    options = TokenizerOptions(mse=1.0, commitment=0.25, entropy=entropy, discriminator_weight=discriminator, discriminator_from=0, discriminator_width=8)
    stage = TokenizerStage(spec, options, 0, initial=vq)
    return stage, stage.build(CPU)


def batch(images: Tensor) -> Batch:
    return Batch(tokens=torch.zeros((len(images), 0, 0, 0), dtype=torch.int64), source=torch.zeros(len(images), dtype=torch.int64), images=images)


def close(got: Tensor, wanted: Tensor, share: float) -> None:
    torch.testing.assert_close(got.detach(), wanted, rtol=0, atol=share * float(wanted.abs().max()))


def named(arrays: dict[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    found = [(name.removeprefix(prefix), value) for name, value in arrays.items() if name.startswith(prefix)]
    assert found
    yield from found


@pytest.mark.parametrize("run", ["noent", "ent"])
def test_losses_and_gradients(run: str, arrays: dict[str, Tensor], images: Tensor) -> None:
    stage, net = stage_and_net(RECORD[run]["entropy_ratio"])
    terms = stage.loss(net, batch(images), torch.Generator(), "generator", 0)
    wanted = RECORD[run]["losses"]
    assert float(terms.total.detach()) == pytest.approx(wanted["total"], rel=1e-5)
    for ours, theirs in (("mse", "rec_l2"), ("l1", "rec_l1"), ("codebook", "codebook"), ("commitment", "commit")):
        assert float(terms.parts[ours]) == pytest.approx(wanted[theirs], rel=1e-5), ours
    if run == "ent":
        assert float(terms.parts["entropy"]) == pytest.approx(wanted["entropy"], rel=1e-4)
    terms.total.backward()
    parameters = dict(net.vq.named_parameters())
    for name, gradient in named(arrays, f"{run}.grad."):
        found = parameters[name].grad
        assert found is not None
        close(found, gradient, 5e-4)


@pytest.mark.parametrize("run", ["noent", "ent"])
def test_three_steps_of_adam(run: str, arrays: dict[str, Tensor], images: Tensor) -> None:
    stage, net = stage_and_net(RECORD[run]["entropy_ratio"])
    optimizer = adamw(stage.groups(net, "generator"), OptimConfig(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, clip=1.0))
    chosen = []
    for step in RECORD[run]["adam_steps"]:
        optimizer.zero_grad()
        chosen.append(net.vq.encode(images).flatten())
        terms = stage.loss(net, batch(images), torch.Generator(), "generator", 0)
        assert float(terms.total.detach()) == pytest.approx(step["total"], rel=2e-3)
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(net.vq.parameters(), 1.0)
        set_rate(optimizer, 1e-4)
        optimizer.step()
    parameters = dict(net.vq.named_parameters())
    for name, after in named(arrays, f"{run}.after3."):
        close(parameters[name], after, 2e-3)
    if run == "noent":
        assert torch.equal(torch.cat(chosen), arrays["noent.codebook_used_tail"].long())


def test_the_discriminator_and_the_adversarial_losses(arrays: dict[str, Tensor], images: Tensor) -> None:
    _, net = stage_and_net(0.0, discriminator=0.5)
    critic = net.critic
    assert isinstance(critic, PatchDiscriminator)
    critic.load_state_dict(load_file(GOLDEN / "patchgan_weights.safetensors"))
    critic.eval()
    close(critic(images), arrays["gan.logits_real_eval"], 2e-5)
    critic.train()
    stage, _ = stage_and_net(0.0)
    made, _, total = stage._generator(net, images, batch(images), True, False)
    close(made, arrays["gan.decoded_train"], 2e-5)
    fake = critic(made)
    close(fake, arrays["gan.logits_fake_gen"], 2e-4)
    (total + 0.5 * hinge_generator(fake)).backward()
    parameters = dict(net.vq.named_parameters())
    for name, gradient in named(arrays, "gan.gen_grad."):
        found = parameters[name].grad
        assert found is not None
        close(found, gradient, 5e-4)
    critic.zero_grad()
    real, fake = critic(images), critic(made.detach())
    close(real, arrays["gan.logits_real"], 2e-4)
    close(fake, arrays["gan.logits_fake"], 2e-4)
    loss = hinge_discriminator(real, fake)
    (0.5 * loss).backward()
    of_critic = dict(critic.named_parameters())
    for name, gradient in named(arrays, "gan.disc_grad."):
        found = of_critic[name].grad
        assert found is not None
        close(found, gradient, 5e-4)
    buffers = dict(critic.named_buffers())
    for name, after in named(arrays, "gan.disc_buffer_after."):
        torch.testing.assert_close(buffers[name], after, rtol=1e-4, atol=1e-6)
    assert float(hinge_generator(arrays["gan.logits_fake_gen"])) == pytest.approx(RECORD["gan"]["hinge_gen"], rel=1e-5)
    assert float(loss.detach()) == pytest.approx(RECORD["gan"]["disc_hinge"], rel=1e-4)


def test_a_discriminator_of_the_published_size() -> None:
    assert sum(p.numel() for p in PatchDiscriminator(device="cpu").parameters()) == 2_765_633
