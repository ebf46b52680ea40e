"""`world`: what is done is not done again, what fails is recorded, and an error is one line."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from vavam_world.cli import suites as suites_command
from vavam_world.cli.demo import BUNDLED, PLANNER
from vavam_world.cli.main import main
from vavam_world.report.evaluate import limited
from vavam_world.report.run import MOST_SAMPLES, DirectModel, RunJob, live_system, lost_run, read_run, write_run
from vavam_world.scenarios.suites import suite

from vavam_ros.nodes.parameter_table import rows_of

WORDS = ["evaluate", "--suite", "lane_keeping,stationary", "--limit", "1", "--workers", "0", "--media", "none"]


def test_an_evaluation_writes_tables_and_does_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "--driver", "constant_velocity", "--out", str(tmp_path)]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert suite("stationary").sha256 in first
    results = json.loads((tmp_path / "evaluation.json").read_text())
    assert [r["scenario"] for r in results["runs"]] == ["lane_keeping/000", "stationary/straight/000", "stationary/curve/000"]
    assert results["safety"]["constant_velocity"][-1]["score"]["mean"] == 0.0  # it is what the reference is taken from
    assert results["safety"]["constant_velocity"][-1]["collision_rate"]["mean"] == 1.0
    runs = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.json")}
    broken = min(runs)
    broken.write_text("{", encoding="utf-8")
    (tmp_path / "do_nothing" / "stationary-test.json").write_text("{", encoding="utf-8")
    assert main(words) == 0
    again = capsys.readouterr()
    assert "2 of 3 runs are in" in again.out
    assert again.err.count("driven again") == 2
    assert [p for p, t in runs.items() if p.stat().st_mtime_ns != t] == [broken]
    assert json.loads((tmp_path / "evaluation.json").read_text()) == results
    assert (tmp_path / "index.html").stat().st_size > 10_000


def test_the_measure_is_sane(tmp_path: Path) -> None:
    """Who knows all comes to the end and hits nobody; who does nothing collides. The whole suites: docs/results/driving.md."""
    words = ["--driver", "expert,constant_velocity", "--suite", "curves,stopping,safety", "--limit", "1", "--workers", "0", "--media", "none"]
    assert main(["evaluate", *words, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "evaluation.json").read_text())
    assert results["routes"]["expert"][-1]["measures"]["success"]["mean"] >= 0.95
    assert results["safety"]["expert"][-1]["score"]["mean"] >= 4.5
    assert results["safety"]["constant_velocity"][-1]["collision_rate"]["mean"] >= 0.9


def test_runs_of_another_latency_are_not_shown_as_of_this_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "--suite", "lane_keeping", "--driver", "constant_velocity", "--out", str(tmp_path)]
    assert main(words) == 0
    (run,) = tmp_path.rglob("lane_keeping-000.json")
    before = run.read_text()
    assert main([*words, "--latency-ticks", "6"]) == 0
    assert "1 runs in" in (said := capsys.readouterr()).err
    assert "skipped" not in said.out
    assert run.read_text() != before
    assert main([*words, "--latency-ticks", "6"]) == 0
    assert "1 of 1 runs are in" in capsys.readouterr().out


def test_a_run_is_tied_to_its_model(tmp_path: Path) -> None:
    card = tmp_path / "model.yaml"
    card.write_text("model_id: a")
    scenario = suite("curves").scenarios[0]
    settings = live_system("vavam", BUNDLED, planner=("samples=5", "samples=3", "plan_rate_hz=10", "selection=cautious"))
    assert settings is not None
    live = replace(settings, model=tmp_path)
    assert live.arguments == {"num_samples": "3", "plan_rate_hz": "10", "tokenize_rate_hz": "10", "selection": "cautious"}
    job = RunJob(scenario=scenario, suite="curves", split="test", kind="route", suite_sha256="0", driver="vavam", folder=tmp_path, live=live)
    write_run(job.path, lost_run(job, "why"))
    assert read_run(job.path).made_with == job.made_with != {}
    assert job.made_with["arguments"] == "num_samples:=3 plan_rate_hz:=10 selection:=cautious tokenize_rate_hz:=10"
    card.write_text("model_id: b")
    assert read_run(job.path).made_with != job.made_with


def test_settings_count_as_they_are_set_and_the_demo_adds_to_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = suite("curves").scenarios[0]

    def made_with(*planner: str) -> object:
        job = RunJob(scenario=scenario, suite="curves", split="test", kind="route", suite_sha256="0", driver="vavam_direct", folder=tmp_path)
        return replace(job, direct=DirectModel(model=BUNDLED, planner=planner)).made_with

    assert made_with("samples=4", "samples=8") == made_with("samples=8") != made_with("samples=8", "samples=4")
    assert {row.high for row in rows_of(["planner"]) if row.name == "num_samples"} == {MOST_SAMPLES}
    demo = live_system("vavam", BUNDLED, planner=(*PLANNER, "selection=medoid"))
    assert demo is not None
    assert demo.arguments == {"num_samples": "8", "plan_rate_hz": "10", "tokenize_rate_hz": "10", "selection": "medoid"}
    assert main(["demo", "--driver", "expert", "--planner", "samples=4", "--out", str(tmp_path)]) == 2
    assert "--planner samples=4: got driver expert, expected model" in capsys.readouterr().err


def test_a_model_without_its_nodes_is_evaluated_and_shown_other_pictures(practice_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "--suite", "lane_keeping", "--driver", "vavam_direct", "--model", str(practice_model)]
    assert main([*words, "--out", str(tmp_path)]) == 0
    (run,) = tmp_path.rglob("lane_keeping-000.json")
    assert read_run(run).score.completion > 0.05
    assert main([*words, "--pictures", "black", "--frames", "1", "--planner", "samples=3", "--planner", "selection=cautious", "--out", str(tmp_path)]) == 0
    assert "1 runs in" in capsys.readouterr().err
    made_with = read_run(run).made_with
    assert (made_with["pictures"], made_with["frames"], made_with["planner"]) == ("black", "1", "samples=3 selection=cautious")
    assert json.loads((tmp_path / "evaluation.json").read_text())["settings"]["pictures"] == "black"
    for wrong, said in (
        (["--planner", "sample=3"], "planner: got sample, expected"),
        (["--planner", "samples=0"], "samples 0"),
        (["--frames", "99"], "frames: got 99"),
    ):
        assert main([*words, *wrong, "--out", str(tmp_path / "wrong")]) == 2
        assert said in capsys.readouterr().err
        assert not list((tmp_path / "wrong").rglob("*.json"))


@pytest.mark.parametrize("words", [["drive"], ["evaluate", "--driver", "expert"], ["record", "--drives", "1"], ["demo"], ["faults"]], ids=lambda w: w[0])
def test_a_folder_that_cannot_be_written_is_named_before_anything_runs(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([*words, "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"error: --out: got {tmp_path / 'file'}, expected a folder that can be written")


def test_faults_need_a_model_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "--fault", "image_black", "--model", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "error: --model: got" in capsys.readouterr().err


def test_asked_to_end_it_ends_as_by_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(suites_command, "run", lambda args: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["suites"]) == 130
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--driver", "nobody"], "error: driver: got 'nobody', expected one of"),
        (["--driver", "expert", "--suite", "frontl"], "error: suite: got 'frontl', expected one of"),
        (["--driver", ","], "error: --driver: got none"),
        (["--driver", "expert", "--limit", "-1"], "error: --limit: got -1"),
        (["--driver", "expert", "--latency-ticks", "-2"], "error: --latency-ticks: got -2"),
        (["--driver", "vavam_direct"], "error: driver vavam_direct: got no model"),
        (["--driver", "vavam", "--model", str(BUNDLED), "--planner", "seed=1"], "error: planner: got seed=1 for driver vavam, expected some of samples, sel"),
        (["--driver", "vavam", "--model", str(BUNDLED), "--planner", "selection=best"], "error: planner: got selection=best, expected one of medoid"),
        (["--driver", "vavam", "--model", str(BUNDLED), "--planner", "plan_rate_hz=often"], "error: planner: got plan_rate_hz=often, expected one of"),
        (["--driver", "vavam", "--model", str(BUNDLED), "--planner", "samples=300"], "error: planner: got samples=300 for driver vavam, expected samples of"),
        (["--driver", "expert", "--planner", "samples=4"], "error: --planner samples=4: got drivers expert, expected one of vavam"),
    ],
)
def test_an_error_is_one_line_and_status_2(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--out", str(tmp_path), *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_suites_are_listed_with_their_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suites", "--split", "test"]) == 0
    assert suite("side").sha256 in capsys.readouterr().out


def test_a_limit_is_spread_over_every_kind_of_road() -> None:
    names = [s.name for s in limited(suite("frontal").scenarios, 3)]
    assert names == [f"frontal/{road}/{i:03d}" for road in ("straight", "curve") for i in (0, 24, 49)]
