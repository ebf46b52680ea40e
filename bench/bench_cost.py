"""What a plan costs against frames, samples, Euler steps and size: measured here, beside the floor of this machine; and predictions for devices not at hand.

    python bench/bench_cost.py [--quick] [--size small] [--repeats 5] [--threads N] [--write]

The fast path on random weights in fp32. The floor (bench/cost.py) is of the operations and bytes, at the matrix rate and the reading bandwidth measured in the
same run. Points are run in turn, each round in another order: on a shared host that drifts, a point must not stand for the minute in which it ran. Its
spread is from the fastest to the slowest run. The size S, being long, has one run by itself; `--quick` leaves it out (half a minute). `--write` renews the
blocks `cost` and `predictions` of docs/results/performance.md, the plot cost.png and the log cost.json beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the nodes have it

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import cost
from bench.bench_inference import build, matrix_rate, times_s
from bench.page import ROOT, machine, renew
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.spec import PRESETS, ModelSpec

PAGE = ROOT / "docs" / "results" / "performance.md"
PLOT, LOG = PAGE.with_name("cost.png"), PAGE.with_name("cost.json")
SAMPLES = 8
FRAMES, MANY, STEPS = (1, 2, 4, 6, 8), (1, 2, 4, 8, 16, 32), (1, 2, 5, 10, 20)
WITHIN = {"S": 3.0, "B": 2.0, "L": 1.5}  # of the floor: what is aimed at, and what the upper end of a prediction is

Point = dict[str, Any]


def reading_gbps() -> float:
    """Of a sum over 400 MB."""
    x = torch.ones(100_000_000)
    return 0.4 / min(times_s({"sum": x.sum}, 9, time.perf_counter)["sum"])


def here(spec: ModelSpec) -> cost.Device:
    """This machine in fp32, by two measurements."""
    v = spec.video
    rate = matrix_rate(v.frames * v.tokens_per_frame, v.width, torch.device("cpu"), torch.float32, time.perf_counter)
    return cost.Device(name="here", matrix_tflops=rate / 1e12, bandwidth_gbps=reading_gbps(), memory_gb=0.0, element_bytes=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A plan to be timed, and where it stands on which axis."""

    axis: str
    at: int
    size: str
    frames: int
    samples: int
    steps: int


def cases(size: str) -> list[Case]:
    """All of one size: one axis varies, the others are as they usually are."""
    spec = PRESETS[size]
    usual = Case(axis="size", at=0, size=size, frames=spec.video.frames, samples=SAMPLES, steps=spec.flow.steps)
    found = [replace(usual, axis="frames", at=n, frames=n) for n in FRAMES]
    found += [replace(usual, axis="samples", at=n, samples=n) for n in MANY]
    found += [replace(usual, axis="steps", at=n, steps=n) for n in STEPS]
    return [*found, usual]


def measured_s(asked: list[Case], repeats: int) -> list[list[float]]:
    """Seconds of each run of each plan, context and samples, all of one size by one model; each round in another order."""
    spec = PRESETS[asked[0].size]
    most = max(c.samples for c in asked)
    fast = FastVaVAM(build(spec, torch.device("cpu"), torch.float32), samples=most)
    v, g = spec.video, torch.Generator("cpu").manual_seed(1)
    tokens = torch.randint(v.vocabulary, (1, v.frames, v.grid_h, v.grid_w), generator=g)
    noise, command = torch.randn(most, spec.action.horizon, 2, generator=g), torch.zeros(most, dtype=torch.int64)

    def plan(c: Case) -> object:
        return fast.sample(fast.context(tokens[:, : c.frames]), noise[: c.samples], command[: c.samples], steps=c.steps)

    sides: dict[str, Callable[[], object]] = {f"{c.axis} {c.at}": partial(plan, c) for c in asked}
    return list(times_s(sides, repeats, time.perf_counter).values())


def floor_s(c: Case, device: cost.Device) -> float:
    """Of one plan."""
    spec = cost.with_frames(PRESETS[c.size], c.frames)
    return cost.plan_floor_s(replace(spec, flow=replace(spec.flow, steps=c.steps)), c.samples, device)


def sweep(size: str, repeats: int, *, whole: bool) -> list[Point]:
    """All points: along which axis, where, measured and floor."""
    groups = [(cases(size), repeats)]
    if whole:
        groups.append(([replace(cases("S")[-1], at=1)], 1))
    points: list[Point] = []
    for asked, times in groups:
        device = here(PRESETS[asked[0].size])
        rates = {"matrix_tflops": device.matrix_tflops, "reading_gbps": device.bandwidth_gbps}
        for c, took in zip(asked, measured_s(asked, times), strict=True):
            point = {"axis": c.axis, "at": c.at, "size": c.size, "measured_ms": statistics.median(took) * 1e3, "floor_ms": floor_s(c, device) * 1e3}
            points.append(point | {"fastest_ms": min(took) * 1e3, "slowest_ms": max(took) * 1e3, "runs": len(took), **rates})
            print(row_text(points[-1]), flush=True)
    return points


