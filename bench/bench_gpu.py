"""What only a GPU can show, each figure beside its bound: plans, a streaming tick, pictures to plans, a generated frame, memory. Random weights.

    python bench/bench_gpu.py [--sizes S B L] [--device cuda] [--out FILE] [--write]        under ten minutes on an H200
    python bench/bench_gpu.py --device cpu --sizes small --quick                            the same rows on a CPU, without bounds: does it run?

Bounds are an H200's: floors as bench/cost.py counts them for one sample, and how many times a floor is allowed. Plans are of the fast path, bf16 on a GPU and
fp32 on a CPU, timed from tokens on the host to trajectories on the host; sides run in turn, and the device is waited for only where a time is read. Rows of
one size alone are of B, or of the first size named.

*tokenizer and plan*: a picture of the tokenizer's size on the host, its tokens, a whole window's context and the samples. *streaming*: as in
bench_inference.py. *image to Path*: p99 of that and of the round trip in the block `nodes` of the page, perhaps of another machine: a sum.
*generated frame*: core/model/generate.py, greedy, the window's other frames given. *memory*: what torch keeps of the device (on a CPU: the
most this process ever had), beside what bench/cost.py counts for weights, keys and values alone. `--write` renews the block `gpu` of
docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the nodes have it

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import cost
from bench.bench_cost import WITHIN
from bench.bench_inference import STREAMED, Product, build, streaming_medians, streaming_ticks_s, synchronized, times_s
from bench.page import ROOT, renew
from vavam_ros.core.camera import to_model_input
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.model.generate import generate_frames
from vavam_ros.core.model.network import VaVAM
from vavam_ros.core.model.streaming import append_flops
from vavam_ros.core.model.token_steps import token_steps
from vavam_ros.core.spec import PRESETS, ModelSpec
from vavam_ros.core.tokenizer import VQ16, VQ16_RELEASED, VQ16_SMALL, TokenizerSpec
from vavam_ros.core.tokenizer.random_init import init_tokenizer

PAGE = ROOT / "docs" / "results" / "performance.md"
SAMPLES, FEW, MANY = STREAMED, 1, 32
FLOORS_MS = {"S": 3.75, "B": 5.9, "L": 19.0}  # of a plan with one sample
FRAME_FLOOR_MS = {"B": 140.0}
MANY_WITHIN = dict.fromkeys(FLOORS_MS, 1.3)
STREAMING_GAIN, P99_MS, IMAGE_TO_PATH_MS, FRAME_WITHIN = {"B": 2.0}, {"B": 20.0}, {"B": 50.0}, {"B": 2.5}
AT_ONCE = 8
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # of the largest value


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How often each is timed."""

    plans: int = 50
    turns: int = 10
    pictures: int = 1000
    frames: int = 3


