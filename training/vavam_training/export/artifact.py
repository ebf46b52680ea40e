"""The model directory that the nodes load, from a run of stage action (or pretrain: a video model alone) and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch

from vavam_ros.core.artifact import ModelCard, save_artifact
from vavam_ros.core.artifact.model_card import CommandRule
from vavam_ros.core.artifact.model_card import Domain as CardDomain
from vavam_ros.core.camera import CANONICAL_CAMERAS
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.spec import ModelSpec, with_name
from vavam_training.contracts import DataError
from vavam_training.export.lineage import inherited, learned_parts, training_section
from vavam_training.tokenizing.load import load_tokenizer_dir, tokenizer_camera
from vavam_training.weights import OpenedWeights, open_weights

STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The rules by which labels are made mean "where the vehicle is 3 s from now"; the nodes know that one as the reference's. Recorded commands were made by
# whichever rule the recorder had: a token set does not say which, whoever exports can.
CARD_RULES: dict[str, CommandRule] = {"horizon_3s": "reference", "reference": "reference"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What is exported. `run`: a run or checkpoint; `name`, `notes`: for people; `stored`: number format of the file; `command_rule`: how the nodes are to
    make commands from a route, where that is not the rule that the labels mean; needed where those are the recorded commands."""

    run: Path
    tokenizer: Path
    out: Path
    name: str = ""
    notes: str = ""
    licence: str = ""
    stored: str = "float32"
    command_rule: str = ""

    def __post_init__(self) -> None:
        if self.command_rule not in ("", *get_args(CommandRule)):
            raise ConfigError(f"export: command rule got {self.command_rule!r}, expected one of {', '.join(get_args(CommandRule))}")
        if self.stored not in STORED:
            raise ConfigError(f"stored: got {self.stored!r}, expected one of {', '.join(STORED)}")


def export_artifact(config: ExportConfig) -> ModelCard:
    """Write the model directory and return its card. Raises ConfigError, DataError, ArtifactError."""
    opened = open_weights(config.run)
    tokenizer = load_tokenizer_dir(config.tokenizer)
    spec = _spec(opened)
    data = list(_data(opened))
    wrong = sorted({d["tokenizer_id"] for d in data} - {tokenizer.tokenizer_id})
    if wrong:
        raise DataError(f"tokenizer: got {tokenizer.tokenizer_id} from {config.tokenizer}, but the model learned from tokens of {', '.join(wrong)}")
    camera = tokenizer_camera(config.tokenizer)
    if camera is None and data and data[0]["camera"]:
        camera = CANONICAL_CAMERAS.get(data[0]["camera"])
    if camera is None:
        raise DataError("camera: neither the tokenizer nor the data say what the pictures were taken through; expected a run that was given pictures")
    before = inherited(opened.meta)
    card = ModelCard(
        spec=with_name(spec, config.name) if config.name else spec,
        tokenizer=tokenizer.spec,
        canonical_camera=camera.to_dict(),
        domain=opened.card.domain if opened.card is not None else _domain(set(before.domains)),
        trained=True,
        licence=config.licence or (opened.card.licence if opened.card is not None else "; ".join(before.licences)) or "not stated",
        kind=opened.kind,
        command_rule=_command_rule(config, opened),
        source=opened.source,
        notes=config.notes,
        training=training_section(opened.meta, data) if opened.card is None else opened.card.training,
    )
    model = opened.model
    if isinstance(model, VaVAM):
        model.spec = card.spec
    return save_artifact(config.out, card, rounded(model, STORED[config.stored]), tokenizer, stored=STORED[config.stored])


def _command_rule(config: ExportConfig, opened: OpenedWeights) -> CommandRule:
    if config.command_rule:
        return cast(CommandRule, config.command_rule)
    if opened.card is not None:
        return opened.card.command_rule
    rule = _notes(opened).get("command_rule", "horizon_3s")
    if rule not in CARD_RULES and opened.kind == "vavam":
        raise ConfigError(
            f"export: the model learned from commands by rule {rule!r}, and token sets do not say how these were made; expected --command-rule with that of "
            f"the recorder (`world record --command-rule`): {', '.join(get_args(CommandRule))}"
        )
    return CARD_RULES.get(rule, "reference")  # a video model alone takes no commands


def rounded(model: VaVAM | VideoModel, dtype: torch.dtype) -> VaVAM | VideoModel:
    """The model with weights that `dtype` can hold, in place, still float32."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype).float())
    return model


def _notes(opened: OpenedWeights) -> dict[str, Any]:
    notes = (opened.meta or {}).get("notes", {})
    return notes if isinstance(notes, dict) else {}


def _data(opened: OpenedWeights) -> Iterator[dict[str, Any]]:
    """Token sets of the recipe that are still there, by their manifests."""
    from vavam_training.dataset import TokenDataset

    for part in learned_parts(_notes(opened).get("data")):
        manifest = TokenDataset.open(part.path if "://" in part.path else Path(part.path).expanduser()).manifest
        camera = manifest.canonical_camera.get("name", "") if manifest.canonical_camera else ""
        yield {
            "name": part.name,
            "source": manifest.source,
            "licence": manifest.licence,
            "domain": manifest.domain,
            "drives": len(manifest.drives),
            "frames": manifest.frames,
            "hours": round(manifest.hours, 3),
            "digest": manifest.digest,
            "tokenizer_id": manifest.tokenizer_id,
            "camera": camera,
            "ratio": part.ratio,
            "emphasis_m": part.emphasis_m,
        }


def _domain(found: set[str]) -> CardDomain:
    if not found <= set(get_args(CardDomain)) or len(found) != 1:
        # What has seen both is held to the stricter rules of the two.
        return "synthetic_world" if not found or "synthetic_world" in found else "real"
    return cast(CardDomain, found.pop())


def _spec(opened: OpenedWeights) -> ModelSpec:
    if isinstance(opened.spec, ModelSpec):
        return opened.spec
    raise ConfigError(f"{opened.source} says nothing of an action expert; expected a run of this workspace")
