"""Weights of VaViM and VaVAM: their names here and upstream, their number, their first values."""

from __future__ import annotations

import math

import pytest
import torch
from small_model import SPEC, K, command_of
from torch import Tensor

from vavam_ros.core.model.network import VaVAM, VideoModel, init_weights
from vavam_ros.core.spec import VAVAM_S, ActionSpec, ModelSpec, VideoSpec
from vavam_ros.core.upstream.key_table import native_to_upstream, upstream_to_native


def test_key_table_covers_every_weight_both_ways() -> None:
    names = list(VaVAM(SPEC, device="meta").state_dict())
    upstream = [native_to_upstream(name) for name in names]
    assert None not in upstream
    assert len(set(upstream)) == len(names)
    assert [upstream_to_native(str(name)) for name in upstream] == names
    assert upstream_to_native("gpt.lm_head.weight") == upstream_to_native("joint_model.gpt.transformer.wie.weight") == "video.token_embedding.weight"
    for foreign in (
        "attn_mask",
        "gpt.transformer.h.0.attn.bias",
        "transformer.wie.weight",
        "gpt.gpt.transformer.wie.weight",
        "gpt.transformer.h.#.mlp.c_fc.weight",
    ):
        assert upstream_to_native(foreign) is None, foreign
    assert native_to_upstream("video.unheard_of.weight") is None


def test_released_sizes_have_the_published_parameter_counts() -> None:
    """Video and expert of S, as counted in the reference."""
    model = VaVAM(VAVAM_S, device="meta")
    assert sum(p.numel() for p in model.video.parameters()) == 182_901_504
    assert sum(p.numel() for p in model.action.parameters()) == 21_346_752


# -------------------------------------------------------------------------------------------------------------------------- initial weights


def test_initial_weights_have_the_reference_spreads() -> None:
    spec = ModelSpec(
        name="wide", video=VideoSpec(width=256, layers=2, head_size=64, vocabulary=300, grid_h=9, grid_w=16, mup_base_width=64), action=ActionSpec()
    )
    model = VaVAM(spec, device="cpu")
    init_weights(model, torch.Generator().manual_seed(0), video_std=0.02, action_std=0.01)
    state = model.state_dict()
    depth = 1 / math.sqrt(2 * 2)
    expected = {
        "video.token_embedding.weight": 0.02,
        "video.blocks.1.attention.out.weight": 0.02 / math.sqrt(4),
        "video.blocks.1.mlp.up.weight": 0.02 / math.sqrt(4),
        "video.blocks.1.mlp.down.weight": 0.02 / math.sqrt(4),
        "action.encoder.action_in.weight": 0.01,
        "action.encoder.mix.weight": 0.01 / math.sqrt(3),
        "action.blocks.0.mlp.up.weight": 0.01 / math.sqrt(3),
        "action.blocks.0.mlp.down.weight": 0.01 / math.sqrt(3) * depth,
        "action.blocks.0.attention.out.weight": 0.01 / math.sqrt(4) * depth,
    }
    for name, std in expected.items():
        assert float(state[name].std()) == pytest.approx(std, rel=0.08), name
    qkv = state["video.blocks.0.attention.qkv.weight"]
    assert not qkv[:256].any()
    assert float(qkv[256:].std()) == pytest.approx(0.01, rel=0.05)
    assert not state["action.readout.weight"].any()


def test_initial_weights_repeat_and_can_be_non_degenerate(tokens: Tensor, noise: Tensor) -> None:
    models = [VaVAM(SPEC, device="cpu") for _ in range(2)]
    for m in models:
        init_weights(m, torch.Generator().manual_seed(4), zero_query=False, readout_std=1.0)
    assert all(torch.equal(a, b) for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True))
    with torch.inference_mode():
        moved = models[0].sample(models[0].context(tokens[:1]), noise, command_of(K)) - SPEC.flow.action_scale_m * noise
        assert float(moved.abs().mean()) > 1.0
        video = VideoModel(SPEC.video, device="cpu")
        init_weights(video, torch.Generator().manual_seed(4))
        assert float(video(tokens).std()) > 0
