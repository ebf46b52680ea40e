"""The page of scaling laws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import EngFormatter

from vavam_training.evaluation.page import render
from vavam_training.evaluation.scaling import AXES, Fit
from vavam_training.figures import BLUE, GREY, INK, SOFT, figure_uri, labelled, new_figure


def write_scaling_page(path: Path, fits: Sequence[Fit]) -> None:
    """One plot and one line of numbers for each fit."""
    sections = []
    for f in fits:
        points = [(p.name, EngFormatter(places=2, sep=" ")(getattr(p, f.axis)), f"{p.loss:.4f}") for p in f.points]
        sections.append({"axis": f.axis, "plot": plot(f), "line": line(f), "points": points})
    render(path, "scaling.html", title="Scaling laws", sections=sections)


def line(f: Fit) -> str:
    """The law in words, with intervals."""
    a = f.law.scale * f.law.x0**f.law.power
    return (
        f"loss = {f.law.floor:.4g} + {a:.4g} · {f.axis}^−{f.law.power:.4g}; offset {f.floor[0]:.4g} to {f.floor[1]:.4g}, "
        f"power {f.power[0]:.4g} to {f.power[1]:.4g} (95 %); residuals {100 * f.rms_log:.2f} % of the loss"
    )


def plot(f: Fit) -> str:
    """Points, law, band, offset."""
    figure, axis = new_figure(6.4, 3.8)
    x = [getattr(p, f.axis) for p in f.points]
    axis.fill_between(f.band_x, f.band_low, f.band_high, color=BLUE, alpha=0.18, lw=0, label="95 % band of the law")
    axis.plot(f.band_x, f.law.at(f.band_x), color=BLUE, lw=1.6, label="law")
    axis.axhline(f.law.floor, color=GREY, lw=1.0, ls="--", label="offset")
    axis.plot(x, [p.loss for p in f.points], "o", color=INK, ms=5, label="trained")
    axis.axvspan(max(x), f.band_x[-1], color=SOFT, alpha=0.06, lw=0)
    axis.set_xscale("log")
    losses = [*(p.loss for p in f.points), *f.law.at(f.band_x).tolist()]
    low, high = min(losses), max(losses)
    axis.set_ylim(low - 0.35 * (high - low), high + 0.15 * (high - low))
    axis.legend(frameon=False, fontsize=8)
    labelled(axis, AXES[f.axis], "loss [nats a token]")
    return figure_uri(figure)
