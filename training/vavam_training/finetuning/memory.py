"""How many windows at a time fit into a memory budget: measured, by processes of their own that train two steps of the same recipe.

    python -m vavam_training.finetuning.memory RECIPE WINDOWS     # prints the peak in bytes
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vavam_ros.core.contracts import ConfigError

GIB = 2**30
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "not enough memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """`micro_batch` windows at a time were measured to need `peak_bytes`; `one_bytes`: a single one. `micro_batch` 0: not even one fits."""

    micro_batch: int
    peak_bytes: float
    one_bytes: float


def fitted(batch: int, budget_bytes: float, peak_of: Callable[[int], float]) -> Fit:
    """The most windows at a time, a divisor of `batch`, whose peak is within the budget. `peak_of`: windows → bytes, measured; infinite: more than there are.

    What is chosen was measured itself: the second measurement only says where to look."""
    one = peak_of(1)
    if one > budget_bytes:
        return Fit(micro_batch=0, peak_bytes=one, one_bytes=one)
    known: dict[int, float] = {1: one}
    divisors = [n for n in range(1, batch + 1) if batch % n == 0]
    for n in divisors[1:2]:  # what one more costs
        known[n] = peak_of(n)
    tried = max(known)
    each = max(known[tried] - one, 0.0) / max(tried - 1, 1)
    chosen = 1
    for n in (n for n in reversed(divisors) if one + (n - 1) * each <= budget_bytes):  # down to 1, which fits
        chosen = n
        if n not in known:
            known[n] = peak_of(n)
        if known[n] <= budget_bytes:
            break
    return Fit(micro_batch=chosen, peak_bytes=known[chosen], one_bytes=one)


def peak_of_training(recipe: Path, windows: int) -> float:
    """Bytes, in a fresh process; infinite where it ran out of memory. Raises ConfigError with what it said where it fails otherwise."""
    done = subprocess.run([sys.executable, "-m", __name__, str(recipe), str(windows)], check=False, capture_output=True, text=True)
    if done.returncode < 0 or any(word in done.stderr for word in OUT_OF_MEMORY):  # killed: what a machine without enough does
        return math.inf
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ConfigError(f"measuring the memory of {windows} windows at a time: {said}")
    return float(done.stdout.splitlines()[-1])


def main(recipe_file: str, windows: str) -> int:
    """Train two steps of so many windows with all that a run does, pictures, held-out loss and checkpoint included, and print the peak."""
    from vavam_training.loop.memory import peak_bytes
    from vavam_training.loop.processes import joined
    from vavam_training.loop.train import train
    from vavam_training.recipe import open_recipe, read_recipe

    recipe = read_recipe(recipe_file)
    n = int(windows)
    loop = replace(recipe.loop, steps=2, batch_size=n, micro_batch=n, save_every=2, held_out_every=2, held_out_batches=1, pictures_every=2)
    with joined(loop.device) as processes, tempfile.TemporaryDirectory() as folder:
        opened = open_recipe(recipe)
        train(Path(folder) / "run", opened.stage, opened.samples, opened.held_out, loop, processes, notes=recipe.to_dict())
        print(peak_bytes(processes.device))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
