"""`world`: what is done is not done again, what fails is recorded, and an error is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vavam_world.cli.main import main
from vavam_world.report.evaluate import limited
from vavam_world.scenarios.suites import suite

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
    assert main(words) == 0
    again = capsys.readouterr()
    assert "2 of 3 runs are in" in again.out
    assert "driven again" in again.err
    assert [p for p, t in runs.items() if p.stat().st_mtime_ns != t] == [broken]
    assert json.loads((tmp_path / "evaluation.json").read_text()) == results
    assert (tmp_path / "index.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--driver", "nobody"], "error: driver: got 'nobody', expected one of"),
        (["--driver", "expert", "--suite", "frontl"], "error: suite: got 'frontl', expected one of"),
        (["--driver", ","], "error: --driver: got none"),
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
