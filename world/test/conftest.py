"""What tests of several folders need."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from vavam_world.live import practice_model as made_by
from vavam_world.live.practice_model import practice_artifact

from vavam_ros.core import model as core_model


@pytest.fixture(scope="session")
def practice_model(pytestconfig: pytest.Config) -> Path:
    """The tiny model that goes straight on. Made once for each state of the code that makes it: it takes 20 s."""
    sources = [Path(made_by.__file__), *sorted(Path(core_model.__file__).parent.glob("*.py"))]
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("practice_model")
    path = folder / digest
    if not (path / "model.yaml").is_file():
        for old in folder.iterdir():
            shutil.rmtree(old)
        practice_artifact(path)
    return path
