"""nuScenes' tables as drives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_drives
import numpy as np
import pytest

from vavam_ros.core.camera import Mount
from vavam_training.cli.main import main
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.sources import open_source
from vavam_training.sources.nuscenes import records

START_US, SIZE = 1_532_402_927_612_460, (320, 180)
K = np.array([[253.28, 0.0, 163.25], [0.0, 253.28, 98.3], [0.0, 0.0, 1.0]])
MOUNT = np.array([1.70, 0.02, 1.51]), np.array([0.4998, -0.503, 0.4997, -0.4975])
SWEEP_US = 83_333  # six to a key frame


def write(root: Path, scenes: tuple[str, ...] = ("scene-0001", "scene-0002"), key_frames: int = 3, **changes: Any) -> Path:
    """The tables and pictures; each scene has `key_frames` and five sweeps between two of them, and a lidar beside the camera."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")}
    tables["sensor"] = [{"token": "s0", "channel": "CAM_FRONT", "modality": "camera"}, {"token": "s1", "channel": "LIDAR_TOP", "modality": "lidar"}]
    mount = {"translation": MOUNT[0].tolist(), "rotation": (MOUNT[1] / np.linalg.norm(MOUNT[1])).tolist()}
    tables["calibrated_sensor"] = [
        {"token": "c0", "sensor_token": "s0", **mount, "camera_intrinsic": K.tolist()},
        {"token": "c1", "sensor_token": "s1", **mount, "camera_intrinsic": []},
    ]
    for number, scene in enumerate(scenes):
        tables["scene"].append({"token": f"t-{scene}", "name": scene, "log_token": "l", "description": "a [curve], {rain}\n"})
        for i in range(6 * (key_frames - 1) + 1):
            stamp_us = START_US + number * 10**9 + i * SWEEP_US
            sample, key = f"{scene}-{(i + 3) // 6}", i % 6 == 0
            if key:
                tables["sample"].append({"token": sample, "scene_token": f"t-{scene}", "timestamp": stamp_us})
            for sensor, calibration, folder, end in (("CAM_FRONT", "c0", "samples" if key else "sweeps", "jpg"), ("LIDAR_TOP", "c1", "samples", "bin")):
                token = f"{scene}-{sensor}-{i}"
                file = f"{folder}/{sensor}/{scene}-{i:03d}.{end}"
                xyz, wxyz = fake_drives.pose(i * SWEEP_US / 1e6)
                tables["ego_pose"].append({"token": token, "timestamp": stamp_us, "translation": xyz.tolist(), "rotation": wxyz.tolist()})
                tables["sample_data"].append({
                    "token": token, "sample_token": sample, "ego_pose_token": token, "calibrated_sensor_token": calibration, "timestamp": stamp_us,
                    "fileformat": end, "is_key_frame": key, "height": SIZE[1] if end == "jpg" else 0, "width": SIZE[0] if end == "jpg" else 0,
                    "filename": file, "prev": "", "next": "",
                })  # fmt: skip
                if sensor == "CAM_FRONT":
                    fake_drives.write_picture(root / file, i * SWEEP_US / 1e6, SIZE, K, [], (MOUNT[0], MOUNT[1] / np.linalg.norm(MOUNT[1])))
    tables["sample_data"].reverse()  # in no order
    for name, rows in {**tables, **changes}.items():
        (root / "v1.0-mini").mkdir(parents=True, exist_ok=True)
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows, indent=0))
    return root


def test_a_point_of_the_world_is_where_camera_and_pose_say(tmp_path: Path) -> None:
    source = open_source("nuscenes", write(tmp_path))
    drives = source.drives()
    assert [(d.name, d.frames_expected) for d in drives] == [("scene-0001", 3), ("scene-0002", 3)]
    camera = drives[0].camera
    assert camera is not None
    assert camera.T_ego_camera is not None
    assert abs(Mount.from_matrix(camera.T_ego_camera).pitch_rad) < 0.02
    frames = list(source.frames(drives[0]))
    assert [f.stamp_ns for f in frames] == [(START_US + i * 6 * SWEEP_US) * 1000 for i in range(3)]
    for i, f in enumerate(frames):
        np.testing.assert_allclose(f.position_m, fake_drives.pose(i * 6 * SWEEP_US / 1e6)[0])
        assert f.rgb is not None
        np.testing.assert_allclose(fake_drives.lamp_px(f.rgb), fake_drives.expected_px(camera, f), atol=0.3)
        assert f.speed_mps == pytest.approx(fake_drives.SPEED_MPS, rel=0.02)
    assert source.skipped == []
    assert "CC BY-NC-SA" in source.licence


def test_sweeps_are_the_pictures_between(tmp_path: Path) -> None:
    source = open_source("nuscenes", write(tmp_path), sweeps=True)
    stamps = [f.stamp_ns for f in source.frames(source.drives()[1])]
    assert np.diff(stamps).tolist() == [SWEEP_US * 1000] * 12
    thinned = open_source("nuscenes", tmp_path, sweeps=True, rate_hz=2.0)
    assert [f.stamp_ns for f in thinned.frames(thinned.drives()[1])] == stamps[::6]


