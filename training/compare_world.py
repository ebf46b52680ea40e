"""The paper's claims, asked at the size of the built-in world: make compare-world ARGS="pretrained".

    pretrained   does an action expert learn better on a video model that was pretrained than on a new one?  seeds × shares of the drives, both ways
    size         how does the next-token loss fall with parameters?                                          four sizes, the same tokens
    safety       do larger models drive more safely?                                                         the models of `size` with experts, closed loop
    all          the three

What each asks, what it expects and why, is fixed in docs/decisions/0014. Every step leaves what it made in OUT and is skipped, or goes on where it was, when
the command is started again. `--jobs` runs are made at a time, with an equal share of the cores each; what they print is in OUT/logs. The tables are
OUT/<question>.json and OUT/<question>.md, the plots OUT/<question>.png.

Two environments are needed, .venv (world) and .venv-training, and the token sets of train_small.py: `--tokens NAME=DIR` for each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from tqdm import tqdm

from vavam_training.evaluation.comparison_plots import by_share, by_size
from vavam_training.evaluation.comparisons import bootstrap, closed_numbers, open_numbers, said, student
from vavam_training.loop.precision import fastest_precision

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "training" / "runs" / "world"
WORLD, VAVAM_TRAIN = ROOT / ".venv" / "bin" / "world", ROOT / ".venv-training" / "bin" / "vavam-train"
TOKENIZER = RUNS / "tokenizer"
CORES = os.cpu_count() or 1
ROS_LEFTOVERS = ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH")

SEEDS = (0, 1, 2)
SHARES = (1.0, 0.25, 0.0625)
SETTINGS = "settings.json"
HELD_OUT = 0.08  # of the drives of each set
WAYS = ("pretrained", "new")


@dataclass(frozen=True, kw_only=True)
class Size:
    """A size of `size` and `safety`."""

    name: str
    width: int
    layers: int

    @property
    def action_width(self) -> int:
        """Of the expert: half the video model's, as the published sizes have it."""
        return self.width // 2


