"""`vavam`: the command line. A sub-command is a module of this package with `add_arguments(parser)` and `run(args) -> exit status`.

They are found by file, described by the first line of their docstring, and imported only when asked for, so that `vavam --help` and
`vavam doctor` work where torch or ROS is missing.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vavam_ros.core.contracts import VavamError

BAD_INPUT = 2  # exit status of an error that the user can put right; argparse's own
INTERRUPTED = 130


def commands(folder: Path | None = None) -> dict[str, str]:
    """Name of each sub-command in a folder (this one) → what it does, without importing any."""
    found = {}
    for path in sorted((folder or Path(__file__).resolve().parent).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if {"add_arguments", "run"} <= functions:
            found[path.stem.replace("_", "-")] = _summary(ast.get_docstring(tree) or "")
    return found


def _summary(docstring: str) -> str:
    """First sentence, without the "`vavam name`:" in front."""
    line = docstring.split("\n\n")[0].replace("\n", " ")
    return line.split("`: ", 1)[1] if line.startswith("`") and "`: " in line else line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command of `vavam`; otherwise as `dispatch`."""
    return dispatch(argv, prog="vavam", description="VaVAM on ROS 2: models, bags, checks.", package="vavam_ros.cli", known=commands())


def dispatch(argv: Sequence[str] | None, *, prog: str, description: str, package: str, known: Mapping[str, str]) -> int:
    """Run one of a package's sub-commands, `known` by name.

    Returns its exit status, 2 for an error that the user can put right (one line on stderr), 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    width = max(map(len, known), default=0)
    parser.epilog = "commands:\n" + "\n".join(f"  {name:<{width}}  {what}" for name, what in known.items()) + f"\n\n{prog} COMMAND --help says more"
    parser.add_argument("command", choices=sorted(known), metavar="COMMAND", help="one of those below")
    args = parser.parse_args(words[:1])
    module = importlib.import_module(f"{package}.{args.command.replace('-', '_')}")
    sub = argparse.ArgumentParser(prog=f"{prog} {args.command}", description=known[args.command])
    module.add_arguments(sub)
    try:
        return int(module.run(sub.parse_intermixed_args(words[1:])))  # `launch vavam --dry-run model:=DIR`: options may stand between
    except VavamError as e:
        print(f"error: {e}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
