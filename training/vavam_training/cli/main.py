"""`vavam-train`: the command line of the training workspace. Sub-commands are found as those of `vavam` are: modules of this folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vavam_ros.cli.main import commands, dispatch


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command. Returns its exit status, 2 for an error that the user can put right (one line on stderr), 130 when interrupted."""
    known = commands(Path(__file__).resolve().parent)
    return dispatch(argv, prog="vavam-train", description="From raw drives to a model that drives.", package="vavam_training.cli", known=known)


if __name__ == "__main__":
    sys.exit(main())
