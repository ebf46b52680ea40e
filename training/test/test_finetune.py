"""`vavam-train finetune`: from a tiny file in upstream's layout and bags to a report and to a model that plans as the trainer's."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vavam_ros.bags import BagReader
from vavam_ros.cli.main import main as vavam
from vavam_ros.core.artifact import load_artifact
from vavam_ros.core.artifact.directory import random_artifact
from vavam_ros.core.artifact.model_card import read_card
from vavam_ros.core.model import VaVAM
from vavam_ros.core.model.flow import plan_noise
from vavam_ros.core.spec import SMALL
from vavam_ros.core.tokenizer.vq16 import TokenizerSpec
from vavam_ros.core.upstream.checkpoints import open_checkpoint
from vavam_training.cli.main import main
from vavam_training.dataset import TokenDataset
from vavam_training.finetuning import finetune as steps
from vavam_training.finetuning.config import split_seed
from vavam_training.finetuning.judged import Judged
from vavam_training.finetuning.memory import fitted
from vavam_training.loop.train import Outcome
from vavam_training.mixing.mixture import split_drives
from vavam_training.weights import open_weights

UPSTREAM = Path(__file__).resolve().parents[2] / "test" / "golden" / "vavam" / "vavam_ckpt_plain.pt"
GRID_HW = (3, 4)
QUICK = ["--steps", "4", "--batch", "4", "--samples", "3", "--windows", "4", "--precision", "fp32", "--device", "cpu", "--licence", "CC0"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tokenizer whose tokens the upstream file can read."""
    codes = open_checkpoint(UPSTREAM, grid_hw=GRID_HW).spec.video.vocabulary - 1
    vq = TokenizerSpec(
        channels=8, encoder_multipliers=(1, 1, 1, 1, 1), decoder_multipliers=(1, 1, 1, 1, 1), res_blocks=1, latent=8, codebook_size=codes, groups=4,
        image_hw=(16 * GRID_HW[0], 16 * GRID_HW[1]),
    )  # fmt: skip
    video = replace(SMALL.video, vocabulary=codes + 1, grid_h=GRID_HW[0], grid_w=GRID_HW[1], layers=1)
    folder = tmp_path_factory.mktemp("tokenizer") / "tiny"
    random_artifact(folder, replace(SMALL, video=video), tokenizer=vq)
    return folder


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory, make_bag: Callable[..., Path]) -> Path:
    """Three short drives."""
    folder = tmp_path_factory.mktemp("finetune") / "own"
    folder.mkdir()
    for i in range(3):
        make_bag(folder / f"drive-{i}.mcap", pictures=60)
    return folder


@pytest.fixture(scope="module")
def tuned(bags: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves, stopped once on the way."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    command = ["finetune", "--from", str(UPSTREAM), "--bags", str(bags), "--tokenizer", str(tokenizer), "--out", str(out), *QUICK, "--memory-gb", "6"]
    assert main([*command, "--max-minutes", "0.000001"]) == 75
    assert not (out / "model").exists()
    assert main(command) == 0
    return out


def test_before_and_after_on_drives_that_were_not_learned(tuned: Path) -> None:
    report = json.loads((tuned / "report.json").read_text())
    names = [c["name"] for c in report["changes"]]
    assert names[0] == "planner's ADE [m]"
    assert names[-1] == "next-token loss [nats]"
    for change in report["changes"]:
        assert change["difference"]["value"] == pytest.approx(change["after"]["value"] - change["before"]["value"], abs=1e-9)
    assert report["changes"][0]["difference"]["value"] != 0.0
    assert report["changes"][-1]["difference"]["value"] == 0.0  # the video model is frozen
    [part] = yaml.safe_load((tuned / "recipe.yaml").read_text())["data"]["parts"]
    dataset = TokenDataset.open(tuned / "tokens" / "own")
    kept, held = split_drives(dataset.drive_names, part["held_out_share"], part["held_out_seed"])
    assert (len(kept), len(held)) == (2, 1)
    assert yaml.safe_load((tuned / "recipe.yaml").read_text())["loop"]["micro_batch"] == 0  # all of them fit, for as many processes as there may be
    judged = json.loads((tuned / "after" / "evaluation.json").read_text())["data"][0]["drives"]
    assert judged == [dataset.drive_names[i] for i in held]
    page = (tuned / "index.html").read_text()
    assert "after/index.html" in page
    assert "budget 6 GiB" in page


def test_both_are_of_the_same_windows(tuned: Path) -> None:
    before, after = (Judged.load(tuned / name / "windows.npz").predictions for name in ("before", "after"))
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.truth_m, after.truth_m)
    assert not np.array_equal(before.samples_m, after.samples_m)


