"""Windows of drives → one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vavam_training.contracts import Batch
from vavam_training.mixing.parts import Part, Place
from vavam_training.windows import WindowSpec, find_windows, labels

KEPT_DRIVES = 64


class Collator:
    """Places of windows in the parts of a mixture → Batch. Keeps the windows of the drives that were asked for last."""

    def __init__(self, parts: Sequence[Part], spec: WindowSpec) -> None:
        self._parts, self._spec = parts, spec
        self._windows: dict[tuple[int, int], dict[int, Any]] = {}

    def __call__(self, places: Sequence[Place]) -> Batch:
        """The batch, in the order of `places`."""
        tokens: list[Any] = [None] * len(places)
        positions, commands = list(tokens), list(tokens)
        by_drive: dict[tuple[int, int], list[int]] = {}
        for at, place in enumerate(places):
            by_drive.setdefault((place.part, place.drive), []).append(at)
        for (part, drive), members in by_drive.items():
            rows = self._parts[part].dataset.rows(drive)
            index = np.stack([self._window(part, drive, places[at].row) for at in members])
            for at, window in zip(members, index, strict=True):
                tokens[at] = rows.tokens[window].astype(np.int64)
            if self._spec.labelled:
                xy, command = labels(rows, index, self._spec)
                for at, one_xy, one_command in zip(members, xy, command, strict=True):
                    positions[at], commands[at] = one_xy, one_command
        return Batch(
            tokens=_joined(tokens),
            source=torch.tensor([p.part for p in places], dtype=torch.int64),
            positions_m=_joined(positions) if self._spec.labelled else None,
            command=_joined(commands) if self._spec.labelled else None,
        )

    def _window(self, part: int, drive: int, row: int) -> Any:
        key = part, drive
        if key not in self._windows:
            while len(self._windows) >= KEPT_DRIVES:
                self._windows.pop(next(iter(self._windows)))
            found = find_windows(self._parts[part].dataset.rows(drive), self._spec).index
            self._windows[key] = {int(w[0]): w for w in found}
        return self._windows[key][row]


def _joined(arrays: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
