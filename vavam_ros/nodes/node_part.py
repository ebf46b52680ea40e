"""What a model node is made of: what it loaded, on which device, and the interface of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from vavam_ros.core.artifact import ModelCard
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.device_clock import stage_clock
from vavam_ros.core.model import VaVAM
from vavam_ros.core.model.number_format import NumberFormat
from vavam_ros.core.tokenizer import VQ16
from vavam_ros.nodes.parameters import Parameters
from vavam_ros.nodes.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """What a node read from the model directory. Parts that it does not run are None."""

    card: ModelCard
    device: torch.device
    formats: NumberFormat
    tokenizer: VQ16 | None = None
    model: VaVAM | None = None

    @property
    def clock(self) -> Callable[[], Any]:
        """For stage times. A GPU is not waited for."""
        return stage_clock(self.device, time.perf_counter)


class NodePart(Protocol):
    """Half of the pipeline inside a node: `tokenizing.Tokenizing` or `planning.Planning`."""

    worker: Worker[Any] | None

    def start(self) -> Worker[Any]:
        """Start the inference thread."""

    def build(self, loaded: Loaded) -> None:
        """Make what runs, and warm it up. Called in the inference thread."""

    def advertise(self) -> None:
        """Create the publishers."""

    def activate(self) -> None:
        """Subscribe."""

    def deactivate(self) -> None:
        """Unsubscribe; stay warm."""

    def cleanup(self) -> None:
        """End the thread and let go of everything."""

    def reset(self) -> None:
        """Forget the past: time jumped, or the odometry began anew. What is in flight is discarded."""

    def report(self) -> None:
        """Bring the board up to date, once a second."""


def chosen_device(parameters: Parameters) -> torch.device:
    """The device that the parameters ask for. Raises ConfigError for one that is not there, and for an empty model_dir."""
    text = parameters.text("device")
    if not parameters.text("model_dir"):
        raise ConfigError("parameter model_dir is empty: give a model directory (`vavam convert` makes one)")
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError as e:
        raise ConfigError(f"parameter device: got {text!r}, expected auto, cpu, cuda or cuda:<n>") from e
    seen = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= seen:
        raise ConfigError(f"parameter device: got {text!r}, but torch {torch.__version__} sees {seen} CUDA devices; run `vavam doctor`")
    return device
