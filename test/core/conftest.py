"""No test of the core lets it make a tensor without saying where: what the caller's default device is must not matter. And what stands in for CUDA graphs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import vavam_ros.core

CORE = str(Path(vavam_ros.core.__file__).parent)
FACTORIES = {
    torch.arange, torch.empty, torch.empty_strided, torch.eye, torch.full, torch.linspace, torch.logspace, torch.ones, torch.rand, torch.randint, torch.randn,
    torch.randperm, torch.tensor, torch.tril_indices, torch.triu_indices, torch.zeros,
}  # fmt: skip


class DeviceIsSaid(TorchFunctionMode):
    """Fails a call of the core that leaves the device of a new tensor open. Tests themselves may."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in FACTORIES and "device" not in (kwargs or {}):
            caller = sys._getframe(1)
            assert not caller.f_code.co_filename.startswith(CORE), f"{caller.f_code.co_filename}:{caller.f_lineno}: {func.__name__} without a device"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def device_is_said() -> Iterator[None]:
    with DeviceIsSaid():
        yield


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """In place of a CUDA graph, which a CPU has not: the operations of one run, played again on the tensors they touched, as a graph does on addresses."""

    made = 0

    def __init__(self, body: Callable[..., Tensor | None], inputs: Sequence[Tensor], device: torch.device, pool: object) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        Tape.made += 1
        self._inputs, self._calls = [x.clone() for x in inputs], list[Any]()
        with self:
            self._output = body(*self._inputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, out))
        return out

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        now = dict(zip(map(id, self._inputs), inputs, strict=True))  # id of a tensor of the recorded run → its present counterpart, if it has one
        for func, args, kwargs, recorded in self._calls:
            args, kwargs = tree_map_only(Tensor, lambda t: now.get(id(t), t), (args, kwargs))
            for old, new in zip(tree_leaves(recorded), tree_leaves(func(*args, **kwargs)), strict=True):
                now[id(old)] = new
        return None if self._output is None else now[id(self._output)]


@pytest.fixture
def graph_stand_in() -> type[Tape]:
    """In place of `cuda_graph.Recording`."""
    Tape.made = 0
    return Tape
