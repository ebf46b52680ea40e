"""Where a model's weights come from: the stages of its run, of the runs before that, and of the model directory that the first of these began with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vavam_training.contracts import DataError
from vavam_training.dataset import Manifest, TokenDataset
from vavam_training.loop.checkpoints import BEGAN, META, latest, read_meta
from vavam_training.mixing.config import DataConfig, PartConfig
from vavam_training.revision import git_revision

UPSTREAM_SUFFIXES = (".pt", ".pth", ".ckpt")


def training_section(meta: dict[str, Any] | None, data: list[dict[str, Any]]) -> dict[str, Any]:
    """For the card: how each of its stages went, the first one first, and what the last one learned from. Stages out of a model directory carry its `model` id;
    `earlier`: what the cards of such directories say of themselves and of their data."""
    stages: list[dict[str, Any]] = []
    earlier: list[dict[str, Any]] = []
    while meta is not None:
        notes = meta.get("notes", {})
        loop = notes.get("loop", {})
        stage = {k: meta.get(k) for k in ("stage", "step", "samples", "tokens", "seed", "batch_size", "data")}
        stages.insert(0, stage | {"precision": loop.get("precision"), "options": notes.get("options"), "start": notes.get("start")})
        began = meta.get(BEGAN)
        if began is not None:
            about = dict(began["training"])
            stages = [{"model": began["model_id"]} | s for s in about.pop("stages", [])] + stages
            earlier = [*about.pop("earlier", []), {k: v for k, v in began.items() if k != "training"} | about]
        meta = _meta_of(notes.get("start")) if began is None else None
    return {"revision": git_revision(), "stages": stages, "data": data} | ({"earlier": earlier} if earlier else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What comes with weights, whatever is learned afterwards: of every stage's data and of what the first began with."""

    licences: tuple[str, ...]
    domains: tuple[str, ...]


def inherited(meta: dict[str, Any] | None) -> Inherited:
    """Of a run's checkpoint, newest stage first. A set that is gone, and a file that says nothing of its licence, are named in the licences."""
    licences: list[str] = []
    domains: list[str] = []
    for stage in _stages(meta):
        notes = stage.get("notes", {})
        for part in learned_parts(notes.get("data")):
            try:
                manifest = _manifest(part.path)
            except DataError:
                licences.append(f"the licence of {part.name}, which is gone")
                continue
            licences.append(manifest.licence)
            domains.append(manifest.domain)
        began, start = stage.get(BEGAN), notes.get("start")
        if began is not None:
            licences.append(began["licence"])
            domains.append(began["domain"])
        elif isinstance(start, str) and start.endswith(UPSTREAM_SUFFIXES):
            licences.append(f"as the weights that it began with, {Path(start).name} (the published ones, of valeoai/VideoActionModel: research use only)")
    return Inherited(licences=tuple(dict.fromkeys(licences)), domains=tuple(dict.fromkeys(domains)))


def _stages(meta: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    while meta is not None:
        yield meta
        meta = _meta_of(meta.get("notes", {}).get("start")) if meta.get(BEGAN) is None else None


def learned_parts(data: Any) -> tuple[PartConfig, ...]:
    """Of a recipe's `data`, the parts that are learned from. A tokenizer's has none."""
    if not isinstance(data, dict) or "parts" not in data:
        return ()
    return tuple(part for part in DataConfig.from_dict(data).parts if part.held_out_share < 1.0)


def _manifest(path: str) -> Manifest:
    return TokenDataset.open(path if "://" in path else Path(path).expanduser()).manifest


def _meta_of(start: Any) -> dict[str, Any] | None:
    """Description of the checkpoint that a stage began with, where it is still there."""
    if not isinstance(start, str) or not Path(start).is_dir():
        return None
    folder = Path(start)
    found = folder if (folder / META).is_file() else latest(folder)
    return read_meta(found) if found is not None else None
