"""A car on a circle that takes pictures of one lamp: what the sources of real data must give back, whatever layout it was written in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from transforms3d.euler import euler2quat
from transforms3d.quaternions import quat2mat

from vavam_ros.core.camera import CameraModel
from vavam_ros.core.contracts import F64, U8
from vavam_training.contracts import Frame

RADIUS_M, SPEED_MPS = 20.0, 5.0
LAMP_M: F64 = np.array([18.0, 6.0, 1.8])  # in the world


def pose(t_s: float) -> tuple[F64, F64]:
    """Position (3,) and quaternion w x y z of the ego frame: a circle to the left, leaning a little."""
    angle = t_s * SPEED_MPS / RADIUS_M
    return np.array([RADIUS_M * np.sin(angle), RADIUS_M * (1.0 - np.cos(angle)), 0.1]), np.asarray(euler2quat(0.02, -0.01, angle))


def write_picture(path: Path, t_s: float, size: tuple[int, int], K: F64, D: Sequence[float], mount: tuple[F64, F64]) -> None:
    """The lamp as a white disc on grey, projected by OpenCV. `mount`: position and quaternion w x y z of the camera's optical axes in ego."""
    xyz, wxyz = pose(t_s)
    in_ego = quat2mat(wxyz).T @ (LAMP_M - xyz)
    in_camera = quat2mat(mount[1]).T @ (in_ego - mount[0])
    assert in_camera[2] > 1.0
    px = cv2.projectPoints(in_camera[None], np.zeros(3), np.zeros(3), K, np.asarray(D, np.float64))[0].reshape(2)
    rgb = np.full((size[1], size[0], 3), 60, np.uint8)
    rgb[::8] += np.uint8(20 * (t_s % 5))
    cv2.circle(rgb, tuple(round(float(v) * 16) for v in px), 4 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb, [cv2.IMWRITE_JPEG_QUALITY, 95])


def lamp_px(rgb: U8) -> F64:
    """Where the lamp is in a picture."""
    weight = np.clip(rgb.astype(np.float64).mean(axis=2) - 150.0, 0.0, None)
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def expected_px(camera: CameraModel, frame: Frame) -> F64:
    """Where the lamp must be, by what the source says of camera and pose."""
    assert frame.position_m is not None
    assert frame.rotation_wxyz is not None
    assert camera.T_ego_camera is not None
    in_ego = quat2mat(frame.rotation_wxyz).T @ (LAMP_M - frame.position_m)
    T = camera.T_ego_camera
    return camera.lens.project(((in_ego - T[:3, 3]) @ T[:3, :3])[None])[0]
