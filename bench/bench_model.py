"""Speed and memory of the model as ratios within one run: S size (or another preset), random weights, CPU, fp32.

    python bench/bench_model.py --out bench.json [--size S] [--repeats 3] [--threads N] [--layers N]

Each ratio is of medians of interleaved repeats, so that what else runs on the machine hits both sides alike. Shape letters as in core/model/network.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vavam_ros.core.model.kv_context import Context
from vavam_ros.core.model.network import Block, VaVAM, VideoModel, init_weights, norm
from vavam_ros.core.spec import PRESETS, ModelSpec

SAMPLES = 8


def build(spec: ModelSpec) -> tuple[VaVAM, Tensor]:
    """A random model and a window of random tokens (1, T, h, w), on the CPU."""
    model = VaVAM(spec, device="meta").to_empty(device="cpu")
    generator = torch.Generator("cpu").manual_seed(0)
    init_weights(model, generator, zero_query=False, readout_std=0.02)
    v = spec.video
    return model, torch.randint(v.vocabulary, (1, v.frames, v.grid_h, v.grid_w), generator=generator)


def masked_context(video: VideoModel, tokens: Tensor, mask: Tensor, whole: bool) -> Context:
    """The same context by full attention under a boolean N×N mask: what `VideoModel.context` is compared with.

    `whole`: with all of the last layer, as a pass that does not know what is wanted; else with the same shortcut, so that attention alone differs.
    """
    context = video.empty_context()
    x = video.embed(rearrange(tokens, "b t h w -> b (t h w)"))
    last = len(video.blocks) - 1
    for i, block in enumerate(block for block in video.blocks if isinstance(block, Block)):
        if i == last and not whole:
            context.append(i, *block.attention.keys_values(norm(x)))
            break
        q, k, v = block.attention.project(norm(x))
        k, v = context.append(i, k, v)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=video.scale)
        x = block.finish(x, rearrange(out, "b a n d -> b n (a d)"))
    context.length = x.shape[1]
    return context


def sample(model: VaVAM, context: Context, samples: int, steps: int | None = None) -> Tensor:
    """K trajectories."""
    a = model.spec.action
    noise = torch.randn(samples, a.horizon, a.action_dim, generator=torch.Generator("cpu").manual_seed(1))
    return model.sample(context, noise, torch.zeros(samples, dtype=torch.int64), steps=steps)


def medians_s(sides: dict[str, Callable[[], object]], repeats: int, warm_up: bool, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each side, run in turn, each round in another order: a side must not always follow the same one."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    order = random.Random(0)
    for i in range(repeats + warm_up):
        for name, run in order.sample(list(sides.items()), len(sides)):
            start = clock()
            run()
            if i >= warm_up:
                times[name].append(clock() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def peak_mib(size: str, samples: int, threads: int) -> float:
    """Peak resident memory of a process of its own that makes one context and K samples."""
    command = [sys.executable, __file__, "--size", size, "--threads", str(threads), "--peak-of", str(samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def row(name: str, numerator: float, denominator: float, unit: str, limit: float, at_most: bool) -> dict[str, Any]:
    """One ratio and whether it keeps its limit."""
    ratio = numerator / denominator
    ok = ratio <= limit if at_most else ratio >= limit
    return {"name": name, "a": numerator, "b": denominator, "unit": unit, "ratio": ratio, "limit": limit, "rule": "<=" if at_most else ">=", "ok": ok}


def bench(size: str, layers: int | None, repeats: int, threads: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """All ratios."""
    memory = {k: peak_mib(size, k, threads) for k in (1, SAMPLES)} if layers is None else {}
    spec = PRESETS[size]
    model, tokens = build(spec if layers is None else replace(spec, video=replace(spec.video, layers=layers)))
    video, t = model.video, tokens.shape[1]
    part = t // 2
    n = t * video.spec.tokens_per_frame
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    short = model.context(tokens[:, :part])
    append = medians_s(
        {"append": lambda: model.extend(short, tokens[:, part : part + 1]), "recompute": lambda: model.context(tokens[:, : part + 1])}, repeats, True, clock
    )
    exact = medians_s(
        {
            "whole": lambda: masked_context(video, tokens, mask, True),
            "causal": lambda: model.context(tokens),
            "short": lambda: masked_context(video, tokens, mask, False),
        },
        repeats,
        False,
        clock,
    )
    context = model.context(tokens)
    denoise = medians_s({"many": lambda: sample(model, context, SAMPLES), "one": lambda: sample(model, context, 1)}, 2 * repeats + 1, True, clock)
    rows = [
        row(f"denoise K={SAMPLES} / K=1", denoise["many"], denoise["one"], "s", 5.0, True),
        row(f"append 1 frame to {part} / recompute {part + 1}", append["append"], append["recompute"], "s", 0.45, True),
        row("context: SDPA with bool mask / exact", exact["whole"], exact["causal"], "s", 1.4, False),
        row("  the same, both without the last layer", exact["short"], exact["causal"], "s", 1.0, False),
    ]
    if memory:
        rows.append(row(f"peak memory K={SAMPLES} / K=1", memory[SAMPLES], memory[1], "MiB", 1.25, True))
    return rows


@torch.inference_mode()
def main() -> int:
    """Print a table, write JSON, exit 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description="ratios of the model's speed and memory in one run")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--size", default="S", choices=sorted(PRESETS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, help="fewer layers, for a quick look (without the memory ratio)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: with one thread, blind to what else runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        model, tokens = build(PRESETS[args.size])
        sample(model, model.context(tokens), args.peak_of)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    rows = bench(args.size, args.layers, args.repeats, args.threads, time.process_time if args.clock == "cpu" else time.perf_counter)
    setting = {k: getattr(args, k) for k in ("size", "layers", "repeats", "threads", "clock")} | {"torch": torch.__version__, "machine": platform.machine()}
    print("VaVAM, random weights, CPU fp32:", ", ".join(f"{k} {v}" for k, v in setting.items()))
    print(f"{'ratio':44} {'a':>10} {'b':>10} {'a / b':>8}  limit")
    for r in rows:
        print(f"{r['name']:44} {r['a']:10.3f} {r['b']:10.3f} {r['ratio']:8.3f}  {r['rule']} {r['limit']} {'' if r['ok'] else 'BROKEN'}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(setting | {"rows": rows}, indent=1) + "\n")
    return 0 if all(r["ok"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
