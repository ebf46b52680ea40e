"""Losses of a VQ tokenizer: of LlamaGen's trainer (arXiv 2406.06525; VQGAN, arXiv 2012.09841), and one more that keeps thin edges.

Shape letters: B batch · H W picture · h w token grid · D code width · K codes.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vavam_training.contracts import DataError

ENTROPY_TEMPERATURE = 0.01
EPS = 1e-5


class Perceptual(Protocol):
    """A distance between pictures that weighs what people see. None is bundled: its weights have licences of their own."""

    def __call__(self, made: Tensor, true: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], twice → scalar."""
        ...


def codebook_loss(latents: Tensor, codes: Tensor) -> Tensor:
    """Unit latents and unit code vectors (B, D, h, w): pulls the codes to the latents."""
    return F.mse_loss(codes, latents.detach())


def commitment_loss(latents: Tensor, codes: Tensor) -> Tensor:
    """Pulls the latents to their codes."""
    return F.mse_loss(latents, codes.detach())


def entropy_loss(latents: Tensor, codebook: Tensor) -> Tensor:
    """Unit latents (B, D, h, w), unit codebook (K, D): mean entropy of the soft choice of a code, less the entropy of the mean choice.

    Low where each latent is sure of its code and all codes are used alike."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    distance = flat.square().sum(dim=1, keepdim=True) + codebook.square().sum(dim=1) - 2.0 * flat @ codebook.t()
    logits = -distance / ENTROPY_TEMPERATURE
    p = logits.softmax(dim=-1)
    each = -(p * (logits + EPS).log_softmax(dim=-1)).sum(dim=-1).mean()
    mean = p.mean(dim=0)
    return each + (mean * (mean + EPS).log()).sum()


def weighted_mean(error: Tensor, weight: Tensor | None) -> Tensor:
    """error (B, C, H, W), weight (B, 1, H, W) of pixels, or None: the mean → scalar."""
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum() * error.shape[1])


def edge_loss(made: Tensor, true: Tensor, weight: Tensor | None = None, scales: int = 2) -> Tensor:
    """Mean absolute difference of the differences between neighbouring pixels, at full size and halved: (B, 3, H, W) twice → scalar.

    Squared errors alone wash out what is thin: lane markings, poles, a pedestrian far away."""
    total = made.new_zeros(())
    for _ in range(scales):
        error = _differences(made - true)
        total = total + sum(weighted_mean(e.abs(), w) for e, w in zip(error, _edges(weight), strict=True))
        made, true = F.avg_pool2d(made, 2), F.avg_pool2d(true, 2)
        weight = None if weight is None else F.avg_pool2d(weight, 2)
    return total


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def _edges(weight: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The larger weight of two neighbours."""
    if weight is None:
        return None, None
    return torch.maximum(weight[..., 1:], weight[..., :-1]), torch.maximum(weight[..., 1:, :], weight[..., :-1, :])


def semantic_loss(logits: Tensor, classes: Tensor | None, weight: Tensor | None = None) -> Tensor:
    """Logits (B, C, H/2, W/2), classes (B, H, W) of the whole picture, weight (B, 1, H, W): cross-entropy in nats → scalar.

    Raises DataError where the pictures were kept without classes, or have more of them than there are logits."""
    if classes is None:
        raise DataError("tokenizer stage: got semantic > 0 and pictures without classes, expected `world record --labels` and `data.class_weights`")
    classes = classes[:, ::2, ::2]
    if int(classes.max()) >= logits.shape[1]:
        raise DataError(f"tokenizer stage: got class {int(classes.max())}, expected less than options.classes, {logits.shape[1]}")
    error = F.cross_entropy(logits, classes, reduction="none")[:, None]
    return weighted_mean(error, None if weight is None else weight[..., ::2, ::2])


def hinge_generator(logits_fake: Tensor) -> Tensor:
    """The reconstruction should pass for a picture."""
    return -logits_fake.mean()


def hinge_discriminator(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Pictures above 1, reconstructions below -1."""
    return 0.5 * (F.relu(1.0 - logits_real).mean() + F.relu(1.0 + logits_fake).mean())


def perplexity(usage: Tensor) -> Tensor:
    """How many codes are in use, as the exponent of the entropy of their frequencies (K,)."""
    p = usage / usage.sum().clamp_min(1e-12)
    return torch.exp(-(p * (p + 1e-12).log()).sum())
