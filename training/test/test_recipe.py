"""Recipes are read strictly, and a command trains by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import yaml

from vavam_ros.core.contracts import ArtifactError, ConfigError
from vavam_ros.core.model import VaVAM, VideoModel
from vavam_training.cli.main import main
from vavam_training.dataset import TokenDataset
from vavam_training.recipe import model_spec, read_recipe
from vavam_training.weights import open_weights

RECIPES = sorted((Path(__file__).resolve().parents[1] / "runs").rglob("*.yaml"))
MODEL = {
    "preset": "small",
    "name": "tiny",
    "video": {"width": 32, "layers": 2, "head_size": 16, "vocabulary": 33, "frames": 3, "grid_h": 2, "grid_w": 4, "mup_base_width": 16},
    "action": {"width": 16, "mup_base_width": 8},
    "flow": {"action_scale_m": 20},
}


def recipe(token_bag: Path, out: Path, stage: str, **more: object) -> dict[str, object]:
    player = {"schedule": {"lr": "1e-2", "total_steps": 4}}
    loop = {"steps": 2, "batch_size": 4, "workers": 0, "log_every": 1, "held_out_every": 1, "held_out_batches": 1, "players": {"model": player}}
    return {"stage": stage, "out": str(out), "model": MODEL, "loop": loop, "data": {"parts": [{"name": "bags", "path": str(token_bag)}]}} | more


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def token_set(tmp_path: Path) -> Path:
    """Three drives of tokens on the grid of MODEL."""
    return tiny.token_set(tmp_path / "set", grid_hw=(2, 4), codebook_size=32)


def test_two_stages_by_their_recipes(tmp_path: Path, token_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(TokenDataset.open(token_set).drive_names) == 3
    pretrain = written(tmp_path / "pretrain.yaml", recipe(token_set, tmp_path / "video", "pretrain"))
    assert main(["train", str(pretrain), "--set", "loop.steps=3"]) == 0
    assert "done" in capsys.readouterr().out
    video = open_weights(tmp_path / "video")
    assert isinstance(video.model, VideoModel)
    assert (video.kind, video.source) == ("vavim", "pretrain, step 3 of video")
    action = written(tmp_path / "action.yaml", recipe(token_set, tmp_path / "action", "action", start=str(tmp_path / "video")))
    assert main(["train", str(action)]) == 0
    whole = open_weights(tmp_path / "action")
    assert isinstance(whole.model, VaVAM)
    assert all((a == b).all() for a, b in zip(whole.model.video.parameters(), video.model.parameters(), strict=True))  # frozen
    assert read_recipe(tmp_path / "action" / "config.yaml") == read_recipe(action)
    layers = whole.model.spec.video.layers
    deeper = ["--set", f"model.video.layers={layers + 1}", "--set", f"start={tmp_path / 'action'}", "--set", f"out={tmp_path / 'deeper'}"]
    assert main(["train", str(action), *deeper]) == 2
    assert f"layers: got {layers + 1}, the weights to start with have {layers} and the video model is frozen" in capsys.readouterr().err
    assert main(["train", str(action), *deeper, "--set", "options.train_video=true", "--set", "options.detach_video=false"]) == 0
    assert f"layers: {layers} in " in capsys.readouterr().out
    finetune = written(tmp_path / "finetune.yaml", recipe(token_set, tmp_path / "tuned", "finetune", start=str(tmp_path / "action")))
    assert main(["train", str(finetune), "--set", "loop.max_minutes=1e-9"]) == 75
    with pytest.raises(ArtifactError, match="neither a run, nor a checkpoint"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"stagee": 1}, "stagee"),
        ({"stage": "sleep"}, "expected one of tokenizer, pretrain"),
        ({"loop.step": 3}, "step"),
        ({"loop.steps": "many"}, "steps"),
        ({"model.video.widht": 3}, "widht"),
        ({"model.preset": "XL"}, "expected one of small, S, B, L"),
        ({"options.init_sdt": 1}, "init_sdt"),
        ({"data.parts": []}, "expected one or more"),
        ({"model.video.grid_h": 3}, "grid"),
        ({"model.video.vocabulary": 20}, "set model.video.vocabulary to 33"),
        ({"stage": "finetune"}, "expected weights to begin with"),
    ],
)
def test_what_a_recipe_cannot_mean(tmp_path: Path, token_set: Path, changes: dict[str, object], match: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "r.yaml", recipe(token_set, tmp_path / "out", "pretrain"))
    arguments = [x for name, value in changes.items() for x in ("--set", f"{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}")]
    assert main(["train", str(path), *arguments]) == 2
    assert match in capsys.readouterr().err


def test_a_change_that_leads_nowhere(tmp_path: Path, token_set: Path) -> None:
    path = written(tmp_path / "r.yaml", recipe(token_set, tmp_path / "out", "pretrain"))
    with pytest.raises(ConfigError, match="has no part '3'"):
        read_recipe(path, ["data.parts.3=x"])
    assert read_recipe(path, ["data.parts.0.name=other"]).data["parts"][0]["name"] == "other"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(RECIPES[0].parents[1])))
def test_recipes_that_come_with_the_workspace_can_be_read(path: Path) -> None:
    found = read_recipe(path)
    if found.stage != "tokenizer":
        model_spec(found.model)
