"""Plots of open-loop scores, as data URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vavam_ros.core.contracts import Command
from vavam_ros.core.planning.metrics import ade_m
from vavam_training.checking.contact import evenly
from vavam_training.evaluation.open_loop import Predictions
from vavam_training.evaluation.open_loop_scores import Calibration, HorizonScores, Scores
from vavam_training.evaluation.statistics import Interval
from vavam_training.figures import BLUE, GREEN, GREY, INK, LINE, ORANGE, SOFT, figure_uri, labelled, new_figure

EXAMPLES = 8


def error_over_time(rows: Sequence[HorizonScores], k: int) -> str:
    """Error at each waypoint, with intervals."""
    figure, axis = new_figure(5.6, 3.4)
    times = [r.horizon_s for r in rows]
    for name, label, colour, style in (
        ("min_fde_m", f"best of {k} samples (minFDE)", BLUE, "-"), ("medoid_fde_m", "the one the planner takes", INK, "-"),
        ("ctrv_fde_m", "constant turn rate", ORANGE, "--"), ("cv_fde_m", "constant velocity", GREY, "--"),
    ):  # fmt: skip
        found = [r.metrics[name] for r in rows]
        axis.plot(times, [i.value for i in found], style, color=colour, lw=1.6, marker="o", ms=3, label=label)
        axis.fill_between(times, [i.low for i in found], [i.high for i in found], color=colour, alpha=0.15, lw=0)
    axis.set_ylim(bottom=0.0)
    axis.legend(frameon=False, fontsize=8)
    labelled(axis, "time ahead [s]", "distance to what was driven [m]")
    return figure_uri(figure)


def groups(rows: Sequence[Scores], k: int) -> str:
    """Mean displacement of groups that have windows, as bars with intervals."""
    shown = [r for r in rows if r.metrics["min_ade_m"].windows]
    figure, axis = new_figure(5.6, 0.9 + 0.62 * max(len(shown), 1))
    kinds = (("min_ade_m", f"best of {k} (minADE)", BLUE), ("medoid_ade_m", "the planner's", INK), ("ctrv_ade_m", "constant turn rate", ORANGE))
    for i, (name, label, colour) in enumerate(kinds):
        y = np.arange(len(shown)) + 0.26 * (i - 1)
        found = [r.metrics[name] for r in shown]
        axis.barh(y, [f.value for f in found], height=0.22, color=colour, alpha=0.85, label=label)
        for at, f in zip(y, found, strict=True):
            if np.isfinite(f.low):
                axis.plot([f.low, f.high], [at, at], color=SOFT, lw=1.0)
    axis.set_yticks(range(len(shown)), [f"{r.name} ({r.metrics['min_ade_m'].windows:,})" for r in shown])
    axis.invert_yaxis()
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(-0.1, 1.0))
    labelled(axis, "mean distance over the horizon [m]", "")
    return figure_uri(figure)


def calibration(rows: Sequence[Calibration]) -> str:
    """Coverage, ranks at the last time, spread beside error."""
    figure, (cover, ranks, ratio) = new_figure(11.2, 3.2, 3)
    cover.plot([0, 1], [0, 1], "--", color=GREY, lw=1.0)
    for i, c in enumerate(rows):
        colour = (GREEN, BLUE, ORANGE)[i % 3]
        cover.plot(list(c.coverage), [v.value for v in c.coverage.values()], color=colour, lw=1.6, label=f"{c.time_s:g} s")
        cover.fill_between(list(c.coverage), [v.low for v in c.coverage.values()], [v.high for v in c.coverage.values()], color=colour, alpha=0.15, lw=0)
    cover.set_xlim(0, 1)
    cover.set_ylim(0, 1)
    cover.legend(frameon=False, fontsize=8)
    labelled(cover, "nominal share", "share of truth within")
    last = rows[-1]
    _bars(ranks, last.ranks["distance"])
    labelled(ranks, f"rank of the truth by distance to the mean, {last.time_s:g} s", "share of windows")
    times = [c.time_s for c in rows]
    ratio.plot(times, [c.spread_m for c in rows], color=BLUE, lw=1.6, marker="o", ms=3, label="spread of the samples")
    ratio.plot(times, [c.error_m for c in rows], color=INK, lw=1.6, marker="o", ms=3, label="error of their mean")
    ratio.set_ylim(bottom=0.0)
    ratio.legend(frameon=False, fontsize=8)
    labelled(ratio, "time ahead [s]", "root mean square [m]")
    return figure_uri(figure)


def _bars(axis: Any, histogram: Sequence[Interval]) -> None:
    x = np.arange(len(histogram))
    axis.bar(x, [h.value for h in histogram], color=BLUE, alpha=0.85, width=0.8)
    for at, h in zip(x, histogram, strict=True):
        if np.isfinite(h.low):
            axis.plot([at, at], [h.low, h.high], color=SOFT, lw=1.0)
    axis.set_xticks(x[:: max(1, len(x) // 10)])
    axis.axhline(1.0 / len(histogram), color=ORANGE, lw=1.0, ls="--")


def examples(p: Predictions) -> str:
    """Windows from above, from the smallest minADE to the largest."""
    best = ade_m(p.samples_m, p.truth_m[:, None]).min(axis=1)
    order = np.argsort(best, kind="stable")
    chosen = [int(order[i]) for i in evenly(len(order), EXAMPLES)]
    figure, axes = new_figure(11.2, 3.4, len(chosen))
    for axis, i in zip(np.atleast_1d(axes), chosen, strict=True):
        for sample in p.samples_m[i]:
            _path(axis, sample, BLUE, lw=0.8, alpha=0.6)
        if np.isfinite(p.ctrv_m[i]).all():
            _path(axis, p.ctrv_m[i], ORANGE, lw=1.2, ls="--")
        _path(axis, p.truth_m[i], GREEN, lw=2.2)
        axis.plot(0, 0, "^", color=INK, ms=6)
        every = np.concatenate([p.samples_m[i].reshape(-1, 2), p.truth_m[i], [[0.0, 0.0]]])
        reach = max(float(every[:, 0].max()), 4.0)
        side = max(float(np.abs(every[:, 1]).max()) * 1.1, 0.22 * reach, 1.0)
        axis.set_xlim(-side, side)
        axis.set_ylim(min(float(every[:, 0].min()), -0.06 * reach), 1.05 * reach)
        axis.set_title(f"{best[i]:.2f} m · {Command(int(p.command[i])).name.lower()}", fontsize=8.5, color=INK)
        axis.tick_params(labelsize=7)
        axis.grid(color=LINE, lw=0.5)
    np.atleast_1d(axes)[0].set_ylabel("ahead [m]", fontsize=9, color=SOFT)
    figure.supxlabel("← left · right → [m] (scales differ)", fontsize=9, color=SOFT)
    for axis in np.atleast_1d(axes):
        axis.xaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
    return figure_uri(figure)


def _path(axis: Any, xy: Any, colour: str, **more: Any) -> None:
    points = np.vstack([[0.0, 0.0], xy])
    axis.plot(-points[:, 1], points[:, 0], color=colour, **more)


def numbers(scores: Mapping[str, Interval], names: Sequence[str]) -> list[tuple[str, str]]:
    """(value, interval) of some metrics, as text; dashes for what is not known."""
    found = []
    for name in names:
        i = scores[name]
        found.append((f"{i.value:.3f}" if np.isfinite(i.value) else "–", f"{i.low:.2f} to {i.high:.2f}" if np.isfinite(i.low) else ""))
    return found
