"""A computation recorded once as a CUDA graph, and played again for other inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Recording:
    """One CUDA graph with inputs and output of its own."""

    def __init__(self, body: Callable[..., Tensor | None], inputs: Sequence[Tensor], device: torch.device, pool: Any) -> None:
        self._inputs = [x.to(device, copy=True) for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            main = torch.cuda.current_stream()
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(main)
            with torch.cuda.stream(side):  # libraries set themselves up, which must not be recorded
                body(*self._inputs)
            main.wait_stream(side)
            with torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"):  # other threads may be using the device
                self._output = body(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        """The same for other inputs of the same shapes; the output is the caller's."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return None if self._output is None else self._output.clone()
