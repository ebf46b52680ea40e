"""Before and after on one page, and in report.json beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.core.contracts import Command
from vavam_training.checking.contact import evenly
from vavam_training.evaluation.open_loop import Predictions, errors
from vavam_training.evaluation.page import render, write_json
from vavam_training.figures import BLUE, GREEN, GREY, INK, LINE, figure_uri, labelled, new_figure
from vavam_training.finetuning.judged import LOSS, Change, Judged

EXAMPLES, PLANNED = 6, "medoid_ade_m"


def write_report(out: Path, title: str, found: Sequence[Change], before: Judged, after: Judged, facts: Sequence[tuple[str, str]]) -> Path:
    """OUT/index.html and OUT/report.json."""
    write_json(out / "report.json", {"format": "vavam_finetune/1", "changes": [c.to_dict() for c in found], "facts": dict(facts)})
    page = out / "index.html"
    a, b = after.predictions, before.predictions
    render(
        page,
        "page.html",
        package="vavam_training.finetuning",
        title=title,
        headline=headline(found),
        good=found[0].verdict == "better",
        tiles=[(f"{c.before.value:.2f} → {c.after.value:.2f}", c.name) for c in found if c.name == LOSS or c is found[0]],
        rows=[_row(c) for c in found],
        drives=_by_drive(b, a) if a is not None and b is not None else "",
        examples=_examples(b, a) if a is not None and b is not None else "",
        facts=facts,
    )
    return page


def headline(found: Sequence[Change]) -> str:
    """The first number in a sentence."""
    c = found[0]
    sure = f" (95 % interval {c.difference.low:+.3f} to {c.difference.high:+.3f})" if np.isfinite(c.difference.low) else ""
    where = f"{c.after.windows:,} windows of {c.after.drives} held-out drive{'s' if c.after.drives != 1 else ''}"
    said = {
        "better": "It has become better on what it did not learn from.",
        "worse": "It has become worse on what it did not learn from: do not use it.",
        "the same": "It is what it was.",
        "cannot be told apart": "Whether it has become better cannot be told from these drives.",
        "one drive: no interval": "One held-out drive says little: how much another would differ is not known.",
    }[c.verdict]
    name = c.name.split(" [")[0]
    return f"{said} {name[0].upper()}{name[1:]}: {c.before.value:.3f} → {c.after.value:.3f}, difference {c.difference.value:+.3f}{sure}, {where}."


def _row(c: Change) -> dict[str, Any]:
    def cell(i: Any, sign: str = "") -> tuple[str, str]:
        return f"{i.value:{sign}.3f}", f"{i.low:{sign}.3f} to {i.high:{sign}.3f}" if np.isfinite(i.low) else ""

    return {"name": c.name, "cells": [cell(c.before), cell(c.after), cell(c.difference, "+")], "verdict": c.verdict}


def _by_drive(before: Predictions, after: Predictions) -> str:
    """The planner's ADE of each held-out drive, before and after."""
    old, new = (errors(p)[PLANNED] for p in (before, after))
    drives = np.unique(after.drive)
    x, y = ([float(v[after.drive == d].mean()) for d in drives] for v in (old, new))
    figure, axis = new_figure(5.0, 4.2)
    most = 1.08 * max(*x, *y)
    axis.plot([0, most], [0, most], "--", color=GREY, lw=1.0)
    axis.scatter(x, y, s=26, color=BLUE, alpha=0.8)
    axis.set_xlim(0, most)
    axis.set_ylim(0, most)
    labelled(axis, "before: planner's ADE [m]", "after [m]")
    return figure_uri(figure)


def _examples(before: Predictions, after: Predictions) -> str:
    """Windows from the one that gained the most to the one that lost the most."""
    gain = errors(before)[PLANNED] - errors(after)[PLANNED]
    order = np.argsort(-gain, kind="stable")
    chosen = [int(order[i]) for i in evenly(len(order), EXAMPLES)]
    figure, axes = new_figure(11.2, 3.4, len(chosen))
    for axis, i in zip(np.atleast_1d(axes), chosen, strict=True):
        seen = [np.zeros((1, 2))]
        for p, colour in ((before, GREY), (after, BLUE)):
            for k, sample in enumerate(p.samples_m[i]):
                path = np.vstack([[0.0, 0.0], sample])
                axis.plot(path[:, 1], path[:, 0], color=colour, lw=2.0 if k == p.medoid[i] else 0.7, alpha=0.9 if k == p.medoid[i] else 0.45)
                seen.append(path)
        truth = np.vstack([[0.0, 0.0], after.truth_m[i]])
        axis.plot(truth[:, 1], truth[:, 0], color=GREEN, lw=2.2)
        axis.plot(0, 0, "^", color=INK, ms=6)
        every = np.concatenate([*seen, truth])
        reach = max(float(every[:, 0].max()), 4.0)
        side = max(float(np.abs(every[:, 1]).max()) * 1.1, 0.22 * reach, 1.0)
        axis.set_xlim(side, -side)  # left is left
        axis.set_ylim(min(float(every[:, 0].min()), -0.06 * reach), 1.05 * reach)
        axis.set_title(f"{-gain[i]:+.2f} m · {Command(int(after.command[i])).name.lower()}", fontsize=8.5, color=INK)
        axis.tick_params(labelsize=7)
        axis.grid(color=LINE, lw=0.5)
        axis.xaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
    np.atleast_1d(axes)[0].set_ylabel("ahead [m]", fontsize=9)
    return figure_uri(figure)
