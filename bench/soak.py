"""Do live nodes grow or slow down? Minutes of pictures through them, a sample a second, the slopes of memory and latency with their errors.

    python -m bench soak [--minutes 30] [--model DIR] [--image 1600x900] [--rate 30] [--compressed] [--set name:=value] [--log FILE] [--write]

Slopes are taken after a warm-up, the first fifth. Their 95 % error respects that neighbouring samples are alike (vavam_ros/measure/trend.py). Judged is
the memory that a process shares with nobody: of what it shares, the transport's segments have a fixed size, whose pages become resident as pictures first
come to lie on them. Exit status 1 when the lower bound of a node's slope or of the GPU's memory exceeds 1 MB/h or that of the latency 20 ms/h, or the
segments that a node maps became larger; 2 when the nodes ended or no plan came. Ctrl-C ends early and reports what there is.
`--write` renews docs/results/soak.md and its plot (matplotlib).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.page import machine, renew  # noqa: E402
from vavam_ros.cli.launch import parse_assignments  # noqa: E402
from vavam_ros.cli.live_camera import CameraSettings  # noqa: E402
from vavam_ros.cli.live_nodes import Live, LiveError, started  # noqa: E402
from vavam_ros.cli.profile import image_size  # noqa: E402
from vavam_ros.core.contracts import VavamError  # noqa: E402
from vavam_ros.measure.processes import GROWTH_MB_PER_H, Usage, shared_segments  # noqa: E402
from vavam_ros.measure.stages import whole_ms  # noqa: E402
from vavam_ros.measure.trend import Slope, after_warm_up, slope  # noqa: E402

PAGE = ROOT / "docs" / "results" / "soak.md"
LIMIT_MB_PER_H = GROWTH_MB_PER_H
LIMIT_MS_PER_H = 20.0  # a choice: a fifth of the bundled model's whole latency in an hour
WARM_UP = 0.2  # share of the run
PERIOD_S = 1.0
SEGMENTS_EVERY = 60  # samples
COUNTERS = {  # what is counted → status of /diagnostics and its keys
    "pictures that the node took in": ("input", ("~/image.count", "~/image/compressed.count")),
    "pictures without a pose": ("input", ("count.no_pose",)),
    "tokenizing jobs replaced by a newer one": ("timing", ("tokenize.skipped",)),
    "plans replaced by a newer one": ("timing", ("plan.skipped",)),
    "jobs that failed": ("timing", ("tokenize.failed", "plan.failed")),
}


@dataclass(slots=True)
class Soak:
    """What a run gave. `latency_ms`: median over the plans of each second, None in one without."""

    asked_s: float
    what: str
    usages: list[Usage] = field(default_factory=list)
    t_s: list[float] = field(default_factory=list)  # since the first sample
    latency_ms: list[float | None] = field(default_factory=list)
    gpu_mb: list[tuple[float, float]] = field(default_factory=list)
    plans: int = 0
    sent: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    segments: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # of each process, at first and at last: resident, size [MB]
    ended_by: str = ""  # why it is shorter than asked

    @property
    def took_s(self) -> float:
        """Between the first sample and the last."""
        return self.t_s[-1] if self.t_s else 0.0

    def latency_slope(self) -> Slope | None:
        """Milliseconds per hour."""
        known = [(t, ms) for t, ms in zip(self.t_s, self.latency_ms, strict=True) if ms is not None]
        t, y = [t for t, _ in known], [ms for _, ms in known]
        i = after_warm_up(self.t_s, WARM_UP)
        first_s = self.t_s[i] if self.t_s else 0.0
        j = next((k for k, at in enumerate(t) if at >= first_s), len(t))
        return slope(t[j:], y[j:])

    def gpu_slope(self) -> Slope | None:
        """MB per hour."""
        t, mb = [t for t, _ in self.gpu_mb], [m for _, m in self.gpu_mb]
        i = after_warm_up(t, WARM_UP)
        return slope(t[i:], mb[i:])


def counts_of(live: Live) -> dict[str, int]:
    """Counters of the nodes' diagnostics."""
    return {name: sum(live.listener.count(task, key) for key in keys) for name, (task, keys) in COUNTERS.items()}


