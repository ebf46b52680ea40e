"""Folders of frames as video-only drives."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vavam_training.cli.main import main
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.sources import open_source


def write(root: Path, video: str, numbers: list[int], pattern: str = "f_{:06d}.jpg") -> Path:
    (root / video).mkdir(parents=True)
    for i in numbers:
        coarse = np.random.default_rng(i).integers(0, 256, (4, 8, 3), np.uint8)
        cv2.imwrite(str(root / video / pattern.format(i)), cv2.resize(coarse, (128, 72), interpolation=cv2.INTER_NEAREST))
    return root


def test_frames_come_at_ten_a_second_without_motion(tmp_path: Path) -> None:
    write(tmp_path, "abc", [9, 10, 11])
    write(tmp_path, "@def", [0])
    source = open_source("opendv", tmp_path, licence="test")
    assert [(d.name, d.has_motion, d.camera) for d in source.drives()] == [("video_@def", False, None), ("video_abc", False, None)]
    frames = list(source.frames(source.drives()[1]))
    assert [f.stamp_ns for f in frames] == [0, 100_000_000, 200_000_000]
    assert frames[0].position_m is None
    assert frames[0].speed_mps is None
    first = cv2.imread(str(tmp_path / "abc" / "f_000009.jpg"))
    assert first is not None
    np.testing.assert_array_equal(frames[0].rgb, first[..., ::-1])


def test_a_frame_that_is_missing_leaves_a_gap_and_an_entry(tmp_path: Path) -> None:
    write(tmp_path, "abc", [0, 1, 2, 5, 6])
    (tmp_path / "abc" / "f_000006.jpg").write_bytes(b"\xff\xd8no picture")
    source = open_source("opendv", tmp_path, licence="test")
    assert [f.stamp_ns // 10**8 for f in source.frames(source.drives()[0])] == [0, 1, 2, 5]
    assert len(source.skipped) == 2
    assert ("video_abc: 2 frames from stamp 300000000 on", "its file is missing: the numbers before and after it are there") in [
        (s.what, s.why) for s in source.skipped
    ]


@pytest.mark.parametrize(("numbers", "pattern", "stamps"), [
    ([3, 6, 9, 15], "{:09d}.jpg", [0, 1, 2, 4]),  # numbers of the video's own frames
    ([3, 6, 9, 11], "{:09d}.jpg", [0, 1, 2, 3]),  # no common step: by order
    ([0, 1, 5], "{}_frame.jpg", [0, 1, 2]),
    ([20230101120000, 20230101120001], "{}.jpg", [0, 1]),
])  # fmt: skip
def test_numbers_in_names(tmp_path: Path, numbers: list[int], pattern: str, stamps: list[int]) -> None:
    write(tmp_path, "abc", numbers, pattern)
    source = open_source("opendv", tmp_path, licence="test")
    assert [f.stamp_ns // 10**8 for f in source.frames(source.drives()[0])] == stamps


def test_head_and_tail_are_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path, "abc", list(range(20)))
    source = open_source("opendv", tmp_path, licence="test", head_s=0.5, tail_s=0.3, rate_hz=5.0)
    assert source.drives()[0].frames_expected == 12
    assert [f.stamp_ns // 10**8 for f in source.frames(source.drives()[0])] == [5, 7, 9, 11, 13, 15]
    assert [(s.what.split(" from")[0], s.why) for s in source.skipped] == [
        ("video_abc: 5 frames", "in the first 0.5 s of the video"),
        ("video_abc: 3 frames", "in the last 0.3 s of the video"),
    ]


def test_a_list_of_videos(tmp_path: Path) -> None:
    for video in ("@abc", "-ghi", "other"):
        write(tmp_path / "frames", video, [0])
    (tmp_path / "val.json").write_text(json.dumps(["-abc", "-ghi", "gone"]))
    source = open_source("opendv", tmp_path / "frames", licence="test", videos=str(tmp_path / "val.json"))
    assert [d.name for d in source.drives()] == ["video_@abc", "video_@ghi"]
    assert [s.what for s in source.skipped] == ["video_gone"]
    with pytest.raises(DataError, match="expected a JSON file with a list of names"):
        open_source("opendv", tmp_path / "frames", videos=str(tmp_path / "frames"))


def test_what_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one folder of frames a video"):
        open_source("opendv", tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path, "full", [1])
    with pytest.raises(DataError, match=r"empty: no frames .*--skip-bad"):
        open_source("opendv", tmp_path).drives()
    source = open_source("opendv", tmp_path, skip_bad=True)
    assert ([d.name for d in source.drives()], [s.what for s in source.skipped]) == (["video_full"], ["video_empty"])
    with pytest.raises(DataError, match="expected a positive rate"):
        open_source("opendv", tmp_path, hz=0.0)


def test_import_to_a_token_set(tmp_path: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "frames", "-abc", [0, 1, 2, 3, 6])
    arguments = ["data", "import", "--source", "opendv", "--path", str(tmp_path / "frames"), "--tokenizer", str(model_dir), "--out", str(tmp_path / "set")]
    assert main(arguments) == 2
    assert "give --licence" in capsys.readouterr().err
    assert main([*arguments, "--licence", "test", "--rear-axle-x", "1"]) == 2
    assert "source opendv: got the options rear_axle_x_m" in capsys.readouterr().err
    assert main([*arguments, "--licence", "test"]) == 0
    dataset = TokenDataset.open(tmp_path / "set")
    assert (dataset.drive_names, dataset.drive_lengths, dataset.has_motion) == (("video_@abc",), (5,), (False,))
    assert dataset.rows(0).camera_id == "resize:128x72"
    assert dataset.rows(0).stamp_ns[-1] == 600_000_000
    assert [s.why.split(":")[0] for s in dataset.manifest.skipped] == ["its file is missing"]
