"""One HTML page of a run: what it is, how its losses and rates went, what it drew."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from PIL import Image

from vavam_ros.replay.report import STYLE
from vavam_training.figures import BLUE, ORANGE, figure_uri, labelled, new_figure
from vavam_training.loop.watch import CAPTION, PICTURES, read_metrics

PAGE = "index.html"
SHOWN = 6  # moments a kind of picture is shown at
NO_NOISE = ("lr",)  # drawn as they are
LOG_FROM = 3.0  # a loss that falls by less than this factor is read more easily on a linear scale
SMOOTHED_FROM, WEIGHT = 50, 0.95  # points; of what came before
NAMES = {"lr": "learning rate", "gradient_norm": "norm of the gradients", "mfu": "MFU", "tokens_per_s": "tokens/s"}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A picture of a kind, after so many steps."""

    step: int
    uri: str


def write_page(run: Path) -> Path:
    """Write RUN/index.html from run.json, metrics.jsonl and pictures. Raises InputError where metrics cannot be read."""
    lines = read_metrics(run)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    loader = PackageLoader("vavam_training.loop", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = environment.get_template("page.html").render(
        style=STYLE,
        name=run.resolve().name,
        facts=facts,
        tiles=_tiles(lines),
        plots=[(NAMES.get(name, name), _plot(lines, name)) for name in _charts(lines)],
        pictures=_pictures(run),
        notes=json.dumps(facts.get("notes", {}), indent=1),
    )
    part = run / f"{PAGE}.partial"
    part.write_text(html, encoding="utf-8")
    os.replace(part, run / PAGE)
    return run / PAGE


def _tiles(lines: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    newest: dict[str, Any] = next((m for m in reversed(lines) if "samples" in m), {})
    if not newest:
        return []
    tiles = [(f"{newest['step']:,}", "steps"), (f"{newest['samples']:,}", "samples"), (f"{newest['tokens']:,}", "tokens")]
    held_out = next((m for m in reversed(lines) if "held_out/loss" in m), None)
    if held_out is not None:
        tiles.append((f"{held_out['held_out/loss']:.4g}", f"held-out loss after {held_out['step']:,} steps"))
    if "tokens_per_s" in newest:
        tiles.append((f"{newest['tokens_per_s']:,.0f}", "tokens/s"))
    if newest.get("mfu"):
        tiles.append((f"{newest['mfu']:.0%}", "MFU: share of this machine's measured matrix rate"))
    return tiles


def _charts(lines: Sequence[dict[str, Any]]) -> list[str]:
    names = {k.removeprefix("held_out/") for m in lines for k in m} - {"step", "samples", "tokens"}
    if not any(m.get("mfu") for m in lines):  # of a stage whose operations are not counted
        names -= {"mfu"}
    return sorted(names, key=lambda n: (0 if n.endswith("loss") else 1, n))


def _plot(lines: Sequence[dict[str, Any]], name: str) -> str:
    figure, axis = new_figure(5.0, 2.7)
    shown: list[float] = []
    for key, colour, label in ((name, BLUE, "training"), (f"held_out/{name}", ORANGE, "held out")):
        points = [(m["step"], m[key]) for m in lines if key in m]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        shown += values
        if label == "held out":
            axis.plot(steps, values, color=colour, lw=1.6, marker="o", ms=3, label=label)
        elif len(points) > SMOOTHED_FROM and name not in NO_NOISE:
            axis.plot(steps, values, color=colour, lw=0.8, alpha=0.35)
            axis.plot(steps, _smoothed(values), color=colour, lw=1.8, label=f"{label}, smoothed")
        else:
            axis.plot(steps, values, color=colour, lw=1.2, label=label)
    if name.endswith("loss") and min(shown) > 0.0 and max(shown) > LOG_FROM * min(shown):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
    labelled(axis, "step", "")
    axis.legend(fontsize=8, frameon=False)
    return figure_uri(figure)


def _smoothed(values: Sequence[float]) -> list[float]:
    out, mean, norm = [], 0.0, 0.0
    for v in values:
        mean, norm = WEIGHT * mean + (1 - WEIGHT) * v, WEIGHT * norm + (1 - WEIGHT)
        out.append(mean / norm)
    return out


def _pictures(run: Path) -> list[tuple[str, str, list[Moment]]]:
    """Kinds of pictures, what the newest says of itself, and evenly chosen moments, the newest first."""
    kinds: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted((run / PICTURES).glob("*.png")):
        kind, _, step = path.stem.rpartition("_")
        kinds.setdefault(kind, []).append((int(step), path))
    found = []
    for kind, all_of_it in sorted(kinds.items()):
        count = min(SHOWN, len(all_of_it))
        chosen = [all_of_it[round(i * (len(all_of_it) - 1) / max(count - 1, 1))] for i in range(count)]
        moments = [Moment(step=step, uri=f"data:image/png;base64,{base64.b64encode(p.read_bytes()).decode()}") for step, p in reversed(chosen)]
        with Image.open(chosen[-1][1]) as newest:
            found.append((kind.replace("_", " "), str(newest.info.get(CAPTION, "")), moments))
    return found
