"""The report of a replay: one HTML file that needs nothing else, with pictures and plots as data URIs."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.replay import figures
from vavam_ros.replay.keep import KeptFrame
from vavam_ros.replay.overlay import draw_plan, jpeg
from vavam_ros.replay.result import ReplayResult

STYLE = """
:root { --ink: #1c2329; --soft: #5b6770; --line: #dde2e6; --paper: #ffffff; --wash: #f5f7f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 36px 0 10px; }
.sub { color: var(--soft); margin: 0 0 18px; overflow-wrap: anywhere; }
.banner { background: #fff3cd; border: 1px solid #e3c766; border-left: 6px solid #c98a00; border-radius: 6px; padding: 10px 16px; margin: 0 0 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0 0; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tile b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; margin: 0 0 14px; overflow-x: auto; }
.card > img { display: block; width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 14px; }
.frame { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 3fr); gap: 14px; align-items: start; }
.frame img { width: 100%; height: auto; display: block; border-radius: 4px; }
.under { display: flex; gap: 12px; align-items: start; margin-top: 8px; } .frame .under img { flex: none; width: 200px; }
.caption { color: var(--soft); font-size: 13px; margin: 6px 0 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 13px; } td { overflow-wrap: anywhere; }
.key { display: inline-block; width: 22px; height: 4px; border-radius: 2px; vertical-align: middle; margin: 0 5px 0 14px; }
@media (max-width: 800px) { .frame, .pair { grid-template-columns: 1fr; } }
"""


def write_report(path: Path, bag_name: str, settings: Mapping[str, Any], result: ReplayResult) -> None:
    """Write index.html; it appears under its name only when it is complete."""
    body = "\n".join(
        [
            _head(bag_name, result),
            _tiles(result),
            _accuracy(result),
            _frames(result),
            _drive(result),
            _timing(result),
            _left_out(result),
            _settings(settings, result),
        ]
    )
    title = escape(f"Replay of {bag_name}")
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".html.part")
    part.write_text(page, encoding="utf-8")
    os.replace(part, path)


def _img(data: bytes, kind: str, alt: str) -> str:
    return f'<img src="data:image/{kind};base64,{base64.b64encode(data).decode()}" alt="{escape(alt)}">'


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], numbers_from: int = 1) -> str:
    """Columns from `numbers_from` on are aligned as numbers."""

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(f"<{tag}{' class=n' if i >= numbers_from else ''}>{escape(str(c))}</{tag}>" for i, c in enumerate(row))

    lines = ([cells("th", head)] if head else []) + [cells("td", row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _head(bag_name: str, result: ReplayResult) -> str:
    card, log = result.card, result.log
    cameras = ", ".join(sorted(log.camera_ids)) or "no picture"
    model = f"model {card.spec.name} ({card.model_id[:16]}), {card.domain} data, licence {card.licence}"
    line = f"{model} · camera {cameras} · odometry {result.inputs.pose_quality or 'of unstated quality'}"
    banners = "".join(f'<div class="banner">{escape(w)}</div>' for w in result.warnings)
    return f'<h1>Replay of {escape(bag_name)}</h1><p class="sub">{escape(line)}</p>{banners}'


def _tiles(result: ReplayResult) -> str:
    tally, log = result.tally, result.log
    tiles = [(f"{tally.images}", "pictures in the bag"), (f"{tally.tokenized}", "tokenised"), (f"{tally.plans}", "plans")]
    if tally.plans:
        tiles.append((f"{1 - tally.plans_invalid / tally.plans:.0%}", "of the plans within all limits"))
    if result.evaluation is not None and result.evaluation.scores:
        last = result.evaluation.scores[-1]
        tiles.append((f"{last.ade_m:.2f} m", f"ADE over {last.horizon_s:g} s ({last.count} plans)"))
        tiles.append((f"{last.ctrv_ade_m:.2f} m", "the same of constant turn rate"))
    total = [sum(ms for _, ms in p.stage_ms) for p in log.plans if p.stage_ms]
    if total:
        tiles.append((f"{np.median(total):.0f} ms", "per plan, median, without tokenising"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{escape(n)}</b><span>{escape(what)}</span></div>' for n, what in tiles) + "</div>"


def _accuracy(result: ReplayResult) -> str:
    evaluation = result.evaluation
    if evaluation is None or not evaluation.scores:
        return "<h2>Against what was driven</h2><p>The odometry covers the future of no plan: there are no errors to state.</p>"
    k = evaluation.scores[0].k
    head = ["horizon", "plans", "ADE", "FDE", f"minADE_{k}", f"minFDE_{k}", "const. velocity ADE", "FDE", "const. turn rate ADE", "FDE"]
    rows = [
        [f"{s.horizon_s:g} s", s.count] + [f"{v:.2f}" for v in (s.ade_m, s.fde_m, s.min_ade_m, s.min_fde_m, s.cv_ade_m, s.cv_fde_m, s.ctrv_ade_m, s.ctrv_fde_m)]
        for s in evaluation.scores
    ]
    note = (
        "Metres, means over plans. ADE: mean distance over the waypoints up to the horizon; FDE: distance at the horizon; min…_k: the best of k samples. "
        f"Waypoints are {result.log.plans[0].dt_s:g} s apart. {evaluation.plans_without_truth} plans have no recorded future and are not in the table."
    )
    curve = _img(figures.errors(evaluation), "png", "error over horizon")
    plots = (
        f'<div class="pair"><div class="card">{curve}</div><div class="card">{_spread(result)}</div></div>'
        f'<div class="card">{_img(figures.over_time(result.log.plans, evaluation), "png", "error over time")}</div>'
    )
    return f'<h2>Against what was driven</h2><div class="card">{_table(head, rows)}<p class="caption">{escape(note)}</p></div>{plots}'


def _spread(result: ReplayResult) -> str:
    """How far the samples disagree, and what limits the plans break."""
    plans = result.log.plans
    spread = np.array([p.selection.spread_m for p in plans])
    rows: list[list[object]] = [[f"spread at {i + 1} s", f"{np.median(c):.2f} m", f"{np.percentile(c, 95):.2f} m"] for i, c in enumerate(spread.T)]
    broken: dict[str, int] = {}
    for p in plans:
        for v in p.violations:
            broken[v.check] = broken.get(v.check, 0) + 1
    limits: list[list[object]] = [[check, n, f"{n / len(plans):.0%}"] for check, n in sorted(broken.items(), key=lambda item: -item[1])]
    reasons: dict[str, int] = {}
    for p in plans:
        reasons[p.selection.reason] = reasons.get(p.selection.reason, 0) + 1
    chosen: list[list[object]] = [[r, n, f"{n / len(plans):.0%}"] for r, n in sorted(reasons.items(), key=lambda item: -item[1])]
    return (
        _table(["mean distance of the samples to the selected one", "median", "p95"], rows)
        + "<br>"
        + _table(["limit broken by the selected sample", "plans", ""], limits or [["none", 0, ""]])
        + "<br>"
        + _table(["selected by", "plans", ""], chosen)
    )


def _frames(result: ReplayResult) -> str:
    kept = result.log.kept.frames
    if not kept:
        return ""
    keys = "".join(
        f'<span class="key" style="background:{c}"></span>{name}'
        for c, name in ((figures.PLAN, "selected plan"), (figures.SAMPLE, "all samples"), (figures.TRUTH, "driven"), (figures.CTRV, "constant turn rate"))
    )
    known = kept[0].view.source is not None and kept[0].view.source.T_ego_camera is not None
    how = "this camera's calibration and mounting" if known else "the canonical camera's calibration, as this camera's is not known"
    approximate = "" if result.log.canonical else " The camera is not canonical: the drawing is approximate."
    intro = f"Drawn on flat ground with {how}.{approximate} Below each: what the model sees; right: the plan from above."
    return f'<h2>Pictures and plans</h2><p class="caption">{keys}</p><p class="caption">{escape(intro)}</p>' + "".join(_frame(result, f) for f in kept)


def _frame(result: ReplayResult, frame: KeptFrame) -> str:
    plan = result.log.plans[frame.plan_index]
    truth = None
    text = ""
    if result.evaluation is not None:
        t = result.evaluation.truths[frame.plan_index]
        truth = t.xy_ego_m[: t.waypoints]
        if t.waypoints:
            text = f" · error at {t.waypoints * plan.dt_s:g} s: {result.evaluation.curves.selected_m[frame.plan_index, t.waypoints - 1]:.2f} m"
    since = (plan.stamp_ns - result.log.plans[0].stamp_ns) / NS_PER_S
    caption = (
        f"{since:.1f} s after the first plan · {float(plan.pose.linear_mps[0]):.1f} m/s · {plan.command.name.lower()} · "
        f"{frame.context_frames} frames of context · selected by {plan.selection.reason}{text}"
    )
    if plan.violations:
        caption += f" · breaks {'; '.join(str(v) for v in plan.violations[:3])}"
    picture = _img(jpeg(draw_plan(frame.recorded, frame.view, plan, truth)), "jpeg", "picture with the plan drawn on")
    under = _img(jpeg(frame.model_image, 400), "jpeg", "what the model sees") + f'<p class="caption">{escape(caption)}</p>'
    above = _img(figures.one_plan(plan, truth), "png", "the plan from above")
    return f'<div class="card frame"><div>{picture}<div class="under">{under}</div></div><div>{above}</div></div>'


def _drive(result: ReplayResult) -> str:
    plans = result.log.plans
    if not plans or len(result.drive_xy_m) < 2:
        return ""
    every = max(1, len(plans) // 24)
    return f'<h2>The drive</h2><div class="card">{_img(figures.drive(plans, result.drive_xy_m, every), "png", "drive and plans from above")}</div>'


def _timing(result: ReplayResult) -> str:
    stages = {name: values for name, values in result.log.stage_ms.items() if values}
    if not stages:
        return ""
    rows = [[n, len(v), *(f"{x:.1f}" for x in (*np.percentile(v, [50, 95]), max(v)))] for n, v in stages.items()]
    table = _table(["stage", "runs", "p50 [ms]", "p95 [ms]", "max [ms]"], rows)
    plot = _img(figures.timing(stages), "png", "run time per stage")
    return f'<h2>Timing</h2><div class="pair"><div class="card">{plot}</div><div class="card">{table}</div></div>'


def _left_out(result: ReplayResult) -> str:
    tally = result.tally
    rows: list[list[object]] = [["pictures: tokenised", tally.tokenized], ["pictures: between the ticks of the tokenise rate", tally.not_due]]
    rows += [[f"pictures skipped: {why}", n] for why, n in sorted(tally.skipped.items())]
    rows += [[f"no plan: {why}", n] for why, n in sorted(tally.no_plan.items())]
    rows += [[f"odometry {what}", n] for what, n in sorted(tally.odometry_outcomes.items())]
    rows += [[f"odometry refused: {why}", n] for why, n in sorted(tally.odometry_errors.items())]
    rows += [[f"command {why}", n] for why, n in sorted(tally.command_reasons.items())]
    rows += [["resets (time or pose jumped, camera changed)", tally.resets]]
    return f'<h2>What became of the input</h2><div class="card">{_table(["", "count"], rows)}</div>'


def _settings(settings: Mapping[str, Any], result: ReplayResult) -> str:
    rows: list[list[object]] = [[k, v] for k, v in settings.items() if v is not None]
    rows += [["topic", f"{t.name} [{t.type_name}], {t.count} messages"] for t in (result.inputs.image, result.inputs.odometry)]
    rows += [["camera", note] for note in result.camera_notes]
    rows += [["model notes", result.card.notes]] if result.card.notes else []
    return f'<h2>Settings</h2><div class="card">{_table([], rows, numbers_from=9)}</div>'
