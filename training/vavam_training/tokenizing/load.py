"""Tokenizers of model directories and of runs of stage 0."""

from __future__ import annotations

from pathlib import Path

import torch

from vavam_ros.core.artifact.directory import load_tokenizer
from vavam_ros.core.artifact.model_card import CARD_FILE, read_card
from vavam_ros.core.artifact.tensor_files import Unfilled, fill, read_tensors
from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.contracts import ArtifactError
from vavam_ros.core.tokenizer.vq16 import VQ16, TokenizerSpec, tokenizer_identity
from vavam_training.loop.checkpoints import META, WEIGHTS, latest, read_meta


def load_tokenizer_dir(folder: Path | str, device: torch.device | str = "cpu") -> VQ16:
    """The tokenizer of a model directory, a run of stage 0 or one of its checkpoints, in fp32. Raises ArtifactError, ResumeError."""
    folder = Path(folder)
    if (folder / CARD_FILE).is_file():
        return load_tokenizer(folder, device)
    checkpoint = _checkpoint(folder)
    spec = TokenizerSpec.from_dict(read_meta(checkpoint)["tokenizer_spec"])
    weights = read_tensors(checkpoint / WEIGHTS)
    with Unfilled():
        tokenizer = VQ16(spec, device="meta")
    fill(tokenizer, weights, str(checkpoint / WEIGHTS), device)
    tokenizer.tokenizer_id = tokenizer_identity(weights, spec)
    return tokenizer.eval()


def tokenizer_camera(folder: Path | str) -> CanonicalCamera | None:
    """What the tokenizer's pictures were taken through, where it is known."""
    folder = Path(folder)
    if (folder / CARD_FILE).is_file():
        return read_card(folder).camera
    camera = read_meta(_checkpoint(folder)).get("canonical_camera")
    return CanonicalCamera.from_dict(camera) if isinstance(camera, dict) else None


def _checkpoint(folder: Path) -> Path:
    found = folder if (folder / META).is_file() else latest(folder)
    if found is None or not isinstance(read_meta(found).get("tokenizer_spec"), dict):
        raise ArtifactError(f"{folder}: got no tokenizer there, expected a model directory or a run of stage tokenizer")
    return found
