"""Where the fast path's time goes by kind of operation: shares of the self CPU time of torch.profiler; random weights, float32, on the CPU.

    python bench/profile_layers.py [--size S] [--layers 5] [--threads N] [--part context|denoise] [--samples 8]

*context*: a whole window. *denoise*: the Euler loop of all samples over that context. An operation's time is by the clock, in the thread that calls it, less
that of the operations within it. What the whole took beyond all of them is Python between them and the profiler's own work, which short operations feel: the
time of a repeat without the profiler is beside it. Of the last layer the context needs keys and values only, so the shares depend a little on --layers.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the nodes have it

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.bench_inference import build, with_layers
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.spec import PRESETS

REPEATS = 3
PRODUCTS, ATTENTION, COPIES, ELEMENTWISE, REST = "matrix products", "attention", "copies, fills, allocation", "element-wise, norms", "Python and the rest"
# Kinds by the names of operations. The expert's attention is two batched products and a softmax, which nothing else in it uses.
KINDS = {
    PRODUCTS: ("mm", "addmm", "addmm_", "linear", "matmul"),
    ATTENTION: ("_scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_attention", "_softmax", "softmax", "bmm", "baddbmm"),
    COPIES: ("copy_", "clone", "contiguous", "cat", "empty", "empty_like", "empty_strided", "fill_", "zero_", "zeros", "resize_", "to", "_to_copy"),
    ELEMENTWISE: ("add", "add_", "mul", "mul_", "div", "silu", "gelu", "gelu_", "clamp", "native_layer_norm", "layer_norm", "embedding", "index_select"),
}


def kind_of(operation: str) -> str:
    """The kind of an operation of torch, by its name in the profile; views and what has no kind are the rest."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names), REST)


def measure(work: Callable[[], object]) -> tuple[dict[str, float], dict[str, float], float, float]:
    """Seconds by kind, by operation, of the whole under the profiler, and of the whole without it: of `REPEATS` each the least disturbed, the shortest."""
    work()
    plain_s = took_s = float("inf")
    by_operation: dict[str, float] = {}
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        work()
        plain_s = min(plain_s, time.perf_counter() - began_s)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            began_s = time.perf_counter()
            work()
            profiled_s = time.perf_counter() - began_s
        if profiled_s < took_s:
            took_s = profiled_s
            by_operation = {e.key: e.self_cpu_time_total / 1e6 for e in found.key_averages() if e.key.startswith("aten::")}
    kinds = dict.fromkeys((*KINDS, REST), 0.0)
    for operation, s in by_operation.items():
        kinds[kind_of(operation)] += s
    kinds[REST] += max(0.0, took_s - sum(by_operation.values()))
    return kinds, by_operation, took_s, plain_s


def table(kinds: Mapping[str, float], by_operation: Mapping[str, float]) -> str:
    """For people: each kind and the operations that it is mostly made of."""
    total = sum(kinds.values())
    lines = []
    for kind, s in kinds.items():
        own = sorted(((t, o) for o, t in by_operation.items() if kind_of(o) == kind and t >= 0.001 * total), reverse=True)
        names = ", ".join(f"{o.removeprefix('aten::')} {t / total:.1%}" for t, o in own[:4])
        lines.append(f"  {kind:28} {s * 1e3:10.1f} ms {s / total:7.1%}   {names}".rstrip())
    return "\n".join(lines)


def main() -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="S", choices=sorted(PRESETS))
    parser.add_argument("--layers", type=int, default=5, help="of both networks (default %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--part", default="context", choices=("context", "denoise"))
    parser.add_argument("--samples", type=int, default=8, help="of denoise (default %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spec = with_layers(PRESETS[args.size], args.layers)
    v = spec.video
    fast = FastVaVAM(build(spec, torch.device("cpu"), torch.float32), samples=args.samples)
    generator = torch.Generator("cpu").manual_seed(0)
    tokens = torch.randint(v.vocabulary, (1, v.frames, v.grid_h, v.grid_w), generator=generator)
    noise = torch.randn(args.samples, spec.action.horizon, spec.action.action_dim, generator=generator)
    command = torch.zeros(args.samples, dtype=torch.int64)
    work: Callable[[], object] = partial(fast.context, tokens)
    what = f"context of {v.frames} frames"
    if args.part == "denoise":
        work, what = partial(fast.sample, fast.context(tokens), noise, command), f"denoise, K = {args.samples}, {spec.flow.steps} steps"
    kinds, by_operation, took_s, plain_s = measure(work)
    print(f"{args.size}, {v.layers} layers, float32, {args.threads} threads, {what}; torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    print(f"  {took_s * 1e3:.0f} ms under the profiler, {plain_s * 1e3:.0f} ms without")
    print(table(kinds, by_operation))
    return 0


if __name__ == "__main__":
    sys.exit(main())
