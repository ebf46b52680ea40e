"""Interleaved timing, ratios with their limits, and the numbers of each stage."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vavam_training.bench.cases import Training, loading, open_case, stages_of
from vavam_training.loop.memory import peak_bytes
from vavam_training.loop.watch import matrix_rate

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LOADED = 16  # batches at a time
DETACHED_LIMIT, LOADING_LIMIT = 2.0, 5.0


def medians_s(sides: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each side, run in turn, after a round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    with tqdm(total=(repeats + 1) * len(sides), desc="measuring", unit="run", disable=None, leave=False) as bar:
        for i in range(repeats + 1):
            for name, run in sides.items():
                begun = clock()
                run()
                if i:
                    times[name].append(clock() - begun)
                bar.update(1)
    return {name: statistics.median(t) for name, t in times.items()}


def row(name: str, a: float, b: float, unit: str, limit: float) -> dict[str, Any]:
    """One ratio and whether it keeps its limit."""
    return {"name": name, "a": a, "b": b, "unit": unit, "ratio": a / b, "limit": limit, "rule": ">=", "ok": a / b >= limit}


def matrix_rates(device: torch.device, clock: Callable[[], float]) -> dict[str, float]:
    """Operations per second of a matrix product in each number format. What a CPU without bf16 units makes of it shows here."""
    return {name: matrix_rate(device, dtype, clock=clock) for name, dtype in DTYPES.items()}


def peak_mib(recipes: Path, stage: str, device: str, precision: str, batch: int, threads: int) -> float:
    """Peak memory of a process of its own that trains two steps: resident with Python and torch on a CPU, allocated by torch on a GPU."""
    options = {"recipes": recipes, "device": device, "precision": precision, "batch": batch, "threads": threads, "peak-of": stage}
    words = [w for name, value in options.items() for w in (f"--{name}", str(value))]
    done = subprocess.run([sys.executable, "-m", "vavam_training.bench", *words], check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def peak_here_mib(recipes: Path, stage: str, device: torch.device, precision: str, batch: int) -> float:
    """The same of this process."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(open_case(recipes, stage, Path(folder), precision=precision, batch=batch), device)
        for _ in range(2):
            training.step()
    return peak_bytes(device) / 2**20


def measured(recipes: Path, device: torch.device, precision: str, batch: int, repeats: int, threads: int, clock: Callable[[], float]) -> dict[str, Any]:
    """`precision`: fp32, bf16, or auto, the faster one. Ratios and each stage's numbers."""
    rates = matrix_rates(device, clock)
    used = max(rates, key=lambda name: rates[name]) if precision == "auto" else precision
    stages = stages_of(recipes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {s: open_case(recipes, s, folder, precision=used, batch=batch) for s in stages}
        trainings = {s: Training(case, device) for s, case in cases.items()}
        expert_alone = ("options.train_video=false", "options.video_loss=0.0")
        sides: dict[str, Callable[[], object]] = {}
        for side, detach in (("undetached", "false"), ("detached", "true")):
            case = open_case(recipes, "action", folder, precision=used, batch=batch, changes=[*expert_alone, f"options.detach_video={detach}"])
            sides[side] = Training(case, device, graph_through_video=side == "undetached").step
        sides |= {s: t.step for s, t in trainings.items()}
        sides |= {f"load {s}": loading(case, LOADED) for s, case in cases.items()}
        took = medians_s(sides, repeats, clock)
        flops = {s: t.flops() for s, t in trainings.items()}
    rows = [row("expert alone: video in the graph / detached", took["undetached"], took["detached"], "s/step", DETACHED_LIMIT)]
    table = []
    for s, training in trainings.items():
        size = training.case.config.batch_size
        rows.append(row(f"{s}: loading alone / training", LOADED * size / took[f"load {s}"], size / took[s], "samples/s", LOADING_LIMIT))
        entry = {"stage": s, "batch": size, "step_s": took[s], "samples_per_s": size / took[s], "tokens_per_s": training.tokens / took[s]}
        entry |= {"mfu": flops[s] / took[s] / rates[used], "gflop_per_step": flops[s] / 1e9}
        table.append(entry | {"peak_mib": peak_mib(recipes, s, str(device), used, batch, threads)})
    setting = {"recipes": recipes.name, "device": str(device), "precision": used, "matrix_gflops": {k: v / 1e9 for k, v in rates.items()}}
    return setting | {"rows": rows, "stages": table}
