"""Which revision of the source made something."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision() -> str:
    """`git describe` of the source tree, with `-dirty` where it was changed; empty where there is no git or no tree."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
