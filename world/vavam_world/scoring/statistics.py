"""Means over runs with bootstrap intervals. Scenarios of one kind are a group; a mean of groups resamples within each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vavam_ros.core.contracts import InputError
from vavam_world.contracts import F64

RESAMPLES = 2000
LEVEL = 0.95
SEED = 20_260_101


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its percentile bootstrap interval; `n` runs."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(
    groups: Sequence[Sequence[float]], *, weights: Sequence[float] | None = None, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> Interval:
    """The mean of the groups' means, weighted (equally unless `weights` says otherwise; they are normed to 1).

    Each resample draws every group anew with replacement. The same values give the same interval. Raises InputError where a group, or all of it,
    is empty or not finite."""
    values = [np.asarray(g, np.float64) for g in groups]
    if not values or any(not len(v) or not np.isfinite(v).all() for v in values):
        raise InputError(f"bootstrap: got groups of {[len(v) for v in values]} values, expected one or more groups of one or more finite values")
    share = np.full(len(values), 1.0) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()
    rng = np.random.default_rng(seed)
    means: F64 = share @ np.stack([v[rng.integers(0, len(v), (resamples, len(v)))].mean(axis=1) for v in values])
    low, high = np.percentile(means, [50.0 * (1.0 - level), 50.0 * (1.0 + level)])
    return Interval(mean=float(share @ np.array([v.mean() for v in values])), low=float(low), high=float(high), n=sum(len(v) for v in values))
