"""The processes of a job: one, or those that torchrun started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import RankError

TIMEOUT = timedelta(minutes=30)  # of a collective: longer than the slowest checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among its job's. `control`: a group on the CPU, for what is decided together."""

    rank: int = 0
    world_size: int = 1
    device: torch.device
    control: Any = None

    @property
    def first(self) -> bool:
        """The one that writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process. All must ask. Raises RankError where one is gone."""
        if self.control is None:
            return flag
        told = torch.tensor([int(flag)], device="cpu")
        with _named("deciding together"):
            dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.control)
        return bool(told.item())

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, on the CPU, fp64. All must ask."""
        values = values.detach().to("cpu", torch.float64)
        if self.control is not None:
            with _named("averaging"):
                dist.all_reduce(values, op=dist.ReduceOp.SUM, group=self.control)
            values /= self.world_size
        return values

    def wait(self) -> None:
        """Until all are here."""
        if self.control is not None:
            with _named("waiting for the others"):
                dist.barrier(group=self.control)


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        who = f"process {dist.get_rank()} of {dist.get_world_size()}"
        raise RankError(f"{who}, {what}: {error}; the reason stands with the process that ended first") from error


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """This process, with its device, joined to the others. `device`: auto, cpu or cuda. Raises ConfigError where there is none such."""
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = _device(device)
    if "WORLD_SIZE" not in os.environ:
        yield Processes(device=chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(rank=rank, world_size=world_size, device=chosen, control=dist.new_group(backend="gloo", timeout=TIMEOUT))
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: got {name!r}, expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("device: cuda was asked for, but torch sees no GPU; set device: cpu, or install a torch that fits the driver")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise ConfigError(f"device: process {local} of this machine has no GPU of its own, there are {torch.cuda.device_count()}: start fewer processes")
    return torch.device("cuda", local)


class StopSignal:
    """SIGTERM or SIGINT becomes a flag, so that a step is ended and written. A second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, self._before[signal.Signals(number)])
