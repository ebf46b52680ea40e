"""nuPlan's logs as drives."""

from __future__ import annotations

import os
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import fake_drives
import numpy as np
import pytest

from vavam_training.cli.main import main
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.sources import open_source

START_US, SIZE = 1_620_858_198_150_000, (480, 270)
K = np.array([[386.25, 0.0, 239.6], [0.0, 386.25, 139.6], [0.0, 0.0, 1.0]])
D = [-0.356123, 0.172545, -0.00213, 0.000464, -0.05231]
MOUNT = np.array([1.66, -0.01, 1.49]), np.array([0.5059, -0.5, 0.4981, -0.4959]) / np.linalg.norm([0.5059, -0.5, 0.4981, -0.4959])
LOG = "2021.05.12.22.00.38_veh-35_01008_01518"
SCHEMA = """
CREATE TABLE log (token BLOB, vehicle_name VARCHAR, logfile VARCHAR, location VARCHAR);
CREATE TABLE camera (token BLOB PRIMARY KEY, log_token BLOB, channel VARCHAR(64), model VARCHAR(64), translation BLOB, rotation BLOB, intrinsic BLOB,
    distortion BLOB, width INTEGER, height INTEGER);
CREATE TABLE ego_pose (token BLOB PRIMARY KEY, timestamp INTEGER, x FLOAT, y FLOAT, z FLOAT, qw FLOAT, qx FLOAT, qy FLOAT, qz FLOAT, vx FLOAT, vy FLOAT,
    vz FLOAT, log_token BLOB);
CREATE TABLE image (token BLOB PRIMARY KEY, next_token BLOB, prev_token BLOB, ego_pose_token BLOB, camera_token BLOB, filename_jpg VARCHAR(128),
    timestamp INTEGER);
CREATE TABLE scene (token BLOB PRIMARY KEY, log_token BLOB, name VARCHAR);
CREATE TABLE lidar_pc (token BLOB PRIMARY KEY, ego_pose_token BLOB, scene_token BLOB, filename VARCHAR, timestamp INTEGER);
"""


def token(n: int) -> bytes:
    return n.to_bytes(8, "big")


def write(root: Path, log: str = LOG, pictures: int = 6, *, calibration: dict[str, Any] | None = None, poses_until: int = 10**9) -> Path:
    """A log: poses every 50 ms, pictures of two cameras every 100 ms, 20 ms after a pose."""
    path = root / "nuplan-v1.1" / "splits" / "mini" / f"{log}.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    camera = {"translation": MOUNT[0].tolist(), "rotation": MOUNT[1].tolist(), "intrinsic": K.tolist(), "distortion": D}
    blobs = {k: v if isinstance(v, bytes) else pickle.dumps(v) for k, v in {**camera, **(calibration or {})}.items()}
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        for i, channel in enumerate(("CAM_F0", "CAM_B0")):
            values = (token(i), token(9), channel, "m", *(blobs[k] for k in ("translation", "rotation", "intrinsic", "distortion")), *SIZE)
            db.execute("INSERT INTO camera VALUES (?,?,?,?,?,?,?,?,?,?)", values)
        for i in range(min(2 * pictures, poses_until)):
            xyz, wxyz = fake_drives.pose(i * 0.05)
            db.execute("INSERT INTO ego_pose VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (token(100 + i), START_US + i * 50_000, *xyz.tolist(), *wxyz.tolist(), fake_drives.SPEED_MPS + 0.1 * i, 0.0, 0.0, token(9)))  # fmt: skip
        for i in reversed(range(pictures)):
            for j, channel in enumerate(("CAM_F0", "CAM_B0")):
                file = f"{log}/{channel}/{1000 + i:016x}.jpg"
                stamp_us = START_US + i * 100_000 + 20_000
                values = (token(1000 + 2 * i + j), None, None, token(100 + 2 * i), token(j), file, stamp_us)
                db.execute("INSERT INTO image VALUES (?,?,?,?,?,?,?)", values)
                if not j:
                    fake_drives.write_picture(root / "nuplan-v1.1" / "sensor_blobs" / file, i * 0.1 + 0.02, SIZE, K, D, MOUNT)
    db.close()
    return path


def test_a_point_of_the_world_is_where_camera_and_pose_say(tmp_path: Path) -> None:
    write(tmp_path)
    source = open_source("nuplan", tmp_path / "nuplan-v1.1" / "splits" / "mini")
    (drive,) = source.drives()
    assert (drive.name, drive.frames_expected) == (LOG, 6)
    assert drive.camera is not None
    np.testing.assert_allclose(drive.camera.D, D)
    frames = list(source.frames(drive))
    assert [f.stamp_ns for f in frames] == [(START_US + i * 100_000 + 20_000) * 1000 for i in range(6)]
    for i, f in enumerate(frames):
        xyz, wxyz = fake_drives.pose(i * 0.1 + 0.02)
        np.testing.assert_allclose(f.position_m, xyz, atol=1e-3)  # of the picture's own moment: the car moves 0.1 m in 20 ms
        np.testing.assert_allclose(f.rotation_wxyz, wxyz, atol=1e-5)
        assert f.speed_mps == pytest.approx(fake_drives.SPEED_MPS + 0.1 * (2 * i + 0.4))
        assert f.rgb is not None
        np.testing.assert_allclose(fake_drives.lamp_px(f.rgb), fake_drives.expected_px(drive.camera, f), atol=0.3)
    assert source.skipped == []


def test_calibrations_as_arrays_and_as_nuplans_own_lists(tmp_path: Path) -> None:
    own = b"\x80\x02cnuplan.database.common.data_types\nTranslation\n)\x81(G?\xf8\x00\x00\x00\x00\x00\x00K\x00K\x01e."
    path = write(tmp_path, pictures=1, calibration={"intrinsic": np.array(K), "distortion": np.array(D), "translation": own})
    camera = open_source("nuplan", path).drives()[0].camera
    assert camera is not None
    assert camera.T_ego_camera is not None
    assert camera.T_ego_camera[:3, 3].tolist() == [1.5, 0.0, 1.0]
    np.testing.assert_array_equal(camera.K, K)


class Runs:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.victim}",)


