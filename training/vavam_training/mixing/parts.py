"""What is mixed: parts with their drives, and where in them a sample lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vavam_training.contracts import DriveRows


class TokenSet(Protocol):
    """What the mixture needs of `vavam_training.dataset.TokenDataset`."""

    drive_names: tuple[str, ...]
    has_motion: tuple[bool, ...]

    def rows(self, i: int) -> DriveRows:
        """Drive i."""
        ...


class InMemoryDataset:
    """Drives that are arrays already: tests, and data made on the way."""

    def __init__(self, drives: Sequence[DriveRows]) -> None:
        self._drives = tuple(drives)
        self.drive_names = tuple(d.name for d in self._drives)
        self.drive_lengths = tuple(len(d.stamp_ns) for d in self._drives)
        self.has_motion = tuple(d.has_motion for d in self._drives)

    def __len__(self) -> int:
        """Number of drives."""
        return len(self._drives)

    def rows(self, i: int) -> DriveRows:
        """Drive i."""
        return self._drives[i]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One source of windows. `drives`: numbers of those to use; None: all. `digest` identifies the data (a manifest's). `emphasis_m`: windows come once more
    in an epoch for each so many metres by which their plans stray from going straight on (`windows.emphasis`); None: each once."""

    name: str
    dataset: TokenSet
    ratio: float | None = None
    drives: Sequence[int] | None = None
    digest: str = ""
    emphasis_m: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample lies: part, drive of its data set, row of the oldest frame."""

    part: int
    drive: int
    row: int
