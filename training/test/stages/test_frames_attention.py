"""The fused way of training on many plans a frame is the core's, in values and in gradients; a plan never sees a later frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vavam_ros.core.model import VaVAM
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_training.stages import frames_attention

SPEC = ModelSpec(
    name="tiny",
    video=VideoSpec(width=64, layers=3, head_size=32, vocabulary=33, frames=4, grid_h=3, grid_w=4, mup_base_width=64, attention_scale=6.0),
    action=ActionSpec(width=32, mup_base_width=32),
)
BATCH, PLANS = 2, 5


@pytest.fixture
def model() -> VaVAM:
    torch.manual_seed(0)
    made = VaVAM(SPEC, device="cpu")
    for p in made.parameters():  # all of them: a readout of zeros would hide everything before it
        torch.nn.init.normal_(p, std=0.2)
    return made.requires_grad_(True)


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """tokens (B, T, h, w), noisy (B, P·T, H, 2), time and command (B, P·T)."""
    g = torch.Generator().manual_seed(1)
    lead = (BATCH, PLANS * SPEC.video.frames)
    tokens = torch.randint(0, 33, (BATCH, SPEC.video.frames, 3, 4), generator=g)
    return tokens, torch.randn(*lead, 6, 2, generator=g), torch.rand(lead, generator=g), torch.randint(0, 3, lead, generator=g)


def test_it_is_available_where_training_runs_on_a_cpu() -> None:
    assert frames_attention.available(torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not frames_attention.available(torch.device("cpu"))
    assert not frames_attention.available(torch.device("cuda"))


def test_values_and_gradients_are_the_cores(model: VaVAM) -> None:
    tokens, noisy, time, command = inputs()
    weight = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(2))
    found = []
    for way in (model.velocity_of_frames, lambda *given: frames_attention.velocity_of_frames(model, *given)):
        model.zero_grad()
        velocity = way(model.video.context(tokens), noisy, time, command)
        (velocity * weight).sum().backward()
        found.append((velocity.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}))
    (core, core_grads), (fused, fused_grads) = found
    torch.testing.assert_close(fused, core, rtol=1e-5, atol=1e-5)
    assert core_grads.keys() == fused_grads.keys()
    assert "video.token_embedding.weight" in core_grads
    for name, grad in core_grads.items():
        torch.testing.assert_close(fused_grads[name], grad, rtol=1e-4, atol=1e-4 * float(grad.abs().max()), msg=lambda text, name=name: f"{name}: {text}")


def test_a_detached_context_gets_no_gradient_and_the_expert_the_same(model: VaVAM) -> None:
    tokens, noisy, time, command = inputs()
    with torch.no_grad():
        context = model.video.context(tokens)
    frames_attention.velocity_of_frames(model, context, noisy, time, command).square().mean().backward()
    assert all(p.grad is None for p in model.video.parameters())
    assert model.action.readout.weight.grad is not None


def test_a_plan_sees_no_later_frame(model: VaVAM) -> None:
    tokens, noisy, time, command = inputs()
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 33
    with torch.no_grad():
        before, after = (frames_attention.velocity_of_frames(model, model.video.context(t), noisy, time, command) for t in (tokens, changed))
    last = torch.arange(noisy.shape[1]) % SPEC.video.frames == SPEC.video.frames - 1
    assert torch.equal(before[:, ~last], after[:, ~last])
    assert not torch.isclose(before[:, last], after[:, last]).all()
