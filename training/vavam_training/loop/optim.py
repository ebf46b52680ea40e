"""AdamW with muP's learning rates and decoupled decay.

muP (arXiv 2203.03466) for Adam: a matrix between two widths learns at lr / m, m = its fan-in over the fan-in at the base width; everything else
(embeddings, what has one side of fixed size, the readouts) at lr. Decay per step is the group's own rate times one value, as in VaVAM (`decoupled_wd` of mup).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import ActionExpert, VideoModel
from vavam_training.contracts import ParamGroup

BETWEEN_WIDTHS = ("attention.qkv", "attention.out", "mlp.up", "mlp.down", "encoder.mix", "encoder.out")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW. `clip`: largest norm of all gradients together; 0: none."""

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 1e-7
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not all(0.0 <= b < 1.0 for b in self.betas):
            raise ConfigError(f"optim.betas: got {self.betas}, expected two numbers of 0 or more, below 1")
        if self.eps <= 0.0 or self.weight_decay < 0.0 or self.clip < 0.0:
            raise ConfigError(f"optim: got eps {self.eps}, weight_decay {self.weight_decay}, clip {self.clip}, expected positive, 0 or more, 0 or more")


def mup_groups_video(video: VideoModel, prefix: str = "video") -> list[ParamGroup]:
    """Groups of the video model's trainable parameters."""
    return _groups(video.named_parameters(), prefix, fan_in=video.spec.readout_divisor, attention_out=video.spec.readout_divisor)


def mup_groups_action(action: ActionExpert, video_divisor: float, prefix: str = "action") -> list[ParamGroup]:
    """Groups of the action expert's. `video_divisor`: of the video model, in whose width the expert attends."""
    return _groups(action.named_parameters(), prefix, fan_in=action.spec.readout_divisor, attention_out=video_divisor)


def _groups(named: Iterable[tuple[str, nn.Parameter]], prefix: str, *, fan_in: float, attention_out: float) -> list[ParamGroup]:
    by_divisor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        owner = ".".join(name.split(".")[-3:-1])
        divisor = 1.0 if owner not in BETWEEN_WIDTHS else attention_out if owner == "attention.out" else fan_in
        by_divisor.setdefault(divisor, []).append(parameter)
    return [ParamGroup(name=f"{prefix}/{d:g}", parameters=tuple(p), lr_scale=1.0 / d) for d, p in sorted(by_divisor.items())]


def adamw(groups: Sequence[ParamGroup], config: OptimConfig) -> torch.optim.AdamW:
    """One optimiser over the groups. Set the step's rate with `set_rate`. Raises ConfigError where there is nothing to train."""
    if not any(len(g.parameters) for g in groups):
        raise ConfigError("optimiser: got no trainable parameter, expected some: everything is frozen")
    rows = [
        {"params": list(g.parameters), "lr": 0.0, "weight_decay": config.weight_decay if g.weight_decay else 0.0, "name": g.name, "lr_scale": g.lr_scale}
        for g in groups
    ]
    return torch.optim.AdamW(rows, lr=0.0, betas=config.betas, eps=config.eps)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The schedule's rate, times each group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