def soak(live: Live, result: Soak, log: TextIO) -> None:
    """Sample once a second until the time is over, a node ends, or Ctrl-C; `result` always holds what there is."""
    assert live.camera is not None
    live.listener.take()
    live.listener.gpu_mb.clear()
    result.usages = live.usages
    result.segments = {u.name: [shared_segments(u.pid)] * 2 for u in live.usages}
    at_first, sent, began_s = counts_of(live), live.camera.sent, time.monotonic()
    try:
        while (now_s := time.monotonic() - began_s) <= result.asked_s:
            live.check()
            plans = live.listener.take()
            whole = [ms for ms in map(whole_ms, plans) if ms is not None]
            live.sample()
            result.plans += len(whole)
            result.t_s.append(now_s)
            result.latency_ms.append(median(whole) if whole else None)
            processes = {u.name: {"rss_mb": s.rss_mb, "own_mb": s.own_mb, "cpu_s": s.cpu_s} for u in live.usages for s in u.samples[-1:]}
            gpu = live.listener.gpu_mb[-1][1] if live.listener.gpu_mb else None
            line = {"t_s": round(now_s, 3), "latency_ms": result.latency_ms[-1], "plans": len(whole), "gpu_mb": gpu, "processes": processes}
            log.write(json.dumps(line) + "\n")
            log.flush()
            if len(result.t_s) % SEGMENTS_EVERY == 0:
                _look_at_segments(result)
            time.sleep(max(0.0, began_s + len(result.t_s) * PERIOD_S - time.monotonic()))
    except KeyboardInterrupt:
        result.ended_by = "interrupted"
    except LiveError as e:
        result.ended_by = "a node ended"
        print(e, file=sys.stderr)
    _look_at_segments(result)
    result.sent, result.gpu_mb = live.camera.sent - sent, list(live.listener.gpu_mb)
    result.counts = {name: n - at_first[name] for name, n in counts_of(live).items()}


def _look_at_segments(result: Soak) -> None:
    for u in result.usages:
        found = shared_segments(u.pid)
        if found[1]:  # it has not ended
            result.segments[u.name][1] = found


# ── report ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def verdict(result: Soak) -> tuple[bool, str]:
    """Does nothing grow, as far as can be told, and a sentence that says so."""
    slopes = {f"own memory of {u.name}": (u.slope(own=True, warm_up=WARM_UP), LIMIT_MB_PER_H) for u in result.usages}
    if result.gpu_mb:
        slopes["GPU memory"] = (result.gpu_slope(), LIMIT_MB_PER_H)
    slopes["latency"] = (result.latency_slope(), LIMIT_MS_PER_H)
    said = [f"more shared memory than at first: {name}" for name, (first, last) in result.segments.items() if last[1] > first[1] + LIMIT_MB_PER_H]
    said += [f"{name} grows by more than {limit:g} {_unit(name)}/h" for name, (s, limit) in slopes.items() if s is not None and s.low > limit]
    if said:
        return False, "; ".join(said)
    unsure = [name for name, (s, limit) in slopes.items() if s is None or s.high > limit]
    limits = f"{LIMIT_MB_PER_H:g} MB/h or {LIMIT_MS_PER_H:g} ms/h"
    if unsure:
        return True, f"growth beyond {limits} is neither shown nor excluded for {', '.join(unsure)}: a longer run has a smaller error"
    return True, f"growth beyond {limits} is excluded at 95 %"


def _unit(name: str) -> str:
    return "ms" if name == "latency" else "MB"


def rows_of(result: Soak) -> str:
    """The tables, in Markdown."""
    cut = f" of {result.asked_s / 60:.1f} asked for ({result.ended_by})" if result.ended_by else ""
    _, sentence = verdict(result)
    lines = [
        f"{date.today()}, {machine()}; **{result.took_s / 60:.1f} minutes**{cut}; {result.what}.",
        "Slopes: least squares through block means after the first fifth, ± half of the 95 % interval.",
        "",
        "| process | cores | RSS at the end | its slope | shared with nobody | its slope | resident of the transport's segments |",
        "|---|---|---|---|---|---|---|",
    ]

    def text(s: Slope | None, unit: str) -> str:
        return s.text(unit) if s is not None else "too short to tell"

    for u in result.usages:
        if u.samples:
            own, rss, last = u.slope(own=True, warm_up=WARM_UP), u.slope(warm_up=WARM_UP), u.samples[-1]
            cells = [u.name, f"{u.cores or 0.0:.2f}", f"{last.rss_mb:.0f} MB", text(rss, "MB"), f"{last.own_mb:.0f} MB", text(own, "MB")]
            first, then = result.segments[u.name]
            cells.append(f"{first[0]:.0f}, at the end {then[0]:.0f} of {then[1]:.0f} MB")
            lines.append(f"| {' | '.join(cells)} |")
    if result.gpu_mb:
        lines.append(f"| GPU, reserved | | {result.gpu_mb[-1][1]:.0f} MB | {text(result.gpu_slope(), 'MB')} | | | |")
    known = sorted(ms for ms in result.latency_ms if ms is not None)
    lines += ["", f"{sentence[0].upper()}{sentence[1:]}.", "", "| latency, camera stamp → Path | |", "|---|---|"]
    if known:
        lines.append(f"| median of the seconds, worst second | {median(known):.1f} ms, {known[-1]:.1f} ms |")
    lines += [f"| slope | {text(result.latency_slope(), 'ms')} |", "", "| count | |", "|---|---|"]
    lines += [f"| pictures sent | {result.sent} |", f"| plans | {result.plans} |", *(f"| {name} | {n} |" for name, n in result.counts.items())]
    return "\n".join(lines)


