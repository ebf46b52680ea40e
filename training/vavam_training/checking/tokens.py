"""Which codes a set uses, where in the picture, and how they change from frame to frame.

Shape letters: n frames of a drive · h w token grid · K codes.
"""

from __future__ import annotations

import colorsys

import numpy as np

from vavam_ros.core.contracts import F64, U8, U16
from vavam_training.contracts import I64

MAX_FRAMES = 2000  # of a drive whose codes are counted, evenly chosen


class CodeUse:
    """Counts over the drives of a set."""

    def __init__(self, codes: int, grid_hw: tuple[int, int]) -> None:
        self.counts: I64 = np.zeros(codes, np.int64)
        self.rows: F64 = np.zeros(codes)  # sum of the rows of the grid in which a code stands
        self.changed: F64 = np.zeros(grid_hw)  # how often a place of the grid changes from one frame to the next
        self.steps = 0
        self.frames = 0

    def add(self, tokens: U16) -> None:
        """tokens (n, h, w) of one drive."""
        stride = max(1, -(-len(tokens) // MAX_FRAMES))
        some = tokens[::stride].astype(np.int64)
        row = np.broadcast_to(np.arange(some.shape[1])[None, :, None], some.shape)
        self.counts += np.bincount(some.reshape(-1), minlength=len(self.counts))
        self.rows += np.bincount(some.reshape(-1), weights=row.reshape(-1), minlength=len(self.rows))
        self.frames += len(some)
        first = np.arange(len(tokens) - 1)[::stride]
        self.changed += (tokens[first] != tokens[first + 1]).sum(axis=0)
        self.steps += len(first)

    @property
    def used(self) -> int:
        """Codes that occur."""
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """Codes that as many equally frequent ones would be: exp of the entropy."""
        p = self.counts[self.counts > 0] / max(self.counts.sum(), 1)
        return float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0

    def palette(self) -> U8:
        """(K, 3) colours: hue by how high in the picture a code usually stands, lightness by its number. A code has the same colour everywhere."""
        height = np.divide(self.rows, self.counts, out=np.zeros(len(self.rows)), where=self.counts > 0)
        used = np.unique(height[self.counts > 0])
        rank = np.searchsorted(used, height) / max(len(used) - 1, 1)  # spread over all hues, whatever the heights are
        light = 0.25 + 0.6 * np.modf(np.arange(len(rank)) * 0.61803398875)[0]
        colours = [colorsys.hls_to_rgb(0.62 - 0.55 * float(min(r, 1.0)), float(v), 0.55) for r, v in zip(rank, light, strict=True)]
        return np.round(np.array(colours) * 255.0).astype(np.uint8)
