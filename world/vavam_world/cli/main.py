"""`world`: the command line of the driving world. Sub-commands are found as those of `vavam` are: modules of this folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vavam_ros.cli.main import commands, dispatch


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command. Returns its exit status, 2 for an error that the user can put right (one line on stderr), 130 when interrupted."""
    known = commands(Path(__file__).resolve().parent)
    # As Ctrl-C: what was started (nodes, in sessions of their own) would live on without us. What is ignored (nohup) stays so.
    ends = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ends:
        signal.signal(number, _interrupt)
    try:
        return dispatch(argv, prog="world", description="A driving world: scenarios, scores, recordings.", package="vavam_world.cli", known=known)
    finally:
        for number in ends:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