def test_the_model_that_comes_of_it(tuned: Path, bags: Path, tokenizer: Path, tmp_path: Path) -> None:
    """The nodes' pipeline plans with it as the trainer does."""
    card = load_artifact(tuned / "model", "cpu").card
    assert "research use only" in card.licence
    assert "CC0" in card.licence
    assert card.tokenizer_id == load_artifact(tokenizer, "cpu").card.tokenizer_id
    words = ["replay", str(bags / "drive-1.mcap"), "--model", str(tuned / "model"), "--out", str(tmp_path / "plans.mcap"), "--samples", "2", "--seed", "5"]
    assert vavam([*words, "--rear-axle-x-m", "-1.4", "--threads", "1"]) == 0
    model = open_weights(tuned / "run").model
    assert isinstance(model, VaVAM)
    frames = model.spec.video.frames
    dataset = TokenDataset.open(tuned / "tokens" / "own")
    rows = dataset.rows(dataset.drive_names.index("drive-1"))
    compared = 0
    with BagReader(tmp_path / "plans.mcap") as reader:
        for message in reader.messages(["/vavam/samples"]):
            m = reader.decode(message)
            stamps = [s.sec * 10**9 + s.nanosec for s in m.context_stamps]
            if len(stamps) < frames:
                continue
            index = [int(np.flatnonzero(rows.stamp_ns == s)[0]) for s in stamps]
            tokens = torch.from_numpy(rows.tokens[index].astype(np.int64))[None]
            with torch.inference_mode():
                noise = plan_noise(5, m.header.stamp.sec * 10**9 + m.header.stamp.nanosec, (2, m.horizon, 2), device="cpu")
                own = model.sample(model.context(tokens), noise, torch.tensor([m.command]))
            np.testing.assert_allclose(own.numpy().reshape(-1), m.xy, rtol=1e-5, atol=1e-4)  # untrained weights: a hundred metres
            compared += 1
    assert compared >= 3


