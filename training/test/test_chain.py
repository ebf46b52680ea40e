"""From drives to a model that plans, by the commands that users give; and `vavam replay` finds what the trainer finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vavam_ros.bags import BagReader
from vavam_ros.cli.main import main as vavam
from vavam_ros.core.artifact import load_artifact
from vavam_ros.core.artifact.model_card import read_card
from vavam_ros.core.model import VaVAM
from vavam_ros.core.model.flow import plan_noise
from vavam_ros.core.upstream.checkpoints import open_checkpoint
from vavam_training.cli.main import main
from vavam_training.dataset import TokenDataset
from vavam_training.weights import open_weights

TOKENIZER = {
    "channels": 8, "encoder_multipliers": [1, 1, 1, 1, 1], "decoder_multipliers": [1, 1, 1, 1, 1], "res_blocks": 1, "latent": 8, "codebook_size": 16,
    "code_dim": 4, "groups": 4,
}  # fmt: skip
MODEL = {
    "preset": "small",
    "name": "chain",
    "video": {"width": 32, "layers": 2, "head_size": 16, "vocabulary": 17, "frames": 3, "grid_h": 2, "grid_w": 4, "mup_base_width": 16},
    "action": {"width": 16, "mup_base_width": 8},
    "flow": {"steps": 4, "action_scale_m": 10.0},
}
EMPHASIS_M = 50.0


def recipe(path: Path, stage: str, data: dict[str, Any], player: str = "model", **more: Any) -> Path:
    players = {player: {"schedule": {"lr": 1e-3, "total_steps": 4}}}
    loop = {"steps": 2, "batch_size": 4, "workers": 0, "log_every": 1, "save_every": 1, "held_out_every": 0, "pictures_every": 0, "players": players}
    path.write_text(yaml.safe_dump({"stage": stage, "out": str(path.with_suffix("")), "data": data, "loop": loop} | more))
    return path


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, make_bag: Callable[..., Path]) -> Path:
    """Folder with bags/, tokenizer/, set/, pretrain/, action/, model/."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "bags").mkdir()
    for i in range(2):
        make_bag(folder / "bags" / f"drive-{i}.mcap", pictures=60)
    bags = ["--path", str(folder / "bags")]
    assert main(["data", "pictures", *bags, "--camera", "world_front", "--image-hw", "32", "64", "--out", str(folder / "pictures")]) == 0
    tokenizer = recipe(folder / "tokenizer.yaml", "tokenizer", {"pictures": [str(folder / "pictures")]}, "generator", model=TOKENIZER)
    assert main(["train", str(tokenizer)]) == 0
    assert main(["data", "import", *bags, "--tokenizer", str(folder / "tokenizer"), "--out", str(folder / "set"), "--licence", "CC0"]) == 0
    data = {"parts": [{"name": "drives", "path": str(folder / "set")}]}
    assert main(["train", str(recipe(folder / "pretrain.yaml", "pretrain", data, model=MODEL))]) == 0
    # queries and readout begin at zero: two steps would leave a model that hardly looks
    options = {"init_std": 0.3}
    data = {"parts": [{"name": "drives", "path": str(folder / "set"), "emphasis_m": EMPHASIS_M}]}
    action = recipe(folder / "action.yaml", "action", data, model=MODEL, start=str(folder / "pretrain"), options=options)
    assert main(["train", str(action), "--set", "loop.steps=1"]) == 0
    assert main(["train", str(action)]) == 0  # goes on
    export = ["export", "--run", str(folder / "action"), "--tokenizer", str(folder / "tokenizer"), "--out", str(folder / "model")]
    assert main([*export, "--name", "chain-1", "--notes", "of a test"]) == 0
    return folder


def test_a_set_with_advice(chain: Path, tmp_path: Path, make_bag: Callable[..., Path]) -> None:
    make_bag(tmp_path / "bags" / "drive.mcap", pictures=8, advice_frame="map")
    command = ["data", "import", "--path", str(tmp_path / "bags"), "--tokenizer", str(chain / "tokenizer"), "--licence", "CC0"]
    assert main([*command, "--out", str(tmp_path / "set"), "--option", "advice_topic=/advice"]) == 0
    dataset = TokenDataset.open(tmp_path / "set")
    assert dataset.manifest.advice_steps == 6
    assert np.isnan(dataset.rows(0).advice_m).all(axis=(1, 2)).tolist() == [False, True, True, *[False] * 5]  # type: ignore[arg-type]
    assert main(["data", "check", "--path", str(tmp_path / "set"), "--out", str(tmp_path / "page.html")]) == 0


