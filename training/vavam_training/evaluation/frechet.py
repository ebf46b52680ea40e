"""Fréchet distance of two sets of pictures: of the Gaussians that fit their features (Heusel et al. 2017, arXiv 1706.08500).

Features are pluggable. Those that come with the project need no further weights: they tell models on the same tokenizer apart, and are not comparable with
published numbers, which are of other features (the reference's: DINOv2 ViT-L/14). For those give `module:callable`.

Shape letters: n pictures · H W pixels · h w latent grid · F features.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vavam_ros.core.contracts import F64, ConfigError
from vavam_ros.core.tokenizer import VQ16

POOLED_HW = (4, 8)  # of the features "pixels"
OWN = ("tokenizer", "pixels")


class FeatureExtractor(Protocol):
    """Pictures to features. Must not depend on what else is in the batch."""

    @property
    def name(self) -> str:
        """Stands beside each number."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) in [-1, 1] → (n, F)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A function with a name."""

    name: str
    function: Callable[[Tensor], Any]

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) → (n, F). Raises ConfigError where the function gives something else."""
        found = self.function(images)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(f"features {self.name}: got {got} for {len(images)} pictures, expected a tensor ({len(images)}, features)")
        return found


def open_features(name: str, tokenizer: VQ16) -> FeatureExtractor:
    """`tokenizer`: mean and deviation over the picture of each of its encoder's latents. `pixels`: colours of 4 × 8 fields. `module:callable`: a function.

    Raises ConfigError where there is no such function."""
    if name == "tokenizer":
        return Named(name="tokenizer latents: mean and deviation", function=lambda images: _latent_statistics(tokenizer, images))
    if name == "pixels":
        return Named(name=f"pixels: colours of {POOLED_HW[0]} × {POOLED_HW[1]} fields", function=lambda x: F.adaptive_avg_pool2d(x, POOLED_HW).flatten(1))
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"features: got {name!r}, expected {', '.join(OWN)} or module:callable")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"features {name}: {error}; expected a function (n, 3, H, W) → (n, features) in a module on PYTHONPATH") from error
    return Named(name=name, function=found)


def _latent_statistics(tokenizer: VQ16, images: Tensor) -> Tensor:
    latents = tokenizer.latents(images).float()
    return torch.cat([latents.mean(dim=(2, 3)), latents.std(dim=(2, 3), correction=0)], dim=1)


class Moments:
    """Mean and covariance of features that come in batches."""

    def __init__(self) -> None:
        self._rows: list[F64] = []

    def add(self, features: Tensor) -> None:
        """(n, F)."""
        self._rows.append(features.double().cpu().numpy())

    def __len__(self) -> int:
        """Pictures."""
        return sum(map(len, self._rows))

    def gaussian(self) -> tuple[F64, F64]:
        """(F,), (F, F). Raises ConfigError for fewer than two pictures."""
        if len(self) < 2:
            raise ConfigError(f"Fréchet distance: got {len(self)} pictures, expected two or more: evaluate more windows")
        rows = np.concatenate(self._rows)
        return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def frechet_distance(a: tuple[F64, F64], b: tuple[F64, F64]) -> float:
    """|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), of means (F,) and covariances (F, F); 0 or more, squared units of the features.

    The root's trace by eigenvalues of the symmetric Σa^½ Σb Σa^½, which has those of Σa Σb and stays real where covariances are singular."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ cov_b @ root)
    distance = np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2.0 * np.sqrt(np.clip(shared, 0.0, None)).sum()
    return max(float(distance), 0.0)
