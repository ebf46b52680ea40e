"""The fast path against the plain specification and against the strongest simple version, as ratios of one run; random weights.

    python bench/bench_inference.py [--quick] [--sizes small S] [--layers N] [--repeats N] [--threads N] [--device cpu] [--compile] [--out bench.json]

*specification*: the model as its description reads, written below: attention under a boolean mask, all of the last layer, a context for each sample, keys
and values concatenated in each layer and step, conditioning computed in each step. Its samples share nothing, so K of them take K times one; one is timed.
*simple*: core/model/network.py: one context for all samples, causal attention without a mask. *compiled* (`--compile`): its two networks by torch.compile.
*fast*: core/model/fast.py. Sides run in turn, each round in another order, and all give the same trajectories, which is checked first.

Streaming (core/model/streaming.py) at K = 8: a *whole tick* is the new frame appended, the chunk of the next context and the samples; *what a plan waits
for* is without the chunk, which is built after the plan was published. Samples are timed on a whole window for both sides: for a tick, whose window may be
shorter, that is a little too long.

bf16 is timed where the processor multiplies it (AMX, or the flag avx512_bf16), or on a GPU. Shape letters as in core/model/network.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the nodes have it

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.bench_model import medians_s
from bench.parts import ContextPart, VelocityPart
from vavam_ros.core.model.fast import FastContext, FastVaVAM
from vavam_ros.core.model.network import Block, VaVAM, init_weights, norm
from vavam_ros.core.model.streaming import Chunk, StreamSchedule, append_flops
from vavam_ros.core.spec import PRESETS, ModelSpec

SAMPLES = (1, 5, 16)  # against the specification
STREAMED = 8  # samples of a streaming plan
BF16_FLAGS = ("amx_bf16", "avx512_bf16")  # processors that multiply it; others imitate it, many times slower than fp32
REPEATS = {"small": 5, "S": 3, "B": 1, "L": 1}
TICKS = {"small": 1000}  # streaming ticks timed one by one; else those of the repeats
Clock = Callable[[], float]


class Specification:
    """One sample of VaVAM as described: nothing shared, nothing kept but keys and values."""

    def __init__(self, model: VaVAM) -> None:
        self._m = model
        self._video = [b for b in model.video.blocks if isinstance(b, Block)]
        self._action = [b for b in model.action.blocks if isinstance(b, Block)]

    def context(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer; the mask is made in each call, the last layer runs to its end."""
        video = self._m.video
        x = video.embed(rearrange(tokens, "b t h w -> b (t h w)"))
        n = x.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        kept = []
        for block in self._video:
            q, k, v = block.attention.project(norm(x))
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=video.scale)
            x = block.finish(x, rearrange(out, "b a n d -> b n (a d)"))
            kept.append((k, v))
        return kept

    def sample(self, context: list[tuple[Tensor, Tensor]], noise: Tensor, command: Tensor) -> Tensor:
        """noise (1, H, 2) → metres."""
        action, flow, x = self._m.action, self._m.spec.flow, noise
        mask = torch.ones(noise.shape[1], context[0][0].shape[2] + noise.shape[1], dtype=torch.bool, device=noise.device)
        for i in range(flow.steps):
            t = torch.full((1, 1), i / flow.steps, device=x.device)
            h = action.encoder(x[:, None], t, command.view(1, 1))[:, 0]
            for block, (k, v) in zip(self._action, context, strict=True):
                q, own_k, own_v = block.attention.project(norm(h))
                keys, values = torch.cat([k, own_k], dim=2), torch.cat([v, own_v], dim=2)
                out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=action.scale)
                h = block.finish(h, rearrange(out, "b a n d -> b n (a d)"))
            x = x + (action.readout(norm(h)) / action.spec.readout_divisor).float() / flow.steps
        return x * flow.action_scale_m