def trajectories(path: Path) -> list[tuple[int, int, np.ndarray, list[int]]]:
    """Stamp, command, samples (K, H, 2), stamps of the context."""
    found = []
    with BagReader(path) as reader:
        for message in reader.messages(["/vavam/samples"]):
            m = reader.decode(message)
            stamps = [s.sec * 10**9 + s.nanosec for s in (m.header.stamp, *m.context_stamps)]
            found.append((stamps[0], m.command, np.asarray(m.xy).reshape(m.num_samples, m.horizon, 2), stamps[1:]))
    return found


def test_the_nodes_model_plans_as_the_trainers(chain: Path, tmp_path: Path) -> None:
    bag = chain / "bags" / "drive-1.mcap"
    arguments = ["replay", str(bag), "--model", str(chain / "model"), "--out", str(tmp_path / "plans.mcap"), "--samples", "3", "--seed", "5"]
    assert vavam([*arguments, "--rear-axle-x-m", "-1.4", "--threads", "1"]) == 0
    plans = trajectories(tmp_path / "plans.mcap")
    full = [p for p in plans if len(p[3]) == MODEL["video"]["frames"]]  # type: ignore[index]
    assert len(full) >= 5
    model = open_weights(chain / "action").model
    assert isinstance(model, VaVAM)
    dataset = TokenDataset.open(chain / "set")
    rows = dataset.rows(dataset.drive_names.index("drive-1"))
    for stamp, command, samples, context in full:
        index = [int(np.flatnonzero(rows.stamp_ns == s)[0]) for s in context]
        tokens = torch.from_numpy(rows.tokens[index].astype(np.int64))[None]
        with torch.inference_mode():
            own = model.sample(model.context(tokens), plan_noise(5, stamp, (3, 6, 2), device="cpu"), torch.tensor([command]))
        np.testing.assert_allclose(own.numpy(), samples, atol=1e-4)
    assert np.ptp([p[2] for p in full], axis=0).max() > 1e-3  # they are not all one


def test_the_card_tells_where_the_model_comes_from(chain: Path) -> None:
    card = load_artifact(chain / "model", "cpu").card
    assert (card.spec.name, card.domain, card.trained, card.licence, card.notes) == ("chain-1", "real", True, "CC0", "of a test")
    assert card.model_id.startswith("chain-1-")
    assert card.camera.name == "world_front"
    training = card.training
    assert training is not None
    assert [(s["stage"], s["step"]) for s in training["stages"]] == [("pretrain", 2), ("action", 2)]
    manifest = TokenDataset.open(chain / "set").manifest
    [data] = training["data"]
    assert (data["digest"], data["drives"], data["tokenizer_id"], data["emphasis_m"]) == (manifest.digest, 2, card.tokenizer_id, EMPHASIS_M)
    assert yaml.safe_load((chain / "model" / "model.yaml").read_text())["architecture"]["video"]["readout_divisor"] == 2.0


def test_the_card_tells_what_came_before_a_model_directory(chain: Path, tmp_path: Path) -> None:
    """Also where another model lies there by the time that the run goes on, and of a run that began with that run."""
    start = shutil.copytree(chain / "model", tmp_path / "start")
    data = {"parts": [{"name": "again", "path": str(chain / "set")}]}
    more = recipe(tmp_path / "more.yaml", "action", data, start=str(start))
    assert main(["train", str(more), "--set", "loop.steps=1"]) == 0
    export = ["export", "--tokenizer", str(chain / "tokenizer"), "--run"]
    assert main([*export, str(chain / "action"), "--out", str(start), "--name", "another"]) == 0
    assert main(["train", str(more)]) == 0
    last = recipe(tmp_path / "last.yaml", "action", data, start=str(tmp_path / "more"))
    assert main(["train", str(last)]) == 0
    assert main([*export, str(tmp_path / "last"), "--out", str(start)]) == 0
    first, card = read_card(chain / "model"), read_card(start)
    assert first.training is not None
    assert card.training is not None
    stages = [(s.get("model"), s["stage"], s["step"], s["start"]) for s in card.training["stages"]]
    assert stages == [
        (first.model_id, "pretrain", 2, None), (first.model_id, "action", 2, str(chain / "pretrain")),
        (None, "action", 2, str(start)), (None, "action", 2, str(tmp_path / "more")),
    ]  # fmt: skip
    assert [d["name"] for d in card.training["data"]] == ["again"]
    [earlier] = card.training["earlier"]
    assert (earlier["model_id"], earlier["licence"], earlier["data"]) == (first.model_id, "CC0", first.training["data"])
    assert main(["train", str(recipe(tmp_path / "third.yaml", "action", data, start=str(start)))]) == 0
    assert main([*export, str(tmp_path / "third"), "--out", str(tmp_path / "model")]) == 0
    training = read_card(tmp_path / "model").training
    assert training is not None
    assert [s.get("model") for s in training["stages"]] == [*[first.model_id] * 2, *[card.model_id] * 2, None]
    assert [e["model_id"] for e in training["earlier"]] == [first.model_id, card.model_id]
    assert open_weights(tmp_path / "model").step == 2


