"""The profile of a live run: spans between what was heard of one picture, the planner's stages before its samples, and a trace that says the same."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.bags import BagWriter
from vavam_ros.cli import profile as command
from vavam_ros.core.contracts import NS_PER_S, BagError, Command, DensePath, EgoPose, Plan, Selection, TokenFrame
from vavam_ros.core.geometry import place_path
from vavam_ros.replay import messages
from vavam_ros.replay.profile import read_profile, spans_of

START_NS = 1_000 * NS_PER_S
MS = 1_000_000


def record(path: Path, *, plans: int = 2, pictures: bool = True) -> None:
    """Pictures every 0.5 s, heard 5 ms after their stamp; tokens 30 ms later, samples 100 more, the raw path 1 more; a path every 100 ms. The last picture
    gets no plan."""
    with BagWriter(path) as writer:
        for name, kind in (("/camera/compressed", messages.COMPRESSED_IMAGE), ("/vavam/tokens", messages.FRAME_TOKENS)):
            writer.add_topic(name, kind)
        for name, kind in (("/vavam/samples", messages.TRAJECTORY_SAMPLES), ("/vavam/path_raw", messages.PATH), ("/vavam/path", messages.PATH)):
            writer.add_topic(name, kind)
        heard = []
        for i in range(plans + 1):
            stamp_ns = START_NS + i * NS_PER_S // 2
            pose = EgoPose(stamp_ns=stamp_ns, odom_frame_id="odom", T_odom_ego=np.eye(4), linear_mps=np.array([8.0, 0, 0]), angular_radps=np.zeros(3))
            plan = Plan(
                stamp_ns=stamp_ns,
                epoch=0,
                model_id="m",
                command=Command.LEFT,
                xy_ego_m=np.stack([4.0 * np.arange(1, 7), np.zeros(6)], axis=1)[None].astype(np.float32),
                dt_s=0.5,
                selection=Selection(index=0, reason="first", spread_m=np.zeros(3, np.float32)),
                violations=(),
                context_stamps_ns=(stamp_ns,),
                pose=pose,
                canonical=True,
                stage_ms=(("context", 60.0), ("denoise", 20.0)),
            )
            grid = np.zeros((2, 2), np.uint16)
            names = {"camera_frame_id": "c", "tokenizer_id": "t", "camera_id": "c"}
            frame = TokenFrame(stamp_ns=stamp_ns, epoch=0, tokens=grid, codebook_size=4, canonical=True, coverage=1.0, pose=pose, **names)
            if pictures:
                heard.append((5, "/camera/compressed", stamp_ns, messages.compressed_image(writer, stamp_ns, "c", b"jpeg", "jpeg")))
            if i == plans:
                break
            placed = place_path(plan, stamp_ns)
            assert isinstance(placed, DensePath)
            heard += [
                (35, "/vavam/tokens", stamp_ns, messages.frame_tokens(writer, frame, "ego")),
                (135, "/vavam/samples", stamp_ns, messages.trajectory_samples(writer, plan, "ego")),
                (136, "/vavam/path_raw", stamp_ns, messages.path_raw(writer, plan, "ego")),
                (100, "/vavam/path", stamp_ns, messages.path(writer, placed)),
                (200, "/vavam/path", stamp_ns, messages.path(writer, placed)),
            ]
        for ms, topic, stamp_ns, message in sorted(heard, key=lambda h: h[2] + h[0] * MS):
            writer.write(topic, stamp_ns + ms * MS, message)


def test_every_span_from_stamp_to_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "run.mcap")
    profile = read_profile(tmp_path / "run.mcap")
    assert (len(profile.journeys), profile.unplanned) == (2, 1)
    for journey in profile.journeys:
        spans = list(spans_of(journey))
        assert [(s.name, s.ms, (s.start_ns - journey.stamp_ns) / MS) for s in spans] == [
            ("stamp → picture heard", 5.0, 0.0),
            ("picture → tokens", 30.0, 5.0),
            ("tokens → samples", 100.0, 35.0),
            ("samples → raw path", 1.0, 135.0),
            ("raw path → path", 64.0, 136.0),
            ("stage: denoise", 20.0, 115.0),
            ("stage: context", 60.0, 55.0),
            ("whole: picture → path", 195.0, 5.0),
        ]
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    trace = tmp_path / "out" / "trace.json"
    assert command.run(parser.parse_args([str(tmp_path / "run.mcap"), "--trace", str(trace)])) == 0
    printed = capsys.readouterr().out
    assert "2 plans; 1 pictures were not planned from" in printed
    assert "tokens → samples                      2     100.0     100.0     100.0" in printed
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    begun, ended = ({e["id"]: e for e in events if e["ph"] == ph} for ph in "be")
    assert begun.keys() == ended.keys()
    assert len(begun) == 16
    assert all((ended[i]["ts"] - begun[i]["ts"]) / 1e3 == pytest.approx(begun[i]["args"]["ms"]) for i in begun)
    assert min(e["ts"] for e in begun.values()) == 0.0


def test_what_was_not_heard_is_left_out(tmp_path: Path) -> None:
    """Pictures stamped by another clock say nothing about how late they were heard."""
    record(tmp_path / "run.mcap", plans=1)
    journey = read_profile(tmp_path / "run.mcap").journeys[0]
    journey.tokens_ns = journey.raw_path_ns = journey.path_ns = None
    assert [s.name for s in spans_of(journey)] == ["stamp → picture heard", "picture → samples", "stage: denoise", "stage: context"]
    assert journey.picture_ns is not None
    journey.picture_ns += 3600 * NS_PER_S
    assert next(iter(spans_of(journey))).name == "picture → samples"


def test_a_bag_that_cannot_tell_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "blind.mcap", pictures=False)
    with pytest.raises(BagError, match="got no pictures, expected a recording of the camera"):
        read_profile(tmp_path / "blind.mcap")
