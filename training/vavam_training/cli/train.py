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
    from torch.distributed.elastic.multiprocessing.errors import record

    from vavam_training.recipe import read_recipe
    from vavam_training.running import run_recipe

    recipe = read_recipe(args.recipe, [*args.changes, *([f"out={args.out}"] if args.out else [])])

    def job() -> int:
        outcome, first = run_recipe(recipe, args.stopped)
        if first:
            folder = Path(recipe.out)
            what = "done" if outcome.finished else f"stopped after step {outcome.step}; the same command goes on"
            print(f"{folder}: {what}. Weights: {outcome.checkpoint / 'weights.safetensors'}; page: {folder / 'index.html'}")
        return 0 if outcome.finished else GOES_ON

    # Under torchrun the reason of a process that fails is kept for all to read.
    status = record(job)() if "TORCHELASTIC_ERROR_FILE" in os.environ else job()
    return status if status is not None else 1
