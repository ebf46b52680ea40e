"""`vavam-train finetune`: a model goes on learning from your own bags: what it is before, what it is after on bags that were held out, and the export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from vavam_ros.core.artifact.model_card import CommandRule
from vavam_ros.core.contracts import ConfigError
from vavam_training.cli import data
from vavam_training.cli.train import GOES_ON
from vavam_training.finetuning.config import LEARNS
from vavam_training.windows import RULES

# Of valeoai/VideoActionModel (MODELS.md there): a file in their layout says nothing of its licence.
UPSTREAM_LICENCE = "as the published weights it began with: research use only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train finetune`."""
    what = "what to go on from: model directory, run, checkpoint, or a .pt in upstream's file layout"
    parser.add_argument("--from", dest="start", type=Path, required=True, metavar="MODEL", help=what)
    parser.add_argument("--bags", type=Path, nargs="+", required=True, metavar="FOLDER", help="your bags, or folders with bags; each becomes a token set")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything; the same command goes on there after a stop")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="model or tokenizer directory; a model directory has its own")
    held = parser.add_argument_group("held out: what the model is judged on and never learns")
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
    learn.add_argument("--command-rule", choices=sorted(RULES), help="how the labels' commands are made (default: what the model's card means; lookahead and "
                       "neuroncap: recorded)")  # fmt: skip
    learn.add_argument("--nodes-command-rule", dest="nodes_rule", choices=get_args(CommandRule), default="", help="how the nodes are to make commands from a "
                       "route; needed for recorded commands where no card says it")  # fmt: skip
    learn.add_argument("--device", default="auto", help="auto, cpu, cuda (default %(default)s)")
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
    from vavam_training.finetuning.config import FinetuneConfig
    from vavam_training.finetuning.finetune import finetune
    from vavam_training.loop.precision import fastest_precision
    from vavam_training.tokenizing.load import load_tokenizer_dir

    tokenizer = args.tokenizer or args.start
    if args.tokenizer is None and not _is_model_directory(args.start):
        raise ConfigError(f"finetune: {args.start} has no tokenizer of its own, expected --tokenizer DIR: the one whose tokens it learned from")
    grid_hw = load_tokenizer_dir(tokenizer).spec.grid_hw
    sets = _imported(args, args.bags, tokenizer, "")
    held_out = _imported(args, args.held_out_bags, tokenizer, "held_out_")
    chosen = {k: getattr(args, k) for k in ("start", "out", "held_out_share", "learn", "steps", "batch", "lr", "seed", "memory_gb", "command_rule", "device",
                                            "nodes_rule", "max_minutes", "samples", "every_s", "windows", "name", "stored")}  # fmt: skip
    base = UPSTREAM_LICENCE if args.start.is_file() else ""
    precision = args.precision or fastest_precision()
    config = FinetuneConfig(**chosen, sets=sets, held_out_sets=held_out, tokenizer=tokenizer, grid_hw=grid_hw, precision=precision, base_licence=base)
    found = finetune(config)
    if found is None:
        print(f"{args.out}: stopped; the same command goes on")
        return GOES_ON
    for c in found.changes:
        print(f"{c.name}: {c.before.value:.3f} → {c.after.value:.3f} ({c.difference.value:+.3f}, {c.verdict})")
    print(f"page: {found.page}; model: {found.model}")
    return 0


def _is_model_directory(path: Path) -> bool:
    from vavam_ros.core.artifact.model_card import CARD_FILE

    return (path / CARD_FILE).is_file()


def _imported(args: argparse.Namespace, folders: list[Path], tokenizer: Path, prefix: str) -> tuple[Path, ...]:
    """Their token sets, in OUT/tokens. What is there already is kept."""
    import torch

    names = [f.resolve().stem for f in folders]
    if len({*names}) < len(names):
        raise ConfigError(f"bags: got the names {names}, expected folders with different names")
    found = []
    for folder, name in zip(folders, names, strict=True):
        out = args.out / "tokens" / f"{prefix}{name}"
        rest: dict[str, Any] = {"path": str(folder), "source": "rosbag", "out": out, "tokenizer": tokenizer, "name": out.name, "batch": None, "looks": None}
        rest["device"] = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        data.import_set(argparse.Namespace(**(vars(args) | rest)))
        found.append(out)
    return tuple(found)
