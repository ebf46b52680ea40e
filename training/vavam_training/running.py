"""A recipe becomes a run: open what it names, train, or go on."""

from __future__ import annotations

from pathlib import Path

import yaml

from vavam_training.loop.processes import joined
from vavam_training.loop.train import Outcome, train
from vavam_training.recipe import Recipe, open_recipe


def run_recipe(recipe: Recipe, stopped: Path | None = None) -> tuple[Outcome, bool]:
    """What came of it, and whether this process is the one that speaks for all. `stopped`: a file, written when the run is told to stop. Raises VavamError."""
    with joined(recipe.loop.device) as processes:
        opened = open_recipe(recipe)
        folder = Path(recipe.out)
        if processes.first:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False), encoding="utf-8")
        outcome = train(folder, opened.stage, opened.samples, opened.held_out, recipe.loop, processes, notes=recipe.to_dict())
        if processes.first and stopped is not None and not outcome.finished:
            stopped.write_text(f"{folder}: step {outcome.step}\n", encoding="utf-8")
        processes.wait()  # torchrun ends them all with the first that ends with 75: not before all is written
        return outcome, processes.first
