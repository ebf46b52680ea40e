"""All measurements, one after the other; on request their output becomes the blocks of docs/results/performance.md and precision.md.

    python -m bench [--only model|inference|cost|compilers|nodes|precision|gpu] [--quick] [--compile] [--model DIR] [--write]
    python -m bench --only layers [--compile] [--write]                         six layers of S, repeated more often: 12 minutes in fp32
    python -m bench soak …                                                      half an hour of its own: bench/soak.py, docs/results/soak.md

`gpu` is skipped where there is no CUDA device.
Ratios and latencies belong here, never in a test. Figures are of the machine that ran them; the page names it.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

from bench.page import ROOT, renew

PAGE = ROOT / "docs" / "results" / "performance.md"
BENCHES = {
    "model": ["bench/bench_model.py"],
    "inference": ["bench/bench_inference.py"],
    "layers": ["bench/bench_inference.py", "--sizes", "S", "--layers", "6", "--repeats", "12"],
    "cost": ["bench/bench_cost.py"],
    "compilers": ["bench/bench_compilers.py"],
    "nodes": ["bench/bench_node_overhead.py"],
    "precision": ["bench/bench_precision.py"],
    "gpu": ["bench/bench_gpu.py"],
}
ONLY_ASKED_FOR = {"layers"}  # 12 minutes in fp32
HAVE_QUICK = {"inference", "cost", "precision"}
HAVE_MODEL = {"precision"}
HAVE_COMPILE = {"inference", "layers"}
HAVE_WRITE = {"compilers", "cost", "gpu", "precision"}  # they write themselves


def has_gpu() -> bool:
    """There is a CUDA device. Imports torch, which takes seconds."""
    import torch

    return torch.cuda.is_available()


def run(*words: str) -> tuple[int, str]:
    """One benchmark in a process of its own, `words` being script and arguments: exit status and what it printed, which is shown as it comes."""
    print("==", *words, flush=True)
    printed = []
    with subprocess.Popen([sys.executable, "-u", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return process.returncode, "".join(printed)


def main() -> int:
    """Run; the exit status is the worst of all."""
    if sys.argv[1:2] == ["soak"]:
        from bench import soak

        return soak.main(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(BENCHES))
    parser.add_argument("--quick", action="store_true", help=f"the short form of: {', '.join(sorted(HAVE_QUICK))}")
    parser.add_argument("--compile", action="store_true", help=f"beside torch.compile as well (minutes): {', '.join(sorted(HAVE_COMPILE))}")
    parser.add_argument("--model", help=f"model directory for: {', '.join(sorted(HAVE_MODEL))} (path from {ROOT}, or absolute)")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)}, and the page of: {', '.join(sorted(HAVE_WRITE))}")
    args = parser.parse_args()
    worst = 0
    for name in [args.only] if args.only else [name for name in BENCHES if name not in ONLY_ASKED_FOR]:
        if name == "gpu" and not has_gpu():
            print("== bench/bench_gpu.py: skipped, there is no CUDA device", flush=True)
            continue
        words = [*BENCHES[name]]
        words += ["--quick"] if args.quick and name in HAVE_QUICK else []
        words += ["--compile"] if args.compile and name in HAVE_COMPILE else []
        words += ["--model", args.model] if args.model and name in HAVE_MODEL else []
        words += ["--write"] if args.write and name in HAVE_WRITE else []
        status, text = run(*words)
        worst = max(worst, status)
        whole = status == 0 or "BROKEN" in text  # a ratio beyond its limit is a result, a run that broke off is none
        if args.write and name not in HAVE_WRITE and whole:
            renew(PAGE, name, text, command=shlex.join(["python", *words]))
    return worst


if __name__ == "__main__":
    sys.exit(main())
