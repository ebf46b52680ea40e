"""Where a model's weights come from: the stages of its run, of the runs before that, and of the model directory that the first of these began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vavam_training.loop.checkpoints import BEGAN, META, latest, read_meta
from vavam_training.revision import git_revision


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


def _meta_of(start: Any) -> dict[str, Any] | None:
    """Description of the checkpoint that a stage began with, where it is still there."""
    if not isinstance(start, str) or not Path(start).is_dir():
        return None
    folder = Path(start)
    found = folder if (folder / META).is_file() else latest(folder)
    return read_meta(found) if found is not None else None
