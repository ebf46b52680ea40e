"""Folders of pictures and poses become bags: bytes and stamps as in the source, what is missing filled in and said, or refused."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vavam_ros.bags import BagReader
from vavam_ros.cli import make_bag
from vavam_ros.replay import messages
from vavam_ros.replay.folder import FolderError, read_ego_csv

T0 = 1_479_425_631_915_974_983


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    make_bag.add_arguments(parser)
    return make_bag.run(parser.parse_args([str(a) for a in argv]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six rows along a circle of 20 m at 5 m/s, pictures of rows 0-4 and of a row 9 that is not there; stamps in another file."""
    folder = tmp_path / "drive"
    (folder / "frames").mkdir(parents=True)
    for i in (0, 1, 2, 3, 4, 9):
        cv2.imwrite(str(folder / "frames" / f"{i:06d}.jpg"), np.full((24, 32, 3), 20 * i, np.uint8))
    t = np.arange(6) * 0.1
    yaw = 0.25 * t
    rows = [f"{i},{t[i]:.6f},{20 * np.sin(yaw[i]):.6f},{20 * (1 - np.cos(yaw[i])):.6f},,{yaw[i]:.6f}" for i in range(6)]
    (folder / "ego_estimated.csv").write_text("\n".join(["frame,t,x,y,z,yaw", *rows]))
    (folder / "steering.csv").write_text("\n".join(["frame,stamp_ns", *(f"{i},{T0 + i * 100_000_007}" for i in range(6))]))
    camera = {"width": 32, "height": 24, "fx": 30, "fy": 30, "cx": 16, "cy": 12, "distortion": "unknown", "horizon_row": 9.0, "height_above_ground_m": 1.25}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_folder_to_bag(folder: Path, tmp_path: Path, storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--out", tmp_path / "bag", "--storage", storage, "--command", "left") == 0
    said = capsys.readouterr().out
    for text in ("5 pictures, 6 odometry", "estimated", "steering.csv:stamp_ns", "speed computed", "distortion is 'unknown'", "1 pictures without a row"):
        assert text in said
    with BagReader(tmp_path / "bag") as reader:
        assert reader.pose_quality() == "estimated"
        read = list(reader.messages())
        images = [reader.decode(m) for m in read if m.topic == "/camera/image/compressed"]
        odometry = [messages.odometry_from(reader.decode(m)) for m in read if m.topic == "/odometry"]
        tf = messages.transforms_from(reader.decode(next(reader.messages(["/tf_static"]))))
        commands = [reader.decode(m).command for m in read if m.topic == "/vavam/command"]
    assert [bytes(m.data) for m in images] == [(folder / "frames" / f"{i:06d}.jpg").read_bytes() for i in range(5)]
    assert [messages.stamp_ns_of(m) for m in images] == [T0 + i * 100_000_007 for i in range(5)]
    # at one stamp the pose comes before the picture that needs it
    order = [m.topic for m in read if m.topic in ("/odometry", "/camera/image/compressed") and m.log_ns == T0]
    assert order == ["/odometry", "/camera/image/compressed"]
    assert commands == [1]
    np.testing.assert_allclose([s.linear_mps[0] for s in odometry], 5.0, atol=0.02)
    np.testing.assert_allclose([s.angular_radps[2] for s in odometry], 0.25, atol=1e-4)
    parent, T = tf["camera_optical"]
    assert parent == "base_link"
    assert T[2, 3] == 1.25
    forward = T[:3, 2]  # the optical axis looks down: the horizon lies above the middle row
    np.testing.assert_allclose(np.arctan2(-forward[2], forward[0]), np.arctan2(3.0, 30.0), atol=1e-12)


def test_png_and_t_only(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "steering.csv").unlink()
    (folder / "camera.json").unlink()
    cv2.imwrite(str(folder / "frames" / "000005.png"), np.zeros((24, 32, 3), np.uint8))
    assert run(folder, "--out", tmp_path / "b.db3", "--start-ns", 7_000_000_000, "--pose-quality", "measured") == 0
    assert "no CameraInfo written" in capsys.readouterr().out
    with BagReader(tmp_path / "b.db3") as reader:
        images = [reader.decode(m) for m in reader.messages(["/camera/image/compressed"])]
        assert reader.pose_quality() == "measured"
        assert "/tf_static" not in reader.topics
    assert images[-1].format == "png"
    assert messages.stamp_ns_of(images[-1]) == 7_500_000_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("t,x,y\n0,0,0\n", "column yaw is missing"),
        ("x,y,yaw\n0,0,0\n1,0,0\n", "neither stamp_ns nor t"),
        ("t,x,y,yaw\n0,0,0,0\n0,1,0,0\n", "not increasing"),
        ("t,x,y,yaw\n0,a,0,0\n1,1,0,0\n", "column x"),
        ("t,x,y,yaw\n", "no rows"),
        ("t,x,y,yaw\n0,0,0,0\n", "one row only"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "ego.csv").write_text(content)
    with pytest.raises(FolderError, match=expected):
        read_ego_csv(tmp_path / "ego.csv")


def test_missing_folder_is_an_error_not_a_bag(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no such folder"):
        run(tmp_path / "nothing", "--out", tmp_path / "b.mcap")
    assert not (tmp_path / "b.mcap").exists()


def test_comma2k19_geometry(shared_data: Path, tmp_path: Path) -> None:
    """The real drive's poses survive the way into a bag and agree with its own speed and yaw rate (one picture only: no replay)."""
    folder = shared_data / "comma2k19_example1"
    assert run(folder, "--ego", folder / "ego_20hz.csv", "--out", tmp_path / "c.mcap") == 0
    with BagReader(tmp_path / "c.mcap") as reader:
        odometry = [messages.odometry_from(reader.decode(m)) for m in reader.messages(["/odometry"])]
        assert reader.pose_quality() == "measured"
        assert reader.topics["/camera/image/compressed"].count == 1
    assert len(odometry) == 1200
    xyz = np.array([s.T_odom_base[:3, 3] for s in odometry])
    t = np.array([s.stamp_ns for s in odometry], np.int64)
    length = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
    assert abs(length.sum() - 1011.8) < 2.0  # as its description says
    speed = np.array([s.linear_mps[0] for s in odometry])
    np.testing.assert_allclose(length / (np.diff(t) / 1e9), 0.5 * (speed[1:] + speed[:-1]), atol=0.1)
