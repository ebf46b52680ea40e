"""`vavam profile --live` with real nodes: every stage from camera stamp to Path is there, they do not overlap, and the trace says the same."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from vavam_ros.cli.main import main
from vavam_ros.measure.stages import OF_THE_TOKENIZER, STAGES, SUM, WHOLE

pytestmark = pytest.mark.ros
COMMON = ["--seconds", "6", "--image", "640x360", "--rate", "10", "--set", "plan_rate_hz:=4", "--set", "device:=cpu"]


@pytest.mark.smoke
def test_every_stage_of_composed_nodes(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, figures = tmp_path / "trace.json", tmp_path / "figures.json"
    files = ["--trace", str(trace), "--json", str(figures)]
    assert main(["profile", "--live", "--model", str(model_dir), *COMMON, "--set", "tokenize_rate_hz:=0", *files]) == 0
    found = json.loads(figures.read_text(encoding="utf-8"))
    rows = {r["name"]: r for r in found["stages"]}
    assert list(rows) == [*STAGES, SUM, WHOLE]
    assert sum(rows[s]["share"] for s in STAGES) == pytest.approx(1.0)
    assert {r["n"] for r in rows.values()} == {found["plans"]}
    assert found["stages_after_the_path"] == []
    (process,) = found["processes"]
    assert process["name"] == "vavam_node"
    assert process["rss_mb"] > process["own_mb"] > 10.0
    assert {"own_slope", "own_grows", "rss_slope"} < process.keys()
    assert process["cores"] > 0.0
    printed = capsys.readouterr().out
    assert "640×360 bgr8 at 10 Hz" in printed
    assert "plan_queue" in printed
    # plan by plan: the stages that the nodes measured fit into what was measured from outside
    stages: dict[str, float] = defaultdict(float)
    whole: dict[str, float] = {}
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    for e in (e for e in events if e["ph"] == "b"):
        stamp = e["args"]["image_stamp_ns"]
        if e["name"] == WHOLE:
            whole[stamp] = e["args"]["ms"]
        elif e["name"] in STAGES and e["name"] != "publish":
            stages[stamp] += e["args"]["ms"]
    assert len(whole) >= found["plans"] - 1, "the newest may be under way"
    assert not [(stages[s], whole[s]) for s in whole if not 0.0 < stages[s] <= whole[s] + 1.0]


def test_two_processes_report_the_tokenizers_stages_apart(model_dir: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    live = ["profile", "--live", "--model", str(model_dir), *COMMON, "--set", "composed:=false", "--compressed", "--json", str(figures)]
    assert main(live) == 0
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert [r["name"] for r in found["stages"]] == ["tokens", "ring", "plan_queue", "context", "denoise", "select", "publish", SUM, WHOLE]
    assert [r["name"] for r in found["stages_of_the_tokenizers_own_window"]] == list(OF_THE_TOKENIZER)
    assert {p["name"] for p in found["processes"]} == {"tokenizer_node", "planner_node"}


def test_the_streaming_planner_s_work_after_the_path_is_shown(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, config = tmp_path / "figures.json", tmp_path / "streaming.yaml"
    config.write_text("/**: {ros__parameters: {context: streaming}}\n", encoding="utf-8")
    given = ["--set", f"config:={config}", "--set", "device:=cpu", "--set", "plan_rate_hz:=2"]  # a plan for each frame of the context
    feed = ["--seconds", "6", "--image", "640x360", "--rate", "10"]
    assert main(["profile", "--live", "--model", str(model_dir), *feed, *given, "--json", str(figures)]) == 0
    found = json.loads(figures.read_text(encoding="utf-8"))
    (row,) = found["stages_after_the_path"]
    assert row["name"] == "prepare"
    assert row["n"] > 0
    assert row["p99"] > 0.0
    assert "prepare" not in {r["name"] for r in found["stages"]}
    assert "prepare (after the Path)" in capsys.readouterr().out


def test_arguments_that_cannot_be_meant_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        (["--live", "bag.mcap"], "expected one of a recording, --live and --attach"),
        ([], "expected one of a recording, --live and --attach"),
        (["--live", "--image", "big"], "got 'big', expected WIDTHxHEIGHT"),
        (["--attach", "vavam", "--compressed"], "--compressed: got it with --attach, expected it with --live"),
        (["--attach", "vavam", "--rate", "30"], "--rate: got it with --attach, expected it with --live"),
        (["--attach", "vavam", "--image", "640x360", "--set", "plan_rate_hz:=4"], "--image, --set: got them with --attach, expected them with --live"),
        (["--live", "--image-topic", "/camera"], "--image-topic: got it with --live, expected it with a recording"),
        (["--live", "--rate", "0"], "got --seconds 20 and --rate 0, expected numbers above 0"),
        (["bag.mcap", "--json", "x.json"], "expected it with --live or --attach"),
        (["bag.mcap", "--rate", "10"], "--rate: got it with a recording, expected it with --live"),
    ):
        assert main(["profile", *words]) == 2
        assert text in capsys.readouterr().err
