"""Contact sheets: evenly chosen frames of evenly chosen drives, decoded, or as coloured tokens where no tokenizer is given.

Shape letters: n frames · h w token grid · H W picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vavam_ros.core.contracts import NS_PER_S, U8, U16
from vavam_training.checking.numbers import DriveSet
from vavam_training.figures import picture_uri

WIDTH = 232  # pixels of a picture on the page


class Decoder(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, codes: Tensor) -> Tensor:
        """(B, h, w) → (B, 3, H, W) in [-1, 1]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Frames of one drive."""

    name: str
    pictures: tuple[tuple[str, str], ...]  # (caption, data URI)


def contact_sheet(
    dataset: DriveSet,
    drives: Sequence[int],
    frames: int,
    picture: Callable[[U16], U8],
    progress: Callable[[int], object] = lambda n: None,
) -> list[Strip]:
    """`picture`: tokens (h, w) → (H, W, 3). One strip a drive."""
    strips = []
    for i in drives:
        rows = dataset.rows(i)
        at = np.unique(np.linspace(0, len(rows.stamp_ns) - 1, frames).round().astype(np.int64))
        pictures = []
        for k in at:
            caption = f"{(rows.stamp_ns[k] - rows.stamp_ns[0]) / NS_PER_S:.1f} s"
            if np.isfinite(rows.speed_mps[k]):
                caption += f" · {rows.speed_mps[k]:.1f} m/s"
            pictures.append((caption, picture_uri(picture(rows.tokens[k]), WIDTH)))
            progress(1)
        strips.append(Strip(name=rows.name, pictures=tuple(pictures)))
    return strips


def decoded(tokenizer: Decoder, device: torch.device) -> Callable[[U16], U8]:
    """Pictures as the tokenizer sees them."""

    def picture(tokens: U16) -> U8:
        codes = torch.from_numpy(tokens.astype(np.int64))[None].to(device)
        with torch.inference_mode():
            out = tokenizer.decode(codes)[0].float().clamp(-1.0, 1.0)
        return ((out.permute(1, 2, 0) + 1.0) * 127.5).round().to(torch.uint8).cpu().numpy()

    return picture


def coloured(palette: U8) -> Callable[[U16], U8]:
    """Each code in its colour, (K, 3)."""

    def picture(tokens: U16) -> U8:
        scale = max(1, WIDTH // tokens.shape[1])
        return np.ascontiguousarray(palette[tokens].repeat(scale, axis=0).repeat(scale, axis=1))

    return picture


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` numbers of 0 … count − 1."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, wanted)).round())] if count else []
