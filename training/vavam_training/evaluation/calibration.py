"""Whether K samples spread as far as they err: ranks, coverage, energy score.

Where truth and samples come from one distribution, the truth is exchangeable with each sample: its rank among all K + 1, by any measure that treats them
alike, is uniform on 0 … K. Measures here: distance to the mean of all K + 1 points (high ranks: the samples are too close together), x (high: the vehicle goes
further than thought), y (high: more to the left). Ties share their ranks evenly.

Energy score: Gneiting & Raftery 2007, in the fair form for finite ensembles (Fricker et al. 2013): E|s − y| − ½ E|s − s'|, over pairs of different samples.
Of a single trajectory it is its displacement, so that models and baselines without spread can be compared by it.

Shape letters: N windows · K samples · H waypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vavam_ros.core.contracts import F32, F64
from vavam_training.contracts import I64

CHUNK = 1024  # windows at a time: K × K × H distances each


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranks:
    """Of the truth among K samples: so many lie below it, so many level with it."""

    below: I64  # (N,)
    level: I64  # (N,)
    samples: int

    def histogram(self) -> F64:
        """(N, K + 1) weight of each rank: one in all, shared among ranks that tie."""
        rank = np.arange(self.samples + 1)
        inside = (rank >= self.below[:, None]) & (rank <= (self.below + self.level)[:, None])
        return np.asarray(inside / inside.sum(axis=1, keepdims=True), np.float64)

    def within(self, p: float) -> F64:
        """(N,) weight of the truth below the p-quantile of the ranks: its mean is p where the spread is right."""
        low, high = self.below / (self.samples + 1), (self.below + self.level + 1) / (self.samples + 1)
        return np.clip((p - low) / (high - low), 0.0, 1.0)


def distance_ranks(samples_m: F32 | F64, truth_m: F32 | F64) -> Ranks:
    """samples (N, K, 2), truth (N, 2): by the distance to the mean of all K + 1 points."""
    points = np.concatenate([truth_m[:, None], samples_m], axis=1).astype(np.float64)
    return _ranks(np.round(np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=-1), 9))


def axis_ranks(samples_m: F32 | F64, truth_m: F32 | F64, axis: int) -> Ranks:
    """samples (N, K, 2), truth (N, 2): along x (0) or y (1)."""
    return _ranks(np.concatenate([truth_m[:, None, axis], samples_m[:, :, axis]], axis=1).astype(np.float64))


def _ranks(measure: F64) -> Ranks:
    """(N, K + 1), the truth first."""
    truth, others = measure[:, :1], measure[:, 1:]
    return Ranks(below=(others < truth).sum(axis=1), level=(others == truth).sum(axis=1), samples=others.shape[1])


def energy_score_m(samples_m: F32 | F64, truth_m: F32 | F64) -> F64:
    """samples (N, K, H, 2), truth (N, H, 2) → (N, H), metres. With one sample: its distance."""
    n, k, h = samples_m.shape[:3]
    out = np.empty((n, h))
    for at in range(0, n, CHUNK):
        s, y = samples_m[at : at + CHUNK].astype(np.float64), truth_m[at : at + CHUNK].astype(np.float64)
        out[at : at + CHUNK] = np.linalg.norm(s - y[:, None], axis=-1).mean(axis=1)
        if k > 1:
            between = np.linalg.norm(s[:, :, None] - s[:, None], axis=-1).sum(axis=(1, 2))
            out[at : at + CHUNK] -= 0.5 * between / (k * (k - 1))
    return out


def spread_and_error_m(samples_m: F32 | F64, truth_m: F32 | F64) -> tuple[F64, F64]:
    """samples (N, K, 2), truth (N, 2) → (N,) squared spread, (N,) squared error of the samples' mean: their means are equal where the spread is right.

    The spread is the variance about the mean, times (K + 1) / K, by which the mean of K samples is itself uncertain. NaN for K = 1."""
    k = samples_m.shape[1]
    s, y = samples_m.astype(np.float64), truth_m.astype(np.float64)
    error = np.square(s.mean(axis=1) - y).sum(axis=-1)
    spread = s.var(axis=1, ddof=1).sum(axis=-1) * (k + 1) / k if k > 1 else np.full(len(s), np.nan)
    return spread, error
