"""One HTML page of a run: what it is, how its losses and rates went, what it drew."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader

from vavam_training.loop.watch import PICTURES, read_metrics

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend comes first

PAGE = "index.html"
SHOWN = 6  # moments a kind of picture is shown at
INK, HELD_OUT = "#1f5fa8", "#d1611b"


def write_page(run: Path) -> Path:
    """Write RUN/index.html from run.json, metrics.jsonl and pictures. Raises InputError where metrics cannot be read."""
    lines = read_metrics(run)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    newest: dict[str, Any] = next((m for m in reversed(lines) if "samples" in m), {})
    environment = Environment(loader=PackageLoader("vavam_training.loop", "."), autoescape=True)
    html = environment.get_template("page.html").render(
        facts=facts,
        newest=newest,
        plots=[(title, _plot(lines, names, log)) for title, names, log in _charts(lines)],
        pictures=_pictures(run),
        notes=json.dumps(facts.get("notes", {}), indent=1),
    )
    part = run / f"{PAGE}.partial"
    part.write_text(html, encoding="utf-8")
    os.replace(part, run / PAGE)
    return run / PAGE


def _charts(lines: Sequence[dict[str, Any]]) -> list[tuple[str, list[str], bool]]:
    names = sorted({k for m in lines for k in m} - {"step", "samples", "tokens"})
    shared = [n for n in names if not n.startswith("held_out/")]
    order = sorted(shared, key=lambda n: (0 if n.endswith("loss") else 1, n))
    return [(n, [n, f"held_out/{n}"], n.endswith("loss")) for n in order]


def _plot(lines: Sequence[dict[str, Any]], names: Sequence[str], log: bool) -> str:
    figure, axis = plt.subplots(figsize=(5.2, 2.6), dpi=110)
    for name, colour in zip(names, (INK, HELD_OUT), strict=True):
        points = [(m["step"], m[name]) for m in lines if name in m]
        if not points:
            continue
        held = name.startswith("held_out/")
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, color=colour, lw=1.6 if held else 0.8, marker="o" if held else "", ms=3, label="held out" if held else "training")
        if len(points) > 50 and not held:
            axis.plot(steps, _smoothed(values), color=colour, lw=1.8)
            axis.lines[0].set_alpha(0.35)
    if log and all(m.get(n, 1.0) > 0.0 for m in lines for n in names):
        axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)
    if len(axis.lines) > 1:
        axis.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    data = io.BytesIO()
    figure.savefig(data, format="png")
    plt.close(figure)
    return base64.b64encode(data.getvalue()).decode()


def _smoothed(values: Sequence[float], weight: float = 0.95) -> list[float]:
    out, mean, norm = [], 0.0, 0.0
    for v in values:
        mean, norm = weight * mean + (1 - weight) * v, weight * norm + (1 - weight)
        out.append(mean / norm)
    return out


def _pictures(run: Path) -> list[tuple[str, list[tuple[int, str]]]]:
    """Kinds of pictures, each with evenly chosen moments, as base64 PNG."""
    kinds: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted((run / PICTURES).glob("*.png")):
        kind, _, step = path.stem.rpartition("_")
        kinds.setdefault(kind, []).append((int(step), path))
    found = []
    for kind, all_of_it in sorted(kinds.items()):
        count = min(SHOWN, len(all_of_it))
        chosen = [all_of_it[round(i * (len(all_of_it) - 1) / max(count - 1, 1))] for i in range(count)]
        found.append((kind, [(step, base64.b64encode(p.read_bytes()).decode()) for step, p in reversed(chosen)]))
    return found