def test_another_fine_tuning_in_the_same_folder(tuned: Path, bags: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", "--from", str(UPSTREAM), "--bags", str(bags), "--tokenizer", str(tokenizer), "--out", str(tuned), *QUICK, "--memory-gb", "6"]
    assert main([*command, "--lr", "0.5"]) == 2
    assert "lr 0.5 is 0.001 there" in capsys.readouterr().err
    assert main([*command[:-1], "3"]) == 2
    assert "memory_gb 3.0 is 6.0 there" in capsys.readouterr().err


def test_what_cannot_be_learned(bags: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder can be used for what can."""
    command = ["finetune", "--from", str(UPSTREAM), "--bags", str(bags), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), *QUICK]
    assert main([*command, "--learn", "video"]) == 2
    assert "choose expert or both" in capsys.readouterr().err
    assert main([*command, "--command-rule", "recorded"]) == 2
    assert "expected --nodes-command-rule" in capsys.readouterr().err
    assert main([*command, "--learn", "both", "--steps", "1", "--command-rule", "recorded", "--nodes-command-rule", "lookahead"]) == 0
    assert read_card(tmp_path / "out" / "model").command_rule == "lookahead"


def test_a_budget_that_is_too_small(bags: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", "--from", str(UPSTREAM), "--bags", str(bags), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), *QUICK]
    assert main([*command, "--memory-gb", "0.01"]) == 2
    said = capsys.readouterr().err
    assert "one window at a time needs" in said
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"tokens"}  # a larger budget can be given now


def test_a_video_model_and_bags_of_its_own_to_judge_it(model_dir: Path, bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--learn video from a model directory without an expert: next-token loss alone, and a video model comes of it."""
    words = ["data", "import", "--path", str(bags), "--tokenizer", str(model_dir), "--out", str(tmp_path / "set"), "--licence", "CC0"]
    assert main(words) == 0
    recipe = {
        "stage": "finetune", "out": str(tmp_path / "video"), "start": str(model_dir), "data": {"parts": [{"name": "own", "path": str(tmp_path / "set")}]},
        "loop": {"steps": 1, "batch_size": 2, "workers": 0, "pictures_every": 0, "players": {"model": {"schedule": {"lr": 1e-3, "total_steps": 1}}}},
    }  # fmt: skip
    (tmp_path / "video.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(tmp_path / "video.yaml")]) == 0
    assert main(["export", "--run", str(tmp_path / "video"), "--tokenizer", str(model_dir), "--out", str(tmp_path / "video_model")]) == 0
    out = tmp_path / "out"
    command = ["finetune", "--from", str(tmp_path / "video_model"), "--held-out-bags", str(bags / "drive-0.mcap"), "--out", str(out), *QUICK]
    assert main([*command, "--bags", str(bags)]) == 2
    assert "drive-0.mcap would be learned from, too" in capsys.readouterr().err
    assert main([*command, "--bags", str(bags / "drive-1.mcap"), str(bags / "drive-2.mcap")]) == 0
    parts = yaml.safe_load((out / "recipe.yaml").read_text())["data"]["parts"]
    assert [(p["name"], p["held_out_share"]) for p in parts] == [("drive-1", 0.0), ("drive-2", 0.0), ("held_out_drive-0", 1.0)]
    [change] = json.loads((out / "report.json").read_text())["changes"]
    assert change["name"] == "next-token loss [nats]"
    assert change["difference"]["value"] != 0.0
    assert open_weights(out / "model").kind == "vavim"


def test_an_upstream_file_without_a_tokenizer(bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--from", str(UPSTREAM), "--bags", str(bags), "--out", str(tmp_path / "out")]) == 2
    assert "expected --tokenizer DIR" in capsys.readouterr().err


def test_one_drive_alone(bags: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", "--from", str(UPSTREAM), "--bags", str(bags / "drive-0.mcap"), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), *QUICK]
    assert main(command) == 2
    assert "give others as --held-out-bags" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "share"), [(2, 0.2), (3, 0.2), (5, 0.5), (40, 0.1), (4, 0.99)])
def test_some_drives_on_either_side(count: int, share: float) -> None:
    drives = [f"bag-{i}" for i in range(count)]
    kept, held = split_drives(drives, share, split_seed(drives, share))
    assert kept
    assert held
    assert len(held) <= max(1, 1.5 * share * count)


def test_a_drive_keeps_its_side_when_others_are_added() -> None:
    few, many = [f"bag-{i}" for i in range(20)], [f"bag-{i}" for i in range(60)]
    before, after = (split_drives(d, 0.2, split_seed(d, 0.2))[1] for d in (few, many))
    assert before == tuple(i for i in after if i < 20)


def test_bags_one_by_one_are_parted_together(bags: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expands drives/*.mcap; and what memory allows is written down. The training itself does not matter here."""
    monkeypatch.setattr(steps, "peak_of_training", lambda recipe, windows: windows * 2**30)
    monkeypatch.setattr(steps, "_judged", lambda *_: None)
    monkeypatch.setattr(steps, "run_recipe", _stopped)
    each = [str(b) for b in sorted(bags.iterdir())]
    command = ["finetune", "--from", str(UPSTREAM), "--bags", *each, "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), *QUICK]
    assert main([*command, "--memory-gb", "3"]) == 75
    recipe = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())
    assert sorted(p["held_out_share"] for p in recipe["data"]["parts"]) == [0.0, 0.0, 1.0]
    assert recipe["loop"]["micro_batch"] == 2


def _stopped(recipe: Any) -> tuple[Outcome, bool]:
    return Outcome(finished=False, step=0, checkpoint=Path(recipe.out)), True


def test_other_bags_in_the_same_folder(bags: Path, tuned: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their names are the same; they are not what was learned from."""
    (tmp_path / "own").mkdir()
    for bag in bags.iterdir():
        shutil.copy(bag, tmp_path / "own" / bag.name)
    command = ["finetune", "--from", str(UPSTREAM), "--tokenizer", str(tokenizer), "--out", str(tuned), *QUICK, "--memory-gb", "6"]
    assert main([*command, "--bags", str(tmp_path / "own")]) == 2
    assert "holds another fine-tuning: inputs" in capsys.readouterr().err
    assert main([*command, "--bags", str(bags), "--rate-hz", "5"]) == 2
    assert "'rate_hz': 5.0" in capsys.readouterr().err


def test_killed_before_the_export_and_again_from_a_run(tuned: Path, bags: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a run, which has no card: licences of all stages come along. Nothing that was done is done again."""
    out = tmp_path / "out"
    command = ["finetune", "--from", str(tuned / "run"), "--bags", str(bags), "--tokenizer", str(tokenizer), "--out", str(out), *QUICK]

    def killed(_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(steps, "export_artifact", killed)
        assert main(command) == 130
    assert not (out / "model").exists()
    monkeypatch.setattr(steps, "evaluate", killed)  # both are there
    assert main(command) == 0
    licence = read_card(out / "model").licence
    assert "CC0" in licence
    assert "research use only" in licence
    assert [s["stage"] for s in read_card(out / "model").training["stages"]] == ["action", "action"]  # type: ignore[index]


def test_a_tokenizer_of_another_model(tuned: Path, model_dir: Path, bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", "--from", str(tuned / "model"), "--bags", str(bags), "--tokenizer", str(model_dir), "--out", str(tmp_path / "out"), *QUICK]
    assert main(command) == 2
    assert "leave the option out" in capsys.readouterr().err


@pytest.mark.parametrize(("each", "budget", "expected"), [(10, 1000, 12), (10, 145, 4), (10, 109, 1), (10, 99, 0), (0, 100, 12)])
def test_as_many_windows_as_fit(each: int, budget: int, expected: int) -> None:
    fit = fitted(12, budget, lambda n: 100 + (n - 1) * each)
    assert (fit.micro_batch, fit.one_bytes) == (expected, 100)


def test_what_is_chosen_was_measured() -> None:
    """Memory that grows faster than the second measurement says: the next smaller part is taken. What runs out of memory is too much."""
    fit = fitted(16, 1000, lambda n: 100 + 10 * n * n)
    assert (fit.micro_batch, fit.peak_bytes) == (8, 740)
    fit = fitted(17, 1000, lambda n: 100 if n == 1 else math.inf)
    assert (fit.micro_batch, fit.peak_bytes) == (1, 100)


def test_the_rule_of_a_models_labels(tuned: Path) -> None:
    """A card that says `lookahead` means recorded commands; a run has its recipe's; an upstream file says nothing."""
    root = Path(__file__).resolve().parents[2]
    assert open_weights(root / "models" / "world").label_rule == "recorded"
    assert open_weights(tuned / "run").label_rule == open_weights(tuned / "model").label_rule == "horizon_3s"
    assert open_weights(UPSTREAM, grid_hw=GRID_HW).label_rule == "horizon_3s"
