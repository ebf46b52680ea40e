"""One token after another: what VaViM expects next, from keys and values that are kept.

Shape letters: B batch · N tokens of a full window · n held, m given · A heads · D head size · d width · V vocabulary.
"""

from __future__ import annotations

from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from vavam_ros.core.model.cuda_graph import Recording
from vavam_ros.core.model.kv_context import Context
from vavam_ros.core.model.network import VideoModel, blocks_of, norm


class TokenSteps(Protocol):
    """A sequence of at most N tokens that grows one by one. Tokens are checked by whoever gives them."""

    length: int

    def start(self, tokens: Tensor) -> Tensor:
        """Begin anew with tokens (B, m) → logits (B, V) of the next."""

    def step(self, token: Tensor) -> Tensor:
        """Append (B, 1) → logits (B, V) of the next."""


def token_steps(video: VideoModel, batch: int) -> TokenSteps:
    """On a GPU a graph plays each step; elsewhere a step reads no more than it must."""
    return GraphSteps(video, batch) if video.token_embedding.weight.is_cuda else PlainSteps(video)


class PlainSteps:
    """By network.py: a step attends to the n tokens that are held."""

    def __init__(self, video: VideoModel) -> None:
        self._video = video
        self._context = video.empty_context()
        self.length = 0

    def start(self, tokens: Tensor) -> Tensor:
        """See `TokenSteps`."""
        self._context = self._video.empty_context(capacity=self._video.spec.frames * self._video.spec.tokens_per_frame)
        return self.step(tokens)

    def step(self, token: Tensor) -> Tensor:
        """See `TokenSteps`."""
        state = self._video.advance(self._context, token, last_state=True)
        assert state is not None
        self.length = self._context.length
        return self._video.readout(state)[:, 0]


class GraphSteps:
    """The same operations at the same addresses for every step, so that one CUDA graph plays them all; launching a dozen kernels a layer by hand
    would cost several times what they take. Recording waits for the device: keep the steps for the next sequence of the same batch.

    Keys and values lie in a buffer of N tokens, all of which a step reads, the empty ones under a mask: at B = 1 fewer bytes than the weights of the
    released sizes have. As in fast.py attention is two products and a softmax, as a fused kernel has one block of work per head; in half precision
    their scores are rounded, which the fused kernel of `PlainSteps` keeps in fp32.
    """

    def __init__(self, video: VideoModel, batch: int) -> None:
        spec, weight = video.spec, video.token_embedding.weight
        capacity = spec.frames * spec.tokens_per_frame
        self._video, self._device = video, weight.device
        shape = (spec.layers, 2, batch, spec.heads, capacity, spec.head_size)
        self._kv = torch.zeros(shape, device=weight.device, dtype=weight.dtype)  # zeros: what is masked must still be finite
        self._positions = torch.arange(capacity, device=weight.device)
        self._recording: Recording | None = None
        self.length = 0

    def start(self, tokens: Tensor) -> Tensor:
        """See `TokenSteps`."""
        context: Context = self._video.empty_context()
        state = self._video.advance(context, tokens, last_state=True)
        assert state is not None
        for i, kv in enumerate(self._kv):
            for held, given in zip(kv, context.layer(i), strict=True):
                held[..., : context.length, :].copy_(given)
        self.length = context.length
        return self._video.readout(state)[:, 0]

    def step(self, token: Tensor) -> Tensor:
        """See `TokenSteps`."""
        position = self._positions[self.length : self.length + 1]
        if self._recording is None:
            self._recording = Recording(self._logits, (token, position), self._device, None)
        logits = self._recording(token, position)
        assert logits is not None
        self.length += 1
        return logits

    def _logits(self, token: Tensor, position: Tensor) -> Tensor:
        """token (B, 1) written at position (1,), which no Python value depends on → (B, V)."""
        video = self._video
        x = video.embed_at(token, position)
        unseen = torch.zeros_like(self._positions, dtype=x.dtype).masked_fill_(self._positions > position, -torch.inf)
        for block, kv in zip(blocks_of(video.blocks), self._kv.unbind(), strict=True):
            heads = block.attention.heads
            q, *new = block.attention.project(norm(x))
            kv.index_copy_(3, position, torch.stack(new).to(kv.dtype))
            k, v = kv.flatten(1, 2)  # (B·A, N, D)
            scores = torch.baddbmm(unseen, q.flatten(0, 1).to(k.dtype), k.mT, alpha=video.scale)
            attended = torch.bmm(scores.softmax(dim=-1), v)
            x = block.finish(x, rearrange(attended, "(b a) one d -> b one (a d)", a=heads))
        return video.readout(x)[:, 0]
