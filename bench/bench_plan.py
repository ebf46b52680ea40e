"""Time of whole plans of one model in this process: context computed whole, K samples, Euler steps of the model's own number.

    [GOMP_SPINCOUNT=N | OMP_WAIT_POLICY=PASSIVE] python bench/bench_plan.py [--size small] [--samples 8] [--plans 12] [--threads N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vavam_ros.core.model import VaVAM, init_weights
from vavam_ros.core.spec import PRESETS


@torch.inference_mode()
def main() -> None:
    """Print median, smallest and largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=sorted(PRESETS))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spec, generator = PRESETS[args.size], torch.Generator("cpu").manual_seed(0)
    model = VaVAM(spec, device="cpu")
    init_weights(model, generator, zero_query=False, readout_std=0.02)
    tokens = torch.randint(0, spec.video.vocabulary - 1, (1, spec.video.frames, spec.video.grid_h, spec.video.grid_w), generator=generator)
    noise = torch.randn(args.samples, spec.action.horizon, spec.action.action_dim, generator=generator)
    command = torch.zeros(args.samples, dtype=torch.int64)
    took = []
    for _ in range(args.plans + 1):
        start = time.perf_counter()
        model.sample(model.context(tokens), noise, command)
        took.append((time.perf_counter() - start) * 1e3)
    took = took[1:]  # the first one warms up
    waiting = ", ".join(f"{name}={os.environ[name]}" for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if name in os.environ) or "OpenMP's default"
    print(f"{args.size}, K={args.samples}, {args.threads} threads, {waiting}, load {os.getloadavg()[0]:.1f}: ", end="")
    print(f"median {statistics.median(took):.0f} ms, smallest {min(took):.0f}, largest {max(took):.0f}")


if __name__ == "__main__":
    main()
