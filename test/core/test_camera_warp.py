"""The warp against pictures made without the code under test: a wrong sign, a transposed rotation or a lost half pixel fails here.

Rotations are written out with sines, points are projected by OpenCV, pixels are averaged by hand.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from vavam_ros.core.camera import CANONICAL_CAMERAS, CameraModel, CanonicalCamera, Roi, ViewTransform, project_ego_points, resize_like_upstream

NUSCENES, NUPLAN = CANONICAL_CAMERAS["nuscenes_cam_front"], CANONICAL_CAMERAS["nuplan_cam_f0"]
OUT = (288, 512)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Optical axes in ego axes, by hand: Rz(yaw) Ry(pitch) Rx(roll), then optical → body."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    x_forward = np.array([cy * cp, sy * cp, -sp])
    y_left = np.array([cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, cp * sr])
    z_up = np.array([cy * sp * cr + sy * sr, sy * sp * cr - cy * sr, cp * cr])
    return np.stack([-y_left, -z_up, x_forward], axis=-1)


@dataclass(frozen=True)
class Rig:
    """A source camera, and how to photograph a point with it."""

    model: str = "none"
    d: tuple[float, ...] = ()
    rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)
    t: tuple[float, float, float] = (1.2, 0.2, 1.4)
    f: float = 1050.0
    size: tuple[int, int] = (1600, 1000)
    binning: tuple[int, int] = (1, 1)
    roi: tuple[int, int, int, int] | None = None  # x, y, width, height

    @property
    def K(self) -> np.ndarray:
        return np.array([[self.f, 0, self.size[0] / 2 + 7.3], [0, self.f * 1.01, self.size[1] / 2 - 11.6], [0, 0, 1]])

    @property
    def camera(self) -> CameraModel:
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = rotation(*self.rpy), self.t
        roi = Roi(x=self.roi[0], y=self.roi[1], width=self.roi[2], height=self.roi[3]) if self.roi else Roi()
        return CameraModel.from_camera_info_fields(
            width=self.size[0],
            height=self.size[1],
            distortion_model=self.model,
            d=self.d,
            k=self.K.ravel(),
            binning_x=self.binning[0],
            binning_y=self.binning[1],
            roi=roi,
            T_ego_camera=T,
        )

    def photograph(self, point: np.ndarray) -> np.ndarray:
        """A soft bright spot where the full sensor sees the point, then cropped and binned (mean of pixels), as a camera does."""
        xyz = (rotation(*self.rpy).T @ (point - np.array(self.t))).reshape(1, 1, 3)
        zero, d = np.zeros(3), np.array(self.d) if self.d else None
        px = (cv2.fisheye.projectPoints(xyz, zero, zero, self.K, d) if self.model == "equidistant" else cv2.projectPoints(xyz, zero, zero, self.K, d))[0]
        u, v = px.ravel()
        columns, rows = np.arange(self.size[0]), np.arange(self.size[1])
        spot = np.exp(-0.5 * ((columns - u) / 8) ** 2)[None, :] * np.exp(-0.5 * ((rows - v) / 8) ** 2)[:, None]
        x, y, w, h = self.roi or (0, 0, *self.size)
        spot = spot[y : y + h, x : x + w]
        bx, by = self.binning
        spot = spot[: h // by * by, : w // bx * bx].reshape(h // by, by, w // bx, bx).mean(axis=(1, 3))
        return np.repeat((240 * spot).astype(np.uint8)[..., None], 3, axis=2)


def centre_px(picture: np.ndarray) -> np.ndarray:
    weight = np.where(picture[..., 0] > 12, picture[..., 0].astype(float), 0.0)
    assert weight.any(), "the point is not in the picture"
    rows, columns = np.indices(weight.shape)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def ideal_px(canonical: CanonicalCamera, ray: np.ndarray, out_hw: tuple[int, int]) -> np.ndarray:
    """Where a level, straight, undistorted canonical camera sees a ray (forward, left, up), in its picture resized to out_hw."""
    u, v = canonical.cx - canonical.fx * ray[1] / ray[0], canonical.cy - canonical.fy * ray[2] / ray[0]
    return np.array([(u + 0.5) * out_hw[1] / canonical.width - 0.5, (v + 0.5) * out_hw[0] / canonical.height - 0.5])


BROWN = (-0.28, 0.09, 0.0011, -0.0007, -0.012)
RATIONAL = (0.35, 0.06, 0.0006, -0.0005, 0.004, 0.62, 0.11, 0.01)
FISHEYE = (-0.015, 0.004, -0.002, 0.0003)
RIGS = {
    "level": Rig(),
    "rolled": Rig(rpy=(0.09, 0, 0)),
    "pitched": Rig(rpy=(0, 0.07, 0)),
    "yawed": Rig(rpy=(0, 0, -0.08)),
    "all_three": Rig(rpy=(-0.06, 0.05, 0.07)),
    "plumb_bob": Rig("plumb_bob", BROWN, rpy=(0.04, -0.05, 0.03)),
    "rational": Rig("rational_polynomial", RATIONAL, rpy=(-0.05, 0.04, -0.03)),
    "equidistant": Rig("equidistant", FISHEYE, rpy=(0.05, 0.06, 0.1), f=700.0),
    "binned": Rig("plumb_bob", BROWN, rpy=(0.03, 0.04, -0.05), binning=(2, 2)),
    "binned_unequally": Rig(rpy=(0.03, 0.04, -0.05), binning=(1, 2)),
    "roi": Rig("plumb_bob", BROWN, rpy=(0.02, 0.03, -0.02), roi=(60, 90, 1480, 850)),
    "roi_and_binned": Rig("rational_polynomial", RATIONAL, rpy=(0.02, 0.02, -0.02), binning=(2, 2), roi=(60, 90, 1480, 850)),
    "sharper": Rig(rpy=(0.03, -0.02, 0.04), size=(3200, 2000), f=2100.0),
}
POINTS = [np.array(p) for p in ([22.0, 6.0, 0.0], [15.0, -5.0, 3.2], [30.0, 0.4, 0.0], [9.0, 3.1, 0.1])]


@pytest.mark.parametrize(("name", "out_hw"), [(name, OUT) for name in RIGS] + [("all_three", (144, 256)), ("sharper", (144, 256))])
def test_a_point_lands_where_the_canonical_camera_would_see_it(name, out_hw):
    rig = RIGS[name]
    view = ViewTransform(NUSCENES, out_hw, "warp", rig.camera, min_coverage=0.7)
    errors_px = []
    for point in POINTS:
        expected = ideal_px(NUSCENES, point - np.array(rig.t), out_hw)
        errors_px.append(centre_px(view(rig.photograph(point))) - expected)
        assert np.abs(view.project(point[None])[0] - expected).max() < 1e-6
        assert np.array_equal(project_ego_points(view, point[None]), view.project(point[None]))
    assert np.abs(errors_px).max() < 0.12  # a spot that the lens stretches has its centre a little off
    assert np.abs(np.mean(errors_px, axis=0)).max() < 0.03  # no half pixel anywhere


@pytest.mark.parametrize("name", RIGS)
def test_a_point_lands_where_resize_mode_says(name):
    rig = RIGS[name]
    view = ViewTransform(NUSCENES, OUT, "resize", rig.camera)
    for point in POINTS:
        assert np.abs(centre_px(view(rig.photograph(point))) - view.project(point[None])[0]).max() < 0.05


def test_a_distorted_canonical_camera_is_met_with_its_distortion():
    """nuPlan's pictures are not rectified: an ideal source has to be bent to them."""
    rig = Rig(rpy=(0.02, 0.01, 0.03), f=1000.0, size=(1920, 1200))
    view = ViewTransform(NUPLAN, OUT, "warp", rig.camera)
    K = np.array([[NUPLAN.fx, 0, NUPLAN.cx], [0, NUPLAN.fy, NUPLAN.cy], [0, 0, 1]])
    for point in POINTS:
        xyz = rotation(0, NUPLAN.mount.pitch_rad, 0).T @ (point - np.array(rig.t))
        native = cv2.projectPoints(xyz.reshape(1, 3), np.zeros(3), np.zeros(3), K, np.array(NUPLAN.d))[0].ravel()
        expected = (native + 0.5) / 3.75 - 0.5
        assert np.abs(centre_px(view(rig.photograph(point))) - expected).max() < 0.5
        assert np.abs(view.project(point[None])[0] - expected).max() < 1e-6


