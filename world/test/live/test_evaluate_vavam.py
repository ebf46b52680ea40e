"""A model is judged by the same command as the other drivers: through the live nodes, scored, reported, kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vavam_world.cli.main import main

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_a_model_is_evaluated_through_the_live_nodes(practice_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--driver", "vavam", "--model", str(practice_model), "--suite", "lane_keeping", "--limit", "1"]
    command += ["--media", "none", "--workers", "0", "--out", str(tmp_path)]
    assert main(command) == 0
    (file,) = tmp_path.glob("*.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    (run,) = found["runs"]
    assert (run["driver"], run["suite"]) == ("vavam", "lane_keeping")
    assert run["finished"] in ("route", "time", "off_road", "collision")
    assert run["distance_m"] > 5.0
    assert (tmp_path / "index.html").is_file()
    capsys.readouterr()
    assert main(command) == 0
    assert "1 of 1" in capsys.readouterr().out
