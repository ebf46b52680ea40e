"""VaViM dreams: the next frames' tokens, one token at a time, with keys and values cached.

Shape letters: B batch · T frames · h w token grid · S = h·w · V vocabulary · d width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model.network import VideoModel
from vavam_ros.core.model.token_steps import TokenSteps, token_steps


@torch.inference_mode()
def generate_frames(
    video: VideoModel,
    tokens: Tensor,
    n_frames: int,
    *,
    top_k: int | None = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    codebook_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    steps: TokenSteps | None = None,
) -> Tensor:
    """The `n_frames` frames that follow tokens (B, t, h, w): int64 (B, n_frames, h, w).

    Each token is drawn from the `top_k` likeliest (None: from all) at `temperature`, by `generator`; `top_k` 1 is greedy and needs none.
    `codebook_size`: ids from there on are never drawn (the vocabulary has one that no tokenizer decodes). `progress` is told (tokens done, in all).
    `steps`: `token_steps` of this model and B from an earlier call, which a GPU need not record again; None: made here.
    A new frame is predicted from at most T − 1 frames, the newest. # vs upstream: there the oldest stay, and every frame past the window is the same.
    Raises ConfigError on values that cannot be meant, TokenError on another grid or tokens out of range.
    """
    spec = video.spec
    _check(spec.frames, tokens, n_frames, top_k, temperature, generator)
    video.check(tokens[:, -spec.frames :], values=True)
    s, window = spec.tokens_per_frame, spec.frames * spec.tokens_per_frame
    sequence = rearrange(tokens, "b t h w -> b (t h w)")
    given, total = sequence.shape[1], n_frames * s
    steps, logits = token_steps(video, tokens.shape[0]) if steps is None else steps, None
    while (done := sequence.shape[1] - given) < total:
        if logits is None or steps.length == window:
            logits = steps.start(sequence[:, -(window - s) :])
        frame = []
        for i in range(s):
            token = pick_token(logits, top_k, temperature, generator, codebook_size)  # (B, 1)
            frame.append(token)
            if done + i + 1 < total:  # the last token of all has no successor
                logits = steps.step(token)
            if progress is not None:
                progress(done + i + 1, total)
        sequence = torch.cat([sequence, *frame], dim=1)
    return rearrange(sequence[:, given:], "b (t h w) -> b t h w", h=spec.grid_h, w=spec.grid_w)


def pick_token(logits: Tensor, top_k: int | None, temperature: float, generator: torch.Generator | None, codebook_size: int | None = None) -> Tensor:
    """(B, V) logits → (B, 1) tokens. The draw happens on the generator's device."""
    logits = logits[:, :codebook_size].float()
    if top_k == 1 or generator is None:
        return logits.argmax(dim=-1, keepdim=True)
    likeliest = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    p = (likeliest.values / temperature).softmax(dim=-1)
    choice = torch.multinomial(p.to(generator.device), 1, generator=generator).to(logits.device)
    return likeliest.indices.gather(-1, choice)


def _check(frames: int, tokens: Tensor, n_frames: int, top_k: int | None, temperature: float, generator: torch.Generator | None) -> None:
    if frames < 2:
        raise ConfigError(f"this model holds {frames} frame: got no room for both a given and a generated one, expected a model of at least 2 frames")
    if n_frames < 1:
        raise ConfigError(f"n_frames: got {n_frames}, expected at least 1")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k: got {top_k}, expected at least 1, or None to draw from the whole vocabulary")
    if not temperature > 0:
        raise ConfigError(f"temperature: got {temperature}, expected more than 0; for the likeliest token use top_k=1")
    if top_k != 1 and generator is None:
        raise ConfigError("drawing tokens at random: got no generator, expected one (or top_k=1 for the likeliest token)")
    if tokens.ndim != 4 or tokens.shape[1] < 1:
        raise ConfigError(f"tokens: got shape {tuple(tokens.shape)}, expected (batch, at least one frame, height, width)")
