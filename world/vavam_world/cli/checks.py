"""What several sub-commands ask of their arguments."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vavam_ros.core.contracts import ConfigError


def out_folder(path: Path) -> Path:
    """`--out` as a folder that is there and can be written. Raises ConfigError, before hours of work are lost at their end."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(f"--out: got {path}, expected a folder that can be written: {error.strerror or error}") from error
    return path
