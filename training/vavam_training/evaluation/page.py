"""The page of an evaluation: one HTML file that needs nothing else; and the JSON beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vavam_ros.replay.report import STYLE
from vavam_training.evaluation import open_loop_plots, other_plots
from vavam_training.evaluation.open_loop_plots import numbers
from vavam_training.evaluation.open_loop_scores import NOMINAL, Calibration, Scores
from vavam_training.evaluation.results import Evaluation, OpenLoop
from vavam_training.figures import picture_uri

__all__ = ["render", "write_json", "write_page"]
WIDTH = 232  # pixels of a frame
SHOWN_METRICS = ("min_ade_m", "min_fde_m", "ade_m", "medoid_ade_m", "medoid_fde_m", "ctrv_ade_m", "ctrv_fde_m", "cv_ade_m", "cv_fde_m")

HEAD = ("mean ADE", "planner's ADE", "planner's FDE", "turn rate ADE", "turn rate FDE", "velocity ADE", "velocity FDE")  # after the first two


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Plain types; what is not finite becomes null. The file appears under its name when it is complete."""
    _write(path, json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def render(path: Path, template: str, package: str = "vavam_training.evaluation", **values: Any) -> None:
    """A page from a template of this folder, or of another package's."""
    loader = PackageLoader(package, ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    _write(path, environment.get_template(template).render(style=STYLE, **values))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.partial")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def write_page(path: Path, e: Evaluation) -> None:
    """index.html."""
    render(
        path,
        "page.html",
        title=f"Evaluation of {e.name}",
        e=e,
        tiles=_tiles(e),
        open_loop=_open_loop(e.open_loop) if e.open_loop else None,
        video=_video(e) if e.losses else None,
        semantics=_semantics(e) if e.semantics else None,
        closed_loop=os.path.relpath(e.closed_loop.page, path.parent) if e.closed_loop else None,
    )


def _tiles(e: Evaluation) -> list[tuple[str, str]]:
    tiles = []
    if e.open_loop:
        o, overall = e.open_loop, e.open_loop.scores.overall.metrics
        tiles.append((f"{overall['min_ade_m'].value:.2f} m", f"minADE_{o.k} over {o.horizon_s:g} s"))
        tiles.append((f"{overall['min_fde_m'].value:.2f} m", f"minFDE_{o.k} at {o.horizon_s:g} s"))
        tiles.append((f"{overall['ctrv_ade_m'].value:.2f} m", "ADE of constant turn rate, which needs no model"))
        if o.scores.calibration:
            tiles.append((f"{o.scores.calibration[-1].ratio:.2f}", "spread over error; 1 is right"))
    if e.losses:
        loss = e.losses[0].loss.value
        tiles.append((f"{loss:.3f}", f"next-token loss [nats]; perplexity {math.exp(min(loss, 700)):,.1f}"))
    if e.semantics:
        best = e.semantics.scores[0]
        tiles.append((f"{best.mean_iou:.1%}", "mean IoU by retrieval"))
    tiles.append((f"{e.windows:,}", "windows of held-out drives" if e.held_out else "windows"))
    return tiles


def _open_loop(o: OpenLoop) -> dict[str, Any]:
    s = o.scores
    sections = ([s.overall], s.by_part if len(s.by_part) > 1 else (), s.by_command, s.by_speed)
    shown = [[row for row in rows if row.metrics["min_ade_m"].windows] for rows in sections]
    return {
        "k": o.k,
        "settings": f"{o.predictions.truth_m.shape[1]} waypoints at {1 / o.predictions.dt_s:g} Hz over {o.horizon_s:g} s, k = {o.k} samples of {o.steps} Euler "
        f"steps, seed {o.config.seed}, newest frame of each window. Small: {o.level:.0%} bootstrap interval over drives, {o.resamples} resamples.",
        "head": (f"minADE_{o.k}", f"minFDE_{o.k}", *HEAD),
        "rows": [_row(row, i == 0) for rows in shown for i, row in enumerate(rows)],
        "none": [row.name for rows in sections for row in rows if not row.metrics["min_ade_m"].windows],
        "seconds": [(f"{h.horizon_s:g} s", numbers(h.metrics, SHOWN_METRICS)) for h in s.by_horizon],
        "axes": [(f"{a.time_s:g} s {a.axis}", numbers(a.errors, ("planner", "mean", "ctrv", "truth"))) for a in s.by_axis],
        "over_time": open_loop_plots.error_over_time(s.by_horizon, o.k),
        "by_speed": open_loop_plots.groups(s.by_speed, o.k),
        "by_command": open_loop_plots.groups(s.by_command, o.k),
        "examples": open_loop_plots.examples(o.predictions),
        "calibration": open_loop_plots.calibration(s.calibration) if s.calibration else None,
        "calibration_rows": [_calibration_row(c) for c in s.calibration],
        "nominal": [f"within {p:.0%}" for p in NOMINAL],
    }


def _row(row: Scores, first: bool) -> dict[str, Any]:
    return {"name": row.name, "windows": row.metrics["min_ade_m"].windows, "cells": numbers(row.metrics, SHOWN_METRICS), "top": first}


def _calibration_row(c: Calibration) -> dict[str, Any]:
    covered = [c.coverage[p] for p in NOMINAL]
    cells = [(f"{i.value:.0%}", f"{i.low:.0%} to {i.high:.0%}" if math.isfinite(i.low) else "") for i in covered]
    return {"time": f"{c.time_s:g} s", "spread": f"{c.spread_m:.2f}", "error": f"{c.error_m:.2f}", "ratio": f"{c.ratio:.2f}", "cells": cells}


def _video(e: Evaluation) -> dict[str, Any]:
    assert e.losses is not None
    rows = []
    for r in e.losses:
        d = r.to_dict()
        interval = f"{r.loss.low:.3f} to {r.loss.high:.3f}" if math.isfinite(r.loss.low) else ""
        perplexity = f"{d['perplexity']:,.1f}" if d["perplexity"] is not None else "–"
        rows.append((r.name, r.loss.windows, r.loss.drives, f"{r.loss.value:.3f}", interval, perplexity, f"{d['bits_per_token'] or 0:.3f}"))
    g = e.generated
    return {
        "rows": rows,
        "unigram": e.unigram,
        "by_frame": other_plots.loss_by_frame(e.loss_by_frame, e.unigram),
        "generated": other_plots.generated(g) if g else None,
        "g": g,
        "strips": [_strip(s.name, s.given, s.true, s.generated) for s in g.strips] if g else [],
    }


def _strip(name: str, given: Sequence[Any], true: Sequence[Any], generated: Sequence[Any]) -> dict[str, Any]:
    def uris(pictures: Sequence[Any]) -> list[str]:
        return [picture_uri(p, WIDTH) for p in pictures]

    return {"name": name, "given": uris(given), "true": uris(true), "generated": uris(generated)}


def _semantics(e: Evaluation) -> dict[str, Any]:
    s = e.semantics
    assert s is not None
    rows = [(x.features, x.method, f"{x.mean_iou:.1%}", f"{x.pixel_accuracy:.1%}") for x in s.scores]
    names = [e.class_names[i] if i < len(e.class_names) else f"class {i}" for i in range(s.classes)]
    by_class = [(names[i], ["–" if math.isnan(x.iou[i]) else f"{x.iou[i]:.1%}" for x in s.scores]) for i in range(s.classes)]
    shown = [(picture_uri(rgb, WIDTH), *(picture_uri(other_plots.class_colours(c, s.classes), WIDTH) for c in (a, b))) for rgb, a, b in s.shown]
    return {"s": s, "rows": rows, "by_class": by_class, "shown": shown, "heads": [f"{x.features}, {x.method}" for x in s.scores]}
