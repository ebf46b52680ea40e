"""What tests of several folders need."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from vavam_world.live import practice_model as made_by
from vavam_world.live.practice_model import practice_artifact
from vavam_world.render.renderer import Renderer

from vavam_ros.core import model as core_model


@pytest.fixture(scope="module", autouse=True)
def renderers_closed() -> Iterator[None]:
    """A process has one renderer: who leaves one open is named here, and not by the first that wants another."""
    yield
    left = Renderer._living
    if left is not None:
        left.close()
    assert left is None, "a test of this module left its renderer open"


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
            if not old.name.startswith(digest):
                shutil.rmtree(old, ignore_errors=True)
        making = folder / f"{digest}.{os.getpid()}"  # two test runs side by side may both make it: whole directories change places
        practice_artifact(making)
        try:
            making.rename(path)
        except OSError:  # the other was first
            shutil.rmtree(making)
    return path