def row_text(p: Point) -> str:
    """One point."""
    times = p["measured_ms"] / p["floor_ms"]
    spread = f"({p['fastest_ms']:.1f} – {p['slowest_ms']:.1f})" if p["runs"] > 1 else "(one run)"
    return f"{p['axis']:8} {p['at']:>4} {p['size']:6} {p['measured_ms']:10.1f} ms {spread:18} floor {p['floor_ms']:9.1f} ms   {times:5.2f} x"


def predictions() -> list[Point]:
    """S, B, L on each device, half precision."""
    rows = []
    for device in cost.DEVICES:
        for size, within in WITHIN.items():
            spec, row = PRESETS[size], {"device": device.name, "size": size, "within": within}
            row |= {"exact_ms": cost.plan_floor_s(spec, SAMPLES, device) * 1e3, "tick_ms": cost.streaming_tick_floor_s(spec, SAMPLES, device) * 1e3}
            row |= {"tokenizer_ms": cost.tokenizer_floor_s(device) * 1e3, "frame_ms": cost.generated_frame_floor_s(spec, device) * 1e3}
            memory = {streaming: cost.memory_gb(spec, SAMPLES, device, streaming=streaming) for streaming in (False, True)}
            rows.append(row | {"memory_gb": memory[False], "streaming_memory_gb": memory[True], "fits": memory[True] < 0.8 * device.memory_gb})
    return rows


def predictions_table(rows: list[Point]) -> str:
    """Markdown."""
    lines = [f"| device | size | plan, K = {SAMPLES} [ms] | with tokenizer [ms] | plans a second | streaming tick [ms] | dreamed frame [ms] | memory [GB] |"]
    lines.append("|---" * 8 + "|")
    for r in rows:
        up, whole = r["within"], r["exact_ms"] + r["tokenizer_ms"]
        spans = [f"{short(floor)} – {short(floor * up)}" for floor in (r["exact_ms"], whole, r["tick_ms"], r["frame_ms"])]
        rate = f"{short(1e3 / (whole * up))} – {short(1e3 / whole)}"
        memory = f"{r['memory_gb']:.1f}, streaming {r['streaming_memory_gb']:.1f}"
        lines.append(f"| {r['device']} | {r['size']} | {spans[0]} | {spans[1]} | {rate} | {spans[2]} | {spans[3]} | {memory} |")
    aims = ", ".join(f"{size} within {w:g} times" for size, w in WITHIN.items())
    shares = f"{cost.MATRIX_SHARE:.0%} of the matrix rate and {cost.BANDWIDTH_SHARE:.0%} of the bandwidth"
    sources = "; ".join(f"{d.name}: {d.source}" for d in cost.DEVICES)
    lines += ["", f"The lower end is the floor at {shares}, the upper end what is aimed at: {aims}. {sources}."]
    return "\n".join(lines)


def short(x: float) -> str:
    """Two digits that count below 10, whole numbers above."""
    return f"{x:.1f}" if x < 10.0 else f"{x:,.0f}"


def draw(points: list[Point], path: Path) -> None:
    """Four panels."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    titles = {"frames": "frames of context", "samples": "samples K", "steps": "Euler steps", "size": "size"}
    figure, panels = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    for (axis, title), panel in zip(titles.items(), panels, strict=True):
        mine = [p for p in points if p["axis"] == axis]
        x = [p["at"] for p in mine]
        median = [p["measured_ms"] for p in mine]
        spread = [[p["measured_ms"] - p["fastest_ms"] for p in mine], [p["slowest_ms"] - p["measured_ms"] for p in mine]]
        panel.errorbar(x, median, yerr=spread, fmt="o-", capsize=3, elinewidth=0.8, color="#1f5fa8", label="median, fastest to slowest")
        panel.plot(x, [p["floor_ms"] for p in mine], "--", color="#777777", label="floor of this machine")
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.3)
        if axis == "size":
            panel.set_yscale("log")
            panel.set_xticks(x, [p["size"] for p in mine])
            panel.margins(x=0.3)
        else:
            panel.set_ylim(bottom=0)
            panel.set_xticks(x)
    panels[0].set_ylabel("one plan [ms]")
    panels[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@torch.inference_mode()
def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the size S")
    parser.add_argument("--size", default="small", choices=sorted(PRESETS), help="of the sweeps (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)}, {PLOT.name} and {LOG.name}")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    heading = f"fast path, random weights, fp32, {args.threads} threads, K = {SAMPLES} where not named, load {os.getloadavg()[0]:.1f}"
    heading += f"; median of {args.repeats} runs (fastest – slowest)"
    print(heading)
    points = sweep(args.size, args.repeats, whole=not args.quick)
    table = predictions_table(predictions())
    print(f"\npredictions, half precision, not measured:\n{table}")
    if args.write:
        rates = f"matrix rate {points[0]['matrix_tflops']:.3f} TFLOP/s, reading {points[0]['reading_gbps']:.1f} GB/s"
        renew(PAGE, "cost", "\n".join([heading, rates, *map(row_text, points)]))
        renew(PAGE, "predictions", table, fenced=False)
        LOG.write_text(json.dumps({"machine": machine(), "heading": heading, "points": points}, indent=1) + "\n", encoding="utf-8")
        draw(points, PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