SIZES = (
    Size(name="0.3M", width=64, layers=3),
    Size(name="1M", width=128, layers=4),
    Size(name="3M", width=192, layers=6),
    Size(name="10M", width=320, layers=8),
)


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much of everything. `frames`: of a window; `steps` of `batch` windows."""

    frames: int
    batch: int
    pretrain_steps: int
    action_steps: int
    size_steps: int
    size_action_steps: int
    limit: int  # scenarios of a suite, closed loop
    safety_limit: int


FULL = Amount(frames=2, batch=16, pretrain_steps=700, action_steps=500, size_steps=450, size_action_steps=1000, limit=4, safety_limit=17)
FAST = Amount(frames=2, batch=2, pretrain_steps=3, action_steps=3, size_steps=3, size_action_steps=3, limit=1, safety_limit=1)


def main() -> int:
    """0 when the tables are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("pretrained", "size", "safety", "all"))
    parser.add_argument("--tokens", action="append", metavar="NAME=DIR", required=True, help="token set; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder of everything (default %(default)s)")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, metavar="DIR", help="the one that made the tokens (default: the bundled one)")
    parser.add_argument("--fast", action="store_true", help="a few steps of each, to see the way; the numbers mean nothing")
    parser.add_argument("--jobs", type=int, default=CORES, help="runs at a time (default %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=fastest_precision(), help="of every run (default on this machine: %(default)s)")
    args = parser.parse_args()
    sets = dict(text.partition("=")[::2] for text in args.tokens)
    for tool in (WORLD, VAVAM_TRAIN):
        if not tool.exists():
            print(f"{tool} is missing: make setup setup-training", file=sys.stderr)
            return 2
    how = {"jobs": max(1, args.jobs), "precision": args.precision, "tokenizer": args.tokenizer.resolve()}
    bench = Bench(out=args.out.resolve(), sets=sets, amount=FAST if args.fast else FULL, **how)
    questions = [q for q in QUESTIONS if args.question in (q, "all")]
    try:
        bench.agree()
        bench.make([run for q in questions for run in QUESTIONS[q][0](bench)])
        for q in questions:
            QUESTIONS[q][1](bench)
    except StepError as error:
        print(error, file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


class StepError(Exception):
    """A command that ended with a status that is not fine."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where, with how much, and how many runs at a time."""

    out: Path
    sets: dict[str, str]
    amount: Amount
    jobs: int
    precision: str = "fp32"
    tokenizer: Path = TOKENIZER
    locks: dict[str, Lock] = field(default_factory=dict)  # of steps that several runs begin with

    def settings(self) -> dict[str, Any]:
        """What results of one folder have to have in common."""
        digests = {}
        for name, path in self.sets.items():
            manifest = Path(path) / "manifest.json"
            if not manifest.is_file():
                raise StepError(f"--tokens {name}={path}: got no manifest.json there, expected a token set (`vavam-train data import` makes one)", 2)
            digests[name] = hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]
        return {"frames": self.amount.frames, "batch": self.amount.batch, "precision": self.precision, "held_out_share": HELD_OUT, "sets": digests}

    def agree(self) -> None:
        """Raises StepError where the folder holds results of other settings: runs that are there already would be taken for these."""
        path, wanted = self.out / SETTINGS, self.settings()
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            differ = [f"{k}: got {wanted[k]}, there {found.get(k)}" for k in wanted if wanted[k] != found.get(k)]
            if differ:
                raise StepError(f"{path.parent} holds results of other settings ({'; '.join(differ)}): name another --out, or the settings of before", 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")

    def make(self, runs: list[Callable[[], object]]) -> None:
        """All of them, the first ones first, `jobs` at a time. Where one fails, those under way are finished and no other is begun."""
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(run) for run in runs]
            try:
                for future in tqdm(as_completed(futures), total=len(futures), desc="runs", unit="run"):
                    future.result()
            except BaseException:  # Ctrl-C as well: what waits is not begun
                pool.shutdown(cancel_futures=True)
                raise

    def train(self, name: str, recipe: str, steps: int, *, share: float = 1.0, changes: Sequence[str] = ()) -> Path:
        """A run, named by its steps, too; told to stop, it goes on with the next call."""
        name = f"{name}-{steps}"
        run = self.out / name
        parts = [f"{{name: {k}, path: {Path(v).resolve()}, held_out_share: {HELD_OUT}, learned_share: {share}}}" for k, v in self.sets.items()]
        schedule = "loop.players.model.schedule"
        every = [f"loop.{e}={max(steps // 4, 1)}" for e in ("held_out_every", "save_every")]
        sizes = [f"model.video.frames={self.amount.frames}", f"loop.batch_size={self.amount.batch}", f"loop.steps={steps}", "loop.pictures_every=0"]
        sizes += [f"loop.precision={self.precision}"]
        rate = [f"{schedule}.total_steps={steps}", f"{schedule}.warmup_steps={min(30, steps // 2)}", f"{schedule}.drop_steps={steps // 3}"]
        given = [f"data.parts=[{', '.join(parts)}]", f"tokenizer={self.tokenizer}", "model.flow.action_scale_m=5.0", *sizes, *every, *rate, *changes]
        with self.locks.setdefault(name, Lock()):
            if not (run / "checkpoints" / f"step_{steps:08d}").is_dir():
                self.do(f"train {name}", [VAVAM_TRAIN, "train", RUNS / recipe, "--out", run, *(x for c in given for x in ("--set", c))])
        return run

    def judged(self, run: Path) -> dict[str, Any]:
        """Open loop on the drives that nothing learns from."""
        out = self.out / "open_loop" / run.name
        if not (out / "evaluation.json").is_file():
            self.do(f"judge {run.name}", [VAVAM_TRAIN, "evaluate", run, "--out", out, "--every-s", "2", "--samples", "8", "--windows", "0", "--batch", "32"])
        return dict(json.loads((out / "evaluation.json").read_text(encoding="utf-8")))

    def driven(self, run: Path, suites: str, limit: int) -> dict[str, Any]:
        """Closed loop: the world's evaluation."""
        model, out = self.out / "models" / run.name, self.out / "closed_loop" / f"{run.name}-{suites}-{limit}"
        if not (model / "model.yaml").is_file():
            self.do(f"export {run.name}", [VAVAM_TRAIN, "export", "--run", run, "--tokenizer", self.tokenizer, "--out", model, "--command-rule", "lookahead"])
        if not (out / "evaluation.json").is_file():
            driver = [WORLD, "evaluate", "--driver", "vavam_direct", "--model", model, "--suite", suites, "--limit", str(limit), "--media", "none"]
            fine = (0, 1)  # 1: in some runs the driver failed; they count
            self.do(f"drive {run.name}", [*driver, "--workers", str(max(1, CORES // self.jobs)), "--out", out], fine=fine, threads=1)
        return dict(json.loads((out / "evaluation.json").read_text(encoding="utf-8")))

    def do(self, name: str, command: list[Any], *, fine: tuple[int, ...] = (0,), threads: int | None = None) -> None:
        """Run a step. Raises StepError where it ends with a status that is not `fine`."""
        threads = threads or max(1, CORES // self.jobs)
        environment = {k: v for k, v in os.environ.items() if k not in ROS_LEFTOVERS} | {"OMP_NUM_THREADS": str(threads)}
        log = self.out / "logs" / f"{name.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with log.open("a", encoding="utf-8") as printed:
            status = subprocess.run([str(c) for c in command], env=environment, cwd=ROOT, check=False, stdout=printed, stderr=printed).returncode
        if status not in fine:
            raise StepError(f"{name} ended with status {status}, see {log}; the same command goes on", status)
        tqdm.write(f"── {name}: {(time.monotonic() - begun) / 60:.1f} min")

    def write(self, question: str, content: dict[str, Any], table: list[str]) -> None:
        """JSON, with the settings, and a table."""
        content = {"settings": self.settings() | asdict(self.amount), **content}
        (self.out / f"{question}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (self.out / f"{question}.md").write_text("\n".join(table) + "\n", encoding="utf-8")
        print("\n".join(table))


# ── the questions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pretrained_runs(bench: Bench) -> list[Callable[[], object]]:
    """Those that start from nothing first: the others wait for the video model."""
    cells = [partial(_cell, bench, share, seed, way) for way, seed, share in product(reversed(WAYS), SEEDS, SHARES)]
    return [partial(_video, bench), *cells]


def _video(bench: Bench) -> Path:
    return bench.train("video", "pretrain.yaml", bench.amount.pretrain_steps)


def _closed(bench: Bench, run: Path, suites: str, limit: int) -> dict[str, dict[str, float]]:
    return closed_numbers(bench.driven(run, suites, limit))


def _cell(bench: Bench, share: float, seed: int, way: str) -> dict[str, Any]:
    start = [f"start={_video(bench)}"] if way == "pretrained" else []
    changes = [f"loop.seed={seed}", "options.video_loss=0.0", *start]
    run = bench.train(f"{way}-{share:g}-{seed}", "action.yaml", bench.amount.action_steps, share=share, changes=changes)
    return {"open_loop": open_numbers(bench.judged(run)["open_loop"]), "closed_loop": _closed(bench, run, "all", bench.amount.limit)}


def pretrained(bench: Bench) -> None:
    """Paired by share and seed; in the closed loop also by scenario."""
    cells = {(share, seed, way): _cell(bench, share, seed, way) for share, seed, way in product(SHARES, SEEDS, WAYS)}
    rows = []
    for share in SHARES:
        row: dict[str, Any] = {"share": share}
        for measure in ("medoid_ade_m", "side_1s_m", "ahead_1s_m"):
            both = np.array([[cells[share, seed, way]["open_loop"][measure] for way in WAYS] for seed in SEEDS])
            row[measure] = {way: float(v) for way, v in zip(WAYS, both.mean(axis=0), strict=True)} | {"difference": student(both[:, 0] - both[:, 1])}
        for measure in ("completion", "score", "failed"):
            both_by_seed = [[cells[share, seed, way]["closed_loop"][measure] for way in WAYS] for seed in SEEDS]
            names = sorted(both_by_seed[0][0])
            values = np.array([[[of_way[n] for n in names] for of_way in of_seed] for of_seed in both_by_seed])  # (seeds, ways, scenarios)
            means = {way: float(v) for way, v in zip(WAYS, values.mean(axis=(0, 2)), strict=True)}
            row[measure] = means | {"difference": bootstrap(values[:, 0] - values[:, 1])}
        rows.append(row)
    table = [
        "| share of the drives | measure | pretrained | new | pretrained − new (95 %) |", "|---|---|---|---|---|",
        *(f"| {r['share']:g} | {m} | {r[m]['pretrained']:.2f} | {r[m]['new']:.2f} | {said(r[m]['difference'])} |"
          for r in rows for m in ("medoid_ade_m", "side_1s_m", "ahead_1s_m", "completion", "score", "failed")),
    ]  # fmt: skip
    by_share(_shown(cells)).savefig(bench.out / "pretrained.png", facecolor="white")
    bench.write("pretrained", {"rows": rows, "runs": {f"{way}-{share:g}-{seed}": v for (share, seed, way), v in cells.items()}}, table)


def _shown(cells: dict[tuple[float, int, str], dict[str, Any]]) -> dict[str, dict[str, dict[float, list[float]]]]:
    """measure → way → share → of each seed."""
    measures: dict[str, Callable[[dict[str, Any]], float]] = {
        "ADE of the medoid [m]": lambda cell: cell["open_loop"]["medoid_ade_m"],
        "completion of the routes": lambda cell: float(np.mean(list(cell["closed_loop"]["completion"].values()))),
        "NeuroNCAP score": lambda cell: float(np.mean(list(cell["closed_loop"]["score"].values()))),
    }
    return {name: {way: {share: [of(cells[share, seed, way]) for seed in SEEDS] for share in SHARES} for way in WAYS} for name, of in measures.items()}


def size_runs(bench: Bench) -> list[Callable[[], object]]:
    """The largest first."""
    return [partial(_of_size, bench, s) for s in reversed(SIZES)]


def size(bench: Bench) -> None:
    """Held-out loss of four sizes on the same tokens, and the law through them."""
    runs = [_of_size(bench, s) for s in SIZES]
    out = bench.out / "scaling"
    bench.do("fit", [VAVAM_TRAIN, "scaling", *runs, "--axis", "parameters", "--out", out])
    found = json.loads((out / "scaling.json").read_text(encoding="utf-8"))
    points = found["fits"][0]["points"]
    table = ["| run | parameters | held-out loss [nats] |", "|---|---|---|"]
    table += [f"| {p['name']} | {p['x'] / 1e6:.2f} M | {p['loss']:.4f} |" for p in points]
    bench.write("size", found, table)


def safety_runs(bench: Bench) -> list[Callable[[], object]]:
    """The largest first."""
    return [partial(_safety_of, bench, s) for s in reversed(SIZES)]


def _safety_of(bench: Bench, s: Size) -> dict[str, dict[str, float]]:
    """NeuroNCAP score of each scenario, and whether the driver failed, by name."""
    changes = [f"start={_of_size(bench, s)}", "options.video_loss=0.3"]
    run = _sized(bench, s, "action.yaml", f"safety-{s.name}", bench.amount.size_action_steps, changes)
    return _closed(bench, run, "safety", bench.amount.safety_limit)


def safety(bench: Bench) -> None:
    """Experts on the video models of `size`, each driven through the same scenarios."""
    rows: list[dict[str, Any]] = []
    closed = {s.name: _safety_of(bench, s) for s in SIZES}
    scores = {name: of["score"] for name, of in closed.items()}
    names = sorted(scores[SIZES[0].name])
    first = np.array([scores[SIZES[0].name][n] for n in names])
    for s in SIZES:
        values = np.array([scores[s.name][n] for n in names])
        failed = float(np.mean(list(closed[s.name]["failed"].values())))
        row = {"size": s.name, "scenarios": len(names), "failed": failed, "score": bootstrap(values[None])}
        rows.append(row | {"beyond_the_smallest": bootstrap((values - first)[None])})
    table = ["| size | scenarios | driver failed | NeuroNCAP score (95 %) | beyond the smallest, paired |", "|---|---|---|---|---|"]
    table += [f"| {r['size']} | {r['scenarios']} | {r['failed']:.0%} | {said(r['score'])} | {said(r['beyond_the_smallest'])} |" for r in rows]
    if min(r["failed"] for r in rows) > 0.5:
        table += ["", "In most runs the drivers failed before they drove: these scores say nothing of size. More steps are needed."]
    by_size(rows).savefig(bench.out / "safety.png", facecolor="white")
    bench.write("safety", {"rows": rows, "scores": scores}, table)


def _of_size(bench: Bench, s: Size) -> Path:
    return _sized(bench, s, "pretrain.yaml", f"size-{s.name}", bench.amount.size_steps)


def _sized(bench: Bench, s: Size, recipe: str, name: str, steps: int, changes: Sequence[str] = ()) -> Path:
    video = [f"model.video.width={s.width}", f"model.video.layers={s.layers}"]
    return bench.train(name, recipe, steps, changes=[*video, f"model.action.width={s.action_width}", *changes])


QUESTIONS: dict[str, tuple[Callable[[Bench], list[Callable[[], object]]], Callable[[Bench], None]]] = {
    "safety": (safety_runs, safety),  # first: its longest run takes longer than any other
    "pretrained": (pretrained_runs, pretrained),
    "size": (size_runs, size),  # of `safety`, too
}


if __name__ == "__main__":
    sys.exit(main())