QUICK = Amounts(plans=1, turns=1, pictures=2, frames=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure, what it is held against (None: nothing) and its bound: of the ratio of both, or of the figure where it is held against nothing."""

    what: str
    a: float
    b: float | None = None
    unit: str = "ms"
    bound: float | None = None
    at_least: bool = False

    @property
    def judged(self) -> float:
        """What the bound is of."""
        return self.a if self.b is None else self.a / self.b

    @property
    def ok(self) -> bool:
        """Within the bound, or without one."""
        return self.bound is None or (self.judged >= self.bound if self.at_least else self.judged <= self.bound)

    def __str__(self) -> str:
        b, ratio = ("", "") if self.b is None else (f"{self.b:.2f}", f"{self.judged:.3f}")
        bound = "" if self.bound is None else f"{'>=' if self.at_least else '<='} {self.bound:g}{f' {self.unit}' if self.b is None else ''}"
        return f"{self.what:58} {self.a:10.2f} {b:>10} {self.unit:3} {ratio:>8}  {bound}{'' if self.ok else '  BROKEN'}".rstrip()


class Bench:
    """One size on one device."""

    def __init__(self, name: str, spec: ModelSpec, device: torch.device, *, bounds: bool) -> None:
        self._name, self._spec, self._device, self._bounds = name, spec, device, bounds
        self._dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._clock = synchronized(device, time.perf_counter)
        self._model: VaVAM = build(spec, device, self._dtype).eval()
        self._fast = FastVaVAM(self._model, samples=MANY)
        v, g = spec.video, torch.Generator("cpu").manual_seed(1)
        self._tokens = torch.randint(v.vocabulary - 1, (1, v.frames, v.grid_h, v.grid_w), generator=g)
        self._noise, self._command = torch.randn(MANY, spec.action.horizon, 2, generator=g), torch.zeros(MANY, dtype=torch.int64)
        self._check()
        _forget(device)

    def _plan(self, samples: int) -> Tensor:
        return self._fast.sample(self._fast.context(self._tokens), self._noise[:samples], self._command[:samples]).cpu()

    def _check(self) -> None:
        """The trajectories are those of network.py."""
        tokens, noise, command = (x.to(self._device) for x in (self._tokens, self._noise[:FEW], self._command[:FEW]))
        wanted = self._model.sample(self._model.context(tokens), noise, command).cpu()
        off = float((self._plan(FEW) - wanted).abs().max() / wanted.abs().max())
        if not off <= TOLERANCE[self._dtype]:
            raise SystemExit(f"{self._name}: the fast path differs from network.py by {off:.1e} of the largest value; nothing was timed")

    def plans(self, repeats: int) -> Iterator[Row]:
        """A plan against its floor, many samples against one, and the memory of it."""
        took = times_s({str(k): partial(self._plan, k) for k in (FEW, SAMPLES, MANY)}, repeats, self._clock)
        ms = {k: statistics.median(took[str(k)]) * 1e3 for k in (FEW, SAMPLES, MANY)}
        yield Row(what=f"{self._name}: exact plan K={SAMPLES} / floor at K=1", a=ms[SAMPLES], b=self._of(FLOORS_MS), bound=self._of(WITHIN))
        yield Row(what=f"{self._name}: exact plan K={MANY} / K={FEW}", a=ms[MANY], b=ms[FEW], bound=self._of(MANY_WITHIN))
        yield self._memory("exact plans", streaming=False)

    def streaming(self, repeats: int) -> Iterator[Row]:
        """An exact plan against a whole tick, and against what a plan waits for."""
        self._fast = FastVaVAM(self._model, samples=MANY)  # without the buffers and graphs of exact plans, whose memory is not streaming's
        _forget(self._device)
        streaming_ticks_s(self._fast, self._tokens, self._clock)
        memory = self._memory("streaming", streaming=True)
        few, command = self._noise[:SAMPLES], self._command[:SAMPLES]
        found = streaming_medians(self._fast, self._fast.context(self._tokens), self._tokens, few, command, repeats, self._clock)
        for (what, exact, tick), bound in zip(found.rows(), (self._of(STREAMING_GAIN), None), strict=True):
            yield Row(what=f"{self._name}: {what}", a=exact * 1e3, b=tick * 1e3, bound=bound, at_least=True)
        yield memory

    def pictures(self, sizes: TokenizerSpec, repeats: int, node_ms: float | None) -> Iterator[Row]:
        """From a picture to a plan, and with what the nodes added in another run (p99; None: not known)."""
        tokenizer = VQ16(sizes, device="cpu")
        init_tokenizer(tokenizer, torch.Generator("cpu").manual_seed(0))
        tokenizer.to(self._device).cast(self._dtype).eval()
        picture = torch.randint(256, (*sizes.image_hw, 3), generator=torch.Generator("cpu").manual_seed(2), dtype=torch.uint8).numpy()
        kept, noise, command = self._tokens[:, 1:], self._noise[:SAMPLES], self._command[:SAMPLES]

        def run() -> Tensor:
            codes = tokenizer.encode(to_model_input(picture, self._device, self._dtype)).cpu()  # (1, h, w)
            return self._fast.sample(self._fast.context(torch.cat([kept, codes[:, None]], dim=1)), noise, command).cpu()

        took = sorted(1e3 * t for t in times_s({"picture": run}, repeats, self._clock)["picture"])
        what = f"{self._name}: tokenizer {sizes.image_hw[0]}x{sizes.image_hw[1]} and plan K={SAMPLES}"
        yield Row(what=f"{what}, p50", a=statistics.median(took))
        p99 = took[math.ceil(0.99 * len(took)) - 1]
        yield Row(what=f"{what}, p99 of {repeats}", a=p99, bound=self._of(P99_MS))
        if node_ms is not None:
            yield Row(what=f"{self._name}: image to Path, a sum: that and {node_ms:g} ms of nodes", a=p99 + node_ms, bound=self._of(IMAGE_TO_PATH_MS))

    def generated(self, repeats: int) -> Iterator[Row]:
        """VaViM's next frame."""
        given = self._tokens[:, 1:].to(self._device)
        steps = token_steps(self._model.video, 1)  # recorded in the round that warms up
        run: Callable[[], object] = partial(generate_frames, self._model.video, given, 1, steps=steps)
        took = statistics.median(times_s({"frame": run}, repeats, self._clock)["frame"]) * 1e3
        yield Row(what=f"{self._name}: generated frame / floor", a=took, b=self._of(FRAME_FLOOR_MS), bound=self._of(FRAME_WITHIN))

    def batched(self, repeats: int) -> Iterator[Row]:
        """Windows at once against one large matrix product."""
        v, generator = self._spec.video, torch.Generator("cpu").manual_seed(3)
        many = torch.randint(v.vocabulary - 1, (AT_ONCE, v.frames, v.grid_h, v.grid_w), generator=generator)
        n = v.frames * v.tokens_per_frame
        product = Product(n, v.width, self._device, self._dtype)
        took = times_s({"many": partial(self._fast.context, many), "product": product}, repeats, self._clock)
        rate, whole = product.flops / statistics.median(took["product"]), AT_ONCE * append_flops(v, 0, n) / statistics.median(took["many"])
        yield Row(what=f"{self._name}: {AT_ONCE} contexts at once / one large product", a=whole / 1e12, b=rate / 1e12, unit="TFLOP/s")

    def _of(self, bounds: dict[str, float]) -> float | None:
        return bounds.get(self._name) if self._bounds else None

    def _memory(self, what: str, *, streaming: bool) -> Row:
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_reserved(self._device) / 1e9
        else:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        elements = cost.Device(name="", matrix_tflops=1.0, bandwidth_gbps=1.0, memory_gb=0.0, element_bytes=self._dtype.itemsize)
        counted = cost.memory_gb(self._spec, MANY, elements, streaming=streaming)
        return Row(what=f"{self._name}: memory, {what} / weights, keys, values", a=most, b=counted, unit="GB")


def _forget(device: torch.device) -> None:
    """Give back what is no longer used, and count memory anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def node_overhead_ms(page: Path = PAGE) -> float | None:
    """p99 of the round trip in the block `nodes` of the page; None: it has none."""
    found = re.search(r"round trip +p50 .*? p99 +([0-9.]+) ms", page.read_text(encoding="utf-8")) if page.exists() else None
    return None if found is None else float(found[1])


@torch.inference_mode()
def rows(
    specs: dict[str, ModelSpec], tokenizer: TokenizerSpec, device: torch.device, amounts: Amounts, *, bounds: bool, node_ms: float | None = None
) -> Iterator[Row]:
    """All rows. `tokenizer`: of B's pictures, or of the first size's. `node_ms`: p99 of what the nodes add."""
    whole = "B" if "B" in specs else next(iter(specs))
    for name, spec in specs.items():
        bench = Bench(name, spec, device, bounds=bounds)
        yield from bench.plans(amounts.plans)
        if name == whole:
            yield from bench.streaming(amounts.turns)
            yield from bench.pictures(tokenizer, amounts.pictures, node_ms)
            yield from bench.batched(amounts.turns)
            yield from bench.generated(amounts.frames)
        del bench
        _forget(device)


def main(words: list[str] | None = None) -> int:
    """Print the table; status 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["S", "B", "L"], choices=sorted(PRESETS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="each once or twice")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)}")
    args = parser.parse_args(words)
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: got none, expected one (or --device cpu --sizes small --quick, to see that this runs)")
    if args.write and (args.quick or not on_gpu):
        parser.error("--write: the block is of whole runs on a GPU")
    device_name = torch.cuda.get_device_name(device) if on_gpu else f"cpu, {torch.get_num_threads()} threads"
    amounts = QUICK if args.quick else Amounts()
    heading = f"{device_name}, {'bf16' if on_gpu else 'fp32'}, random weights, torch {torch.__version__}; repeats: " + ", ".join(
        f"{what} {n}" for what, n in asdict(amounts).items()
    )
    lines = [heading, f"{'':58} {'a':>10} {'b':>10} {'':3} {'a / b':>8}  {'bound, of an H200' if on_gpu else ''}".rstrip()]
    print("\n".join(lines), flush=True)
    specs = {size: PRESETS[size] for size in args.sizes}
    first = PRESETS["B"] if "B" in specs else specs[args.sizes[0]]
    tokenizer = next(t for t in (VQ16_RELEASED, VQ16_SMALL) if t.grid_hw == (first.video.grid_h, first.video.grid_w))
    found = []
    for row in rows(specs, tokenizer, device, amounts, bounds=on_gpu, node_ms=node_overhead_ms()):
        lines.append(str(row))
        print(row, flush=True)
        found.append(row)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"heading": heading, "rows": [asdict(row) | {"ok": row.ok} for row in found]}, indent=1) + "\n", encoding="utf-8")
    if args.write:
        renew(PAGE, "gpu", "\n".join(lines))
    return 0 if all(row.ok for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
