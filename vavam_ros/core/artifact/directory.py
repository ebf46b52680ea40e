"""A model on disk: model.yaml, model.safetensors, tokenizer.safetensors, golden.safetensors, written whole or not at all.

Weights are float32 on disk (or half of that, if they were rounded to it before), whatever the network later runs in. On load the card, the names,
shapes and values of all tensors, the ids and the golden output are checked, in this order and each with its own error; the golden output is replayed
in fp32 on the device, before any cast.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from vavam_ros.core.artifact.golden_check import record, replay
from vavam_ros.core.artifact.model_card import CARD_FILE, ModelCard, read_card, write_card
from vavam_ros.core.artifact.tensor_files import Unfilled, check_tensors, file_digest, fill, put, read_tensors, write_tensors
from vavam_ros.core.camera.camera_model import CANONICAL_CAMERAS
from vavam_ros.core.contracts import ArtifactError, ConfigError
from vavam_ros.core.model.network import VaVAM, VideoModel, init_weights
from vavam_ros.core.spec import SMALL, ModelSpec
from vavam_ros.core.tokenizer.random_init import init_tokenizer
from vavam_ros.core.tokenizer.vq16 import DROPPED_BUFFERS, VQ16, VQ16_RELEASED, VQ16_SMALL, TokenizerSpec, tokenizer_identity

MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE = "model.safetensors", "tokenizer.safetensors", "golden.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedArtifact:
    """A model that can plan, with its tokenizer, both on one device."""

    card: ModelCard
    model: VaVAM
    tokenizer: VQ16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedVideo:
    """A video model with its tokenizer: enough to dream, not to plan."""

    card: ModelCard
    video: VideoModel
    tokenizer: VQ16


def save_artifact(
    directory: Path | str, card: ModelCard, model: VaVAM | VideoModel, tokenizer: VQ16, *, stored: torch.dtype = torch.float32
) -> ModelCard:
    """Write a model directory in one step and return the card with its ids. An older model there is replaced, anything else is not.

    Models in another number format than float32 are refused: the file would hold less than was trained. `stored`: number format of the model's file; half
    of float32 takes half the space, but only for weights that were rounded to it before, so that what is loaded is what was given.
    """
    directory = Path(directory)
    kind = "vavam" if isinstance(model, VaVAM) else "vavim"
    model_spec = model.spec if isinstance(model, VaVAM) else replace(card.spec, video=model.spec)
    if model_spec != card.spec or tokenizer.spec != card.tokenizer or card.kind != kind:
        raise ConfigError(f"the card describes another model: card {card.kind} {card.spec} {card.tokenizer}; given {kind} {model_spec} {tokenizer.spec}")
    for what, module in (("model", model), ("tokenizer", tokenizer)):
        check_tensors(module.state_dict(), module.state_dict(), what)
    weights = {name: t.to(stored) for name, t in model.state_dict().items()}
    if any(not torch.equal(weights[name].float(), t) for name, t in model.state_dict().items()):
        raise ConfigError(f"stored: got {stored} for weights that it cannot hold, expected weights that were rounded to it, or float32")
    if directory.exists() and not (directory / CARD_FILE).is_file() and (not directory.is_dir() or any(directory.iterdir())):
        raise ArtifactError(f"{directory} exists and is not a model directory: choose another output, nothing was overwritten")
    directory.parent.mkdir(parents=True, exist_ok=True)
    golden = record(model.eval(), tokenizer.eval())
    part = Path(tempfile.mkdtemp(prefix=f".{directory.name}.part-", dir=directory.parent))
    try:
        part.chmod(0o755)
        write_tensors(part / MODEL_FILE, weights)
        write_tensors(part / TOKENIZER_FILE, tokenizer.state_dict())
        write_tensors(part / GOLDEN_FILE, golden)
        card = card.identified(tokenizer_identity(tokenizer.state_dict(), tokenizer.spec), file_digest(part / MODEL_FILE))
        write_card(part / CARD_FILE, card)
        _swap_in(part, directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return card


def _swap_in(part: Path, directory: Path) -> None:
    """Rename `part` to `directory`; what was there goes only after the new one stands."""
    old = part.with_name(part.name + "-old")
    if directory.exists():
        os.replace(directory, old)
    os.replace(part, directory)
    shutil.rmtree(old, ignore_errors=True)


def load_artifact(
    directory: Path | str,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    check_golden: bool = True,
    tokenizer_dtype: torch.dtype | None = None,
) -> LoadedArtifact:
    """Read, check and move a model to a device; `tokenizer_dtype` None: as the model. Raises ArtifactError and its kinds, naming the file and what to do."""
    directory = Path(directory)
    card = read_card(directory)
    if card.kind != "vavam":
        raise ArtifactError(f"{directory} holds a video model without an action expert, which cannot plan: train one on it, or use it with `vavam dream`")
    with Unfilled():
        model = VaVAM(card.spec, device="meta")
    tokenizer = _load_parts(directory, card, model, device)
    if check_golden:
        replay(model, tokenizer, read_tensors(directory / GOLDEN_FILE), str(directory / GOLDEN_FILE))
    return LoadedArtifact(card=card, model=model.to(dtype), tokenizer=tokenizer.cast(tokenizer_dtype or dtype))


def load_video_artifact(directory: Path | str, device: torch.device | str, dtype: torch.dtype = torch.float32, check_golden: bool = True) -> LoadedVideo:
    """The video model of either kind of model directory, with its tokenizer. Raises as `load_artifact`."""
    directory = Path(directory)
    card = read_card(directory)
    if card.kind == "vavam":
        loaded = load_artifact(directory, device, dtype, check_golden)
        return LoadedVideo(card=card, video=loaded.model.video, tokenizer=loaded.tokenizer)
    with Unfilled():
        video = VideoModel(card.spec.video, device="meta")
    tokenizer = _load_parts(directory, card, video, device)
    if check_golden:
        replay(video, tokenizer, read_tensors(directory / GOLDEN_FILE), str(directory / GOLDEN_FILE))
    return LoadedVideo(card=card, video=video.to(dtype), tokenizer=tokenizer.cast(dtype))


def load_tokenizer(directory: Path | str, device: torch.device | str, dtype: torch.dtype = torch.float32) -> VQ16:
    """The tokenizer alone, for a process that only tokenizes. Raises ArtifactError."""
    directory = Path(directory)
    return _load_tokenizer(directory, read_card(directory), device).cast(dtype)


def _load_parts(directory: Path, card: ModelCard, model: nn.Module, device: torch.device | str) -> VQ16:
    """Fill `model` (built on meta), return the tokenizer, both fp32 on `device`, after every check but the golden one."""
    tokenizer = _load_tokenizer(directory, card, device)
    path = directory / MODEL_FILE
    fill(model, read_tensors(path), str(path), device)
    expected = card.identified(card.tokenizer_id, file_digest(path)).model_id
    if card.model_id != expected:
        raise ArtifactError(
            f"{directory}: model_id is {card.model_id}, but the content gives {expected}: {MODEL_FILE} or {CARD_FILE} was changed since it was written; "
            "restore it, or convert or save the model again"
        )
    return tokenizer


def _load_tokenizer(directory: Path, card: ModelCard, device: torch.device | str) -> VQ16:
    path = directory / TOKENIZER_FILE
    weights = read_tensors(path, drop=DROPPED_BUFFERS)
    with Unfilled():
        tokenizer = VQ16(card.tokenizer, device="meta")
    if weights and not any(name.startswith("decoder.") for name in weights):
        raise ArtifactError(f"{path} holds an encoder without its decoder, expected both: a model directory is whole only with them; convert the model again")
    check_tensors(weights, tokenizer.state_dict(), str(path))
    identity = tokenizer_identity(weights, card.tokenizer)
    if identity != card.tokenizer_id:
        raise ArtifactError(
            f"{path} is tokenizer {identity}, but the model was made with {card.tokenizer_id}: put that tokenizer back, another one's tokens mean nothing to it"
        )
    put(tokenizer, weights, device)
    tokenizer.tokenizer_id = identity
    return tokenizer


def tokenizer_for(spec: ModelSpec) -> TokenizerSpec:
    """A tokenizer that fits a model: the released sizes for its vocabulary, otherwise the small network with as many codes as the model has words."""
    image_hw = (spec.video.grid_h * 16, spec.video.grid_w * 16)
    if spec.video.vocabulary == VQ16_RELEASED.codebook_size + 1:
        return replace(VQ16_RELEASED, image_hw=image_hw)
    return replace(VQ16_SMALL, image_hw=image_hw, codebook_size=spec.video.vocabulary - 1)


def random_artifact(
    directory: Path | str, spec: ModelSpec = SMALL, seed: int = 0, *, tokenizer: TokenizerSpec | None = None, camera: str = "world_front"
) -> ModelCard:
    """A model directory with random weights, which says so. Same arguments on one machine: the same bytes.

    Nothing that training starts at zero (queries, the readout of the expert) stays zero, or most of the network would not matter.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    vq_spec = tokenizer or tokenizer_for(spec)
    vq = VQ16(vq_spec, device="cpu")
    init_tokenizer(vq, generator)
    model = VaVAM(spec, device="cpu")
    init_weights(model, generator, video_std=0.1, action_std=0.2, zero_query=False, readout_std=0.2)
    card = ModelCard(
        spec=spec, tokenizer=vq_spec, canonical_camera=CANONICAL_CAMERAS[camera].to_dict(), domain="random", trained=False, licence="Apache-2.0",
        source=f"random weights, seed {seed}", notes="Untrained: its paths mean nothing. For tests, timing and the demo.",
    )  # fmt: skip
    return save_artifact(directory, card, model, vq)
