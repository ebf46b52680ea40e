"""Batches of samples, made by worker processes, in an order that depends on nobody but the samples.

Step s of all processes together holds the samples s·B … (s + 1)·B − 1. They come in M = B / micro_batch parts: part j holds those with k ≡ j (mod M), and
process r of R gets the parts j ≡ r (mod R), in order. So two processes see together what one sees that takes the same parts one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import Batch, ResumeError, Samples


class _Parts(Dataset[Batch]):
    """(step, part) → Batch."""

    def __init__(self, samples: Samples, batch_size: int, parts: int) -> None:
        self._samples, self._batch_size, self._parts = samples, batch_size, parts

    def __getitem__(self, at: tuple[int, int]) -> Batch:
        step, part = at
        return self._samples.batch(range(step * self._batch_size + part, (step + 1) * self._batch_size, self._parts))


class _From(Sampler[tuple[int, int]]):
    """(step, part) of this process, from a step on, without end."""

    def __init__(self, first: int, mine: range) -> None:
        self._first, self._mine = first, mine

    def __iter__(self) -> Iterator[tuple[int, int]]:
        step = self._first
        while True:
            for part in self._mine:
                yield step, part
            step += 1


class Loader:
    """Endless micro-batches, `parts_per_step` of them a step. `state()` says where the next step is; a loader made with it goes on there."""

    def __init__(
        self, samples: Samples, batch_size: int, *, micro_batch: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0, start_step: int = 0
    ) -> None:
        """`batch_size`: of a step, over all processes; `micro_batch`: of one part (0: one part a process)."""
        micro = micro_batch or batch_size // max(world_size, 1)
        if batch_size < 1 or micro < 1 or batch_size % (micro * world_size) or not 0 <= rank < world_size:
            raise ConfigError(
                f"loader: got a batch of {batch_size} in parts of {micro} for process {rank} of {world_size}, "
                "expected the batch to be a multiple of part times processes"
            )
        parts = batch_size // micro
        self.mine = range(rank, parts, world_size)  # numbers of this process's parts
        self._samples, self._batch_size, self._micro = samples, batch_size, micro
        self._start, self._given = start_step, 0
        data = _Parts(samples, batch_size, parts)
        self._loader = DataLoader(data, batch_size=None, sampler=_From(start_step, self.mine), num_workers=workers, persistent_workers=workers > 0)

    @property
    def parts_per_step(self) -> int:
        """Micro-batches that this process gets in a step."""
        return len(self.mine)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            self._given += 1  # before it is given away: who stops after this batch has had it
            yield batch

    def state(self) -> dict[str, Any]:
        """JSON: what goes on with the next whole step."""
        return {"step": self._start + self._given // self.parts_per_step, "batch_size": self._batch_size, "samples": self._samples.digest}

    @classmethod
    def resumed(
        cls, samples: Samples, state: dict[str, Any], *, micro_batch: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0
    ) -> Loader:
        """Where `state` left off, with any number of processes. Raises ResumeError where the data or the order is another."""
        if state["samples"] != samples.digest:
            raise ResumeError(f"data: got samples {samples.digest}, the checkpoint's are {state['samples']}: other drives, ratios, windows or seed")
        return cls(
            samples, state["batch_size"], micro_batch=micro_batch, rank=rank, world_size=world_size, workers=workers, start_step=state["step"]
        )
