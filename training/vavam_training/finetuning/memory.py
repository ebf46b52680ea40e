"""How many windows at a time fit into a memory budget: measured, by processes of their own that train two steps of the same recipe.

    python -m vavam_training.finetuning.memory RECIPE WINDOWS     # prints the peak in bytes
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vavam_ros.core.contracts import ConfigError

GIB = 2**30
TRIED = 4  # windows of the second measurement: what one more costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """`micro_batch` windows at a time were measured to need `peak_bytes`; `one_bytes`: a single one. `micro_batch` 0: not even one fits."""

    micro_batch: int
    peak_bytes: int
    one_bytes: int


def fitted(batch: int, budget_bytes: float, peak_of: Callable[[int], int]) -> Fit:
    """The most windows at a time, a divisor of `batch`, whose peak is within the budget. `peak_of`: windows → bytes, measured.

    What is chosen was measured itself: the second measurement only says where to look."""
    one = peak_of(1)
    if one > budget_bytes:
        return Fit(micro_batch=0, peak_bytes=one, one_bytes=one)
    divisors = [n for n in range(1, batch + 1) if batch % n == 0]
    tried = max(n for n in divisors if n <= TRIED)
    known = {1: one, tried: peak_of(tried)}
    each = max(known[tried] - one, 0) / max(tried - 1, 1)
    likely = [n for n in divisors if one + (n - 1) * each <= budget_bytes]
    for n in reversed(likely):  # down to 1, which fits
        if n not in known:
            known[n] = peak_of(n)
        if known[n] <= budget_bytes:
            break
    return Fit(micro_batch=n, peak_bytes=known[n], one_bytes=one)


def peak_of_training(recipe: Path, windows: int) -> int:
    """Bytes, in a fresh process. Raises ConfigError with what it said where it fails, as where the machine itself has too little."""
    done = subprocess.run([sys.executable, "-m", __name__, str(recipe), str(windows)], check=False, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        hint = "; it was killed, which is what a machine without enough memory does: choose a smaller --batch or model" if done.returncode < 0 else ""
        raise ConfigError(f"measuring the memory of {windows} windows at a time: {said}{hint}")
    return int(done.stdout.splitlines()[-1])


def main(recipe_file: str, windows: str) -> int:
    """Train two steps of so many windows with all that a run does, checkpoint and held-out loss included, and print the peak."""
    from vavam_training.loop.memory import peak_bytes
    from vavam_training.loop.processes import joined
    from vavam_training.loop.train import train
    from vavam_training.recipe import open_recipe, read_recipe

    recipe = read_recipe(recipe_file)
    n = int(windows)
    loop = replace(recipe.loop, steps=2, batch_size=n, micro_batch=n, save_every=2, held_out_every=2, held_out_batches=1, pictures_every=0, max_minutes=0.0)
    with joined(loop.device) as processes, tempfile.TemporaryDirectory() as folder:
        opened = open_recipe(recipe)
        train(Path(folder) / "run", opened.stage, opened.samples, opened.held_out, loop, processes, notes=recipe.to_dict())
        print(peak_bytes(processes.device))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
