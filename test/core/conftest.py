"""No test of the core lets it make a tensor without saying where: what the caller's default device is must not matter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

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
