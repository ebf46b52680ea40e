"""How fast training is, as ratios within one run: random weights, random tokens and pictures, the sizes of the recipes.

    python -m vavam_training.bench [--batch 2] [--threads 1] [--clock cpu] [--out bench.json] [--write]

On the CPU the recipes of the built-in world; where there is a GPU, B on it as well. Sides run in turn, so that what else runs on the machine hits all alike.
Precision `auto` takes the number format in which this device multiplies matrices faster. MFU is the share of that product's rate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch

from vavam_training.bench.measure import CLOCKS, measured, peak_here_mib

RUNS = Path(__file__).resolve().parents[2] / "runs"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "results" / "training_speed.md"
BEGIN, END = "<!-- training -->\n", "<!-- end of training -->"


def lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    if not found["measured"]:
        return [f"{found['recipes']} on a GPU: not measured, {found['why']}"]
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in found["matrix_gflops"].items())
    out = [f"{found['recipes']} on {found['device']} in {found['precision']} (GFLOP/s of a matrix product here: {rates})"]
    out.append(f"{'ratio':44} {'a':>10} {'b':>10} {'a / b':>8}  limit")
    for r in found["rows"]:
        out.append(f"{r['name']:44} {r['a']:10.3f} {r['b']:10.3f} {r['ratio']:8.2f}  {r['rule']} {r['limit']:g} {r['unit']}{'' if r['ok'] else ' BROKEN'}")
    out.append(f"{'stage':20} {'batch':>6} {'s/step':>8} {'samples/s':>10} {'tokens/s':>10} {'GFLOP/step':>11} {'MFU':>6} {'peak memory':>12}")
    for s in found["stages"]:
        speed = f"{s['step_s']:8.3f} {s['samples_per_s']:10.2f} {s['tokens_per_s']:10.0f} {s['gflop_per_step']:11.1f}"
        out.append(f"{s['stage']:20} {s['batch']:6d} {speed} {s['mfu']:6.0%} {s['peak_mib']:8.0f} MiB")
    return out


def machine() -> str:
    """Processor, cores and system, as the system names them."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def renewed(page: str, text: str) -> str:
    """The page with the block between its two markers replaced."""
    head, found, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"{PAGE}: no block {BEGIN.strip()} … {END}")
    return f"{head}{found}{date.today()}, {machine()}:\n\n```\n{text.strip()}\n```\n{closed}{tail}"


def main(argv: list[str] | None = None) -> int:
    """Print tables, write JSON, exit 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=Path, default=RUNS / "world", help="folder with pretrain.yaml, action.yaml and perhaps tokenizer.yaml")
    parser.add_argument("--device", default="cpu", help="of those (default %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--batch", type=int, default=2, help="samples of a step (default %(default)s; 0: as many as the recipe takes at a time)")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts (default %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: with one thread, blind to what else runs (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--write", action="store_true", help="renew docs/results/training_speed.md")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if args.peak_of:
        print(json.dumps(peak_here_mib(args.recipes, args.peak_of, device, args.precision, args.batch)))
        return 0
    load = os.getloadavg()[0]
    found = [measured(args.recipes, device, args.precision, args.batch, args.repeats, args.threads, CLOCKS[args.clock]) | {"measured": True}]
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        large = measured(RUNS / "B", gpu, args.precision, 0, args.repeats, args.threads, CLOCKS["wall"])
        found.append(large | {"measured": True, "device": torch.cuda.get_device_name(gpu)})
    else:
        found.append({"recipes": "B", "measured": False, "why": "there is none here"})
    setting = {"threads": args.threads, "clock": args.clock, "repeats": args.repeats, "torch": torch.__version__, "load": round(load, 1)}
    text = "\n\n".join("\n".join(lines(f)) for f in found)
    text = f"{', '.join(f'{k} {v}' for k, v in setting.items())}\n\n{text}"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(setting | {"machine": machine(), "results": found}, indent=1) + "\n", encoding="utf-8")
    if args.write:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0 if all(r["ok"] for f in found for r in f.get("rows", ())) else 1


if __name__ == "__main__":
    sys.exit(main())
