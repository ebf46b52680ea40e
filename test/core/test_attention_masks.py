"""Who sees whom: the masks as drawn, and attention that is what they say."""

from __future__ import annotations

import pytest
import torch
from small_model import SPEC, H, assert_close
from torch import Tensor

from vavam_ros.core.model.kv_context import action_mask, appended_mask, joint_mask
from vavam_ros.core.model.network import VaVAM, action_attention, video_attention


def draw(mask: Tensor) -> str:
    return "\n".join("".join("#" if x else "." for x in row) for row in mask.tolist())


def test_training_mask_as_drawn() -> None:
    """Three frames of two tokens, two waypoints: video rows first, then one group of action rows per frame."""
    assert draw(joint_mask(action_mask(3, 2, 2, device="cpu"), 2)) == "\n".join(
        [
            "#...........",
            "##..........",
            "###.........",
            "####........",
            "#####.......",
            "######......",
            "##....##....",
            "##....##....",
            "####....##..",
            "####....##..",
            "######....##",
            "######....##",
        ]
    )


def test_inference_mask_as_drawn() -> None:
    """Two frames of two tokens, three waypoints."""
    assert draw(joint_mask(torch.ones(3, 4, dtype=torch.bool), 3)) == "\n".join(
        ["#......", "##.....", "###....", "####...", "#######", "#######", "#######"],
    )


def test_appended_mask_as_drawn() -> None:
    """Three tokens after four: aligned bottom right, which `is_causal` would not be."""
    assert draw(appended_mask(4, 3, device="cpu")) == "\n".join(["#####..", "######.", "#######"])


def dense(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """Attention in plain matrix products: (A, rows, D) under a boolean mask (rows, columns)."""
    return (q @ k.mT * scale).masked_fill(~mask, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("held", [0, 1, 7])
@pytest.mark.parametrize("appended", [1, 5])
def test_video_attention_is_the_mask(held: int, appended: int) -> None:
    g = torch.Generator().manual_seed(4)
    q, k, v = torch.randn(3, 1, 2, held + appended, 8, generator=g, dtype=torch.float64)
    mask = appended_mask(held, appended, device="cpu")
    bias = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf) if held and appended > 1 else None
    got = video_attention(q[:, :, held:], k, v, 0.3, bias)
    torch.testing.assert_close(got[0], dense(q[0, :, held:], k[0], v[0], 0.3, mask).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("training", [False, True])
def test_action_attention_is_the_joint_mask(training: bool) -> None:
    """Groups folded into the query rows give what one softmax over [video; all actions] under the mask gives."""
    frames, s, groups, heads, size = 3, 4, 3, 2, 8
    g = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, 1, groups, heads, H, size, generator=g, dtype=torch.float64)
    context_k, context_v = torch.randn(2, 1, heads, frames * s, size, generator=g, dtype=torch.float64)
    sees = action_mask(frames, s, H, device="cpu") if training else None
    got = action_attention(q, k, v, context_k, context_v, 0.4, sees)
    mask = joint_mask(torch.ones(groups * H, frames * s, dtype=torch.bool) if sees is None else sees, H)[frames * s :]
    rows, own_k, own_v = (x[0].transpose(0, 1).flatten(1, 2) for x in (q, k, v))  # (A, G·H, D)
    want = dense(rows, torch.cat([context_k[0], own_k], 1), torch.cat([context_v[0], own_v], 1), 0.4, mask)
    torch.testing.assert_close(got[0].flatten(0, 1), want.transpose(0, 1).flatten(1))


@torch.inference_mode()
def test_a_token_changes_no_logits_before_it(model: VaVAM, tokens: Tensor) -> None:
    changed = tokens.clone()
    changed[:, 2, 1, 1] = (changed[:, 2, 1, 1] + 1) % SPEC.video.vocabulary
    position = 2 * 6 + 4
    before, after = model.video(tokens), model.video(changed)
    assert_close(after[:, :position], before[:, :position], 1e-6)
    assert float((after[:, position] - before[:, position]).abs().min()) > 0
