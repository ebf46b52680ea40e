"""Upstream VaVAM and VaViM checkpoints (Lightning .pt files of valeoai/VideoActionModel) as native models.

Prefixes are stripped at the start of a name only, every name is accounted for, tensors stored under several names must agree, and the muP
divisors are established and checked before any weight is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vavam_ros.core.artifact.tensor_files import Unfilled, fill, listed
from vavam_ros.core.contracts import ArtifactError, ConfigError
from vavam_ros.core.model.network import VaVAM, VideoModel
from vavam_ros.core.spec import PRESETS, ActionSpec, FlowSpec, ModelSpec, VideoSpec
from vavam_ros.core.upstream.foreign_pickle import Archive, LazyTensor, plain
from vavam_ros.core.upstream.key_table import upstream_to_native
from vavam_ros.core.upstream.mup_shapes import (
    ACTION_READOUT,
    KNOWN,
    VIDEO_READOUT,
    action_shapes,
    as_shapes,
    base_width,
    check_base_shapes,
    given_base_shapes,
    video_shapes,
)

T = TypeVar("T")
Progress = Callable[[Sequence[T]], Iterable[T]]

KNOWN_GRIDS = {576: (18, 32)}
_ACTION_SHAPE_KEYS = ("action_mup_base_shapess", "action_mup_base_shapes")  # the first spelling is upstream's
_MASK = re.compile(r"attn_mask|(gpt\.)?transformer\.h\.\d+\.attn\.bias")  # no weights


def parse_grid(text: str | None) -> tuple[int, int] | None:
    """`HxW` → (H, W). Raises ArtifactError."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) for p in parts):
        raise ArtifactError(f"--grid: got {text!r}, expected rows and columns as HxW, for example 18x32")
    return int(parts[0]), int(parts[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A checkpoint that has been understood, its weights still in the file."""

    path: Path
    kind: Literal["vavam", "vavim"]
    spec: ModelSpec  # of a VaViM file the action part is the upstream expert for this width, without weights
    tensors: Mapping[str, LazyTensor]  # native names of a whole VaVAM, each tensor once
    step: int | None

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(t.shape) for t in self.tensors.values())

    def build(self, device: torch.device | str, progress: Progress[str] = lambda names: names) -> VaVAM | VideoModel:
        """The native model in fp32. Raises ArtifactError on a name, shape or value that does not fit."""
        with Unfilled():
            model = VaVAM(self.spec, device="meta") if self.kind == "vavam" else VideoModel(self.spec.video, device="meta")
        prefix = "" if self.kind == "vavam" else "video."
        weights: dict[str, Tensor] = {name.removeprefix(prefix): self.tensors[name].load().float() for name in progress(list(self.tensors))}
        fill(model, weights, str(self.path), device)
        return model


def open_checkpoint(
    path: Path | str, *, base_shapes: Sequence[str] = (), grid_hw: tuple[int, int] | None = None, progress: Progress[str] = lambda names: names
) -> Upstream:
    """Understand an upstream .pt file.

    `base_shapes`: .bsh files or known names, for files that do not hold the shapes themselves. `grid_hw`: token grid, where 576 tokens a frame
    (18×32) is not the case. Raises ArtifactError, DivisorError, ForeignPickleError or ConfigError.
    """
    path = Path(path)
    content = Archive(path).load()
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise ArtifactError(f"{path}: no state_dict at the top level, so not a VaVAM or VaViM checkpoint (a tokenizer goes to --tokenizer)")
    state = content["state_dict"]
    kind: Literal["vavam", "vavim"] = "vavam" if any(str(n).startswith("vam.") for n in state) else "vavim"
    tensors = _once(_stripped(state, "vam." if kind == "vavam" else "network.", path), kind, path, progress)
    settings = plain(content.get("hyper_parameters", {}))
    given = [given_base_shapes(s) for s in base_shapes]
    spec = (_vavam_spec if kind == "vavam" else _vavim_spec)(settings, content, given, grid_hw, path)
    expected = _expected(spec, kind)
    missing, unexpected = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or unexpected:
        raise ArtifactError(f"{path}: {len(missing)} tensors missing ({listed(missing)}), {len(unexpected)} unexpected ({listed(unexpected)})")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise ArtifactError(f"{path}: {name} has the shape {tensor.shape}, expected {expected[name]} from the configuration in the file")
    step = content.get("global_step")
    return Upstream(path=path, kind=kind, spec=spec, tensors=tensors, step=step if isinstance(step, int) else None)


def _stripped(state: Mapping[Any, Any], prefix: str, path: Path) -> dict[str, LazyTensor]:
    """Names without their prefix. Every name must begin with the prefix and stand for a tensor."""
    odd = [str(n) for n, t in state.items() if not str(n).startswith(prefix) or not isinstance(t, LazyTensor)]
    if odd:
        raise ArtifactError(
            f"{path}: {len(odd)} entries of state_dict are not tensors named {prefix}… ({listed(odd)}); expected a VaVAM (vam.) or VaViM (network.) file"
        )
    return {str(n).removeprefix(prefix): t for n, t in state.items()}


def _once(named: Mapping[str, LazyTensor], kind: str, path: Path, progress: Progress[str]) -> dict[str, LazyTensor]:
    """Native name → tensor, each once. Raises ArtifactError on unknown names, and where two names of one tensor hold different values."""
    native = {n: upstream_to_native(n if kind == "vavam" else f"gpt.{n}") for n in named}
    unknown = [n for n, found in native.items() if found is None and not _MASK.fullmatch(n)]
    if unknown:
        raise ArtifactError(f"{path}: {len(unknown)} tensors of state_dict are not part of {kind} ({listed(unknown)})")
    kept: dict[str, tuple[str, LazyTensor]] = {}
    for name in progress([n for n, found in native.items() if found is not None]):
        first, tensor = kept.setdefault(str(native[name]), (name, named[name]))
        other = named[name]
        if not tensor.same_place(other) and (tensor.shape != other.shape or not torch.equal(tensor.load(), other.load())):
            raise ArtifactError(
                f"{path}: {first} and {name} are one tensor in the model but differ in the file: "
                "it was changed after training, or its output layer is not tied; neither can be converted"
            )
    return {n: tensor for n, (_, tensor) in kept.items()}


def _section(settings: Any, names: Sequence[str], path: Path) -> Mapping[str, Any]:
    """A part of hyper_parameters."""
    value = settings
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        raise ArtifactError(f"{path}: hyper_parameters.{'.'.join(names)} is missing; without it sizes and rates are unknown")
    return value


def _take(section: Mapping[str, Any], key: str, kind: type[T], path: Path) -> T:
    value = section.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ArtifactError(f"{path}: configuration value {key}: got {value!r}, expected {kind.__name__}")
    return value


def _video_spec(config: Mapping[str, Any], base: int, grid_hw: tuple[int, int] | None, path: Path) -> VideoSpec:
    tokens = _take(config, "nb_tokens_per_timestep", int, path)
    grid = grid_hw or KNOWN_GRIDS.get(tokens)
    if grid is None or grid[0] * grid[1] != tokens:
        got = f"grid {grid[0]}x{grid[1]}" if grid else "no grid"
        raise ConfigError(f"{path}: a frame has {tokens} tokens, got {got}: give its rows and columns with --grid HxW")
    return VideoSpec(
        width=_take(config, "embedding_dim", int, path),
        layers=_take(config, "nb_layers", int, path),
        head_size=_take(config, "dim_heads", int, path),
        mlp_ratio=_take(config, "mlp_dim_mult", int, path),
        vocabulary=_take(config, "vocabulary_size", int, path),
        frames=_take(config, "nb_timesteps", int, path),
        grid_h=grid[0],
        grid_w=grid[1],
        mup_base_width=base,
        attention_scale=float(config.get("attn_scale", 1.0)),
        output_scale=float(config.get("output_scale", 1.0)),
    )


def _named(spec: ModelSpec, kind: str) -> ModelSpec:
    """A released size under its name, any other under its width."""
    for preset in PRESETS.values():
        if kind == "vavam" and replace(spec, name=preset.name) == preset:
            return preset
        if kind == "vavim" and spec.video == preset.video:
            return replace(spec, name=preset.name.replace("vavam", "vavim"))
    return spec


def _base(stored: Any, given: Sequence[Any], readout: str, layers: int, what: str) -> tuple[int, Any]:
    """`base_width` with that one of the user's base shapes which has this readout."""
    fitting = [g for g in given if (readout in g if isinstance(g, Mapping) else (readout == ACTION_READOUT) == (KNOWN[g].action_width is not None))]
    return base_width(stored, fitting[0] if fitting else None, readout, layers, what)


def _vavam_spec(settings: Any, content: Mapping[str, Any], given: Sequence[Any], grid_hw: tuple[int, int] | None, path: Path) -> ModelSpec:
    vam = _section(settings, ("vam_conf",), path)
    gpt, act = _section(settings, ("vam_conf", "gpt_config"), path), _section(settings, ("vam_conf", "action_config"), path)
    layers = _take(gpt, "nb_layers", int, path)
    stored_action = next((content[k] for k in _ACTION_SHAPE_KEYS if k in content), vam.get("action_mup_base_shapes"))
    v_base, v_shapes = _base(plain(content.get("gpt_mup_base_shapes", vam.get("gpt_mup_base_shapes"))), given, VIDEO_READOUT, layers, f"{path}, video model")
    a_base, a_shapes = _base(plain(stored_action), given, ACTION_READOUT, layers, f"{path}, action expert")
    video = _video_spec(gpt, v_base, grid_hw, path)
    action = ActionSpec(
        width=_take(act, "embedding_dim", int, path),
        horizon=_take(act, "action_horizon", int, path),
        action_dim=_take(act, "action_dim", int, path),
        commands=_take(act, "number_high_level_command", int, path),
        mlp_ratio=_take(act, "mlp_dim_mult", int, path),
        max_period=_take(act, "max_period", float, path),
        mup_base_width=a_base,
    )
    same = {"nb_layers": layers, "dim_heads": video.head_size, "attention_dim": video.width}
    for key, want in same.items():
        if _take(act, key, int, path) != want:
            raise ArtifactError(f"{path}: action_config.{key}: got {act[key]}, expected the video model's {want}")
    if float(act.get("attn_scale", 1.0)) != video.attention_scale or float(act.get("output_scale", 1.0)) != 1.0:
        raise ArtifactError(f"{path}: the expert has its own attn_scale or output_scale, which this model does not know; upstream's configurations use 1.0")
    clip = vam.get("final_action_clip_value")
    flow = FlowSpec(
        steps=_take(vam, "num_inference_steps", int, path),
        sigma_min=_take(vam, "flow_sig_min", float, path),
        action_scale_m=_take(vam, "action_scaling", float, path),
        clip=None if clip is None else float(clip),
    )
    _check_video(video, v_shapes, path)
    actual, base = action_shapes(video, action, action.width, video.width), action_shapes(video, action, a_base, v_base)
    check_base_shapes(a_shapes, actual, base, f"{path}, action expert")
    return _named(ModelSpec(name=f"vavam-{video.width}", video=video, action=action, flow=flow), "vavam")


def _vavim_spec(settings: Any, content: Mapping[str, Any], given: Sequence[Any], grid_hw: tuple[int, int] | None, path: Path) -> ModelSpec:
    network = _section(settings, ("network",), path)
    stored = plain(content.get("mup_base_shapes", settings.get("mup_base_shapes")))
    if as_shapes(stored) is None and as_shapes(settings.get("mup_base_shapes")) is not None:
        stored = settings["mup_base_shapes"]
    base, shapes = _base(stored, given, VIDEO_READOUT, _take(network, "nb_layers", int, path), f"{path}, video model")
    video = _video_spec(network, base, grid_hw, path)
    _check_video(video, shapes, path)
    action = ActionSpec(width=max(video.width // 8 * 2, 2))  # upstream's experts are a quarter as wide
    return _named(ModelSpec(name=f"vavim-{video.width}", video=video, action=action), "vavim")


def _check_video(video: VideoSpec, shapes: Any, path: Path) -> None:
    check_base_shapes(shapes, video_shapes(video, video.width), video_shapes(video, video.mup_base_width), f"{path}, video model")


def _expected(spec: ModelSpec, kind: str) -> dict[str, tuple[int, ...]]:
    """Native name → shape of everything that the file must hold."""
    upstream = {f"gpt.{n}": s for n, s in video_shapes(spec.video, spec.video.width).items()}
    if kind == "vavam":
        upstream |= {f"action_expert.{n}": s for n, s in action_shapes(spec.video, spec.action, spec.action.width, spec.video.width).items()}
    return {str(upstream_to_native(n)): s for n, s in upstream.items()}
