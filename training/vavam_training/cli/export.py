"""`vavam-train export`: a run becomes the model directory that the nodes load."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train export`."""
    parser.add_argument("--run", type=Path, required=True, help="run of stage action (or pretrain: a video model alone), or one of its checkpoints")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="run of stage tokenizer, or a model directory that has it")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write; an older model there is replaced")
    parser.add_argument("--name", default="", help="of the model (default: the recipe's)")
    parser.add_argument("--notes", default="", help="for people")
    parser.add_argument("--licence", default="", help="of the weights (default: that of the data)")
    parser.add_argument("--stored", choices=("float32", "float16", "bfloat16"), default="float32", help="number format of the file (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """0. Raises VavamError."""
    from vavam_training.export.artifact import ExportConfig, export_artifact

    config = ExportConfig(
        run=args.run, tokenizer=args.tokenizer, out=args.out, name=args.name, notes=args.notes, licence=args.licence, stored=args.stored
    )  # fmt: skip
    card = export_artifact(config)
    size = sum(f.stat().st_size for f in args.out.iterdir())
    print(f"{args.out}: {card.model_id}, {card.kind}, {size / 1e6:.1f} MB, domain {card.domain}, licence {card.licence}")
    return 0
