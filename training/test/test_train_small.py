"""`make train-small`: the steps fit together, by their commands alone. Nothing is recorded or trained."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded_script

from vavam_training.mixing.config import DataConfig
from vavam_training.recipe import read_recipe

SCRIPT = Path(__file__).resolve().parents[1] / "train_small.py"
EXPORTS = {"draft": "action", "second_draft": "corrected", "third_draft": "advised", "export": "four_frames"}


@pytest.fixture
def script() -> ModuleType:
    return loaded_script(SCRIPT)


def steps(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, list[str]]:
    """Name → command of all steps of a run."""
    noted: dict[str, list[str]] = {}
    monkeypatch.setattr(script, "_do", lambda name, command, stopped=None: noted.update({name: [str(c) for c in command]}))
    for tool in ("WORLD", "VAVAM_TRAIN"):
        monkeypatch.setattr(script, tool, SCRIPT)  # something that is there
    monkeypatch.setattr(sys, "argv", ["train_small.py", "--out", str(tmp_path), *words])
    assert script.main() == 0
    return noted


def after(command: list[str], word: str) -> str:
    return command[command.index(word) + 1]


@pytest.mark.parametrize("words", [[], ["--fast"]])
def test_each_stage_learns_from_what_was_recorded_before_it_and_begins_with_the_stage_before(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    noted = steps(script, tmp_path, monkeypatch, *words)
    before: list[str] = []
    trained: dict[str, Any] = {}
    for command in noted.values():
        if "train" in command:
            stage = Path(command[command.index("train") + 1]).stem
            recipe = read_recipe(script.RUNS / f"{stage}.yaml", [b for a, b in pairwise(command) if a == "--set"])
            if stage != "tokenizer":
                parts = DataConfig.from_dict(recipe.data).parts
                assert len(parts) == script.PARTS[stage]
                assert {Path(p.path).name for p in parts} <= set(before)
                assert sum(p.ratio or 1.0 for p in parts) == pytest.approx(1.0)
                assert len({p.held_out_share for p in parts}) == 1  # one drive has several looks
                assert recipe.start is None or Path(recipe.start).name in before
            trained[stage] = recipe
        if "--advised" in command or "--lead-in" in command:
            assert Path(after(command, "--advised" if "--advised" in command else "--lead-in")).name in before
        before.append(Path(after(command, "--out")).name)
    assert [Path(trained[s].start).name for s in ("corrected", "advised", "four_frames")] == ["action", "corrected", "advised"]
    assert trained["four_frames"].model["video"]["frames"] == 4
    assert {n: Path(after(noted[n], "--run")).name for n in EXPORTS} == EXPORTS
    assert before[-1] == "model"


def test_each_set_of_looks_has_its_own(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = steps(script, tmp_path, monkeypatch)
    looks = {name: after(command, "--looks") for name, command in noted.items() if "--looks" in command}
    assert looks == {"advised_meetings_looks": "1", "advised_again_looks": "2"}
    assert after(noted["advised_meetings_looks"], "--path") == after(noted["advised_meeting_tokens"], "--path")


@pytest.mark.parametrize(("workers", "expected"), [(1, {1}), (2, {2}), (8, {4, 6, 8}), (16, {4, 12})])
def test_a_batch_is_parted_equally_by_as_many_processes_as_divide_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, expected: set[int]
) -> None:
    noted = steps(script, tmp_path, monkeypatch, "--workers", str(workers))
    found = set()
    for command in noted.values():
        if "train" in command:
            batch = read_recipe(command[command.index("train") + 1]).loop.batch_size
            processes = int(next((c.partition("=")[2] for c in command if c.startswith("--nproc-per-node=")), "1"))
            assert batch % processes == 0
            found.add(processes)
    assert found == expected


@pytest.mark.parametrize(("says_so", "expected"), [(True, 75), (False, 1)])
def test_a_step_that_was_told_to_stop(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], says_so: bool, expected: int) -> None:
    """torchrun ends with 1 either way."""
    stopped = tmp_path / "action.stopped"
    with pytest.raises(SystemExit) as ended:
        script._do("action", ["sh", "-c", f"touch {stopped}; exit 1" if says_so else "exit 1"], stopped)
    assert ended.value.code == expected
    assert ("the same command goes on" in capsys.readouterr().err) == says_so
