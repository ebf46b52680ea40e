"""What `make bench-train` compares is what it says: the same learning with and without a graph through the video model, and numbers for every stage."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from vavam_training.bench import __main__ as bench
from vavam_training.bench import measure
from vavam_training.bench.cases import Training, open_case, stages_of
from vavam_training.stages.action import ActionStage

MODEL = {
    "preset": "small",
    "video": {"width": 32, "layers": 2, "head_size": 16, "vocabulary": 17, "frames": 3, "grid_h": 2, "grid_w": 4, "mup_base_width": 16},
    "action": {"width": 16, "mup_base_width": 8},
}
TOKENIZER = {
    "channels": 8, "encoder_multipliers": [1] * 5, "decoder_multipliers": [1] * 5, "res_blocks": 1, "latent": 8, "codebook_size": 16, "code_dim": 4,
    "groups": 4,
}  # fmt: skip


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """tokenizer, pretrain, action: seconds of work, with data that are not there."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for stage in ("tokenizer", "pretrain", "action"):
        schedule = {"schedule": {"lr": 0.01, "total_steps": 100}}
        loop = {"steps": 100, "batch_size": 4, "players": {"generator" if stage == "tokenizer" else "model": schedule}}
        content = {"stage": stage, "out": "nowhere", "loop": loop}
        if stage == "tokenizer":
            data = {"pictures": ["nowhere"], "crop_hw": [16, 32], "whole_from_step": 50, "class_weights": [1.0, 2.0], "held_out_share": 0.1}
            content |= {"model": TOKENIZER, "data": data, "options": {"quantize_from": 7}}
        else:
            content |= {"model": MODEL, "data": {"parts": [{"name": "world", "path": "nowhere"}]}, "start": "nowhere", "tokenizer": "nowhere"}
        if stage == "action":
            del content["model"]  # it comes with the weights
            content |= {"options": {"init_std": 0.3}}
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_a_graph_through_the_video_model_changes_the_work_and_not_what_is_learned(recipes: Path, tmp_path: Path) -> None:
    nets = []
    for through, changes in ((False, []), (True, ["options.detach_video=false"])):
        case = open_case(recipes, "action", tmp_path, precision="fp32", batch=2, changes=changes)
        training = Training(case, torch.device("cpu"), graph_through_video=through)
        before = {n: p.detach().clone() for n, p in training._stepper.net.named_parameters()}
        for _ in range(3):
            training.step()
        net = training._stepper.net
        video = {n: p for n, p in net.named_parameters() if n.startswith("video.")}
        assert all(torch.equal(p, before[n]) for n, p in video.items())
        assert any(p.grad is not None for p in video.values()) == through
        assert not all(torch.equal(p, before[n]) for n, p in net.named_parameters())
        nets.append(net)
    for a, b in zip(*(n.parameters() for n in nets), strict=True):
        torch.testing.assert_close(a, b)


def test_a_recipe_without_a_model_is_measured_with_that_of_its_weights(recipes: Path, tmp_path: Path) -> None:
    case = open_case(recipes, "action", tmp_path, precision="fp32", batch=0)
    assert isinstance(case.stage, ActionStage)
    assert (case.stage.spec.video.width, case.stage.spec.action.width, case.config.batch_size) == (32, 16, 4)


def test_operations_as_torch_counts_them(recipes: Path, tmp_path: Path) -> None:
    """Of matrices and attention; torch counts the whole square of a causal one, where it counts it at all."""
    for stage in ("pretrain", "action"):
        training = Training(open_case(recipes, stage, tmp_path, precision="fp32", batch=2), torch.device("cpu"))
        with FlopCounterMode(display=False) as counter:
            training.step()
        assert training.flops() == pytest.approx(counter.get_total_flops(), rel=0.15), stage


def test_numbers_of_every_stage(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "peak_mib", lambda *_: 1.0)
    monkeypatch.setattr(measure, "matrix_rates", lambda *_: {"fp32": 2e9, "bf16": 1e9})
    found = measure.measured(recipes, torch.device("cpu"), "auto", 2, 1, 1, time.perf_counter)
    assert found["precision"] == "fp32"  # the faster one
    assert [r["name"].split(":")[0] for r in found["rows"]] == ["expert alone", "tokenizer", "pretrain", "action"]
    assert [s["stage"] for s in found["stages"]] == list(stages_of(recipes)) == ["tokenizer", "pretrain", "action"]
    for s in found["stages"]:
        assert s["mfu"] == pytest.approx(s["gflop_per_step"] * 1e9 / s["step_s"] / 2e9)
        assert s["gflop_per_step"] > 0.0
    tokenizer, pretrain, _ = found["stages"]
    assert tokenizer["tokens_per_s"] * tokenizer["step_s"] == pytest.approx(2 * 1 * 2)  # pieces of 16 × 32 pixels
    assert pretrain["tokens_per_s"] * pretrain["step_s"] == pytest.approx(2 * 3 * 2 * 4)


def test_peak_memory_is_of_this_process(recipes: Path) -> None:
    assert 50.0 < measure.peak_here_mib(recipes, "pretrain", torch.device("cpu"), "fp32", 2) < 20_000.0


def test_command_prints_writes_and_judges(recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = measure.row("x", 3.0, 2.0, "s", 2.0)
    stage = {"stage": "pretrain", "batch": 2, "step_s": 0.1, "samples_per_s": 20.0, "tokens_per_s": 480.0, "mfu": 0.4, "gflop_per_step": 1.0, "peak_mib": 300.0}
    found = {"recipes": "tiny", "device": "cpu", "precision": "fp32", "matrix_gflops": {"fp32": 20.0}, "rows": [row], "stages": [stage]}
    monkeypatch.setattr(bench, "measured", lambda *_: dict(found))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    page = tmp_path / "page.md"
    page.write_text(f"# Head\n{bench.BEGIN}old\n{bench.END}\ntail\n")
    monkeypatch.setattr(bench, "PAGE", page)
    assert bench.main(["--recipes", str(recipes), "--threads", "1", "--out", str(tmp_path / "o.json"), "--write"]) == 1
    said = capsys.readouterr().out
    assert "1.50  >= 2 s BROKEN" in said
    assert "B on a GPU: not measured, there is none here" in said
    text = page.read_text()
    assert text.startswith("# Head\n")
    assert text.endswith("tail\n")
    assert "old" not in text
    assert said.strip() in text
    results = json.loads((tmp_path / "o.json").read_text())["results"]
    assert [r["measured"] for r in results] == [True, False]
    monkeypatch.setattr(bench, "measured", lambda *_: found | {"rows": [measure.row("x", 4.0, 2.0, "s", 2.0)]})
    assert bench.main(["--recipes", str(recipes), "--threads", "1"]) == 0


def test_a_page_without_its_block_is_not_touched() -> None:
    with pytest.raises(SystemExit, match="no block"):
        bench.renewed("# Head\n", "x")
