"""The page of an evaluation: one self-contained HTML file, failures first; only videos are beside it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vavam_ros.replay.report import STYLE
from vavam_world.report import figures
from vavam_world.report.film import OUTCOMES
from vavam_world.report.run import DO_NOTHING, Run
from vavam_world.scoring.motion import ComfortLimits
from vavam_world.scoring.ncap import NcapRow
from vavam_world.scoring.routes import MEASURES, RouteRow
from vavam_world.scoring.statistics import LEVEL, RESAMPLES, Interval

CARDS = 36
PERCENT = ("success", "completion", "collision", "at_fault", "off_road", "wrong_lane", "uncomfortable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation came to. `runs` holds each run with the folder of its files; tables are by driver."""

    settings: Mapping[str, str]
    suites: Mapping[str, str]  # suite/split → sha256
    drivers: Sequence[str]
    runs: Sequence[tuple[Path, Run]]
    routes: Mapping[str, Sequence[RouteRow]]
    safety: Mapping[str, Sequence[NcapRow]]
    banners: Sequence[str] = field(default_factory=tuple)


def write_page(path: Path, evaluation: Evaluation) -> None:
    """Write the HTML; it appears under its name only when it is complete."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    shown = pick_cards([run for _, run in evaluation.runs])
    bad = sum(run.failure for _, run in evaluation.runs)
    html = environment.get_template("evaluation.html").render(
        title="Drive in the closed loop",
        style=STYLE,
        subtitle=f"{', '.join(d.replace('_', ' ') for d in evaluation.drivers)} · runs: {len(evaluation.runs)} · {', '.join(evaluation.suites)}",
        banners=list(evaluation.banners),
        tiles=_tiles(evaluation),
        sections=_sections(evaluation),
        cards=[_card(*evaluation.runs[i], path.parent) for i in shown],
        cards_note=f"Failures first, taken in turn from every suite and driver: {len(shown)} of {len(evaluation.runs)} runs, {bad} of which failed. "
        "A route fails that is not driven to its end, has a contact at fault or leaves the road; a safety run that collides or leaves the road.",
        runs=[_line(folder, run, path.parent) for folder, run in evaluation.runs],
        facts=_facts(evaluation),
    )
    part = path.with_suffix(".html.part")
    part.write_text(html, encoding="utf-8")
    os.replace(part, path)


def pick_cards(runs: Sequence[Run], most: int = CARDS) -> list[int]:
    """Which runs are shown whole: failures, in turn from every suite and driver, then in the same way runs that went well (a third at most)."""

    def in_turn(wanted: list[int]) -> list[int]:
        groups: dict[tuple[str, str], list[int]] = {}
        for i in wanted:
            groups.setdefault((runs[i].suite, runs[i].score.driver), []).append(i)
        return [g[n] for n in range(max(map(len, groups.values()), default=0)) for g in groups.values() if n < len(g)]

    bad = in_turn([i for i, r in enumerate(runs) if r.failure])
    good = in_turn([i for i, r in enumerate(runs) if not r.failure and r.media])
    room = most - min(len(good), most // 3)
    return [*bad[:room], *good[: most - min(len(bad), room)]]


def _tiles(evaluation: Evaluation) -> list[dict[str, str]]:
    tiles = []
    for driver in evaluation.drivers:
        name = driver.replace("_", " ")
        if rows := evaluation.routes.get(driver):
            tiles.append({"value": f"{rows[-1].measures['success'].mean:.0%}", "what": f"{name}: routes driven well"})
        if safety := evaluation.safety.get(driver):
            tiles.append({"value": f"{safety[-1].score.mean:.2f}", "what": f"{name}: NeuroNCAP score of 5"})
            tiles.append({"value": f"{safety[-1].collision_rate.mean:.0%}", "what": f"{name}: collisions in safety runs"})
    return tiles


def _cell(text: str, note: str = "") -> dict[str, str]:
    return {"text": text, "note": note}


def _interval(value: Interval, *, percent: bool, digits: int = 2) -> dict[str, str]:
    if percent:
        return _cell(f"{value.mean:.1%}", f"{value.low:.0%} to {value.high:.0%}")
    return _cell(f"{value.mean:.{digits}f}", f"{value.low:.{digits}f} to {value.high:.{digits}f}")


def _sections(evaluation: Evaluation) -> list[dict[str, Any]]:
    sections = []
    small = f"Small: {LEVEL:.0%} bootstrap interval, {RESAMPLES} resamples within each suite."
    if any(evaluation.routes.values()):
        by_name: dict[str, list[tuple[str, RouteRow]]] = {}
        for driver, rows in evaluation.routes.items():
            for row in rows:
                by_name.setdefault(row.name, []).append((driver, row))
        lines = []
        for name, entries in by_name.items():
            for i, (driver, row) in enumerate(entries):
                values = [_interval(row.measures[m], percent=m in PERCENT, digits=1) for m in MEASURES]
                turns = f"{row.turns[0]}/{row.turns[1]}" if row.turns[1] else "–"
                cells = [_cell(name if i == 0 else ""), _cell(driver.replace("_", " ")), _cell(str(row.measures["success"].n)), *values, _cell(turns)]
                lines.append({"cells": cells, "style": ("sum " if name == "mean" else "") + ("top" if i == 0 else "")})
        head = [
            "suite",
            "driver",
            "runs",
            "success",
            "completion",
            "any contact",
            "at fault",
            "off road",
            "wrong lane",
            "uncomfortable",
            "time lost [s]",
            "turns",
        ]
        plot = [(n, [(d, *_bars(r.measures["success"])) for d, r in e]) for n, e in by_name.items()]
        caption = (
            "; ".join(f"{head[i + 3]}: {what}" for i, (what, _) in enumerate(MEASURES.values())) + f"; turns: commanded turns taken of those reached. {small}"
        )
        table = {"head": head, "rows": lines, "words": 2, "caption": caption}
        bars = _data(figures.scores(plot, "Routes driven well, share of runs", 1.05), "png") if len(evaluation.runs) > 1 else ""  # one run makes no statistic
        sections.append({"title": "Routes", "plot": bars, "table": table})
    if any(evaluation.safety.values()):
        sections.append(_safety(evaluation, small))
    return sections


def _bars(value: Interval) -> tuple[float, float, float]:
    return value.mean, value.low, value.high


def _safety(evaluation: Evaluation, small: str) -> dict[str, Any]:
    by_name: dict[str, list[tuple[str, NcapRow]]] = {}
    for driver, rows in evaluation.safety.items():
        for row in rows:
            by_name.setdefault(row.name, []).append((driver, row))
    lines = []
    for name, entries in by_name.items():
        for i, (driver, row) in enumerate(entries):
            of = [
                r.score for _, r in evaluation.runs if r.kind == "safety" and r.score.driver == driver and (name == "mean" or _within(r.score.scenario, name))
            ]
            off = sum(s.off_road for s in of) / max(len(of), 1)
            through = sum(s.completion for s in of) / max(len(of), 1)
            cells = [_cell(name if i == 0 else ""), _cell(driver.replace("_", " ")), _cell(str(row.score.n)), _interval(row.score, percent=False)]
            cells += [_interval(row.collision_rate, percent=True), _cell(f"{off:.0%}"), _cell(f"{through:.0%}")]
            lines.append({"cells": cells, "style": ("" if row.level == "scenario" else "sum ") + ("top" if i == 0 else "")})
    head = ["scenario", "driver", "runs", "NeuroNCAP score", "collision rate", "off road", "completion"]
    caption = (
        "Score: 5 without a collision, else 4 · max(0, 1 − impact / impact of doing nothing); runs → scenario → type → mean. A driver that fails scores 0. "
        f"The score asks only not to collide: off road and completion stand beside it. {small}"
    )
    shown = [(n, e) for n, e in by_name.items() if e[0][1].level != "scenario"]
    plot = [(n, [(d, *_bars(r.score)) for d, r in e]) for n, e in shown]
    table = {"head": head, "rows": lines, "words": 2, "caption": caption}
    return {"title": "Safety", "plot": _data(figures.scores(plot, "NeuroNCAP score, 0 to 5", 5.2), "png"), "table": table}


def _within(scenario: str, name: str) -> bool:
    return scenario.startswith(f"{name}/")


def _data(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def outcome(run: Run) -> str:
    """How a run ended, in words."""
    score = run.score
    if score.contacts:
        return f"collision with {score.contacts[0].kind}"
    return OUTCOMES[score.finished][0]


def _card(folder: Path, run: Run, root: Path) -> dict[str, Any]:
    score = run.score
    parts = [f"{score.duration_s:.1f} s", f"{score.distance_m:.0f} m", f"{score.completion:.0%} of the route"]
    parts += [f"{c.kind} hit at {c.impact_mps:.1f} m/s after {c.t_s:.1f} s, {'at fault' if c.at_fault else 'not at fault'}" for c in score.contacts]
    parts += [f"off the road {score.off_road_share:.0%} of the time"] if score.off_road else []
    parts += [f"hardest braking {score.comfort.brake_max_mps2:.1f} m/s², to the side {score.comfort.lateral_max_mps2:.1f} m/s²", score.detail]

    def inlined(key: str) -> str | None:
        name = run.media.get(key)
        return _data((folder / name).read_bytes(), "png") if isinstance(name, str) else None

    more = {
        "video": _video(folder, run, root),
        "frames": [_data((folder / f).read_bytes(), "jpeg") for f in run.media.get("frames", [])],
        "above": inlined("above"),
        "time": inlined("time"),
        "trace": run.trace,
    }
    return {
        "bad": run.failure,
        "outcome": outcome(run),
        "scenario": score.scenario,
        "driver": score.driver.replace("_", " "),
        "text": " · ".join(p for p in parts if p),
        "more": any(more.values()),
        **more,
    }


def _video(folder: Path, run: Run, root: Path) -> str | None:
    name = run.media.get("video")
    return os.path.relpath(folder / name, root) if isinstance(name, str) else None


def _line(folder: Path, run: Run, root: Path) -> dict[str, Any]:
    score = run.score
    return {
        "scenario": score.scenario,
        "driver": score.driver.replace("_", " "),
        "bad": run.failure,
        "outcome": outcome(run),
        "completion": f"{score.completion:.0%}",
        "impact": "" if score.first_impact_mps is None else f"{score.first_impact_mps:.1f}",
        "off_road": f"{score.off_road_share:.0%}" if score.off_road else "",
        "wrong_lane": f"{score.wrong_lane_share:.0%}" if score.wrong_lane_share else "",
        "uncomfortable": f"{score.comfort.uncomfortable_share:.0%}" if score.comfort.uncomfortable_share else "",
        "lost": f"{score.time_lost_s:.1f}",
        "video": _video(folder, run, root),
    }


def _facts(evaluation: Evaluation) -> list[dict[str, Any]]:
    limits = ComfortLimits()
    settings = dict(evaluation.settings)
    settings["comfort limits"] = (
        f"speeding up {limits.accel_mps2} m/s², slowing down {limits.brake_mps2} m/s², "
        f"to the side {limits.lateral_mps2} m/s², jerk {limits.jerk_mps3} m/s³ (nuPlan's)"
    )
    settings["impact of doing nothing"] = f"of the driver {DO_NOTHING} in the same scenario"
    tables = ({**{f"suite {k}": f"sha256 {v}" for k, v in evaluation.suites.items()}}, settings)
    return [{"head": ["", ""], "rows": [{"cells": [_cell(k), _cell(v)], "style": ""} for k, v in t.items()], "words": 2, "caption": ""} for t in tables]
