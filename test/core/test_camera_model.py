"""Camera models: CameraInfo and YAML in, binning and region of interest, mountings and their precedence, canonical cameras."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.core.camera import CANONICAL_CAMERAS, CameraModel, CanonicalCamera, Mount, Roi, choose_mount, mount_from_dict
from vavam_ros.core.contracts import CameraError

K = [1000.0, 0.0, 640.0, 0.0, 1000.0, 360.0, 0.0, 0.0, 1.0]
INFO = {"width": 1280, "height": 720, "distortion_model": "plumb_bob", "d": [-0.1, 0.01, 0, 0, 0], "k": K, "frame_id": "cam"}
CONFIG = Path(__file__).parents[2] / "config" / "cameras"


def info(**changes) -> CameraModel:
    return CameraModel.from_camera_info_fields(**(INFO | changes))


def test_plain_camera_info():
    camera = info()
    assert (camera.name, camera.frame_id, camera.image_hw, camera.distortion_model) == ("cam", "cam", (720, 1280), "plumb_bob")
    assert np.array_equal(camera.lens.K.ravel(), K)
    assert camera.T_ego_camera is None


def test_region_of_interest_moves_the_principal_point():
    camera = info(roi=Roi(x=100, y=40, width=800, height=600))
    assert camera.image_hw == (600, 800)
    assert camera.lens.K[:2, 2].tolist() == [540.0, 320.0]


def test_binning_scales_and_zero_means_one():
    camera = info(binning_x=2, binning_y=4, roi=Roi(x=100, y=40, width=800, height=600))
    assert camera.image_hw == (150, 400)
    # the first binned pixel is the mean of pixels 0 and 1 (0 … 3): its centre is at 0.5 (1.5) of the unbinned picture
    assert np.allclose(camera.lens.K, [[500, 0, (540 - 0.5) / 2], [0, 250, (320 - 1.5) / 4], [0, 0, 1]])
    assert info(binning_x=0, binning_y=0).same_as(info(binning_x=1, binning_y=1))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": [0.0] * 9}, "uncalibrated.*camera_mode: resize"),
        ({"k": [float("nan")] * 9}, "finite"),
        ({"k": K[:8]}, "nine"),
        ({"k": [-1000.0, *K[1:]]}, "fx, fy > 0"),
        ({"k": [*K[:8], 2.0]}, "last row"),
        ({"width": 0}, "0×720"),
        ({"roi": Roi(x=1000, width=800, height=720)}, "do not fit a sensor of 1280×720"),
        ({"distortion_model": "omni"}, "'omni'"),
    ],
)
def test_camera_info_that_cannot_be_used(changes, text):
    with pytest.raises(CameraError, match=text):
        info(**changes)


def test_rectified_pictures_use_p_and_r():
    T = Mount(z_m=1.5, yaw_rad=0.1).T_ego_camera
    angle = 0.05
    r = [math.cos(angle), 0, math.sin(angle), 0, 1, 0, -math.sin(angle), 0, math.cos(angle)]  # rectified axes: turned about y (down)
    camera = info(rectified=True, p=[900.0, 0, 630, 0, 0, 900, 350, 0, 0, 0, 1, 0], r=r, T_ego_camera=T)
    assert (camera.distortion_model, camera.K[0, 0], camera.K[0, 2]) == ("none", 900, 630)
    assert np.allclose(camera.T_ego_camera[:3, :3] @ np.reshape(r, (3, 3)), T[:3, :3])
    with pytest.raises(CameraError, match="P"):
        info(rectified=True)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"k": [1000.0002, *K[1:]]}, True),
        ({"k": [1000.2, *K[1:]]}, False),
        ({"d": [-0.1001, 0.01, 0, 0, 0]}, False),
        ({"d": [0.0] * 5}, False),
        ({"width": 1281}, False),
        ({"binning_x": 2}, False),
        ({"roi": Roi(x=2, y=0, width=1278, height=720)}, False),
        ({"frame_id": "renamed"}, True),
        ({"T_ego_camera": Mount(z_m=1.5).T_ego_camera}, False),
    ],
)
def test_change_detection(changes, same):
    assert info().same_as(info(**changes)) is same
    assert not info().same_as(None)


def test_change_detection_of_the_mounting():
    a = info(T_ego_camera=Mount(z_m=1.5).T_ego_camera)
    assert a.same_as(info(T_ego_camera=Mount(z_m=1.5005, pitch_rad=5e-5).T_ego_camera))
    assert not a.same_as(info(T_ego_camera=Mount(z_m=1.5, roll_rad=0.001).T_ego_camera))
    assert not a.same_as(info(T_ego_camera=Mount(z_m=1.51).T_ego_camera))


def test_a_level_mount_looks_along_x_with_y_right_and_z_down():
    T = Mount(x_m=1.7, y_m=0.1, z_m=1.5).T_ego_camera
    assert T[:3, 3].tolist() == [1.7, 0.1, 1.5]
    assert np.allclose(T[:3, :3] @ np.eye(3), np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]))  # columns: image right, image down, view


@pytest.mark.parametrize(
    ("mount", "axis", "expected"),
    [
        (Mount(z_m=0, yaw_rad=0.1), 2, [math.cos(0.1), math.sin(0.1), 0]),  # looks left
        (Mount(z_m=0, pitch_rad=0.1), 2, [math.cos(0.1), 0, -math.sin(0.1)]),  # looks down
        (Mount(z_m=0, roll_rad=0.1), 0, [0, -math.cos(0.1), -math.sin(0.1)]),  # right side down
        (Mount(z_m=0, pitch_rad=math.pi / 2, yaw_rad=0.3), 2, [0, 0, -1]),  # pitch before yaw
    ],
)
def test_positive_angles(mount, axis, expected):
    assert np.allclose(mount.T_ego_camera[:3, axis], expected)


def test_mount_round_trip():
    mount = Mount(x_m=1.0, y_m=-0.2, z_m=1.4, roll_rad=0.02, pitch_rad=-0.1, yaw_rad=0.3)
    back = Mount.from_matrix(mount.T_ego_camera)
    assert np.allclose([getattr(back, k) for k in Mount.__slots__], [getattr(mount, k) for k in Mount.__slots__])


def test_mount_block_by_angles_and_by_quaternion():
    by_angle = mount_from_dict({"x_m": 1, "z_m": 1.5, "yaw_rad": 0.2})
    half = 0.1
    # the optical frame of a level camera is (−½, ½, −½, ½); turned left by 0.2: qz · q
    level, turn = np.array([-0.5, 0.5, -0.5, 0.5]), np.array([0, 0, math.sin(half), math.cos(half)])
    (x1, y1, z1, w1), (x2, y2, z2, w2) = turn, level
    q = [
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
    ]
    assert np.allclose(mount_from_dict({"x_m": 1, "z_m": 1.5, "optical_quat_xyzw": q}), by_angle)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"x_m": 1}, "z_m missing"),
        ({"z_m": 1, "pitch_deg": 3}, "pitch_deg"),
        ({"z_m": "high"}, "numbers"),
        ({"z_m": float("nan")}, "finite"),
        ({"z_m": 1, "optical_quat_xyzw": [0, 0, 0, 2]}, "norm 1"),
        ({"z_m": 1, "optical_quat_xyzw": [0, 0, 1]}, "four numbers"),
        ({"z_m": 1, "yaw_rad": 0.1, "optical_quat_xyzw": [0, 0, 0, 1]}, "both"),
    ],
)
def test_mount_block_that_cannot_be_meant(block, text):
    with pytest.raises(CameraError, match=text):
        mount_from_dict(block)


def test_the_parameter_beats_tf_and_tf_beats_the_file():
    a, b, c = (Mount(z_m=z).T_ego_camera for z in (1.0, 2.0, 3.0))
    for given, source, z in (
        ({"parameter": a, "tf": b, "yaml": c}, "parameter", 1.0),
        ({"tf": b, "yaml": c}, "tf", 2.0),
        ({"yaml": c}, "yaml", 3.0),
        ({"parameter": a, "yaml": c}, "parameter", 1.0),
    ):
        choice = choose_mount(**given)
        assert choice is not None
        assert (choice.source, choice.T_ego_camera[2, 3]) == (source, z)
    assert choose_mount() is None
    with pytest.raises(CameraError, match="TF"):
        choose_mount(tf=np.diag([1.0, 1.0, -1.0, 1.0]))


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda p: p.stem)
def test_bundled_camera_files_load(path):
    camera = CameraModel.from_yaml(path)
    assert camera.name == path.stem
    assert camera.T_ego_camera is not None
    assert camera.T_ego_camera[0, 2] > 0.95  # looks ahead


def test_bundled_camera_files_are_there():
    assert len(list(CONFIG.glob("*.yaml"))) >= 3


def test_calibration_yaml(tmp_path):
    """The layout that camera_calibration writes, without and with our mount block."""
    text = (
        "image_width: 1280\nimage_height: 720\ncamera_name: front\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
        f"  data: {K}\ndistortion_model: plumb_bob\ndistortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [-0.1, 0.01, 0, 0, 0]\n"
        "rectification_matrix:\n  rows: 3\n  cols: 3\n  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n"
    )
    path = tmp_path / "front.yaml"
    path.write_text(text, encoding="utf-8")
    assert CameraModel.from_yaml(path).same_as(info())
    path.write_text(text + "mount: {x_m: 1.0, z_m: 1.5, pitch_rad: 0.1}\n", encoding="utf-8")
    assert CameraModel.from_yaml(path).same_as(info(T_ego_camera=Mount(x_m=1.0, z_m=1.5, pitch_rad=0.1).T_ego_camera))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_width: 3", "image_height"),
        ("- 1", "list"),
        ("a: [", "cannot be read"),
        ("image_width: wide\nimage_height: 3", "wide"),
        (f"image_width: 1\nimage_height: 1\ncamera_matrix: {K}", "layout"),
    ],
)
def test_camera_files_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CameraError, match=message) as e:
        CameraModel.from_yaml(path)
    assert "bad.yaml" in str(e.value)
    with pytest.raises(CameraError, match="cannot be read"):
        CameraModel.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize("camera", CANONICAL_CAMERAS.values(), ids=lambda c: c.name)
def test_canonical_cameras_survive_their_dict(camera):
    assert CanonicalCamera.from_dict(camera.to_dict()) == camera


def test_canonical_dict_is_strict():
    d = CANONICAL_CAMERAS["world_front"].to_dict()
    assert set(d) == {"name", "width", "height", "fx", "fy", "cx", "cy", "mount"}
    for bad, text in (
        ({k: v for k, v in d.items() if k != "fx"}, "missing keys .'fx'"),
        (d | {"f": 1}, "unknown .'f'"),
        (d | {"fx": "x"}, "world_front"),
        (d | {"mount": {"z": 1}}, "'z'"),
        (d | {"fx": 0.0}, "uncalibrated"),
        (d | {"name": ""}, "empty name"),
    ):
        with pytest.raises(CameraError, match=text):
            CanonicalCamera.from_dict(bad)


@pytest.mark.parametrize(("name", "fov_deg"), [("nuscenes_cam_front", 64.6), ("nuplan_cam_f0", 63.7), ("world_front", 64.0)])
def test_canonical_fields_of_view(name, fov_deg):
    camera = CANONICAL_CAMERAS[name]
    assert math.degrees(2 * math.atan(camera.width / 2 / camera.fx)) == pytest.approx(fov_deg, abs=0.1)
