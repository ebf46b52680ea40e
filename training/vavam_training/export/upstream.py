"""A checkpoint in the file layout of the published VaViM and VaVAM checkpoints: names, aliases, configuration, muP base shapes, mask; plain types only.

Any kind of weights that `open_weights` reads can be written. What the layout has no place for (rows and columns of the token grid, the model's name,
tokenizer and camera) stays behind. Source of the layout: valeoai/VideoActionModel, commit 948f1f1, `load_inference_VAM` and `load_pretrained_gpt`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vavam_ros.core.artifact.model_card import REFERENCE_COMMANDS
from vavam_ros.core.contracts import ArtifactError, ConfigError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.model.kv_context import action_mask, joint_mask
from vavam_ros.core.spec import ModelSpec, VideoSpec
from vavam_ros.core.upstream.checkpoints import Upstream, open_checkpoint
from vavam_ros.core.upstream.key_table import native_to_upstream
from vavam_ros.core.upstream.mup_shapes import action_shapes, video_shapes
from vavam_training.loop.optim import OptimConfig
from vavam_training.revision import git_revision
from vavam_training.stages.action import ActionOptions
from vavam_training.stages.video import VideoOptions
from vavam_training.weights import OpenedWeights, open_weights

LAYOUT = "2.4.0"  # of Lightning, which migrates a checkpoint by it
GRID_DT_S = 0.5  # the layout has no place for another
PUBLISHED_LR = {"vavim": 0.0041, "vavam": 0.0194}


def export_upstream(run: Path, out: Path, grid_hw: tuple[int, int] | None = None) -> Upstream:
    """Write `out` (.pt) and return it as read back; it appears only when it reads back equal. `grid_hw`: of `run`, where that is such a file itself.

    Raises ConfigError for a model that the layout cannot describe, else as `open_weights`."""
    opened = open_weights(run, grid_hw=grid_hw)
    content = upstream_content(opened)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    try:
        torch.save(content, part)
        _check(part, opened)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return open_checkpoint(out, grid_hw=_grid(opened))


def upstream_content(opened: OpenedWeights) -> dict[str, Any]:
    """What the file holds. Raises ConfigError for a model that the layout cannot describe."""
    model = opened.model
    _check_rates(opened)
    if isinstance(model, VaVAM):
        state, settings, shapes = _vavam(model, opened)
    else:
        state, settings, shapes = _vavim(model, opened)
    return {
        "epoch": 0,
        "global_step": opened.step,
        "pytorch-lightning_version": LAYOUT,
        "state_dict": state,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": settings,
        "git_sha": git_revision() or None,
        "model_class_path": "vam.action_expert.action_learning.ActionLearning"
        if opened.kind == "vavam"
        else "vam.video_pretraining.next_token_predictor.NextTokenPredictor",
        **shapes,
    }


def _vavam(model: VaVAM, opened: OpenedWeights) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    spec, v, a = model.spec, model.spec.video, model.spec.action
    named = _named(model.state_dict())
    named["gpt.lm_head.weight"] = named["gpt.transformer.wie.weight"]
    named |= {f"joint_model.{name}": tensor for name, tensor in named.items()}
    named["attn_mask"] = joint_mask(action_mask(v.frames, v.tokens_per_frame, a.horizon, device="cpu"), a.horizon)
    options = _options(opened)
    expert = {
        "_target_": "vam.action_expert.MupActionExpert",
        "embedding_dim": a.width,
        "attention_dim": v.width,
        "action_dim": a.action_dim,
        "action_horizon": a.horizon,
        "number_high_level_command": a.commands,
        "max_period": a.max_period,
        "nb_layers": v.layers,
        "dim_heads": v.head_size,
        "mlp_dim_mult": a.mlp_ratio,
        "init_std": options.get("init_std", ActionOptions().init_std),
        **({} if v.attention_scale == 1.0 else {"attn_scale": v.attention_scale}),
    }
    # An OrderedDict, not a dict: the reference's loader sets attributes on it. Those are all None here, as it would make them.
    vam = OrderedDict(
        _target_="vam.action_expert.VideoActionModel",
        _recursive_=False,
        finetuning_timesteps=v.frames,
        num_inference_steps=spec.flow.steps,
        flow_sig_min=spec.flow.sigma_min,
        final_action_clip_value=spec.flow.clip,
        action_scaling=spec.flow.action_scale_m,
        gpt_mup_base_shapes=None,
        gpt_checkpoint_path=None,
        gpt_config=_video_config(v, "vam.video_pretraining.MupGPT2", options.get("video_init_std", VideoOptions().init_std)),
        action_mup_base_shapes=None,
        action_checkpoint_path=None,
        action_config=expert,
    )
    flow = {"flow_sampling": options.get("time", ActionOptions().time), "flow_alpha": 1.5, "flow_beta": 1.0}
    settings = {"vam_conf": vam, **_training(opened), **flow, "compile": False, "log_norm": False, "grad_logging": 0}
    shapes = {
        "gpt_mup_base_shapes": video_shapes(v, v.mup_base_width),
        "action_mup_base_shapess": action_shapes(v, a, a.mup_base_width, v.mup_base_width),  # the key's spelling is the layout's
    }
    return {f"vam.{name}": tensor for name, tensor in named.items()}, settings, shapes


def _vavim(model: VideoModel, opened: OpenedWeights) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    v = model.spec
    named = {name.removeprefix("gpt."): tensor for name, tensor in _named({f"video.{n}": t for n, t in model.state_dict().items()}).items()}
    named["lm_head.weight"] = named["transformer.wie.weight"]
    shapes = video_shapes(v, v.mup_base_width)
    settings = {
        "network": _video_config(v, "vam.video_pretraining.mup_gpt2.MupGPT2", _options(opened).get("init_std", VideoOptions().init_std)),
        **_training(opened),
        "compile": False,
        "log_norm": False,
        "mup_base_shapes": shapes,
        "statedict_ckpt_path": None,
        "is_finetuning": (opened.meta or {}).get("stage") == "finetune",
    }
    return {f"network.{name}": tensor for name, tensor in named.items()}, settings, {"mup_base_shapes": shapes}


def _named(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Upstream's names, each tensor in a storage of its own: a view would bring all of its storage into the file."""
    return {str(native_to_upstream(name)): tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def _video_config(v: VideoSpec, target: str, init_std: float) -> dict[str, Any]:
    scales = {"attn_scale": v.attention_scale, "output_scale": v.output_scale}
    return {
        "_target_": target,
        "embedding_dim": v.width,
        "nb_layers": v.layers,
        "dim_heads": v.head_size,
        "mlp_dim_mult": v.mlp_ratio,
        "vocabulary_size": v.vocabulary,
        "nb_timesteps": v.frames,
        "nb_tokens_per_timestep": v.tokens_per_frame,
        "init_std": init_std,
        "output_tied": True,
        **{name: scale for name, scale in scales.items() if scale != 1.0},
    }


def _training(opened: OpenedWeights) -> dict[str, Any]:
    """Optimiser and schedule: the run's; of weights without a run the published ones, which no loader reads."""
    player = _notes(opened).get("loop", {}).get("players", {}).get("model", {})
    optim = asdict(OptimConfig()) | dict(player.get("optim", {}))
    schedule = {"lr": PUBLISHED_LR[opened.kind], "total_steps": opened.step or 0, "warmup_steps": 0, "drop_steps": 0, "first_step": 0}
    schedule |= dict(player.get("schedule", {}))
    return {
        "optimizer_conf": {
            "lr": schedule["lr"],
            "weight_decay": optim["weight_decay"],
            "betas": list(optim["betas"]),
            "eps": optim["eps"],
            "decoupled_wd": True,
        },
        "scheduler_conf": {
            "_target_": "vam.utils.WarmupStableDrop",
            "warmup_iter": schedule["warmup_steps"],
            "end_iter": schedule["total_steps"],
            "drop_iter": schedule["drop_steps"],
            "num_iter": schedule["first_step"],
            "is_finetuning": (opened.meta or {}).get("stage") == "finetune",
        },
    }


def _notes(opened: OpenedWeights) -> dict[str, Any]:
    notes = (opened.meta or {}).get("notes")
    return notes if isinstance(notes, dict) else {}


def _options(opened: OpenedWeights) -> dict[str, Any]:
    options = _notes(opened).get("options")
    return options if isinstance(options, dict) else {}


def _grid(opened: OpenedWeights) -> tuple[int, int]:
    v = opened.spec.video if isinstance(opened.spec, ModelSpec) else opened.spec
    return v.grid_h, v.grid_w


def _check_rates(opened: OpenedWeights) -> None:
    spec, card = opened.spec, opened.card
    if isinstance(spec, ModelSpec) and (spec.frame_dt_s, spec.waypoint_dt_s) != (GRID_DT_S, GRID_DT_S):
        got = f"frames every {spec.frame_dt_s} s and waypoints every {spec.waypoint_dt_s} s"
        raise ConfigError(f"{opened.source}: got {got}; an upstream-format file has no place for it, expected {GRID_DT_S} s for both")
    if card is not None and opened.kind == "vavam" and dict(card.command_map or {}) != REFERENCE_COMMANDS:
        got = f"command numbers {dict(card.command_map or {})}"
        raise ConfigError(f"{opened.source}: got {got}; an upstream-format file has no place for them, expected {REFERENCE_COMMANDS}")


def _check(path: Path, opened: OpenedWeights) -> None:
    """Raise ArtifactError unless the file reads back as the model that was written."""
    found = open_checkpoint(path, grid_hw=_grid(opened))
    model = opened.model
    prefix = "" if isinstance(model, VaVAM) else "video."
    spec: object = found.spec if isinstance(model, VaVAM) else found.spec.video
    expected: object = model.spec
    if isinstance(model, VaVAM):
        spec, expected = ({k: v for k, v in s.to_dict().items() if k != "name"} for s in (found.spec, model.spec))
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    if spec != expected or found.tensors.keys() != state.keys() or any(not torch.equal(found.tensors[n].load(), t.cpu()) for n, t in state.items()):
        raise ArtifactError(f"{path}: reads back as another model than was written ({spec} for {expected}); nothing was kept")
