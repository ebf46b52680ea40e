"""`vavam-train finetune`: a model goes on learning from your own bags: what it is before, what it is after on bags that were held out, and the export."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from vavam_ros.core.artifact.model_card import CommandRule
from vavam_ros.core.contracts import ConfigError
from vavam_training.cli import data
from vavam_training.cli.train import GOES_ON
from vavam_training.finetuning.config import LEARNS
from vavam_training.windows import RULES

BAG_SUFFIXES = (".mcap", ".db3")
# How bags are read: arguments of data.add_reading_arguments.
READING = ("camera", "camera_mode", "licence", "domain", "skip_bad", "option", "rate_hz", "tokens", "rear_axle_x", "image_topic", "odometry_topic",
           "camera_info_topic", "command_topic")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train finetune`."""
    what = "what to go on from: model directory, run, checkpoint, or a .pt in upstream's file layout"
    parser.add_argument("--from", dest="start", type=Path, required=True, metavar="MODEL", help=what)
    parser.add_argument("--bags", type=Path, nargs="+", required=True, metavar="FOLDER", help="your bags, or folders with bags; each becomes a token set")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything; the same command goes on there after a stop")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="model or tokenizer directory; a model directory has its own")
    held = parser.add_argument_group("held out: what the model is judged on and does not learn")
    held.add_argument("--held-out-bags", type=Path, nargs="+", default=[], metavar="FOLDER", help="other bags")
    held.add_argument("--held-out-share", type=float, default=0.2, help="or a share of the drives, at least one (default %(default)s)")
    learn = parser.add_argument_group("learning")
    learn.add_argument("--learn", choices=LEARNS, default="auto", help="expert: the video model stays as it is; both; video: the next token (video models); "
                       "auto: expert where there is one (default)")  # fmt: skip
    learn.add_argument("--memory-gb", type=float, metavar="GIB", help="what training may use: measured first, then as many windows at a time as fit")
    learn.add_argument("--steps", type=int, default=500, help="default %(default)s")
    learn.add_argument("--batch", type=int, default=16, help="windows of a step, in as many parts as memory asks for (default %(default)s)")
    learn.add_argument("--lr", type=float, default=1e-3, help="before muP's scaling by width (default %(default)s)")
    learn.add_argument("--seed", type=int, default=0, help="default %(default)s")
    learn.add_argument("--command-rule", choices=sorted(RULES), help="how the labels' commands are made (default: the model's; a card that says lookahead or "
                       "neuroncap means recorded)")  # fmt: skip
    learn.add_argument("--nodes-command-rule", dest="nodes_rule", choices=get_args(CommandRule), default="", help="how the nodes are to make commands from a "
                       "route; needed for recorded commands where no card says it")  # fmt: skip
    learn.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default %(default)s")
    learn.add_argument("--precision", choices=("fp32", "bf16"), help="default: the faster one on this machine")
    learn.add_argument("--max-minutes", type=float, default=0.0, help="of training, then a checkpoint and status 75 (default: no limit)")
    judge = parser.add_argument_group("before and after")
    judge.add_argument("--samples", type=int, default=10, metavar="K", help="of a window (default %(default)s)")
    judge.add_argument("--every-s", type=float, default=0.0, help="seconds between windows of a drive (default: all windows)")
    judge.add_argument("--windows", type=int, default=64, help="windows whose second half is generated (default %(default)s; 0: none)")
    model = parser.add_argument_group("the model that comes of it, in OUT/model")
    model.add_argument("--name", default="", help="default: that of the model it began with")
    model.add_argument("--stored", choices=("float32", "float16", "bfloat16"), default="float32", help="number format of the file (default %(default)s)")
    data.add_reading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0 when the model is there, 75 when it was told to stop and goes on when started again. Raises VavamError."""
    from vavam_training.finetuning.claims import claim
    from vavam_training.finetuning.config import FinetuneConfig
    from vavam_training.finetuning.finetune import check, finetune

    tokenizer = args.tokenizer or args.start
    grid_hw = _checked_grid(args, tokenizer)
    inputs = _inputs(args)
    sets, held_out = (_sets(args, folders, prefix) for folders, prefix in ((args.bags, ""), (args.held_out_bags, "held_out_")))
    chosen = {k: getattr(args, k) for k in ("start", "out", "held_out_share", "learn", "steps", "batch", "lr", "seed", "memory_gb", "command_rule",
                                            "nodes_rule", "device", "max_minutes", "samples", "every_s", "windows", "name", "stored")}  # fmt: skip
    config = FinetuneConfig(
        **chosen, sets=tuple(sets), held_out_sets=tuple(held_out), inputs=inputs, tokenizer=tokenizer, grid_hw=grid_hw, precision=_precision(args)
    )
    origin = check(config)
    claim(args.out / "tokens" / "inputs.json", inputs | {"tokenizer": str(tokenizer.resolve())}, "set of bags")
    for out, folder in (sets | held_out).items():
        _import(args, folder, out, tokenizer)
    found = finetune(config, origin)
    if found is None:
        print(f"{args.out}: stopped; the same command goes on")
        return GOES_ON
    for c in found.changes:
        print(f"{c.name}: {c.before.value:.3f} → {c.after.value:.3f} ({c.difference.value:+.3f}, {c.verdict})")
    print(f"page: {found.page}; model: {found.model}")
    return 0


def _checked_grid(args: argparse.Namespace, tokenizer: Path) -> tuple[int, int]:
    """Of the tokenizer's frames. Raises ConfigError where there is none, or another than the model's."""
    from vavam_ros.core.artifact.model_card import CARD_FILE, read_card
    from vavam_training.tokenizing.load import load_tokenizer_dir

    has_card = (args.start / CARD_FILE).is_file()
    if args.tokenizer is None and not has_card:
        raise ConfigError(f"finetune: {args.start} has no tokenizer of its own, expected --tokenizer DIR: the one whose tokens it learned from")
    found = load_tokenizer_dir(tokenizer)
    if has_card and found.tokenizer_id != (wanted := read_card(args.start).tokenizer_id):
        raise ConfigError(f"--tokenizer: got {found.tokenizer_id} in {tokenizer}, {args.start} reads tokens of {wanted}: leave the option out")
    grid_hw: tuple[int, int] = found.spec.grid_hw
    return grid_hw


def _inputs(args: argparse.Namespace) -> dict[str, Any]:
    """What the token sets are made of. Raises ConfigError where a bag is to be learned from and held out."""
    from vavam_training.sources.rosbag import find_bags

    bags = {kind: [b.resolve() for f in folders for b in find_bags(f)] for kind, folders in (("bags", args.bags), ("held_out_bags", args.held_out_bags))}
    both = sorted(str(b) for b in set(bags["bags"]) & set(bags["held_out_bags"]))
    if both:
        raise ConfigError(f"--held-out-bags: {', '.join(both[:3])} would be learned from, too; expected others than --bags: move them to a folder of their own")

    def described(bag: Path) -> list[Any]:
        files = sorted(f for f in bag.iterdir() if f.is_file()) if bag.is_dir() else [bag]
        return [str(bag), sum(f.stat().st_size for f in files), max(f.stat().st_mtime_ns for f in files)]

    reading = {k: v for k in READING if (v := getattr(args, k))}
    return {kind: [described(b) for b in found] for kind, found in bags.items()} | {"reading": reading}


def _precision(args: argparse.Namespace) -> str:
    """What was asked for; else what this fine-tuning began with; else the faster one here."""
    from vavam_training.finetuning.finetune import IDENTITY
    from vavam_training.loop.precision import fastest_precision

    kept = args.out / IDENTITY
    known = json.loads(kept.read_text(encoding="utf-8"))["precision"] if kept.exists() else None
    return str(args.precision or known or fastest_precision(cpu=args.device == "cpu"))


def _sets(args: argparse.Namespace, folders: list[Path], prefix: str) -> dict[Path, Path]:
    """Token set → where its bags are. Raises ConfigError where two would have the same name."""
    own = [f.resolve() for f in folders]
    names = [f.stem if f.suffix in BAG_SUFFIXES else f.name for f in own]
    names = [f"{f.parent.name}-{n}" if names.count(n) > 1 else n for f, n in zip(own, names, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError(f"--bags: got the names {names}, expected folders that differ in their names or in that of the folder above")
    return {args.out / "tokens" / f"{prefix}{name}": folder for folder, name in zip(folders, names, strict=True)}


def _import(args: argparse.Namespace, folder: Path, out: Path, tokenizer: Path) -> None:
    """Its token set. What is there already is kept."""
    import torch

    rest: dict[str, Any] = {"path": str(folder), "source": "rosbag", "out": out, "tokenizer": tokenizer, "name": out.name, "batch": None, "looks": None}
    rest["device"] = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    data.import_set(argparse.Namespace(**(vars(args) | rest)))
