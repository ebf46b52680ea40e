"""Plots of what was trained in several ways: an answer beside its interval, and the runs that it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vavam_training.figures import BLUE, INK, LINE, ORANGE, labelled, new_figure

COLOURS = (BLUE, ORANGE)
BEST_SCORE = 5.0


def by_size(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Rows with `size`, `score` and `beyond_the_smallest`, each (mean, low, high): scores, and paired differences from the first row."""
    figure, (left, right) = new_figure(8.6, 3.2, columns=2)
    x = np.arange(len(rows))
    for axis, name, label in ((left, "score", f"NeuroNCAP score, 0 to {BEST_SCORE:g}"), (right, "beyond_the_smallest", "beyond the smallest, paired")):
        mean, low, high = np.array([r[name] for r in rows], float).T
        axis.errorbar(x, mean, yerr=(mean - low, high - mean), fmt="o", color=BLUE, capsize=3)
        labelled(axis, "parameters of the video model", label)
        axis.set_xticks(x, [str(r["size"]) for r in rows])
        axis.set_xlim(-0.5, len(rows) - 0.5)
    left.set_ylim(0.0, BEST_SCORE)
    right.axhline(0.0, color=INK, lw=0.8)
    return figure


def by_share(values: Mapping[str, Mapping[str, Mapping[float, Sequence[float]]]]) -> Figure:
    """measure → way → share of the data → one value for each seed: a panel for each measure, a line for each way, a dot for each seed."""
    figure, axes = new_figure(3.6 * len(values), 3.2, columns=len(values))
    for axis, (measure, ways) in zip(np.atleast_1d(axes), values.items(), strict=True):
        shares = sorted({s for of_way in ways.values() for s in of_way})
        for i, ((way, of_way), colour) in enumerate(zip(ways.items(), COLOURS, strict=True)):
            x = np.arange(len(shares)) + 0.12 * (i - 0.5)
            axis.plot(x, [np.mean(of_way[s]) for s in shares], color=colour, lw=1.6, label=way)
            for at, share in zip(x, shares, strict=True):
                axis.plot([at] * len(of_way[share]), of_way[share], "o", color=colour, ms=4, alpha=0.6)
        labelled(axis, "share of the drives", measure)
        axis.set_xticks(range(len(shares)), [f"1/{round(1 / s)}" if s < 1.0 else "all" for s in shares])
        axis.set_ylim(bottom=0.0)
        axis.grid(axis="x", color=LINE, lw=0.0)
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize=8)
    return figure
