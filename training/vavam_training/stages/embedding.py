"""Token embeddings that begin where the tokenizer's codes lie: codes that look alike are alike from the first step on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VideoModel
from vavam_ros.core.tokenizer import VQ16

OWN = 0.3  # share of the spread that is a token's own, so that near codes can still be told apart


@torch.no_grad()
def embed_codes(video: VideoModel, tokenizer: VQ16 | None, std: float, generator: torch.Generator) -> None:
    """The embedding (V, d) of code i becomes its unit code vector (D,), thrown into d dimensions at random, and a part of its own; mean square `std`².

    A model that sees each code a few hundred times only learns what a patch means from its neighbours, too. Tokens beyond the codebook stay as they are.
    Raises ConfigError without a tokenizer."""
    if tokenizer is None:
        raise ConfigError("codebook_embedding: got no tokenizer, expected `tokenizer:` in the recipe, the one that made the tokens")
    weight = video.token_embedding.weight
    codes = F.normalize(tokenizer.quantize.embedding.weight.detach().float().cpu(), dim=1)

    def drawn(rows: int) -> Tensor:
        return torch.randn((rows, weight.shape[1]), generator=generator, device="cpu")

    made = (1.0 - OWN**2) ** 0.5 * codes @ drawn(codes.shape[1]) + OWN * drawn(len(codes))
    weight[: len(codes)] = (std * made).to(weight)
