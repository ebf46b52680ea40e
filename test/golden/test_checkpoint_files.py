"""The recorded checkpoint files, converted, reproduce what the reference computed from them.

The set lies in `VAVAM_GOLDEN` (default: the copy beside this file). A set may lack some of the files: those cases are skipped by name.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vavam_ros.core.contracts import ConfigError, DivisorError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.upstream.checkpoints import Upstream, open_checkpoint

GOLDEN = Path(os.environ.get("VAVAM_GOLDEN") or Path(__file__).parent / "vavam")
TOLERANCE = 1e-5  # of the largest magnitude
VAVAM_FILES = ("vavam_ckpt_plain.pt", "vavam_ckpt_reference_objects.pt")
FILES = (*VAVAM_FILES, "vavim_ckpt_plain.pt")


@pytest.fixture(autouse=True)
def nothing_without_a_device() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return json.loads((GOLDEN / "config.json").read_text())


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    return load_file(GOLDEN / "inputs.safetensors", device="cpu") | load_file(GOLDEN / "outputs.safetensors", device="cpu")


def understood(name: str, config: dict[str, Any], **options: Any) -> Upstream:
    path = GOLDEN / name
    if not path.is_file():
        pytest.skip(f"{name} is not part of this set")
    return open_checkpoint(path, **{"grid_hw": (config["frame_height"], config["frame_width"]), **options})


def close(got: Tensor, recorded: Tensor) -> None:
    assert got.shape == recorded.shape
    assert float((got - recorded).abs().max()) <= TOLERANCE * float(recorded.abs().max())


@pytest.mark.parametrize("name", VAVAM_FILES)
def test_vavam_file_reproduces_the_trajectory(name: str, config: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    model = understood(name, config).build("cpu")
    assert isinstance(model, VaVAM)
    with torch.inference_mode():
        for b, recorded in enumerate(arrays["act.sample.trajectory"]):
            got = model.sample(model.context(arrays["tokens"][b : b + 1]), arrays["noise"][b], arrays["command_last"][b])
            close(got, recorded)


@pytest.mark.parametrize("name", FILES)
def test_every_file_reproduces_the_logits(name: str, config: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    model = understood(name, config).build("cpu")
    video = model.video if isinstance(model, VaVAM) else model
    assert isinstance(video, VideoModel)
    with torch.inference_mode():
        close(video(arrays["tokens"]), arrays["gpt.logits"])


@pytest.mark.parametrize("name", FILES)
def test_divisors_are_those_of_the_recording(name: str, config: dict[str, Any]) -> None:
    upstream = understood(name, config)
    assert upstream.spec.video.readout_divisor == config["width_multiplier"]["gpt_readout"]
    if upstream.kind == "vavam":
        assert upstream.spec.action.readout_divisor == config["width_multiplier"]["action_readout"]


@pytest.mark.parametrize("name", FILES)
def test_reading_imports_nothing_that_the_file_names(name: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mup", "omegaconf"):
        monkeypatch.setitem(sys.modules, module, None)
    understood(name, config).build("cpu")


@pytest.mark.parametrize("name", FILES)
def test_grid_is_asked_for(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--grid HxW"):
        understood(name, config, grid_hw=None)


@pytest.mark.parametrize("name", FILES)
def test_dropped_divisors_are_refused(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    """The same file with its base shapes renamed in place, so that nothing but they are missing."""
    if not (GOLDEN / name).is_file():
        pytest.skip(f"{name} is not part of this set")
    keys = {b"gpt_mup_base_shapes": b"gpt_xxx_base_shapes", b"mup_base_shapes": b"xxx_base_shapes"}
    copy = tmp_path / name
    with zipfile.ZipFile(GOLDEN / name) as old, zipfile.ZipFile(copy, "w") as new:
        for item in old.namelist():
            content = old.read(item)
            if item.endswith("data.pkl"):
                for key, other in keys.items():
                    content = content.replace(key, other)
            new.writestr(item, content)
    with pytest.raises(DivisorError, match="cannot establish the muP readout divisor"):
        open_checkpoint(copy, grid_hw=(config["frame_height"], config["frame_width"]))
