"""Writes files as upstream's training leaves them, from a native model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vavam_ros.core.model import VaVAM, init_weights
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.core.upstream.key_table import native_to_upstream
from vavam_ros.core.upstream.mup_shapes import action_shapes, video_shapes

TINY = ModelSpec(
    name="vavam-32",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=3, grid_h=2, grid_w=3, mup_base_width=16),
    action=ActionSpec(width=8, horizon=4, mup_base_width=4),
)


def make_model(spec: ModelSpec = TINY, seed: int = 0) -> VaVAM:
    model = VaVAM(spec, device="cpu")
    init_weights(model, torch.Generator("cpu").manual_seed(seed), zero_query=False, readout_std=0.2)
    return model.eval().requires_grad_(False)


def upstream_state(model: VaVAM) -> dict[str, Tensor]:
    """Upstream names without prefix, no aliases."""
    state = {}
    for name, tensor in model.state_dict().items():
        upstream = native_to_upstream(name)
        assert upstream is not None
        state[upstream] = tensor
    return state


def _gpt_config(v: VideoSpec) -> dict[str, Any]:
    return {
        "_target_": "vam.video_pretraining.MupGPT2",
        "embedding_dim": v.width,
        "nb_layers": v.layers,
        "dim_heads": v.head_size,
        "mlp_dim_mult": v.mlp_ratio,
        "vocabulary_size": v.vocabulary,
        "nb_timesteps": v.frames,
        "nb_tokens_per_timestep": v.tokens_per_frame,
        "init_std": 0.02,
    }


def vavam_content(model: VaVAM) -> dict[str, Any]:
    """A VaVAM checkpoint: every tensor twice, the readout four times, a mask, and base shapes under the misspelt key."""
    spec, v, a = model.spec, model.spec.video, model.spec.action
    state = upstream_state(model)
    state["gpt.lm_head.weight"] = state["gpt.transformer.wie.weight"]
    state |= {f"joint_model.{n}": t for n, t in state.items()}
    state["attn_mask"] = torch.ones(5, 5, dtype=torch.bool)
    action = {
        "embedding_dim": a.width, "attention_dim": v.width, "action_dim": 2, "action_horizon": a.horizon, "number_high_level_command": a.commands,
        "max_period": a.max_period, "nb_layers": v.layers, "dim_heads": v.head_size, "mlp_dim_mult": a.mlp_ratio,
    }  # fmt: skip
    conf = {
        "num_inference_steps": spec.flow.steps, "flow_sig_min": spec.flow.sigma_min, "final_action_clip_value": spec.flow.clip,
        "action_scaling": spec.flow.action_scale_m, "gpt_mup_base_shapes": "./mup_shapes/tiny.bsh", "gpt_config": _gpt_config(v), "action_config": action,
    }  # fmt: skip
    return {
        "global_step": 7251,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"vam.{n}": t for n, t in state.items()},
        "hyper_parameters": {"vam_conf": conf},
        "gpt_mup_base_shapes": video_shapes(v, v.mup_base_width),
        "action_mup_base_shapess": action_shapes(v, a, a.mup_base_width, v.mup_base_width),
    }


def vavim_content(model: VaVAM) -> dict[str, Any]:
    """A VaViM checkpoint, which holds only the path of its base shapes."""
    v = model.spec.video
    state = {n.removeprefix("gpt."): t for n, t in upstream_state(model).items() if n.startswith("gpt.")}
    state["lm_head.weight"] = state["transformer.wie.weight"]
    return {
        "global_step": 155_294,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"network.{n}": t for n, t in state.items()},
        "hyper_parameters": {"network": _gpt_config(v), "mup_base_shapes": "./mup_shapes/tiny.bsh"},
    }


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def write_base_shapes(path: Path, shapes: dict[str, tuple[int, ...]], fixed: tuple[int, ...] = ()) -> Path:
    """A .bsh file; sizes listed in `fixed` are written as null."""
    lines = ["# base shapes"]
    for name, sizes in shapes.items():
        lines += [f"{name}:", *(f"- {'null' if n in fixed else n}" for n in sizes)]
    path.write_text("\n".join(lines) + "\n")
    return path


def deeper(layers: int) -> ModelSpec:
    return replace(TINY, name="vavam-32", video=replace(TINY.video, layers=layers, mup_base_width=256))
