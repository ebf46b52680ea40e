"""Times of stages that run on a GPU, without waiting for it between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class DeviceMark:
    """The moment at which a GPU has done what the calling thread asked of it before."""

    def __init__(self, device: torch.device) -> None:
        self._event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(device))

    def __sub__(self, earlier: DeviceMark) -> float:
        """Seconds; waits for the later one. Once results were copied to the host there is nothing left to wait for."""
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1e3


def stage_clock(device: torch.device, host: Callable[[], float]) -> Callable[[], Any]:
    """For stage times: `host` on a CPU, on a GPU marks in its stream, which are read when all is done."""
    return (lambda: DeviceMark(device)) if device.type == "cuda" else host
