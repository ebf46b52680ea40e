"""A folder belongs to one piece of work: what it is stands in a file there, and other work is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vavam_training.contracts import ResumeError


def check_claim(path: Path, identity: Mapping[str, Any], what: str) -> None:
    """Raises ResumeError where `path` says that the folder holds something else."""
    if not path.exists():
        return
    wanted = json.loads(json.dumps(identity))
    known = json.loads(path.read_text(encoding="utf-8"))
    differs = {k: (wanted[k], known.get(k)) for k in wanted if wanted[k] != known.get(k)}
    if differs:
        said = ", ".join(f"{k} {a!r} is {b!r} there" for k, (a, b) in differs.items())
        raise ResumeError(f"{path.parent} holds another {what}: {said}; choose another --out, or delete it")


def claim(path: Path, identity: Mapping[str, Any], what: str) -> None:
    """The folder is this work's from now on. Raises as `check_claim`."""
    check_claim(path, identity, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".partial")
    part.write_text(json.dumps(identity, indent=1), encoding="utf-8")
    part.replace(path)