def build(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> VaVAM:
    """A random model."""
    model = VaVAM(spec, device="cpu")
    init_weights(model, torch.Generator("cpu").manual_seed(0), zero_query=False, readout_std=0.02)
    return model.to(device, dtype)


class Compiled:
    """*simple* by torch.compile: a graph for the context, and one for an Euler step with each number of samples."""

    def __init__(self, model: VaVAM) -> None:
        torch.compiler.reset()  # what was compiled before would make shapes of this one variable
        self._context, self._velocity = (torch.compile(part.eval(), fullgraph=True, dynamic=False) for part in (ContextPart(model), VelocityPart(model)))
        self._flow = model.spec.flow

    def context(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Keys and values of each layer in turn."""
        kept: tuple[Tensor, ...] = self._context(tokens)
        return kept

    def sample(self, context: tuple[Tensor, ...], noise: Tensor, command: Tensor) -> Tensor:
        """noise (K, H, 2) → metres."""
        x, commands = noise[None], command[None]
        for i in range(self._flow.steps):
            time = torch.full(commands.shape, i / self._flow.steps, device=x.device)
            x = x + self._velocity(x, time, commands, *context) / self._flow.steps
        return x[0] * self._flow.action_scale_m


def with_layers(spec: ModelSpec, layers: int | None) -> ModelSpec:
    """The same model with so many layers, None = its own."""
    return spec if layers is None else replace(spec, video=replace(spec.video, layers=layers))


def times_s(sides: dict[str, Callable[[], object]], repeats: int, clock: Clock) -> dict[str, list[float]]:
    """All seconds of each side, run in turn as in `medians_s`, after a round that warms up."""
    took: dict[str, list[float]] = {name: [] for name in sides}

    def timed(name: str, run: Callable[[], object]) -> None:
        start = clock()
        run()
        took[name].append(clock() - start)

    medians_s({name: partial(timed, name, run) for name, run in sides.items()}, repeats, True, clock)
    return {name: times[1:] for name, times in took.items()}


def synchronized(device: torch.device, clock: Clock) -> Clock:
    """A clock that is read when the device has done all its work."""

    def read() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock()

    return read


class Product:
    """The largest product of a layer, (rows, d) by (d, 4 d), into a result that is kept.

    A result made anew lies above the 32 MiB from which glibc maps memory anew each time, and its page faults would be taken for the product's time.
    """

    def __init__(self, rows: int, width: int, device: torch.device, dtype: torch.dtype) -> None:
        self._left, self._right = (torch.randn(*shape, device=device).to(dtype) for shape in ((rows, width), (width, 4 * width)))
        self._result = torch.empty(rows, 4 * width, device=device, dtype=dtype)
        self.flops = 8 * rows * width * width

    def __call__(self) -> Tensor:
        """Once."""
        return torch.mm(self._left, self._right, out=self._result)


def matrix_rate(rows: int, width: int, device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """FLOP/s of `Product` alone, the best of three."""
    product = Product(rows, width, device, dtype)
    return product.flops / min(times_s({"mm": product}, 3, clock)["mm"])


class TickTime(NamedTuple):
    """Seconds until the new frame is in the context planned from, and until the chunk of the next context is built as well."""

    append_s: float
    whole_s: float


def streaming_ticks_s(fast: FastVaVAM, tokens: Tensor, clock: Clock) -> list[TickTime]:
    """The ticks of one turn in the steady state, without samples."""
    v = fast.spec.video
    s, schedule, flat = v.tokens_per_frame, StreamSchedule(v), tokens.flatten(1)
    for _ in range(v.frames):
        schedule.tick()
    current, following = fast.context(tokens[:, : schedule.keep_frames]), None

    def append(context: Any, chunk: Chunk) -> Any:
        return fast.advance(context, flat[:, chunk.held : chunk.held + chunk.added])

    took = []
    for _ in range(v.frames - schedule.keep_frames):
        tick = schedule.tick()
        start = clock()
        current = append(current, tick.append)
        appended = clock()
        if tick.build is not None:
            following = append(fast.empty_context() if following is None else following, tick.build)
        took.append(TickTime(appended - start, clock() - start))
    assert current.length == v.frames * s
    return took


class Streaming(NamedTuple):
    """Median seconds: an exact context, the samples of a whole window, and each tick of a turn by its own median."""

    context_s: float
    samples_s: float
    ticks: list[TickTime]

    def tick(self) -> TickTime:
        """The median tick."""
        return _median_of(self.ticks)

    def rows(self) -> list[tuple[str, float, float]]:
        """(what, exact, streaming) of a plan with its samples."""
        tick, exact = self.tick(), self.context_s + self.samples_s
        return [
            (f"streaming K={STREAMED}: exact plan / whole tick", exact, tick.whole_s + self.samples_s),
            (f"streaming K={STREAMED}: exact plan / what a plan waits for", exact, tick.append_s + self.samples_s),
        ]


def _median_of(ticks: Sequence[TickTime]) -> TickTime:
    return TickTime(statistics.median(t.append_s for t in ticks), statistics.median(t.whole_s for t in ticks))


def streaming_medians(fast: FastVaVAM, held: FastContext, tokens: Tensor, noise: Tensor, command: Tensor, repeats: int, clock: Clock) -> Streaming:
    """Exact contexts, samples (noise (K, H, 2), command (K)) on the one `held`, and turns of ticks, run in turn."""
    turns: list[list[TickTime]] = []
    sides: dict[str, Callable[[], object]] = {
        "context": partial(fast.context, tokens),
        "samples": partial(fast.sample, held, noise, command),
        "turn": lambda: turns.append(streaming_ticks_s(fast, tokens, clock)),
    }
    took = medians_s(sides, repeats, True, clock)
    return Streaming(took["context"], took["samples"], [_median_of(same) for same in zip(*turns[1:], strict=True)])  # the first turn warmed up


def jitter(one_turn: Callable[[], list[float]], wanted: int, device: torch.device, dtype: torch.dtype, clock: Clock) -> list[tuple[str, float, float]]:
    """p99 and median of single ticks, and, by turns with them, of matrix products that are all the same and take about as long: what the machine alone does."""
    a, b = (torch.randn(512, 512, device=device).to(dtype) for _ in range(2))
    each_s = medians_s({"mm": lambda: [a @ b for _ in range(100)]}, 3, True, clock)["mm"] / 100
    count = max(round(statistics.median([*one_turn(), *one_turn()]) / each_s), 1)
    ticks: list[float] = []
    products: list[float] = []
    while len(ticks) < wanted:
        turn = one_turn()
        ticks += turn
        for _ in turn:
            start = clock()
            for _ in range(count):
                a @ b
            products.append(clock() - start)

    def row(what: str, took: list[float]) -> tuple[str, float, float]:
        return what, sorted(took)[math.ceil(0.99 * len(took)) - 1], statistics.median(took)

    return [row(f"streaming: p99 / median of {len(ticks)} ticks", ticks), row("  the same of equal matrix products in between", products)]


def bench(
    spec: ModelSpec, device: torch.device, dtype: torch.dtype, repeats: int, ticks_wanted: int, compiled: bool, clock: Clock
) -> list[tuple[str, float, float]]:
    """(what, a, b) of every ratio a / b."""
    model = build(spec, device, dtype)
    g, v, a = torch.Generator("cpu").manual_seed(1), spec.video, spec.action
    host = torch.randint(v.vocabulary, (1, v.frames, v.grid_h, v.grid_w), generator=g)
    most = max(*SAMPLES, STREAMED)
    noise, command = torch.randn(most, a.horizon, 2, generator=g), torch.zeros(most, dtype=torch.int64)
    tokens, noise_d, command_d = host.to(device), noise.to(device), command.to(device)
    fast, plain = FastVaVAM(model, samples=most), Specification(model)
    models: dict[str, Any] = {"specification": plain, "simple": model, **({"compiled": Compiled(model)} if compiled else {}), "fast": fast}
    contexts: dict[str, Callable[[], Any]] = {name: partial(m.context, host if m is fast else tokens) for name, m in models.items()}
    kept = {name: run() for name, run in contexts.items()}
    plans = {n: m.sample(kept[n], *((noise[:1], command[:1]) if m is fast else (noise_d[:1], command_d[:1]))) for n, m in models.items()}
    one = plans["specification"]
    for name, other in plans.items():
        error = float((other - one).abs().max() / one.abs().max())
        if error > (1e-4 if dtype == torch.float32 else 5e-2):
            raise SystemExit(f"{spec.name}: {name} differs from the specification by {error:.1e} of the largest value; nothing was timed")
    n = v.frames * v.tokens_per_frame
    product = Product(n, v.width, device, dtype)
    context = medians_s({**contexts, "product": product}, repeats, True, clock)  # the first pass of each touches its memory
    rate = product.flops / context["product"]
    simple = [name for name in models if name in ("simple", "compiled")]
    rows = [(f"context: {name} / fast", context[name], context["fast"]) for name in ("specification", *simple)]
    for k in SAMPLES:
        sides: dict[str, Callable[[], object]] = {
            "specification": partial(plain.sample, kept["specification"], noise_d[:1], command_d[:1]),
            **{name: partial(models[name].sample, kept[name], noise_d[:k], command_d[:k]) for name in simple},
            "fast": partial(fast.sample, kept["fast"], noise[:k], command[:k]),
        }
        denoise = medians_s(sides, 2 * repeats + 1, True, clock)
        plan = {name: context[name] + denoise[name] for name in sides}
        rows.append((f"plan K={k}: specification (K times one) / fast", k * plan["specification"], plan["fast"]))
        for name in simple:
            rows.append((f"denoise K={k}: {name} / fast", denoise[name], denoise["fast"]))
            rows.append((f"plan K={k}: {name} / fast", plan[name], plan["fast"]))
    streaming = streaming_medians(fast, kept["fast"], host, noise[:STREAMED], command[:STREAMED], repeats, clock)
    median, turn = streaming.tick().whole_s, [t.whole_s for t in streaming.ticks]
    rows.append(("streaming: exact context / median tick", streaming.context_s, median))
    rows.append(("streaming: worst / median tick", max(turn), median))
    rows += streaming.rows()
    if ticks_wanted:
        rows += jitter(lambda: [t.whole_s for t in streaming_ticks_s(fast, host, clock)], ticks_wanted, device, dtype, clock)
    rows.append(("context, TFLOP/s: fast / one large matrix product", append_flops(v, 0, n) / context["fast"] / 1e12, rate / 1e12))
    at_once = 8 if v.width < 512 else 2
    many = torch.randint(v.vocabulary, (at_once, v.frames, v.grid_h, v.grid_w), generator=g)
    took = medians_s({"many": partial(fast.context, many)}, repeats, True, clock)["many"]
    rows.append((f"{at_once} contexts at once, TFLOP/s: fast / one large product", at_once * append_flops(v, 0, n) / took / 1e12, rate / 1e12))
    return rows


def has_fast_bf16(device: torch.device) -> bool:
    """A GPU, or a processor that multiplies it."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="utf-8").split() if cpu.exists() else []
    return device.type == "cuda" or any(flag in flags for flag in BF16_FLAGS)


@torch.inference_mode()
def main() -> int:
    """Print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small model only, one repeat")
    parser.add_argument("--sizes", nargs="+", default=["small", "S"], choices=sorted(PRESETS))
    parser.add_argument(
        "--layers",
        type=int,
        help="so many of the size's layers, for a shorter run; the specification, which runs its last layer whole, then looks slower than it is",
    )
    parser.add_argument("--repeats", type=int, help=f"default: {', '.join(f'{n} of {size}' for size, n in REPEATS.items())}")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="the simple version by torch.compile as well (minutes, once)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: with one thread, blind to what else runs")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    clock = synchronized(device, time.process_time if args.clock == "cpu" else time.perf_counter)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{args.threads} threads"
    print(f"random weights, {device}, {name}, clock {args.clock}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    found = []
    for size in ["small"] if args.quick else args.sizes:
        for dtype in [torch.float32, *([torch.bfloat16] if has_fast_bf16(device) else [])]:
            repeats = 1 if args.quick else args.repeats or REPEATS[size]
            spec = with_layers(PRESETS[size], args.layers)
            title = f"{size}, {str(dtype).removeprefix('torch.')}{f', {args.layers} layers' if args.layers else ''}"
            print(f"{title + f', repeats {repeats}':52} {'a':>10} {'b':>10} {'a / b':>8}", flush=True)
            for what, a, b in bench(spec, device, dtype, repeats, 0 if args.quick else TICKS.get(size, 0), args.compile, clock):
                unit = 1.0 if "FLOP" in what else 1e3
                print(f"  {what:50} {a * unit:10.2f} {b * unit:10.2f} {a / b:8.3f}", flush=True)
                found.append({"size": size, "layers": spec.video.layers, "dtype": str(dtype), "what": what, "a": a, "b": b})
    print("a and b in milliseconds unless named otherwise")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
