"""The fast path beside compilers of the same plan: torch.compile, AOTInductor, ONNX Runtime. Random weights; which of them is worth keeping?

    python bench/bench_compilers.py [--size small] [--samples 8] [--repeats 9] [--only fast eager compile aoti onnx] [--write]

All compile two functions of core/model/network.py, the context (tokens → keys and values) and the velocity of one Euler step; the loop over steps stays
in Python, since ten steps unrolled into one function take very long to compile. Each side's trajectories are compared with those
of network.py before anything is timed; sides run in turn. *ready after*: what must be waited for before the first plan; for AOTInductor and ONNX it may be
done beforehand and kept as files. ONNX Runtime needs `onnx onnxscript onnxruntime`; what is not installed has a row that says so.
`--write` renews the block `compilers` of docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the nodes have it

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.bench_inference import build
from bench.bench_model import medians_s
from bench.page import ROOT, renew
from bench.parts import ContextPart, VelocityPart
from bench.precision.shared import installed
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.model.network import VaVAM
from vavam_ros.core.spec import PRESETS

PAGE = ROOT / "docs" / "results" / "performance.md"
TOLERANCE_M = 1e-3
Inputs = tuple[Tensor, ...]


Part = Callable[..., Any]
Compiler = Callable[[nn.Module, Inputs, Path], Part]


def compiled(part: nn.Module, inputs: Inputs, file: Path) -> Part:
    """torch.compile."""
    return torch.compile(part, fullgraph=True, dynamic=False)


def aoti(part: nn.Module, inputs: Inputs, file: Path) -> Part:
    """AOTInductor: exported, compiled to a library, loaded."""
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    return aoti_load_package(aoti_compile_and_package(torch.export.export(part, inputs, strict=False), package_path=f"{file}.pt2"))


def onnx(part: nn.Module, inputs: Inputs, file: Path) -> Part:
    """ONNX Runtime on the CPU, with as many threads as torch."""
    import onnxruntime  # type: ignore[import-not-found, unused-ignore]

    torch.onnx.export(part, inputs, f"{file}.onnx", dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(f"{file}.onnx", options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]

    def run(*given: Tensor) -> Any:
        found = [torch.from_numpy(x) for x in session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})]
        return found if len(found) > 1 else found[0]

    return run


def planner(model: VaVAM, compiler: Compiler, folder: Path, tokens: Tensor, noise: Tensor, command: Tensor) -> Callable[[], Tensor]:
    """A whole plan by two compiled parts."""
    flow, state, commands = model.spec.flow, noise[None], command[None]
    times = [torch.full(commands.shape, i / flow.steps) for i in range(flow.steps)]
    context, velocity = ContextPart(model).eval(), VelocityPart(model).eval()
    run_context = compiler(context, (tokens,), folder / "context")
    run_velocity = compiler(velocity, (state, times[1], commands, *context(tokens)), folder / "velocity")

    def run() -> Tensor:
        kv, x = run_context(tokens), state
        for t in times:
            x = x + run_velocity(x, t, commands, *kv) / flow.steps
        return x[0] * flow.action_scale_m

    return run


def fast(model: VaVAM, folder: Path, tokens: Tensor, noise: Tensor, command: Tensor) -> Callable[[], Tensor]:
    """core/model/fast.py, what the nodes run."""
    quick = FastVaVAM(model, samples=len(noise))
    return lambda: quick.sample(quick.context(tokens), noise, command)


SIDES: dict[str, Callable[..., Callable[[], Tensor]]] = {
    "fast": fast,
    "eager": partial(planner, compiler=lambda part, inputs, file: part),
    "compile": partial(planner, compiler=compiled),
    "aoti": partial(planner, compiler=aoti),
    "onnx": partial(planner, compiler=onnx),
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=sorted(PRESETS))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES), metavar="SIDE", help=", ".join(SIDES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spec, g = PRESETS[args.size], torch.Generator("cpu").manual_seed(1)
    model, v = build(spec, torch.device("cpu"), torch.float32).eval().requires_grad_(False), spec.video
    tokens = torch.randint(v.vocabulary, (1, v.frames, v.grid_h, v.grid_w), generator=g)
    noise, command = torch.randn(args.samples, spec.action.horizon, 2, generator=g), torch.zeros(args.samples, dtype=torch.int64)
    inputs = {"tokens": tokens, "noise": noise, "command": command}
    with torch.no_grad():
        wanted = model.sample(model.context(tokens), noise, command)
    ready: dict[str, float] = {}
    notes: dict[str, str] = {}
    runs: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name in args.only:
            began = time.perf_counter()
            try:
                run = SIDES[name](model, folder=Path(folder), **inputs)
                off = float((run() - wanted).abs().max())
            except (ImportError, RuntimeError, torch._dynamo.exc.TorchDynamoException) as e:
                notes[name] = f"{type(e).__name__}: {str(e).splitlines()[0][:100]}"
                continue
            ready[name] = time.perf_counter() - began
            if off > TOLERANCE_M * max(1.0, float(wanted.abs().max())):
                notes[name] = f"differs by {off:.1e} m: not timed"
                continue
            runs[name] = run
            print(f"{name}: ready after {ready[name]:.1f} s, differs by {off:.1e} m", flush=True)
        took: dict[str, Any] = medians_s(runs, args.repeats, True, time.perf_counter)
    packages = installed("torch", "onnxruntime", "onnxscript")
    lines = [f"{args.size}, fp32, K = {args.samples}, whole plan, {args.threads} threads, repeats {args.repeats}, load {os.getloadavg()[0]:.1f}, {packages}"]
    lines.append(f"{'':10} {'ms':>8} {'of fast':>8} {'ready after s':>14}")
    for name in args.only:
        if name in took:
            lines.append(f"{name:10} {took[name] * 1e3:8.1f} {took[name] / took.get('fast', took[name]):8.2f} {ready[name]:14.1f}")
        else:
            lines.append(f"{name:10} {notes[name]}")
    print("\n".join(lines))
    if args.write:
        renew(PAGE, "compilers", "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
