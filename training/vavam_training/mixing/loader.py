"""Batches of a mixture, made by worker processes, in an order that depends on nobody but the mixture.

Batch b of all processes together holds the samples b·B … (b+1)·B − 1; process r of R takes those with k ≡ r (mod R).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import Batch, ResumeError
from vavam_training.mixing.mixture import Mixture, Place
from vavam_training.windows import find_windows, labels

KEPT_DRIVES = 64


class _Batches(Dataset[Batch]):
    """Batch number → Batch, for this process's share."""

    def __init__(self, mixture: Mixture, batch_size: int, rank: int, world_size: int) -> None:
        self._mixture, self._batch_size, self._rank, self._world_size = mixture, batch_size, rank, world_size
        self._windows: dict[tuple[int, int], dict[int, Any]] = {}

    def __getitem__(self, number: int) -> Batch:
        first = number * self._batch_size
        return self._collated([self._mixture.place(k) for k in range(first + self._rank, first + self._batch_size, self._world_size)])

    def _collated(self, places: list[Place]) -> Batch:
        m = self._mixture
        tokens: list[Any] = [None] * len(places)
        positions, commands = list(tokens), list(tokens)
        by_drive: dict[tuple[int, int], list[int]] = {}
        for at, place in enumerate(places):
            by_drive.setdefault((place.part, place.drive), []).append(at)
        for (part, drive), members in by_drive.items():
            rows = m.parts[part].dataset.rows(drive)
            index = np.stack([self._window(part, drive, places[at].row) for at in members])
            for at, window in zip(members, index, strict=True):
                tokens[at] = rows.tokens[window].astype(np.int64)
            if m.spec.labelled:
                xy, command = labels(rows, index, m.spec)
                for at, one_xy, one_command in zip(members, xy, command, strict=True):
                    positions[at], commands[at] = one_xy, one_command
        def joined(arrays: list[Any]) -> Tensor:
            return torch.from_numpy(np.stack(arrays))

        labelled = m.spec.labelled
        return Batch(
            tokens=joined(tokens),
            source=torch.tensor([p.part for p in places], dtype=torch.int64),
            positions_m=joined(positions) if labelled else None,
            command=joined(commands) if labelled else None,
        )

    def _window(self, part: int, drive: int, row: int) -> Any:
        key = part, drive
        if key not in self._windows:
            while len(self._windows) >= KEPT_DRIVES:
                self._windows.pop(next(iter(self._windows)))
            found = find_windows(self._mixture.parts[part].dataset.rows(drive), self._mixture.spec).index
            self._windows[key] = {int(w[0]): w for w in found}
        return self._windows[key][row]


class _From(Sampler[int]):
    """Batch numbers, from one on, without end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        number = self._first
        while True:
            yield number
            number += 1


class Loader:
    """Endless batches. `state()` says where the next one is; a loader made with it goes on there."""

    def __init__(self, mixture: Mixture, batch_size: int, *, rank: int = 0, world_size: int = 1, workers: int = 0, start_batch: int = 0) -> None:
        if batch_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
            raise ConfigError(f"loader: got a batch of {batch_size} for process {rank} of {world_size}, expected a multiple of the number of processes")
        self._mixture, self._batch_size = mixture, batch_size
        self._next = start_batch
        data = _Batches(mixture, batch_size, rank, world_size)
        self._loader = DataLoader(data, batch_size=None, sampler=_From(start_batch), num_workers=workers, persistent_workers=workers > 0)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            self._next += 1  # before it is given away: who stops after this batch has had it
            yield batch

    def state(self) -> dict[str, Any]:
        """JSON: what goes on with the next batch."""
        return {"batch": self._next, "batch_size": self._batch_size, "mixture": self._mixture.digest}

    @classmethod
    def resumed(cls, mixture: Mixture, state: dict[str, Any], *, rank: int = 0, world_size: int = 1, workers: int = 0) -> Loader:
        """Where `state` left off. Raises ResumeError where the data, the order or the batch is another."""
        if state["mixture"] != mixture.digest:
            raise ResumeError(f"data: got mixture {mixture.digest}, the checkpoint's is {state['mixture']}: other drives, ratios, windows or seed")
        return cls(mixture, state["batch_size"], rank=rank, world_size=world_size, workers=workers, start_batch=state["batch"])
