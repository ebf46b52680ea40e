"""How well the next token is told.

Next-token loss as in the reference (arXiv 2502.15672): cross-entropy over all tokens of a window but the first.

Shape letters: N windows · B of them at a time · T frames · S tokens of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from vavam_ros.core.contracts import F64
from vavam_ros.core.model import VideoModel, next_token_loss
from vavam_training.contracts import I64
from vavam_training.evaluation.held_out import HeldOut
from vavam_training.evaluation.statistics import DriveBootstrap, Interval

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenLosses:
    """Of each window, nats a token. `by_frame`: of each frame's tokens, from what came before (of the first frame all but its first token)."""

    by_frame: F64  # (N, T)
    loss: F64  # (N,)
    unigram: float  # entropy of the codes' frequencies in the same windows: what a model without memory comes to at best
    drive: I64  # (N,)
    part: I64  # (N,)


@torch.inference_mode()
def token_losses(video: VideoModel, held_out: HeldOut, *, batch: int, device: torch.device, progress: Progress) -> TokenLosses:
    """Over all windows. `progress` is told how many were done."""
    s = video.spec.tokens_per_frame
    by_frame, loss, drive_of, part_of = [], [], [], []
    counts = np.zeros(video.spec.vocabulary, np.int64)
    for drive, index in held_out.batches(batch):
        window = drive.rows.tokens[index].astype(np.int64)
        counts += np.bincount(window.reshape(-1), minlength=len(counts))
        tokens = torch.from_numpy(window).to(device)
        each = next_token_loss(video(tokens).float(), tokens, reduction="none").double().cpu().numpy()  # (B, T·S − 1)
        loss.append(each.mean(axis=1))
        edges = [0, *(s * t - 1 for t in range(1, index.shape[1] + 1))]
        by_frame.append(np.stack([each[:, a:b].mean(axis=1) for a, b in pairwise(edges)], axis=1))
        drive_of.append(np.full(len(index), drive.number, np.int64))
        part_of.append(np.full(len(index), held_out.parts.index(drive.part), np.int64))
        progress(len(index))
    p = counts[counts > 0] / counts.sum()
    frames, losses, drives, parts = (np.concatenate(x) for x in (by_frame, loss, drive_of, part_of))
    return TokenLosses(by_frame=frames, loss=losses, unigram=float(-(p * np.log(p)).sum()), drive=drives, part=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """Next-token loss of one source, nats a token, with its interval."""

    name: str
    loss: Interval

    def to_dict(self) -> dict[str, Any]:
        """With perplexity exp(loss) and bits a token."""
        nats = self.loss.value
        known = math.isfinite(nats)
        return {
            "name": self.name, "loss_nats": self.loss.to_dict(), "perplexity": math.exp(nats) if known and nats < 700 else None,
            "bits_per_token": nats / math.log(2.0) if known else None,
        }  # fmt: skip


def loss_rows(losses: TokenLosses, part_names: Sequence[str], bootstrap: DriveBootstrap) -> list[LossRow]:
    """All windows, then each source."""
    whole = LossRow(name="all", loss=bootstrap.mean(losses.loss))
    return [whole, *(LossRow(name=name, loss=bootstrap.mean(losses.loss, losses.part == i)) for i, name in enumerate(part_names))]
