"""Number formats and JPEG decoders: what they change in tokens and plans, and what they save. Three parts, each usable alone.

    python bench/bench_precision.py [--only tokenizer model jpeg] [--model DIR] [--size S] [--quick] [--repeats 3] [--pictures 4] [--write]

*tokenizer*: fp32, bf16 and fp16, channels last and not. *model*: fp32, bf16, fp16, int8 and fp8 weights (need torchao). *jpeg*: cv2 as in the node, Pillow,
simplejpeg, PyTurboJPEG. What is not installed has a row that says so: `.venv/bin/pip install --no-deps torchao simplejpeg` brings two of them.

Without `--model` all weights are random, the tokenizer's of the released size, the driving model's of `--size`; with it the model's own are measured as
well. Frames are those of a recorded drive in shared/data beside the checkout or in $VAVAM_DATA, stretched to the tokenizer's size; without it they are
drawn, and the heading says so. Each ratio is of medians of sides that ran in turn. On a CPU without units for it half precision is many times slower than
fp32: `--size small`, `--repeats 1 --pictures 1 --windows 1` and `--paths` make less of it. `--write` renews docs/results/precision.md and its log
precision.jsonl, a row a line, for the parts that ran.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import date
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.page import ROOT, machine, renew
from bench.precision import jpeg, model, tokenizer
from bench.precision.shared import Drive, Row, Setting, data_folder, installed, open_drive
from vavam_ros.core.artifact import LoadedArtifact, load_artifact
from vavam_ros.core.spec import PRESETS, SMALL
from vavam_ros.core.tokenizer import VQ16_RELEASED, VQ16_SMALL

PAGE = ROOT / "docs" / "results" / "precision.md"
PACKAGES = {
    "tokenizer": ("torch",),
    "model": ("torch", "torchao"),
    "jpeg": ("opencv-python-headless", "opencv-python", "pillow", "simplejpeg", "PyTurboJPEG"),
}
TABLES = {"tokenizer": tokenizer.table, "model": model.table, "jpeg": jpeg.table}


def measure(part: str, drive: Drive, artifact: LoadedArtifact | None, setting: Setting, args: argparse.Namespace) -> list[Row]:
    """The rows of one part."""
    windows, pictures = (1, 2) if args.quick else (args.windows, args.pictures)
    sizes = VQ16_SMALL if args.quick else VQ16_RELEASED
    if part == "tokenizer":
        return tokenizer.measure(drive, sizes, artifact, setting, windows=windows, pictures=pictures)
    if part == "model":
        return model.measure(drive, SMALL if args.quick else PRESETS[args.size], artifact, setting, windows=windows, paths=args.paths)
    used = tokenizer.random_tokenizer(sizes) if artifact is None else artifact.tokenizer
    return jpeg.measure(drive, used, setting, pictures=pictures)


def log(path: Path, part: str, rows: list[Row]) -> None:
    """Put the part's rows in the place of its older ones. A line each, with date and machine."""
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in kept if json.loads(line)["part"] != part]
    made = [json.dumps({"part": part, "date": str(date.today()), "machine": machine(), **row}, ensure_ascii=False) for row in rows]
    path.write_text("\n".join([*kept, *made]) + "\n", encoding="utf-8")


def main(words: list[str] | None = None, page: Path = PAGE) -> int:
    """Print a table for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES), metavar="PART", help=", ".join(TABLES))
    parser.add_argument("--model", type=Path, help="model directory with a tokenizer and a driving model")
    parser.add_argument("--quick", action="store_true", help="small sizes in place of the released ones, one window, two pictures, one repeat")
    parser.add_argument("--size", choices=sorted(PRESETS), default="S", help="of the driving model with random weights (default %(default)s; --quick: small)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--windows", type=int, default=4, help="windows of the model's own context, spread over the drive (default %(default)s)")
    parser.add_argument("--pictures", type=int, default=4, help="for the released tokenizer and for the decoders (default %(default)s)")
    parser.add_argument("--paths", nargs="+", choices=model.PATHS, default=model.PATHS, help="how the driving model is run (default: both)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: with one thread, blind to what else runs")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)} and its log")
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    setting = Setting(repeats=1 if args.quick else args.repeats, clock=time.process_time if args.clock == "cpu" else time.perf_counter)
    drive = open_drive(data_folder())
    artifact = None if args.model is None else load_artifact(args.model, device="cpu")
    for part in args.only:
        whose = "random weights only" if artifact is None else f"model {artifact.card.model_id}"
        load = f"load {os.getloadavg()[0]:.1f}"
        rows = measure(part, drive, artifact, setting, args)
        heading = f"{part}: cpu, {args.threads} threads, clock {args.clock}, repeats {setting.repeats}, {load}, {installed(*PACKAGES[part])}"
        text = f"{heading}\n{drive.source}; {whose}{'; quick' if args.quick else ''}\n{TABLES[part](rows)}"
        print(f"{text}\n", flush=True)
        if args.write:
            renew(page, part, text)
            log(page.with_suffix(".jsonl"), part, [{"frames": drive.source, **row} for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
