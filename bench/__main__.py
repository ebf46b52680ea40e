"""All measurements, one after the other; on request their output becomes the blocks of docs/results/performance.md.

    python -m bench [--only model|inference|nodes] [--quick] [--write]
    python -m bench soak …                                                      half an hour of its own: bench/soak.py, docs/results/soak.md

Ratios and latencies belong here, never in a test. Figures are of the machine that ran them; the page names it.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "performance.md"
BENCHES = {"model": "bench/bench_model.py", "inference": "bench/bench_inference.py", "nodes": "bench/bench_node_overhead.py"}


HAVE_QUICK = {"inference"}


def run(script: str, *arguments: str) -> tuple[int, str]:
    """One benchmark in a process of its own: exit status and what it printed, which is shown as it comes."""
    print(f"== {script}", *arguments, flush=True)
    printed = []
    with subprocess.Popen([sys.executable, "-u", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return process.returncode, "".join(printed)


def machine() -> str:
    """Processor, cores and system, as the system names them."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def renewed(page: str, name: str, text: str, *, fenced: bool = True) -> str:
    """The page with the block between its two markers replaced. `fenced`: by date, machine and the text as it was printed; else by the text itself."""
    head, found, rest = page.partition(f"<!-- {name} -->\n")
    _, closed, tail = rest.partition(f"<!-- end of {name} -->")
    if not (found and closed):
        raise SystemExit(f"the page of results: no block <!-- {name} --> … <!-- end of {name} -->")
    block = f"{date.today()}, {machine()}:\n\n```\n{text.strip()}\n```" if fenced else text.strip()
    return f"{head}{found}{block}\n{closed}{tail}"


def main() -> int:
    """Run; the exit status is the worst of all."""
    if sys.argv[1:2] == ["soak"]:
        from bench import soak

        return soak.main(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(BENCHES))
    parser.add_argument("--quick", action="store_true", help=f"the short form of: {', '.join(sorted(HAVE_QUICK))}")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    worst = 0
    for name in [args.only] if args.only else list(BENCHES):
        status, text = run(BENCHES[name], *(["--quick"] if args.quick and name in HAVE_QUICK else []))
        worst = max(worst, status)
        if args.write and text.strip():
            PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")
    return worst


if __name__ == "__main__":
    sys.exit(main())
