"""Blocks of printed text in the pages of docs/results: between two markers, dated, with the machine that made them."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def machine() -> str:
    """Processor, cores and system, as the system names them."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def this_command() -> str:
    """The command line that runs this process, as it is typed in the checkout."""
    script = sys.argv[0].removeprefix(f"{ROOT}/")
    start = ["-m", "bench"] if script == "bench/__main__.py" else [script]
    return shlex.join(["python", *start, *sys.argv[1:]])


def renew(path: Path, name: str, text: str, *, fenced: bool = True, command: str | None = None) -> None:
    """Replace the block `name` of the page: by date, machine, command and the text as it was printed, or not `fenced` by the text itself.

    `command`: what made the text, None = this process. Raises SystemExit where the page has no such block."""
    head, found, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, closed, tail = rest.partition(f"<!-- end of {name} -->")
    if not (found and closed):
        raise SystemExit(f"{path}: no block <!-- {name} --> … <!-- end of {name} -->")
    made = f"$ {this_command() if command is None else command}\n{text.strip()}"
    block = f"{date.today()}, {machine()}:\n\n```\n{made}\n```" if fenced else text.strip()
    path.write_text(f"{head}{found}{block}\n{closed}{tail}", encoding="utf-8")
