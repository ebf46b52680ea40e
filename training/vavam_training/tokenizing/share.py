"""Which drives a process takes when several work on one set, and how they meet at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from vavam_training.contracts import DataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One process of a job: as torchrun says, or the only one."""

    rank: int = 0
    processes: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Share:
        """As torchrun's variables say. Raises DataError where they make no sense."""
        try:
            share = cls(rank=int(environment.get("RANK", 0)), processes=int(environment.get("WORLD_SIZE", 1)), local_rank=int(environment.get("LOCAL_RANK", 0)))
        except ValueError as error:
            raise DataError(f"RANK, WORLD_SIZE, LOCAL_RANK: {error}; expected numbers, as torchrun sets them") from error
        if not 0 <= share.rank < share.processes:
            raise DataError(f"RANK {share.rank} of WORLD_SIZE {share.processes}: expected 0 to {share.processes - 1}")
        return share

    def of(self, items: list[T]) -> list[T]:
        """This process's part: every item goes to exactly one process."""
        return items[self.rank :: self.processes]

    def meet(self) -> None:
        """Wait for all others. A process that dies ends the job through torchrun; a slow one may take days."""
        if self.processes == 1:
            return
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(days=7))
        dist.barrier()

    def leave(self) -> None:
        """End the connection to the others."""
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
