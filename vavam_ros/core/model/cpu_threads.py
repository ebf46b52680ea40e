"""How many CPU threads one operation of torch should take.

The operations of a small model are too short to be shared: its threads wait for each other at the end of each, and where another process has the core of
one of them, until the scheduler gives it back. The other processes of a vehicle are always there. Measured with the bundled model on two cores: a plan takes
52 ms with one thread and 46 with two on an idle machine, 50 and 74 beside one busy process (docs/results/performance.md, "A busy machine").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

ONE_THREAD_BELOW = 5_000_000  # weights


def weights_of(*modules: nn.Module | None) -> int:
    """Of all of them together."""
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def cpu_threads(weights: int, *, asked: int | None, torch_has: int) -> int:
    """`asked`; where that is 0 or None, one for networks with few `weights` in all, `torch_has` (its own choice: cores, or OMP_NUM_THREADS) for others."""
    if asked:
        return asked
    return 1 if weights < ONE_THREAD_BELOW else torch_has


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """For what the calling thread asks of torch inside; afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