def test_projection_into_the_ideal_canonical_camera():
    point = np.array([20.0, -2.0, 0.0])
    ray = point - [NUSCENES.mount.x_m, 0, NUSCENES.mount.z_m]
    assert project_ego_points(NUSCENES, point[None], OUT)[0] == pytest.approx(ideal_px(NUSCENES, ray, OUT))
    assert project_ego_points(NUSCENES, point[None])[0] == pytest.approx(ideal_px(NUSCENES, ray, (900, 1600)))
    assert np.isnan(project_ego_points(NUSCENES, np.array([[-5.0, 0.0, 0.0]]), OUT)).all()


def sky_and_ground(rig: Rig) -> np.ndarray:
    """An undistorted picture of a flat world: white above the horizon, black below."""
    u, v = np.meshgrid(np.arange(rig.size[0]), np.arange(rig.size[1]))
    rays = np.stack([(u - rig.K[0, 2]) / rig.K[0, 0], (v - rig.K[1, 2]) / rig.K[1, 1], np.ones_like(u, float)], axis=-1)
    return np.repeat(np.where(rays @ rotation(*rig.rpy)[2] > 0, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("mode", ["warp", "resize"])
@pytest.mark.parametrize("rpy", [(0, 0, 0), (0.08, 0.06, 0.05), (-0.08, -0.05, 0.1)])
def test_the_horizon_is_where_it_is_drawn(mode, rpy):
    rig = Rig(rpy=rpy)
    view = ViewTransform(NUSCENES, OUT, mode, rig.camera, min_coverage=0.7)
    sky = view(sky_and_ground(rig))[..., 0] > 127
    column = sky[:, 255:257].mean(axis=1)
    edge = float(column.sum()) - 0.5 - (0 if column[0] else 99)  # rows of sky, from the top
    assert view.horizon_row_px == pytest.approx(edge, abs=0.75)
    if mode == "warp":
        assert view.horizon_row_px == pytest.approx((NUSCENES.cy + 0.5) / 3.125 - 0.5, abs=1e-6)


# --- sharpness and aliasing --------------------------------------------------------------------------------------------------------------------------


def shifted(K: np.ndarray, right_px: float, down_px: float) -> np.ndarray:
    return K + np.array([[0, 0, right_px], [0, 0, down_px], [0, 0, 0]])


def psnr_db(a: np.ndarray, b: np.ndarray, border: int = 16) -> float:
    inside = (slice(border, -border), slice(border, -border))
    return float(10 * np.log10(255**2 / ((a[inside].astype(float) - b[inside]) ** 2).mean()))


def plane_picture(K: np.ndarray, hw: tuple[int, int], rpy: tuple[float, float, float], pattern) -> np.ndarray:
    """A pattern of (left/forward, up/forward) as an ideal camera with square pixels sees it: 2 × 2 samples a pixel."""
    total = np.zeros(hw)
    for du in (-0.25, 0.25):
        for dv in (-0.25, 0.25):
            u, v = np.meshgrid(np.arange(hw[1]) + du, np.arange(hw[0]) + dv)
            rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1) @ rotation(*rpy).T
            total += pattern(rays[..., 1] / rays[..., 0], rays[..., 2] / rays[..., 0])
    return np.repeat(np.clip(np.round(127.5 + 110 * total / 4), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def zone_plate(a, b):
    return np.cos(2 * np.pi * (a * a + b * b) * 1266 * 0.78)  # reaches the source's Nyquist frequency half way to the side


def road_detail(a, b):
    return np.cos(2 * np.pi * (a * a + b * b) * 1266 * 0.15)  # stays below the model's Nyquist frequency


def checkerboard(a, b):
    return np.sign(np.sin(np.pi * a * 633) * np.sin(np.pi * b * 633))  # squares of two canonical pixels


@functools.cache
def resized_canonical(pattern) -> np.ndarray:
    return resize_like_upstream(plane_picture(NUSCENES.model().K, (900, 1600), (0, 0, 0), pattern), OUT)


@pytest.mark.parametrize(
    ("source", "pattern", "least_db"),
    [(s, p, db) for s in ("turned", "shifted", "full_hd") for p, db in ((zone_plate, 37), (checkerboard, 40), (road_detail, 38))] + [("fine", zone_plate, 37)],
)
def test_a_warped_picture_equals_the_resized_canonical_one(source, pattern, least_db):
    """Nothing finer than the model's pixels may come through as a pattern, nothing coarser may be lost."""
    K = NUSCENES.model().K
    hw, K_source, rpy = {
        "turned": ((900, 1600), K, (0.01, 0.006, -0.004)),
        "shifted": ((900, 1600), shifted(K, 0.5, 0.5), (0, 0, 0)),
        "full_hd": ((1080, 1920), np.array([[1500.0, 0, 960], [0, 1500, 580], [0, 0, 1]]), (0, 0, 0)),
        "fine": ((1620, 2880), np.array([[2250.0, 0, 1440], [0, 2250, 870], [0, 0, 1]]), (0, 0, 0)),
    }[source]
    T = np.eye(4)
    T[:3, :3], T[2, 3] = rotation(*rpy), 1.5
    view = ViewTransform(NUSCENES, OUT, "warp", CameraModel(name="s", width=hw[1], height=hw[0], K=K_source, T_ego_camera=T))
    assert not view.is_identity
    warped = view(plane_picture(K_source, hw, rpy, pattern))
    assert psnr_db(warped, resized_canonical(pattern)) > least_db
