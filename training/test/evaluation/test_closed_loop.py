"""Closed loop: what the world's command is asked, what becomes of its answers. The command is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_evaluation import write_world

from vavam_ros.core.contracts import ConfigError
from vavam_training.evaluation.closed_loop import ClosedLoopConfig, drive


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def test_the_model_drives_by_the_worlds_command(tmp_path: Path, model_dir: Path, world: Path) -> None:
    found = drive(model_dir, ClosedLoopConfig(suites="town", world=world, limit=3), tmp_path / "out")
    assert found.result["words"].split() == [
        "evaluate", "--driver", "vavam", "--model", str(model_dir), "--suite", "town", "--limit", "3", "--workers", "2", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert (found.status, found.page) == (0, tmp_path / "out" / "index.html")
    assert json.loads(json.dumps(found.to_dict()))["routes"] == {"vavam": []}
    assert found.to_dict()["planner"] == []
    assert drive(model_dir, ClosedLoopConfig(suites="lost", world=world), tmp_path / "lost").status == 1


def test_its_planner_is_set_as_the_worlds_command_sets_it(tmp_path: Path, model_dir: Path, world: Path) -> None:
    planner = ("plan_rate_hz=10", "selection=cautious")
    found = drive(model_dir, ClosedLoopConfig(suites="town", world=world, planner=planner), tmp_path / "out")
    assert found.result["words"].endswith(" --planner plan_rate_hz=10 selection=cautious")
    assert found.to_dict()["planner"] == list(planner)


def test_what_goes_wrong_is_told(tmp_path: Path, model_dir: Path, world: Path) -> None:
    with pytest.raises(ConfigError, match="ended with status 2"):
        drive(model_dir, ClosedLoopConfig(suites="broken", world=world), tmp_path / "out")
    with pytest.raises(ConfigError, match="--world"):
        drive(model_dir, ClosedLoopConfig(suites="town", world=tmp_path / "nothing"), tmp_path / "out")
    with pytest.raises(ConfigError, match="planner: got often selection=, expected settings like plan_rate_hz=10"):
        drive(model_dir, ClosedLoopConfig(suites="town", world=world, planner=("often", "samples=3", "selection=")), tmp_path / "out")
    with pytest.raises(ConfigError, match="vavam-train export"):
        drive(tmp_path, ClosedLoopConfig(suites="town", world=world), tmp_path / "out")
