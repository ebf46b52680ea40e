"""Random weights for VaViM and VaVAM as the reference starts from them (muP, arXiv 2203.03466), and variations for tests and demos."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from vavam_ros.core.spec import ModelSpec, VideoSpec


class _Model(Protocol):
    """VideoModel or VaVAM."""

    @property
    def spec(self) -> ModelSpec | VideoSpec: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


@torch.no_grad()
def init_weights(
    model: _Model,
    generator: torch.Generator,
    video_std: float = 0.02,
    action_std: float = 0.02,
    *,
    zero_query: bool = True,
    readout_std: float = 0.0,
) -> None:
    """Draw all weights: the same for every device and dtype, in fp32 on the generator's device.

    What has one axis of fixed size (embeddings, the first layer of the actions) gets std; a matrix between widths std / sqrt(m), m = its fan-in over
    the fan-in at the base width; the expert's residual outputs also / sqrt(2 layers). Queries and the action readout start at zero, so that an
    untrained plan is its own noise; `zero_query=False` and `readout_std` give others.

    The video's residual outputs lack the depth factor: by an oversight in the reference, kept because its learning rates were found that way.
    """
    spec = model.spec
    video = spec.video if isinstance(spec, ModelSpec) else spec
    m_video = video.readout_divisor
    m_action = spec.action.readout_divisor if isinstance(spec, ModelSpec) else 1.0
    for name, p in model.named_parameters():
        of_action = name.startswith("action.")
        std, m = (action_std, m_action) if of_action else (video_std, m_video)
        depth = 1 / math.sqrt(2 * video.layers) if of_action else 1.0
        owner = ".".join(name.split(".")[-3:-1])
        if owner == "action.readout":
            std = readout_std
        elif owner == "attention.out":
            std *= depth / math.sqrt(m_video)  # its fan-in is the heads', as wide as the video
        elif owner == "mlp.down":
            std *= depth / math.sqrt(m)
        elif owner in ("attention.qkv", "mlp.up", "encoder.mix", "encoder.out"):
            std /= math.sqrt(m)
        p.copy_(torch.randn(p.shape, generator=generator, device=generator.device, dtype=torch.float32) * std)
        if owner == "attention.qkv" and zero_query:
            p[: p.shape[0] // 3].zero_()
