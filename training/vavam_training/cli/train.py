"""`vavam-train train RECIPE`: one stage, by its recipe. Goes on where it was interrupted; under torchrun, by many processes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

GOES_ON = 75  # "try again later": stopped with a checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train train`."""
    parser.add_argument("recipe", type=Path, help="YAML file; those that come with the workspace are in training/runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes", help="change a value of the recipe, as loop.steps=10")
    parser.add_argument("--out", help="folder of the run (default: the recipe's)")
    parser.add_argument("--stopped", type=Path, metavar="FILE", help="written when the run is told to stop; torchrun makes a 1 of the status 75")


def run(args: argparse.Namespace) -> int:
    """0 when the last step is done, 75 when it was told to stop and goes on when started again. Raises VavamError."""
    import yaml
    from torch.distributed.elastic.multiprocessing.errors import record

    from vavam_training.loop.processes import joined
    from vavam_training.loop.train import train
    from vavam_training.recipe import open_recipe, read_recipe

    recipe = read_recipe(args.recipe, [*args.changes, *([f"out={args.out}"] if args.out else [])])

    def job() -> int:
        with joined(recipe.loop.device) as processes:
            opened = open_recipe(recipe)
            folder = Path(recipe.out)
            if processes.first:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "config.yaml").write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False), encoding="utf-8")
            outcome = train(folder, opened.stage, opened.samples, opened.held_out, recipe.loop, processes, notes=recipe.to_dict())
            if processes.first:
                what = "done" if outcome.finished else f"stopped after step {outcome.step}; the same command goes on"
                print(f"{folder}: {what}. Weights: {outcome.checkpoint / 'weights.safetensors'}; page: {folder / 'index.html'}")
                if args.stopped is not None and not outcome.finished:
                    args.stopped.write_text(f"{folder}: step {outcome.step}\n", encoding="utf-8")
            processes.wait()  # torchrun ends them all with the first that ends with 75: not before all is written
            return 0 if outcome.finished else GOES_ON

    # Under torchrun the reason of a process that fails is kept for all to read.
    status = record(job)() if "TORCHELASTIC_ERROR_FILE" in os.environ else job()
    return status if status is not None else 1