def test_half_of_the_space(chain: Path, tmp_path: Path) -> None:
    export = ["export", "--run", str(chain / "action"), "--tokenizer", str(chain / "model"), "--out", str(tmp_path / "half"), "--stored", "float16"]
    assert main(export) == 0
    whole, half = load_artifact(chain / "model", "cpu").model, load_artifact(tmp_path / "half", "cpu").model
    for a, b in zip(whole.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_a_video_model_alone(chain: Path, tmp_path: Path) -> None:
    assert main(["export", "--run", str(chain / "pretrain"), "--tokenizer", str(chain / "tokenizer"), "--out", str(tmp_path / "video")]) == 0
    assert open_weights(tmp_path / "video").kind == "vavim"


def test_recorded_commands_need_the_rule_that_made_them(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"parts": [{"name": "drives", "path": str(chain / "set")}]}
    assert main(["train", str(recipe(tmp_path / "action.yaml", "action", data, model=MODEL, command_rule="recorded"))]) == 0
    export = ["export", "--run", str(tmp_path / "action"), "--tokenizer", str(chain / "tokenizer"), "--out", str(tmp_path / "model")]
    assert main(export) == 2
    assert "learned from commands by rule 'recorded'" in (said := capsys.readouterr().err)
    assert "expected --command-rule with" in said
    assert "reference, neuroncap, lookahead" in said
    assert not (tmp_path / "model").exists()
    assert main([*export, "--command-rule", "lookahead"]) == 0
    assert read_card(tmp_path / "model").command_rule == "lookahead"
    assert main([*export[:2], str(tmp_path / "model"), *export[3:-1], str(tmp_path / "half"), "--stored", "float16"]) == 0
    assert read_card(tmp_path / "half").command_rule == "lookahead"
    assert read_card(chain / "model").command_rule == "reference"  # horizon_3s


def test_another_tokenizer(chain: Path, tmp_path: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--run", str(chain / "action"), "--tokenizer", str(model_dir), "--out", str(tmp_path / "x")]) == 2
    assert "but the model learned from tokens of" in capsys.readouterr().err


GOLDEN = Path(__file__).resolve().parents[2] / "test" / "golden" / "vavam"


def test_a_chain_that_begins_with_an_upstream_file(tmp_path: Path) -> None:
    """Its tokens stand for some tokenizer's; the grid and the vocabulary are the file's."""
    import tiny

    upstream = open_checkpoint(GOLDEN / "vavam_ckpt_plain.pt", grid_hw=(3, 4))
    v = upstream.spec.video
    tiny.token_set(tmp_path / "set", grid_hw=(3, 4), codebook_size=v.vocabulary - 1)
    data = {"parts": [{"name": "own", "path": str(tmp_path / "set")}]}
    begin = {"start": str(GOLDEN / "vavam_ckpt_plain.pt"), "start_grid_hw": [3, 4]}
    assert main(["train", str(recipe(tmp_path / "finetune.yaml", "finetune", data, **begin))]) == 0
    tuned = open_weights(tmp_path / "finetune")
    before = dict(upstream.build("cpu").video.named_parameters())
    changed = [n for n, p in tuned.model.named_parameters() if not torch.equal(p, before[n])]
    assert changed
    action = recipe(tmp_path / "action.yaml", "action", data, **begin)
    assert main(["train", str(action)]) == 0
    whole = open_weights(tmp_path / "action")
    assert isinstance(whole.model, VaVAM)
    assert all(torch.equal(p, before[n]) for n, p in whole.model.video.named_parameters())
