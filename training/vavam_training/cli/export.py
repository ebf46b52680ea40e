"""`vavam-train export`: a run becomes the model directory that the nodes load, or a checkpoint in the file layout of the published ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from vavam_ros.core.contracts import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train export`."""
    what = "run of stage action (or pretrain, finetune: a video model alone), or one of its checkpoints; upstream: any weights"
    parser.add_argument("--run", type=Path, required=True, help=what)
    parser.add_argument("--format", choices=("artifact", "upstream"), default="artifact", help="model directory, or upstream's .pt (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write, an older model there is replaced; upstream: FILE.pt")
    artifact = parser.add_argument_group("model directory")
    artifact.add_argument("--tokenizer", type=Path, metavar="DIR", help="run of stage tokenizer, or a model directory that has it; needed")
    artifact.add_argument("--name", default="", help="of the model (default: the recipe's)")
    artifact.add_argument("--notes", default="", help="for people")
    artifact.add_argument("--licence", default="", help="of the weights (default: those of all that they learned from and began with)")
    artifact.add_argument("--stored", choices=("float32", "float16", "bfloat16"), default="float32", help="number format of the file (default %(default)s)")
    artifact.add_argument("--command-rule", choices=("reference", "neuroncap", "lookahead"), default="", help="how the nodes make commands from a route, "
                          "needed for models trained on recorded commands (default: as the labels mean it)")  # fmt: skip
    upstream = parser.add_argument_group("upstream")
    upstream.add_argument("--grid", metavar="HxW", help="token grid of --run, where that is an upstream file whose frames have not 576 tokens")


def run(args: argparse.Namespace) -> int:
    """0. Raises VavamError."""
    return _upstream(args) if args.format == "upstream" else _artifact(args)


def _artifact(args: argparse.Namespace) -> int:
    from vavam_training.export.artifact import ExportConfig, export_artifact

    if args.tokenizer is None:
        raise ConfigError("export: give --tokenizer DIR, the tokenizer that the model learned with; it is part of a model directory")
    config = ExportConfig(
        run=args.run, tokenizer=args.tokenizer, out=args.out, name=args.name, notes=args.notes, licence=args.licence, stored=args.stored,
        command_rule=args.command_rule,
    )  # fmt: skip
    card = export_artifact(config)
    size = sum(f.stat().st_size for f in args.out.iterdir())
    print(f"{args.out}: {card.model_id}, {card.kind}, {size / 1e6:.1f} MB, domain {card.domain}, licence {card.licence}")
    return 0


def _upstream(args: argparse.Namespace) -> int:
    from vavam_ros.core.upstream.checkpoints import parse_grid
    from vavam_training.export.upstream import export_upstream

    given = {"--tokenizer": args.tokenizer, "--name": args.name, "--notes": args.notes, "--licence": args.licence, "--command-rule": args.command_rule}
    left = [name for name, value in given.items() if value]
    if left or args.stored != "float32":
        raise ConfigError(f"export: an upstream-format file has no place for {', '.join([*left, *(['--stored'] if args.stored != 'float32' else [])])}")
    found = export_upstream(args.run, args.out, parse_grid(args.grid))
    v = found.spec.video
    grid = "" if v.tokens_per_frame == 576 else f" (its token grid is not in the file: read it with --grid {v.grid_h}x{v.grid_w})"
    print(f"{args.out}: {found.kind}, {found.parameters:,} parameters, step {found.step}{grid}")
    return 0
