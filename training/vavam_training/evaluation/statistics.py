"""How sure a mean over windows is. Neighbouring windows are nearly the same, drives are not: so drives are drawn, with all their windows.

Shape letters: N windows · D drives · R resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import F64, ConfigError
from vavam_training.contracts import I64

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over `windows` windows of `drives` drives, and between what it lies.

    NaN: no window; `low` and `high` also with fewer than two drives, or values that are not finite."""

    value: float
    low: float
    high: float
    windows: int
    drives: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain types for JSON, None for what is not known or not finite."""
        numbers = {name: x if math.isfinite(x) else None for name, x in (("value", self.value), ("low", self.low), ("high", self.high))}
        return {**numbers, "windows": self.windows, "drives": self.drives}


class DriveBootstrap:
    """Percentile intervals of means over windows. All questions are asked of the same resamples, so that differences are paired."""

    def __init__(self, drive: I64, *, seed: int, resamples: int = 2000, level: float = 0.95) -> None:
        """`drive` (N,): number of the drive of each window, from 0."""
        if resamples < 1 or not 0.0 < level < 1.0:
            raise ConfigError(f"bootstrap: got {resamples} resamples at level {level}, expected one or more, and a level between 0 and 1")
        self.drive, self.level, self.resamples, self.seed = drive, level, resamples, seed
        self._drives = int(drive.max()) + 1 if len(drive) else 0
        chance = np.full(self._drives, 1.0 / max(self._drives, 1))
        self._times = np.random.default_rng(seed).multinomial(self._drives, chance, size=resamples) if self._drives else np.zeros((resamples, 0), np.int64)

    def mean(self, values: F64, where: Mask | None = None) -> Interval:
        """Mean of values (N,) over the windows `where` (N,), with its interval."""
        chosen = np.ones(len(self.drive), bool) if where is None else where
        count = np.bincount(self.drive[chosen], minlength=self._drives)
        total = np.bincount(self.drive[chosen], weights=values[chosen], minlength=self._drives)
        windows, drives = int(count.sum()), int((count > 0).sum())
        if not windows:
            return Interval(value=math.nan, low=math.nan, high=math.nan, windows=0, drives=0)
        low = high = math.nan
        if drives > 1 and np.isfinite(total).all():
            drawn = self._times @ count
            means = (self._times @ total)[drawn > 0] / drawn[drawn > 0]
            low, high = (float(q) for q in np.quantile(means, [(1 - self.level) / 2, (1 + self.level) / 2]))
        return Interval(value=float(total.sum() / windows), low=low, high=high, windows=windows, drives=drives)
