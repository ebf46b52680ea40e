"""Checkpoints in the layout of the published ones: what was read is written equal, key for key as in the recorded files."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VaVAM
from vavam_ros.core.spec import SMALL, ModelSpec
from vavam_ros.core.tokenizer import TokenizerSpec
from vavam_ros.core.upstream.checkpoints import open_checkpoint
from vavam_training.cli.main import main
from vavam_training.export.upstream import export_upstream
from vavam_training.weights import open_weights

GOLDEN = Path(__file__).resolve().parents[3] / "test" / "golden" / "vavam"
FILES = ("vavam_ckpt_plain.pt", "vavim_ckpt_plain.pt")
GRID = (3, 4)


def content(path: Path) -> Any:
    """By torch's own reader, which takes plain types alone."""
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("upstream")
    for name in FILES:
        export_upstream(GOLDEN / name, folder / name, GRID)
    return {name: folder / name for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_read_is_written_equal(name: str, written: dict[str, Path]) -> None:
    old, new = content(GOLDEN / name)["state_dict"], content(written[name])["state_dict"]
    assert old.keys() == new.keys()
    assert [n for n in old if old[n].dtype != new[n].dtype or not torch.equal(old[n], new[n])] == []
    a, b = (open_checkpoint(p, grid_hw=GRID) for p in (GOLDEN / name, written[name]))
    assert (a.kind, a.spec, a.step) == (b.kind, b.spec, b.step)
    assert all(torch.equal(x, y) for x, y in zip(a.build("cpu").parameters(), b.build("cpu").parameters(), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_names_of_one_tensor_share_its_place_in_the_file(name: str, written: dict[str, Path]) -> None:
    places = [{n: t.untyped_storage().data_ptr() for n, t in content(p)["state_dict"].items()} for p in (GOLDEN / name, written[name])]
    old, new = ({n: sorted(m for m in found if found[m] == at) for n, at in found.items()} for found in places)
    assert old == new
    assert len(set(places[1].values())) < len(places[1])
    assert written[name].stat().st_size < 1.1 * (GOLDEN / name).stat().st_size


def keys(value: Any, at: str = "") -> dict[str, type]:
    """Dotted names of a nested mapping, and what kind of value each has."""
    found = {}
    for key, item in value.items():
        if key == "state_dict":
            continue
        found |= keys(item, f"{at}{key}.") if isinstance(item, dict) else {f"{at}{key}": type(item)}
    return found


# The reference's own settings of a training: paths that its loader makes None, which run it was.
FREE = ("gpt_mup_base_shapes", "action_mup_base_shapes", "git_sha")


@pytest.mark.parametrize("name", FILES)
def test_all_keys_of_the_recorded_file_and_values_of_their_kind(name: str, written: dict[str, Path]) -> None:
    old, new = content(GOLDEN / name), content(written[name])
    kinds = [{k: v for k, v in keys(c).items() if k.rsplit(".", 1)[-1] not in FREE} for c in (old, new)]
    assert kinds[0] == kinds[1]
    for shapes in ("gpt_mup_base_shapes", "action_mup_base_shapess", "mup_base_shapes"):
        assert old.get(shapes) == new.get(shapes)
    part = "vam_conf" if "vam_conf" in old["hyper_parameters"] else "network"
    sizes = [{k: v for k, v in flat(c["hyper_parameters"][part]).items() if k.rsplit(".", 1)[-1] not in (*FREE, "init_std")} for c in (old, new)]
    assert sizes[0] == sizes[1]


def flat(value: Any, at: str = "") -> dict[str, Any]:
    return {k: v for key, item in value.items() for k, v in (flat(item, f"{at}{key}.") if isinstance(item, dict) else {f"{at}{key}": item}).items()}


def test_the_mask_is_the_recorded_one_and_the_configuration_takes_attributes(written: dict[str, Path]) -> None:
    found = content(written[FILES[0]])
    recorded = load_file(GOLDEN / "weights.safetensors")["attn_mask"]
    assert torch.equal(found["state_dict"]["vam.attn_mask"], recorded)
    conf = found["hyper_parameters"]["vam_conf"]
    assert type(conf) is OrderedDict
    conf = conf.copy()
    conf.gpt_checkpoint_path = None  # what the reference's loader does


@pytest.fixture(scope="module")
def model_spec() -> ModelSpec:
    video = replace(SMALL.video, width=64, layers=1, head_size=32, vocabulary=17, frames=3, grid_h=2, grid_w=4, attention_scale=0.7, output_scale=1.3)
    return replace(SMALL, video=video, action=replace(SMALL.action, width=32), flow=replace(SMALL.flow, clip=1.5, action_scale_m=20.0, steps=4))


TOKENIZER = TokenizerSpec(
    channels=8, encoder_multipliers=(1, 1, 1, 1, 1), decoder_multipliers=(1, 1, 1, 1, 1), res_blocks=1, latent=8, codebook_size=16, groups=4, image_hw=(32, 64)
)


def test_a_model_directory_by_the_command(tmp_path: Path, model_spec: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    random_artifact(tmp_path / "model", model_spec, tokenizer=TOKENIZER)
    out = tmp_path / "there" / "model.pt"
    assert main(["export", "--run", str(tmp_path / "model"), "--format", "upstream", "--out", str(out)]) == 0
    assert "read it with --grid 2x4" in capsys.readouterr().out
    found, own = open_weights(out, grid_hw=(2, 4)), open_weights(tmp_path / "model")
    assert isinstance(found.spec, ModelSpec)
    assert replace(found.spec, name="small") == own.spec == model_spec
    assert found.step == 0
    assert isinstance(found.model, VaVAM)
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), own.model.parameters(), strict=True))
    assert [p.name for p in out.parent.iterdir()] == ["model.pt"]


def test_what_the_layout_has_no_place_for(tmp_path: Path, model_spec: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    random_artifact(tmp_path / "model", replace(model_spec, frame_dt_s=0.25), tokenizer=TOKENIZER)
    with pytest.raises(ConfigError, match=r"frames every 0.25 s and waypoints every 0.5 s"):
        export_upstream(tmp_path / "model", tmp_path / "x.pt")
    opened = open_weights(tmp_path / "model")
    assert opened.card is not None
    arguments = ["export", "--run", str(tmp_path / "model"), "--format", "upstream", "--out", str(tmp_path / "x.pt"), "--name", "mine", "--stored", "float16"]
    assert main(arguments) == 2
    assert "no place for --name, --stored" in capsys.readouterr().err
    assert main(["export", "--run", str(tmp_path / "model"), "--out", str(tmp_path / "y")]) == 2
    assert "give --tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()
