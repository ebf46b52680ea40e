"""The plots of the page, as PNG data URIs. One palette, no state of pyplot."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from vavam_training.checking.motion import Histogram
from vavam_training.checking.numbers import FUTURE_M, SetNumbers
from vavam_training.figures import BLUE, GREEN, GREY, INK, ORANGE, SOFT, figure_uri, labelled, new_figure

RIGHT, LEFT, STRAIGHT, UNKNOWN = ORANGE, GREEN, GREY, "#e4e7ea"
COMMANDS = (("right", RIGHT), ("left", LEFT), ("straight", STRAIGHT), ("not known", UNKNOWN))  # in the order of Command, then unknown
DRAWN = 200  # drives seen from above


def trajectories(n: SetNumbers) -> str | None:
    """All drives from above, each from its start, which looks up."""
    paths = [d.path_m for d in n.drives if d.path_m is not None]
    if not paths:
        return None
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), DRAWN)).round().astype(int))]
    figure, axis = new_figure(5.6, 5.2)
    for i, path in enumerate(chosen):
        colour = colormaps["viridis"](0.08 + 0.8 * i / max(len(chosen) - 1, 1))
        axis.plot(-path[:, 1], path[:, 0], color=colour, lw=1.1, alpha=0.85)
        axis.plot(-path[-1, 1], path[-1, 0], ".", color=colour, ms=4)
    axis.plot(0, 0, "^", color=INK, ms=7)
    axis.set_aspect("equal", adjustable="datalim")
    labelled(axis, "← left · right → [m]", "ahead of the start [m]")
    return figure_uri(figure)


def futures(n: SetNumbers) -> str | None:
    """Where vehicles are at the waypoints, seen from the newest frame of each window."""
    if not n.futures.any():
        return None
    figure, axis = new_figure(5.6, 5.2)
    grid = np.ma.masked_equal(n.futures, 0.0)
    edges_x, edges_y = np.arange(grid.shape[1] + 1) - FUTURE_M[1], np.arange(grid.shape[0] + 1) - 5.0
    shown = axis.pcolormesh(-edges_x, edges_y, grid, norm=LogNorm(vmin=1), cmap="YlGnBu")
    axis.plot(0, 0, "^", color=INK, ms=7)
    reach, side = np.flatnonzero(n.futures.any(axis=1)), np.flatnonzero(n.futures.any(axis=0))
    wide = max(FUTURE_M[1] - side[0], side[-1] + 1 - FUTURE_M[1], 6.0, 0.4 * reach[-1])
    axis.set_xlim(-wide, wide)
    axis.set_ylim(min(reach[0] - 5.0, -2.0), reach[-1] - 3.0)
    axis.set_aspect("equal", adjustable="box")
    _bar(figure, axis, shown, "waypoints in a square metre")
    labelled(axis, "← left · right → [m]", "ahead [m]")
    return figure_uri(figure)


def balance(n: SetNumbers) -> str | None:
    """Commands by each rule, as shares of the windows."""
    if not n.total("windows"):
        return None
    figure, axis = new_figure(9.7, 0.8 + 0.55 * len(n.rules))
    for y, rule in enumerate(n.rules):
        counts = n.commands(rule)
        start = 0.0
        for (name, colour), count in zip(COMMANDS, counts, strict=True):
            share = count / max(counts.sum(), 1)
            axis.barh(y, share, left=start, color=colour, height=0.62, label=name if y == 0 else None)
            if share > 0.06:
                axis.text(start + share / 2, y, f"{share:.0%}", ha="center", va="center", fontsize=9, color=INK if colour in (STRAIGHT, UNKNOWN) else "white")
            start += share
    axis.set_yticks(range(len(n.rules)), list(n.rules))
    axis.invert_yaxis()
    axis.set_xlim(0.0, 1.0)
    axis.set_xticks([])
    for side in axis.spines.values():
        side.set_visible(False)
    axis.tick_params(length=0)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=9)
    return figure_uri(figure)


def histogram(h: Histogram, label: str, *, at_least: float, log: bool = False) -> str | None:
    """Share of the time by value. `at_least`: shown on both sides of 0 (for what has a sign), or above it."""
    if not h.seconds.any():
        return None
    figure, axis = new_figure(5.4, 2.8)
    used = np.flatnonzero(h.seconds)
    low, high = h.edges[used[0]], h.edges[used[-1] + 1]
    axis.stairs(100.0 * h.seconds / h.seconds.sum(), h.edges, fill=True, color=BLUE, alpha=0.85)
    axis.set_xlim(min(low, -at_least) if log else low, max(high, at_least))
    if log:
        axis.set_yscale("log")
        axis.set_ylim(min(0.5 * 100.0 * h.seconds[used].min() / h.seconds.sum(), 0.5), 130.0)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
    labelled(axis, label, "% of the time")
    return figure_uri(figure)


def codes(n: SetNumbers) -> str:
    """How often codes occur, the most frequent first."""
    figure, axis = new_figure(5.4, 3.0)
    counts = np.sort(n.codes.counts)[::-1]
    counts = counts[counts > 0]
    axis.plot(np.arange(1, len(counts) + 1), counts / counts.sum(), color=BLUE, lw=1.5)
    axis.axhline(1.0 / len(n.codes.counts), color=RIGHT, lw=1.0, ls="--")
    axis.set_xscale("log")
    axis.set_yscale("log")
    labelled(axis, "codes, the most frequent first", "share of all tokens")
    return figure_uri(figure)


def change(n: SetNumbers) -> str:
    """How often each place of the grid changes from frame to frame."""
    figure, axis = new_figure(5.4, 3.0)
    shown = axis.imshow(n.codes.changed / max(n.codes.steps, 1), vmin=0.0, vmax=1.0, cmap="YlGnBu")
    axis.set_xticks([])
    axis.set_yticks([])
    _bar(figure, axis, shown, "share of the steps")
    return figure_uri(figure)


def _bar(figure: Figure, axis: Any, shown: Any, label: str) -> None:
    bar = figure.colorbar(shown, ax=axis, shrink=0.75)
    bar.set_label(label, fontsize=9, color=SOFT)
    bar.ax.tick_params(colors=SOFT, labelsize=8)
    bar.outline.set_visible(False)
