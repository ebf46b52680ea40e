"""The slope of a measured series with an error that holds although neighbouring samples are alike.

Memory and latency stay where they were for seconds: a line through all samples with the usual error claims far too much. Here time is cut into
equal blocks, a line is fitted through the blocks' means, and its error is that of the means about the line; what is alike within a block counts once.
What still connects neighbouring blocks widens the error once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

S_PER_H = 3600.0
BLOCKS = 12
FEWEST_BLOCKS = 4
# Student's t, 97.5 % point, for 1, 2, … degrees of freedom.
T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Change per hour in the series' own unit, and its standard error; `half` is half of the 95 % interval."""

    per_h: float
    se: float
    half: float
    blocks: int

    @property
    def low(self) -> float:
        """Lower bound of the 95 % interval."""
        return self.per_h - self.half

    @property
    def high(self) -> float:
        """Upper bound."""
        return self.per_h + self.half

    def text(self, unit: str) -> str:
        """For people."""
        return f"{self.per_h:+.2f} ± {self.half:.2f} {unit}/h"


def slope(t_s: Sequence[float], values: Sequence[float], blocks: int = BLOCKS) -> Slope | None:
    """Slope of `values` at times `t_s` [s]. None where fewer than four blocks hold a sample. Raises ValueError on lengths that differ."""
    if blocks - 2 > len(T975):
        raise ValueError(f"blocks: got {blocks}, expected at most {len(T975) + 2}")
    t, y = np.asarray(t_s, np.float64), np.asarray(values, np.float64)
    if t.shape != y.shape:
        raise ValueError(f"got {t.size} times and {y.size} values, expected as many")
    if t.size < FEWEST_BLOCKS or t.max() == t.min():
        return None
    index = np.minimum(((t - t.min()) / (t.max() - t.min()) * blocks).astype(np.int64), blocks - 1)
    filled = np.unique(index)
    n = len(filled)
    if n < FEWEST_BLOCKS:
        return None
    tb, yb = (np.array([x[index == i].mean() for i in filled]) for x in (t, y))
    tc = tb - tb.mean()
    spread = float(tc @ tc)
    per_s = float(tc @ yb) / spread
    rest = yb - yb.mean() - per_s * tc
    square = float(rest @ rest)
    se = float(np.sqrt(square / (n - 2) / spread))
    if square > 0.0:
        alike = min(max(float(rest[1:] @ rest[:-1]) / square, 0.0), 0.9)  # only ever widens: what looks opposed in a dozen blocks is chance
        se *= float(np.sqrt((1.0 + alike) / (1.0 - alike)))
    return Slope(per_h=per_s * S_PER_H, se=se * S_PER_H, half=T975[n - 3] * se * S_PER_H, blocks=n)


def after_warm_up(t_s: Sequence[float], share: float = 0.2) -> int:
    """Index of the first sample after the warm-up, the first `share` of the time."""
    t = np.asarray(t_s, np.float64)
    return int(np.searchsorted(t, t[0] + share * (t[-1] - t[0]))) if t.size else 0
