"""Activation checkpointing of the video model: memory for work."""

from __future__ import annotations

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vavam_ros.core.model import Context, VideoModel


def recomputed_context(video: VideoModel, tokens: Tensor) -> tuple[Context, Tensor]:
    """(context, last residual stream (B, N, d)) of (B, T, h, w) tokens: of each layer keys and values are kept, the rest is computed again for the gradient.

    Errors as `VideoModel.context`."""
    video.check(tokens, values=True)
    context = video.empty_context()
    x = video.embed(tokens.flatten(1))
    for i in range(video.spec.layers):
        x, k, v = checkpoint(video.layer_with_keys, i, x, use_reentrant=False)
        context.append(i, k, v)
    context.length = x.shape[1]
    return context, x
