"""Bags as drives: poses of the rear axle at the pictures' stamps, drives cut where the pose jumps, nothing lost without a word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.bags import BagReader, BagWriter
from vavam_ros.core.camera import CANONICAL_CAMERAS
from vavam_training.contracts import NO_COMMAND, DataError, Frame
from vavam_training.sources import open_source

START_NS, AXLE_X_M = 1_000_000_000_000, -1.4
Bag = Callable[..., Path]


def all_frames(path: Path, **options: object) -> dict[str, list[Frame]]:
    source = open_source("rosbag", path, licence="test", **options)
    return {d.name: list(source.frames(d)) for d in source.drives()}


@pytest.mark.parametrize("name", ["bag.mcap", "bag.db3", "bag"])
def test_pose_is_of_the_rear_axle_at_the_stamp_of_the_picture(tmp_path: Path, make_bag: Bag, name: str) -> None:
    make_bag(tmp_path / name)
    frames = all_frames(tmp_path / name, rear_axle_x_m=AXLE_X_M)["bag"]
    assert len(frames) == 8
    assert [f.stamp_ns - START_NS for f in frames] == [i * 100_000_000 + 20_000_000 for i in range(8)]
    for i, f in enumerate(frames):
        angle = (f.stamp_ns - START_NS) / 1e9 * 5.0 / 20.0
        np.testing.assert_allclose(f.position_m, [20.0 * np.sin(angle), 20.0 * (1.0 - np.cos(angle)), 0.0], atol=2e-4)
        np.testing.assert_allclose(f.rotation_wxyz, [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)], atol=1e-5)
        assert f.speed_mps == pytest.approx(5.0, abs=1e-6)
        assert f.command == i % 3
        assert f.rgb is not None
        assert f.rgb.shape[2] == 3


def test_camera_is_the_one_of_the_bag_seen_from_the_rear_axle(tmp_path: Path, make_bag: Bag) -> None:
    source = open_source("rosbag", make_bag(tmp_path / "bag"), licence="test")  # the axle is stated in the bag
    camera = source.drives()[0].camera
    assert camera is not None
    assert camera.same_as(CANONICAL_CAMERAS["world_front"].model())


def test_the_axle_is_taken_from_a_recordings_manifest(tmp_path: Path, make_bag: Bag) -> None:
    make_bag(tmp_path / "drive.mcap", stated_axle=False)
    wrong = all_frames(tmp_path)["drive"][0].position_m
    (tmp_path / "manifest.json").write_text(json.dumps({"licence": "free", "content": {}, "camera": {}, "drives": [], "rear_axle_x_m": AXLE_X_M}))
    source = open_source("rosbag", tmp_path)
    assert (source.licence, source.domain) == ("free", "synthetic_world")
    right = next(iter(source.frames(source.drives()[0]))).position_m
    assert wrong is not None
    assert right is not None
    assert np.linalg.norm(wrong - right) == pytest.approx(-AXLE_X_M, abs=1e-6)


def test_a_recordings_manifest_is_read_once_however_many_pictures(tmp_path: Path, make_bag: Bag, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bag(tmp_path / "drive.mcap").parent / "manifest.json"
    path.write_text(json.dumps({"licence": "free", "content": {}, "camera": {}, "drives": []}))
    reads: list[Path] = []
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: (reads.append(self), read_text(self, *a, **k))[1])
    source = open_source("rosbag", tmp_path)
    assert len(list(source.frames(source.drives()[0]))) == 8
    assert reads.count(path) == 1
    path.write_text(json.dumps({"licence": "bound", "content": {}, "camera": {}, "drives": []}))
    os.utime(path, ns=(0, 0))
    assert open_source("rosbag", tmp_path).licence == "bound"  # another file is read again


def test_a_mount_that_is_given_comes_before_the_recorded_one(tmp_path: Path, make_bag: Bag) -> None:
    source = open_source("rosbag", make_bag(tmp_path / "bag"), licence="test", mount={"x_m": 0.5, "z_m": 2.0})
    camera = source.drives()[0].camera
    assert camera is not None
    assert camera.T_ego_camera is not None
    assert camera.T_ego_camera[:3, 3].tolist() == [0.5, 0.0, 2.0]


def test_a_jump_of_the_pose_makes_two_drives(tmp_path: Path, make_bag: Bag) -> None:
    source = open_source("rosbag", make_bag(tmp_path / "bag", jump_at=5), licence="test")
    frames = {d.name: list(source.frames(d)) for d in source.drives()}
    assert list(frames) == ["bag", "bag+1"]
    assert [len(f) for f in frames.values()] == [5, 3]
    for f in frames.values():
        steps = np.diff([frame.position_m for frame in f], axis=0)
        assert np.linalg.norm(steps, axis=1).max() < 1.0
    assert source.skipped == []


def test_pictures_past_the_odometry_are_listed(tmp_path: Path, make_bag: Bag) -> None:
    source = open_source("rosbag", make_bag(tmp_path / "bag", picture_offset_ns=120_000_000), licence="test")
    frames = list(source.frames(source.drives()[0]))
    assert len(frames) == 7
    assert [(s.what, s.why) for s in source.skipped] == [
        (f"bag: 1 frames from stamp {START_NS + 820_000_000} on", "odometry has not reached the image stamp")
    ]  # fmt: skip


def test_the_rate_thins_and_the_labels_of_the_world_are_not_taken_for_pictures(tmp_path: Path, make_bag: Bag) -> None:
    frames = all_frames(make_bag(tmp_path / "bag", label_topic=True), rate_hz=5.0)["bag"]
    assert np.diff([f.stamp_ns for f in frames]).tolist() == [200_000_000] * 3


def test_a_damaged_bag_stops_or_is_listed(tmp_path: Path, make_bag: Bag) -> None:
    make_bag(tmp_path / "good.mcap")
    data = make_bag(tmp_path / "bad.mcap").read_bytes()
    (tmp_path / "bad.mcap").write_bytes(data[: len(data) // 2])
    (tmp_path / "x.partial.mcap").write_bytes(b"")  # unfinished: not a recording yet
    with pytest.raises(DataError, match=r"bad\.mcap.*--skip-bad"):
        open_source("rosbag", tmp_path, licence="test").drives()
    source = open_source("rosbag", tmp_path, licence="test", skip_bad=True)
    assert [d.name for d in source.drives()] == ["good"]
    assert [s.what for s in source.skipped] == ["bad"]
    assert "bad.mcap" in source.skipped[0].why


def test_bags_of_one_name_in_two_folders_get_two_names(tmp_path: Path, make_bag: Bag) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        make_bag(tmp_path / folder / "bag.mcap", pictures=2)
    assert [d.name for d in open_source("rosbag", tmp_path, licence="test").drives()] == ["a-bag", "b-bag"]


def test_recorded_tokens_are_taken_as_they_are(tmp_path: Path, token_bag: Bag) -> None:
    source = open_source("rosbag", token_bag(tmp_path / "t.mcap", [1, 1, 1, 2, 2]), licence="test")
    assert [(d.name, d.tokenizer_id) for d in source.drives()] == [("t", "vq16-x"), ("t+1", "vq16-x")]
    first, second = (list(source.frames(d)) for d in source.drives())
    assert [int(f.tokens[0, 0]) for f in (*first, *second) if f.tokens is not None] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(second[0].position_m, [3.0, 2.0, 0.0])
    np.testing.assert_allclose(second[0].rotation_wxyz, [np.cos(0.25), 0, 0, np.sin(0.25)])
    assert first[0].speed_mps == 10.0
    assert first[0].command == NO_COMMAND


def test_tokens_of_another_tokenizer_give_way_to_pictures(tmp_path: Path, make_bag: Bag, token_bag: Bag) -> None:
    token_bag(tmp_path / "t.mcap", [1])
    both = tmp_path / "both.mcap"
    with BagReader(make_bag(tmp_path / "p.mcap")) as p, BagReader(tmp_path / "t.mcap") as t, BagWriter(both) as writer:
        for reader in (p, t):
            for topic in reader.topics.values():
                writer.add_topic(topic.name, topic.type_name)
            for m in reader.messages():
                writer.write_raw(m.topic, m.log_ns, m.data)
    assert open_source("rosbag", both, tokenizer_id="vq16-x").drives()[0].tokenizer_id == "vq16-x"
    assert open_source("rosbag", both, tokenizer_id="vq16-y").drives()[0].tokenizer_id == ""
    with pytest.raises(DataError, match="no FrameTokens in this bag"):
        open_source("rosbag", tmp_path / "p.mcap", tokens="recorded").drives()


@pytest.mark.parametrize(
    ("kind", "path", "options", "said"),
    [
        ("rosbag", "nothing", {}, "does not exist"),
        ("rosbag", ".", {}, "no bag in this folder"),
        ("rosbags", ".", {}, "got 'rosbags', expected one of rosbag"),
        ("rosbag", ".", {"colour": 1}, "got the options colour, expected some of licence"),
    ],
)
def test_what_is_no_source_is_named(tmp_path: Path, kind: str, path: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_source(kind, tmp_path / path, **options)


def test_advice_is_where_the_adviser_would_have_been_at_the_waypoints_times(tmp_path: Path, make_bag: Bag) -> None:
    path = make_bag(tmp_path / "bag", advice_frame="map")
    frames = all_frames(path, advice_topic="/advice", rear_axle_x_m=0.0)["bag"]
    assert [f.advice_m is None for f in frames] == [False, True, True, False, False, False, False, False]  # one has none, one ends too soon
    for f in frames:
        if f.advice_m is not None:
            assert f.position_m is not None
            np.testing.assert_allclose(f.advice_m - f.position_m[:2], [(4.0 * (i + 1), 0.0) for i in range(6)], atol=1e-3)
    assert all(f.advice_m is None for f in all_frames(path)["bag"])  # nobody asked for it


def test_advice_in_another_frame_or_on_no_topic_is_an_error(tmp_path: Path, make_bag: Bag) -> None:
    path = make_bag(tmp_path / "bag", advice_frame="elsewhere")
    with pytest.raises(DataError, match="advice on /advice in frame 'elsewhere', expected 'map', the odometry's"):
        all_frames(path, advice_topic="/advice")
    with pytest.raises(DataError, match="no nav_msgs/Path on /nothing with advice; it has /advice"):
        all_frames(path, advice_topic="/nothing")


def test_advice_is_not_taken_with_recorded_tokens(tmp_path: Path, make_bag: Bag) -> None:
    with pytest.raises(DataError, match="got advice_topic /advice and recorded tokens, expected pictures"):
        all_frames(make_bag(tmp_path / "bag", advice_frame="map"), advice_topic="/advice", tokens="recorded")
