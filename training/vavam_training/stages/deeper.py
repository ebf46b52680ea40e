"""A trained model goes on with more layers, which change nothing at first: what was learned is kept, and there is room for more.

(Identity layers inside a trained network: Chen, Goodfellow, Shlens, Net2Net: Accelerating Learning via Knowledge Transfer, 2016.)
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VaVAM, VideoModel

_BLOCK = re.compile(r"^(|video\.|action\.)blocks\.(\d+)\.(.+)$")
_WRITES = ("attention.out.weight", "mlp.down.weight")  # what a layer adds to the residual stream goes through these


def places(layers: int, deeper: int) -> tuple[int, ...]:
    """Where each of the old layers lies among the new ones: evenly spread, the first one first."""
    return tuple(i * deeper // layers for i in range(layers))


@torch.no_grad()
def for_layers(model: VaVAM | VideoModel, layers: int) -> VaVAM | VideoModel:
    """The same function in a model of `layers` layers, of the video model and the expert alike. Raises ConfigError where that would be fewer.

    A new layer is a copy of the one below it that writes nothing yet: its outputs' weights are zero, and they are the first to learn."""
    video = model.spec.video if isinstance(model, VaVAM) else model.spec
    if layers == video.layers:
        return model
    if layers < video.layers:
        raise ConfigError(f"layers: got {layers}, the weights to start with have {video.layers}; expected as many or more")
    other = replace(video, layers=layers)
    made = VaVAM(replace(model.spec, video=other), device="cpu") if isinstance(model, VaVAM) else VideoModel(other, device="cpu")
    old_at = places(video.layers, layers)
    below = [max(i for i, at in enumerate(old_at) if at <= layer) for layer in range(layers)]  # the old layer that each one is, or copies
    held, weights = model.state_dict(), {}
    for name in made.state_dict():
        found = _BLOCK.match(name)
        if found is None:
            weights[name] = held[name]
            continue
        part, layer, rest = found[1], int(found[2]), found[3]
        source = held[f"{part}blocks.{below[layer]}.{rest}"]
        weights[name] = source if layer in old_at or rest not in _WRITES else torch.zeros_like(source)
    made.load_state_dict(weights)
    return made
