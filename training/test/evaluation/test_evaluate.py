"""`vavam-train evaluate` from a run and from a model directory to JSON and page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from fake_evaluation import label_store, write_world

from vavam_ros.core.artifact.model_card import read_card
from vavam_training.cli.main import main
from vavam_training.dataset import TokenDataset
from vavam_training.evaluation.scaling import point_of_run
from vavam_training.mixing import split_drives
from vavam_training.weights import open_weights

MODEL = {
    "preset": "small",
    "name": "eval",
    "video": {"width": 32, "layers": 2, "head_size": 16, "vocabulary": 33, "frames": 4, "grid_h": 2, "grid_w": 4, "mup_base_width": 16},
    "action": {"width": 16, "mup_base_width": 8},
    "flow": {"steps": 4, "action_scale_m": 10.0},
}
SHARE = 0.5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """Folder with set/ and a run of two steps of stage action, which held out half of its drives."""
    folder = tmp_path_factory.mktemp("evaluate")
    tiny.token_set(folder / "set", grid_hw=(2, 4), codebook_size=32, drives=8, tokenizer_id=read_card(model_dir).tokenizer_id)
    loop = {"steps": 2, "batch_size": 4, "workers": 0, "log_every": 1, "save_every": 2, "held_out_every": 2, "held_out_batches": 1, "pictures_every": 0}
    loop["players"] = {"model": {"schedule": {"lr": 1e-3, "total_steps": 4}}}
    data = {"parts": [{"name": "circles", "path": str(folder / "set"), "held_out_share": SHARE}]}
    recipe = {"stage": "action", "out": str(folder / "run"), "model": MODEL, "data": data, "options": {"init_std": 0.3}, "loop": loop}
    (folder / "action.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(folder / "action.yaml")]) == 0
    return folder


def result(out: Path) -> tuple[dict[str, Any], str]:
    return json.loads((out / "evaluation.json").read_text()), (out / "index.html").read_text()


def test_a_run_to_json_and_page(trained: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tokenizer", str(model_dir), "--labels", str(label_store(tmp_path / "labels")), "--class-names", "sky,road", "--samples", "3", "--windows", "4"]
    assert main(["evaluate", str(trained / "run"), "--out", str(tmp_path / "out"), "--every-s", "2", "--resamples", "50", "--shown", "2", *words]) == 0
    assert re.search(r"minADE_3 \d+\.\d+ m, minFDE_3 .* over 3 s, seed 0", capsys.readouterr().out)
    found, page = result(tmp_path / "out")
    dataset = TokenDataset.open(trained / "set")
    held = [dataset.drive_names[i] for i in split_drives(dataset.drive_names, SHARE, 0)[1]]
    assert found["data"][0]["drives"] == held
    assert len(held) == 3
    assert found["banners"] == []
    o = found["open_loop"]
    assert (o["k"], o["seed"], o["rate_hz"], o["horizon_s"], o["windows_every_s"]) == (3, 0, 2.0, 3.0, 2.0)
    assert o["overall"]["min_ade_m"]["low"] <= o["overall"]["min_ade_m"]["value"] <= o["overall"]["min_ade_m"]["high"]
    assert o["overall"]["min_ade_m"]["drives"] == len(held)
    assert o["overall"]["ctrv_ade_m"]["value"] < o["overall"]["cv_ade_m"]["value"]  # they drive circles
    assert [h["horizon_s"] for h in o["by_horizon"]] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [c["time_s"] for c in o["calibration"]] == [1.0, 2.0, 3.0]
    video = found["video"]
    assert [r["name"] for r in video["next_token"]] == ["all", "circles"]
    assert len(video["by_frame"]) == 4
    assert [f["frame"] for f in video["generated"]["frames"]] == [1, 2]
    assert len(video["generated"]["frames"][0]["frechet"]) == 2
    assert {(s["features"], s["method"]) for s in found["semantics"]["scores"]} == {
        (f, m) for f in ("video model, layer 1", "tokenizer") for m in ("retrieval", "linear probe")
    }  # fmt: skip
    for alt in ("error over time", "error by speed", "error by command", "windows from above", "calibration", "loss by frame", "generated frames in numbers"):
        assert re.search(rf'<img src="data:image/png;base64,[^"]{{500,}}" alt="{alt}">', page), alt
    assert page.count('alt="given frame"') == 2 * 2
    assert page.count('alt="true frame"') == page.count('alt="generated frame"') == 2 * 2
    assert page.count('alt="picture or classes"') == 3 * 2
    assert "http" not in re.sub(r"data:[^\"]*", "", page)  # it needs nothing else


def test_a_model_directory_and_its_closed_loop(trained: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = write_world(tmp_path / "world")
    words = ["--data", str(trained / "set"), "--drives", "d1", "--every-s", "5", "--samples", "1", "--windows", "0", "--resamples", "10"]
    closed = ["--closed-loop", "town", "--world", str(world), "--planner", "plan_rate_hz=10", "selection=cautious"]
    assert main(["evaluate", str(model_dir), "--out", str(tmp_path / "out"), *words, *closed]) == 0
    found, page = result(tmp_path / "out")
    assert found["data"][0]["drives"] == ["d1"]
    assert (found["open_loop"]["calibration"], found["video"]["generated"], found["semantics"]) == ([], None, None)
    assert found["open_loop"]["overall"]["min_ade_m"]["low"] is None  # one drive: no interval
    assert found["closed_loop"]["planner"] == ["plan_rate_hz=10", "selection=cautious"]
    assert 'href="closed_loop/index.html"' in page
    assert "Settings of the planner: plan_rate_hz=10, selection=cautious." in page
    assert "not known here" in found["banners"][0]
    assert main(["evaluate", str(model_dir), "--out", str(tmp_path / "none")]) == 2
    assert "give --data" in capsys.readouterr().err
    assert main(["evaluate", str(model_dir), "--out", str(tmp_path / "none"), *words, *closed[4:]]) == 2
    assert "--planner plan_rate_hz=10 selection=cautious: got no --closed-loop" in capsys.readouterr().err
    assert main(["evaluate", str(model_dir), "--out", str(tmp_path / "none"), *words, *closed, "--closed-loop", "broken"]) == 2
    assert "ended with status 2" in capsys.readouterr().err
    assert not (tmp_path / "none" / "evaluation.json").exists()


def test_a_tokenizer_that_did_not_make_the_tokens(trained: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.token_set(tmp_path / "other", grid_hw=(2, 4), codebook_size=32)
    assert main(["evaluate", str(model_dir), "--data", str(other), "--out", str(tmp_path / "out")]) == 2
    assert "give the one that made them" in capsys.readouterr().err
    wide = tiny.token_set(tmp_path / "wide", grid_hw=(2, 3), codebook_size=32)
    assert main(["evaluate", str(model_dir), "--data", str(wide), "--out", str(tmp_path / "out")]) == 2
    assert "(2, 3) tokens" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_as_a_point_of_a_scaling_law(trained: Path) -> None:
    point = point_of_run(trained / "run")
    lines = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    assert point.loss == next(m["held_out/loss"] for m in reversed(lines) if "held_out/loss" in m)
    assert point.parameters == sum(p.numel() for p in open_weights(trained / "run").model.parameters())
    assert point.tokens == 2 * 4 * 4 * 8  # steps · windows · frames · tokens
    assert point.compute == 6 * point.parameters * point.tokens
