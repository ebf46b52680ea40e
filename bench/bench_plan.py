"""Time of whole plans of one model in this process: context computed whole, K samples, Euler steps of the model's own number.

    [GOMP_SPINCOUNT=N | OMP_WAIT_POLICY=PASSIVE] python bench/bench_plan.py [--size small | --model DIR] [--fast]
        [--samples 8] [--plans 12] [--threads N] [--busy N]

`--fast`: the path that the nodes run, instead of the plain model. `--busy`: so many other processes that only count, meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vavam_ros.core.artifact import load_artifact
from vavam_ros.core.model import VaVAM, init_weights
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.spec import PRESETS


@torch.inference_mode()
def main() -> None:
    """Print median, smallest and largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=sorted(PRESETS))
    parser.add_argument("--model", type=Path, metavar="DIR")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--busy", type=int, default=0, metavar="N")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator("cpu").manual_seed(0)
    if args.model is not None:
        plain = load_artifact(args.model, "cpu").model
    else:
        plain = VaVAM(PRESETS[args.size], device="cpu")
        init_weights(plain, generator, zero_query=False, readout_std=0.02)
    spec = plain.spec
    model = FastVaVAM(plain, samples=args.samples) if args.fast else plain
    tokens = torch.randint(0, spec.video.vocabulary - 1, (1, spec.video.frames, spec.video.grid_h, spec.video.grid_w), generator=generator)
    noise = torch.randn(args.samples, spec.action.horizon, spec.action.action_dim, generator=generator)
    command = torch.zeros(args.samples, dtype=torch.int64)
    took = []
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    try:
        for _ in range(args.plans + 1):
            start = time.perf_counter()
            model.sample(model.context(tokens), noise, command)
            took.append((time.perf_counter() - start) * 1e3)
    finally:
        for other in others:
            other.kill()
            other.wait()
    took = took[1:]  # the first one warms up
    waiting = ", ".join(f"{name}={os.environ[name]}" for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if name in os.environ) or "OpenMP's default"
    name = args.model or args.size
    print(f"{name}, {'fast' if args.fast else 'plain'}, K={args.samples}, {args.threads} threads, ", end="")
    print(f"{args.busy} busy beside, {waiting}, load {os.getloadavg()[0]:.1f}: ", end="")
    print(f"median {statistics.median(took):.0f} ms, smallest {min(took):.0f}, largest {max(took):.0f}")


if __name__ == "__main__":
    main()