def test_scenes_by_name_and_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "val.json").write_text(json.dumps(["scene-0002", "scene-0009"]))
    source = open_source("nuscenes", tmp_path, scenes=str(tmp_path / "val.json"))
    assert [d.name for d in source.drives()] == ["scene-0002"]
    assert [(s.what, s.why.split(" in ")[0]) for s in source.skipped] == [("scene-0009", "no such scene")]
    first = next((tmp_path / "samples" / "CAM_FRONT").glob("scene-0002-000.jpg"))
    first.unlink()
    second = tmp_path / "samples" / "CAM_FRONT" / "scene-0002-006.jpg"
    second.write_bytes(second.read_bytes()[:200])
    source = open_source("nuscenes", tmp_path, scenes=["scene-0002"])
    assert len(list(source.frames(source.drives()[0]))) == 1
    whys = [s.why for s in source.skipped]
    assert len(whys) == 2
    assert "its file is missing" in whys
    assert any("image" in w for w in whys)


def test_poses_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    write(tmp_path, scenes=("scene-0001",))
    path = tmp_path / "v1.0-mini" / "ego_pose.json"
    poses = [p for p in json.loads(path.read_text()) if p["token"] != "scene-0001-CAM_FRONT-0"]
    for p in poses:
        if p["token"] == "scene-0001-CAM_FRONT-6":
            p["rotation"] = [0.0, 0.0, 0.0, 0.0]
        if p["token"] == "scene-0001-CAM_FRONT-12":
            p["timestamp"] += 40_000
    path.write_text(json.dumps(poses))
    source = open_source("nuscenes", tmp_path)
    assert list(source.frames(source.drives()[0])) == []
    whys = [s.why for s in source.skipped]
    assert whys[:2] == ["its pose is missing from ego_pose", "its pose is of another moment"]
    assert "norm 0" in whys[2]


@pytest.mark.parametrize(
    ("table", "content", "said"),
    [
        ("ego_pose", "{}", r"ego_pose\.json: starts with '\{\}'"),
        ("ego_pose", '[{"token": "a", "timestamp": 1, "tra', r"ego_pose\.json: cut short or damaged"),
        ("ego_pose", '[{"token": "a"}, ?]', r"ego_pose\.json: a row 'a' without \['timestamp'"),
        ("sensor", "[]", "no calibration of a camera 'CAM_FRONT'"),
        ("sample", "[]", "which table sample does not have"),
        ("scene", "[1]", "expected objects"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, table: str, content: str, said: str) -> None:
    write(tmp_path, scenes=("scene-0001",), key_frames=1)
    (tmp_path / "v1.0-mini" / f"{table}.json").write_text(content)
    with pytest.raises(DataError, match=said):
        open_source("nuscenes", tmp_path).drives()


def test_a_camera_that_cannot_be_used_stops_or_is_listed(tmp_path: Path) -> None:
    write(tmp_path, scenes=("scene-0001",), key_frames=1)
    path = tmp_path / "v1.0-mini" / "calibrated_sensor.json"
    path.write_text(path.read_text().replace("253.28", "0.0"))
    with pytest.raises(DataError, match=r"uncalibrated.*--skip-bad"):
        open_source("nuscenes", tmp_path).drives()
    source = open_source("nuscenes", tmp_path, skip_bad=True)
    assert source.drives() == []
    assert [s.what for s in source.skipped] == ["scene-0001"]


def test_no_tables_or_too_many(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none; expected one"):
        open_source("nuscenes", tmp_path)
    write(tmp_path, scenes=("scene-0001",), key_frames=1)
    (tmp_path / "v1.0-trainval").mkdir()
    (tmp_path / "v1.0-trainval" / "sample_data.json").write_text("[]")
    with pytest.raises(DataError, match=r"v1\.0-mini, v1\.0-trainval; expected one"):
        open_source("nuscenes", tmp_path)
    assert len(open_source("nuscenes", tmp_path, version="v1.0-mini").drives()) == 1


def test_rows_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    rows = [{"token": str(i), "text": "é, ]}" * (1 + 40_000 * (i % 7))} for i in range(30)]
    (tmp_path / "t.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    assert list(records(tmp_path / "t.json")) == rows


def test_import_to_a_token_set(tmp_path: Path, model_dir: Path) -> None:
    out = tmp_path / "set"
    write(tmp_path / "nuscenes", key_frames=3)
    arguments = ["data", "import", "--source", "nuscenes", "--path", str(tmp_path / "nuscenes"), "--tokenizer", str(model_dir), "--out", str(out)]
    assert main([*arguments, "--camera", "nuscenes_cam_front", "--option", "sweeps=true", "--rate-hz", "4"]) == 0
    dataset = TokenDataset.open(out)
    assert (dataset.manifest.source, dataset.manifest.domain, dataset.drive_lengths) == ("nuscenes", "real", (5, 5))
    assert "CC BY-NC-SA" in dataset.manifest.licence
    assert main([*arguments[:-1], str(tmp_path / "resized"), "--camera-mode", "resize"]) == 0
    assert TokenDataset.open(tmp_path / "resized").rows(0).camera_id == "resize:320x180"
    rows = dataset.rows(0)
    assert rows.camera_id == "nuscenes_cam_front"
    assert rows.has_motion
    assert len(np.unique(rows.tokens)) > 1
