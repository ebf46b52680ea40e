"""Weights to begin with, or to look at: of a run, of one of its checkpoints, of an artifact, of an upstream file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vavam_ros.core.artifact import ModelCard, load_artifact, load_video_artifact
from vavam_ros.core.artifact.model_card import CARD_FILE, read_card
from vavam_ros.core.artifact.tensor_files import Unfilled, fill, read_tensors
from vavam_ros.core.contracts import ArtifactError, ConfigError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.spec import ModelSpec, VideoSpec
from vavam_ros.core.tokenizer import VQ16
from vavam_ros.core.upstream.checkpoints import open_checkpoint
from vavam_training.contracts import ResumeError
from vavam_training.loop.checkpoints import META, WEIGHTS, latest, read_meta

Kind = Literal["vavam", "vavim"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedWeights:
    """A model in fp32, and what is known of it. `tokenizer`, `card`: of an artifact. `spec`: whole where the expert's is known, too."""

    model: VaVAM | VideoModel
    spec: ModelSpec | VideoSpec
    kind: Kind
    source: str
    tokenizer: VQ16 | None = None
    card: ModelCard | None = None
    meta: dict[str, Any] | None = None  # of a checkpoint
    step: int | None = None  # of the last stage's training, where it is known

    @property
    def label_rule(self) -> str:
        """The rule by which commands of its labels are made (windows.RULES): a run's own; of a model directory what its card means; else where it is in 3 s."""
        notes = (self.meta or {}).get("notes", {})
        if isinstance(notes, dict) and "command_rule" in notes:
            return str(notes["command_rule"])
        return "horizon_3s" if self.card is None or self.card.command_rule == "reference" else "recorded"


def open_weights(path: Path | str, device: torch.device | str = "cpu", *, grid_hw: tuple[int, int] | None = None) -> OpenedWeights:
    """A run or checkpoint folder, a model directory, or an upstream-format .pt (`grid_hw`: its token grid, where 576 tokens a frame are not the case).

    Raises ArtifactError, ResumeError or ConfigError, which say what was expected."""
    path = Path(path)
    if path.is_file():
        found = open_checkpoint(path, grid_hw=grid_hw)
        model = found.build(device)
        return OpenedWeights(model=model, spec=found.spec, kind=found.kind, source=f"upstream checkpoint {path.name}", step=found.step)
    if (path / CARD_FILE).is_file():
        return _artifact(path, device)
    checkpoint = path if (path / META).is_file() else latest(path)
    if checkpoint is None:
        raise ArtifactError(f"{path}: got neither a run, nor a checkpoint, a model directory or an upstream file; expected one of these")
    return _checkpoint(checkpoint, device)


def _artifact(path: Path, device: torch.device | str) -> OpenedWeights:
    if read_card(path).kind == "vavam":
        whole = load_artifact(path, device)
        card, model, tokenizer = whole.card, whole.model, whole.tokenizer
        return OpenedWeights(model=model, spec=card.spec, kind="vavam", source=card.model_id, tokenizer=tokenizer, card=card, step=_step(card))
    video = load_video_artifact(path, device)
    card = video.card
    return OpenedWeights(model=video.video, spec=card.spec, kind="vavim", source=card.model_id, tokenizer=video.tokenizer, card=card, step=_step(card))


def _step(card: ModelCard) -> int | None:
    """Of the last stage, as the card tells it."""
    if not card.trained:
        return 0
    stages = (card.training or {}).get("stages")
    step = stages[-1].get("step") if isinstance(stages, list) and stages and isinstance(stages[-1], dict) else None
    return step if isinstance(step, int) else None


def _checkpoint(path: Path, device: torch.device | str) -> OpenedWeights:
    meta = read_meta(path)
    if not isinstance(meta.get("spec"), dict):
        raise ConfigError(f"{path}: a checkpoint of stage {meta.get('stage')!r} holds no video or action model; expected one of pretrain, finetune, action")
    spec = ModelSpec.from_dict(meta["spec"])
    weights = read_tensors(path / WEIGHTS)
    source = f"{meta.get('stage')}, step {meta.get('step')} of {path.parent.parent.name}"
    if any(name.startswith("action.") for name in weights):
        return OpenedWeights(model=_filled(VaVAM, spec, weights, path, device), spec=spec, kind="vavam", source=source, meta=meta, step=meta.get("step"))
    if not all(name.startswith("video.") for name in weights):
        raise ResumeError(f"{path / WEIGHTS}: got names like {next(iter(weights))}, expected video.… and action.…")
    video = {name.removeprefix("video."): value for name, value in weights.items()}
    return OpenedWeights(model=_filled(VideoModel, spec.video, video, path, device), spec=spec, kind="vavim", source=source, meta=meta, step=meta.get("step"))


def _filled(kind: Any, spec: Any, weights: dict[str, Tensor], path: Path, device: torch.device | str) -> Any:
    with Unfilled():
        model = kind(spec, device="meta")
    fill(model, weights, str(path / WEIGHTS), device)
    return model