def plot(result: Soak, path: Path) -> None:
    """Memory and latency over time, the warm-up shaded."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    for u in result.usages:
        if not u.samples:
            continue
        minutes = [(s.t_s - u.samples[0].t_s) / 60 for s in u.samples]
        (line,) = above.plot(minutes, [s.rss_mb for s in u.samples], lw=1.2, label=f"{u.name}: RSS")
        above.plot(minutes, [s.own_mb for s in u.samples], lw=0.8, ls="--", color=line.get_color(), label=f"{u.name}: own")
    if result.gpu_mb:
        above.plot([(t - result.gpu_mb[0][0]) / 60 for t, _ in result.gpu_mb], [mb for _, mb in result.gpu_mb], lw=1.2, label="GPU, reserved")
    below.plot([t / 60 for t in result.t_s], [float("nan") if ms is None else ms for ms in result.latency_ms], lw=0.6, label="median of each second")
    above.set(ylabel="memory [MB]", title=f"{result.took_s / 60:.1f} minutes{f', {result.ended_by}' if result.ended_by else ''}: {result.what}")
    below.set(ylabel="camera stamp → Path [ms]", xlabel="minutes")
    for axes in (above, below):
        axes.axvspan(0, WARM_UP * result.took_s / 60, color="0.92", zorder=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(result: Soak, *, page: Path | None, picture: Path) -> int:
    """Print, plot, write the page if asked; the exit status."""
    text = rows_of(result)
    print(text)
    if result.t_s:
        plot(result, picture)
        print(f"plot: {picture}")
    if page is not None:
        renew(page, "soak", text, fenced=False)
    if result.ended_by == "a node ended" or not result.plans:
        return 2
    steady, _ = verdict(result)
    return 0 if steady else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", type=Path, help="model directory (default: a small one with random weights, on the CPU)")
    parser.add_argument("--image", default="1600x900", metavar="WxH")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="name:=value", dest="assignments", help="argument of `vavam launch vavam`")
    parser.add_argument("--log", type=Path, default=ROOT / "out" / "soak.jsonl", help="a line a second (default out/soak.jsonl); the nodes' output beside it")
    parser.add_argument("--plot", type=Path, help="default: beside the log; with --write beside the page")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)} and its plot")
    args = parser.parse_args(argv)
    try:
        width, height = image_size(args.image)
        camera = CameraSettings(width=width, height=height, rate_hz=args.rate, compressed=args.compressed)
        given: dict[str, Any] = parse_assignments(args.assignments)
        options = f"; {' '.join(args.assignments)}" if args.assignments else ""
        result = Soak(asked_s=60.0 * args.minutes, what=f"{camera.text}; {args.model.name if args.model else 'small model, random weights, CPU'}{options}")
        args.log.parent.mkdir(parents=True, exist_ok=True)
        output = args.log.with_suffix(".nodes.log")
        with args.log.open("w", encoding="utf-8") as log, output.open("w", encoding="utf-8") as said, started(args.model, camera, given, said) as live:
            live.wait_for_path()
            soak(live, result, log)
    except VavamError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    picture = args.plot or (PAGE.with_suffix(".png") if args.write else args.log.with_suffix(".png"))
    return report(result, page=PAGE if args.write else None, picture=picture)


if __name__ == "__main__":
    sys.exit(main())
