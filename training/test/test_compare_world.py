"""The comparisons' command: what it asks of the stages is a recipe, sizes are what their names say, and the statistics are those of the tables."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded_script

from vavam_training.recipe import model_spec, read_recipe
from vavam_training.stages.costs import video_forward_flops

SCRIPT = Path(__file__).resolve().parents[1] / "compare_world.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded_script(SCRIPT)


def commands(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> Any:
    """A bench whose commands are noted instead of run, and the notes."""
    noted: list[tuple[str, list[str]]] = []
    bench = script.Bench(out=tmp_path, sets={"world": "sets/a", "met": "sets/b"}, amount=script.FULL, jobs=1)
    monkeypatch.setattr(script.Bench, "do", lambda self, name, command, **_: noted.append((name, [str(c) for c in command])))
    return bench, noted


def changes_of(command: list[str]) -> list[str]:
    return [b for a, b in pairwise(command) if a == "--set"]


def test_every_run_is_a_recipe_and_ways_differ_in_what_they_start_from_alone(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, noted = commands(script, tmp_path, monkeypatch)
    point = {"value": 1.0}
    loop = {"overall": {"medoid_ade_m": point}, "by_axis": [{"axis": a, "time_s": 1.0, "planner": point} for a in ("side", "ahead")]}
    monkeypatch.setattr(script.Bench, "settings", lambda self: {})
    monkeypatch.setattr(script.Bench, "judged", lambda self, run: {"open_loop": loop})
    monkeypatch.setattr(script, "_closed", lambda *_: {"completion": {"a": 0.5, "b": 1.0}, "score": {"c": 5.0}, "failed": {"a": 0.0, "c": 1.0}})
    script.pretrained(bench)
    trained = {name.removeprefix("train ").rpartition("-")[0]: changes_of(command) for name, command in noted if name.startswith("train")}
    assert len(trained) == 1 + len(script.SEEDS) * len(script.SHARES) * 2
    for name, changes in trained.items():
        recipe = read_recipe(script.RUNS / ("pretrain.yaml" if name == "video" else "action.yaml"), changes)
        assert recipe.loop.steps == (script.FULL.pretrain_steps if name == "video" else script.FULL.action_steps)
        assert [p["name"] for p in recipe.data["parts"]] == ["world", "met"]
    a, b = set(trained["pretrained-0.25-1"]), set(trained["new-0.25-1"])
    assert a - b == {f"start={tmp_path / f'video-{script.FULL.pretrain_steps}'}"}
    assert not b - a
    assert "| 0.0625 | failed | 0.50 | 0.50 | 0.00 (0.00 to 0.00) |" in (tmp_path / "pretrained.md").read_text()
    assert "| 0.0625 | completion | 0.75 | 0.75 | 0.00 (0.00 to 0.00) |" in (tmp_path / "pretrained.md").read_text()
    assert (tmp_path / "pretrained.png").is_file()


def test_a_run_that_fails_lets_those_under_way_end_and_begins_no_other(script: ModuleType, tmp_path: Path) -> None:
    bench = script.Bench(out=tmp_path, sets={}, amount=script.FAST, jobs=2)
    log = tmp_path / "logs" / "say.log"

    def fails() -> None:
        bench.do("fail", ["sh", "-c", "echo reason; exit 75"])

    def says(word: str) -> Any:
        return lambda: bench.do("say", ["sh", "-c", f"sleep 1; echo {word} $OMP_NUM_THREADS"])

    with pytest.raises(script.StepError, match=r"fail ended with status 75, see .*fail\.log") as caught:
        bench.make([fails, says("first"), *(says("later") for _ in range(5))])
    assert caught.value.status == 75
    assert (tmp_path / "logs" / "fail.log").read_text() == "reason\n"
    said = log.read_text().splitlines()
    assert f"first {max(1, script.CORES // 2)}" in said
    assert sum(line.startswith("later") for line in said) < 5


def test_what_two_runs_begin_with_is_made_once(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, noted = commands(script, tmp_path, monkeypatch)

    def done(self: Any, name: str, command: list[Any], **_: Any) -> None:
        noted.append((name, command))
        (tmp_path / name.removeprefix("train ") / "checkpoints" / f"step_{script.FULL.pretrain_steps:08d}").mkdir(parents=True)

    monkeypatch.setattr(script.Bench, "do", done)
    bench.make([lambda: script._video(bench)] * 4)
    assert [name for name, _ in noted] == [f"train video-{script.FULL.pretrain_steps}"]


def test_scores_of_drivers_that_failed_are_said_to_mean_nothing(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, _ = commands(script, tmp_path, monkeypatch)
    monkeypatch.setattr(script.Bench, "settings", lambda self: {})
    failed = 1.0
    monkeypatch.setattr(script, "_closed", lambda *_: {"completion": {}, "score": {"c": 0.0, "d": 1.0}, "failed": {"c": failed, "d": failed}})
    script.safety(bench)
    table = (tmp_path / "safety.md").read_text()
    assert "| 10M | 2 | 100% | 0.50 (0.00 to 1.00) | 0.00 (0.00 to 0.00) |" in table
    assert "these scores say nothing of size" in table
    failed = 0.0
    script.safety(bench)
    assert "say nothing" not in (tmp_path / "safety.md").read_text()
    assert (tmp_path / "safety.png").is_file()


def test_results_of_other_settings_are_not_taken_for_these(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.json").write_text("{}")
    sets = {"world": str(tmp_path / "set")}
    script.Bench(out=tmp_path / "out", sets=sets, amount=script.FAST, jobs=1).agree()
    script.Bench(out=tmp_path / "out", sets=sets, amount=script.FAST, jobs=2).agree()
    with pytest.raises(script.StepError, match=r"out holds results of other settings \(batch: got 16, there 2\): name another --out"):
        script.Bench(out=tmp_path / "out", sets=sets, amount=script.FULL, jobs=1).agree()
    with pytest.raises(script.StepError, match=r"precision: got bf16, there fp32"):
        script.Bench(out=tmp_path / "out", sets=sets, amount=script.FAST, jobs=1, precision="bf16").agree()
    (tmp_path / "set" / "manifest.json").write_text("{ }")
    with pytest.raises(script.StepError, match=r"sets: got"):
        script.Bench(out=tmp_path / "out", sets=sets, amount=script.FAST, jobs=1).agree()
    with pytest.raises(script.StepError, match=r"got no manifest\.json there"):
        script.Bench(out=tmp_path / "new", sets={"world": str(tmp_path)}, amount=script.FAST, jobs=1).agree()


def test_sizes_are_what_they_are_called(script: ModuleType) -> None:
    for size in script.SIZES:
        sizes = [f"model.video.width={size.width}", f"model.video.layers={size.layers}", f"model.action.width={size.action_width}"]
        base = read_recipe(script.RUNS / "pretrain.yaml", [*sizes, "model.video.frames=2"])
        video = model_spec(base.model).video
        blocks = 12 * video.width**2 * video.layers
        whole = blocks + 2 * video.vocabulary * video.width
        assert whole / 1e6 == pytest.approx(float(size.name.removesuffix("M")), rel=0.35)
        assert video_forward_flops(video, 2) > 2.0 * 288 * blocks