def test_a_calibration_that_would_run_something_is_refused_and_a_file_takes_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, pictures=2, calibration={"intrinsic": Runs(tmp_path / "ran")})
    with pytest.raises(DataError, match=r"asks for posix\.system.*camera_yaml=FILE"):
        open_source("nuplan", path).drives()
    source = open_source("nuplan", path, skip_bad=True)
    assert source.drives() == []
    assert "posix.system" in source.skipped[0].why
    calibration = tmp_path / "camera.yaml"
    numbers = ", ".join(map(str, K.reshape(-1).tolist()))
    text = f"image_width: {SIZE[0]}\nimage_height: {SIZE[1]}\ncamera_name: f0\ndistortion_model: plumb_bob\ncamera_matrix: {{data: [{numbers}]}}\n"
    calibration.write_text(f"{text}distortion_coefficients: {{data: {D}}}\n")
    with pytest.raises(DataError, match="nothing of where the camera is mounted"):
        open_source("nuplan", path, camera_yaml=calibration)
    calibration.write_text(f"{text}distortion_coefficients: {{data: {D}}}\nmount: {{x_m: 1.6, z_m: 1.5}}\n")
    (drive,) = open_source("nuplan", path, camera_yaml=str(calibration)).drives()
    assert drive.camera is not None
    assert drive.camera.name == "f0"
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path, poses_until=9)  # the last pose is 0.4 s after the first: pictures 4 and 5 come later
    blobs = tmp_path / "nuplan-v1.1" / "sensor_blobs" / LOG / "CAM_F0"
    sorted(blobs.iterdir())[0].unlink()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE ego_pose SET qw = 0, qx = 0, qy = 0, qz = 0 WHERE token = ?", (token(104),))
    db.close()
    source = open_source("nuplan", path)
    frames = list(source.frames(source.drives()[0]))
    assert [(f.stamp_ns // 1000 - START_US - 20_000) // 100_000 for f in frames] == [1, 2, 3]
    xyz, _ = fake_drives.pose(0.22)
    np.testing.assert_allclose(frames[1].position_m, xyz, atol=5e-3)  # between the poses on both sides of the refused one
    assert [(s.what.split(": ")[1].split(" from")[0], s.why.split(":")[0]) for s in source.skipped] == [
        ("1 frames", "ego_pose refused"), ("1 frames", "its file is missing"), ("2 frames", "no pose before and after it"),
    ]  # fmt: skip


def test_logs_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, pictures=1)
    damaged = path.with_name("damaged.db")
    damaged.write_bytes(b"SQLite format 3\x00" + b"\xff" * 4000)
    with pytest.raises(DataError, match=r"damaged\.db: .*expected a log of nuPlan.*--skip-bad"):
        open_source("nuplan", path.parent).drives()
    source = open_source("nuplan", path.parent, skip_bad=True)
    assert [d.name for d in source.drives()] == [LOG]
    assert [s.what for s in source.skipped] == ["damaged"]
    source = open_source("nuplan", path.parent, logs=[LOG, "other"])
    assert len(source.drives()) == 1
    assert source.skipped[0].what == "other"
    with pytest.raises(DataError, match="0 pictures and 0 calibrations of 'CAM_X'"):
        open_source("nuplan", path, channel="CAM_X").drives()
    twice = tmp_path / "nuplan-v1.1" / "splits" / "trainval" / path.name
    twice.parent.mkdir()
    twice.write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="give the folder of one split"):
        open_source("nuplan", tmp_path)
    with pytest.raises(DataError, match="no logs"):
        open_source("nuplan", tmp_path / "nuplan-v1.1" / "sensor_blobs")


def test_import_to_a_token_set(tmp_path: Path, model_dir: Path) -> None:
    path, out = write(tmp_path), tmp_path / "set"
    arguments = ["data", "import", "--source", "nuplan", "--path", str(path.parent), "--tokenizer", str(model_dir), "--out", str(out)]
    assert main([*arguments, "--camera", "nuplan_cam_f0"]) == 0
    dataset = TokenDataset.open(out)
    assert (dataset.drive_names, dataset.drive_lengths, dataset.rows(0).camera_id) == ((LOG,), (6,), "nuplan_cam_f0")
    np.testing.assert_allclose(dataset.rows(0).position_m[3], fake_drives.pose(0.32)[0], atol=1e-3)
