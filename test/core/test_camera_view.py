"""Picture → the model's view: upstream's resize, and a warp that a wrong sign or a transposed rotation would fail.

The source pictures are made here without the code under test: rotations written out with sines, projection by OpenCV, pixels averaged by hand.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vavam_ros.core.camera import (
    CANONICAL_CAMERAS,
    CameraModel,
    CanonicalCamera,
    Mount,
    Roi,
    ViewTransform,
    effective_stamp_ns,
    project_ego_points,
    resize_like_upstream,
    to_model_input,
)
from vavam_ros.core.contracts import CameraError, ConfigError, CoverageError

NUSCENES, NUPLAN, WORLD = (CANONICAL_CAMERAS[n] for n in ("nuscenes_cam_front", "nuplan_cam_f0", "world_front"))
OUT = (288, 512)
GOLDEN = Path(__file__).parents[1] / "golden" / "camera"


def noise(hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)


def shifted(K: np.ndarray, right_px: float, down_px: float) -> np.ndarray:
    return K + np.array([[0, 0, right_px], [0, 0, down_px], [0, 0, 0]])


def psnr_db(a: np.ndarray, b: np.ndarray, border: int = 16) -> float:
    inside = (slice(border, -border), slice(border, -border))
    return float(10 * np.log10(255**2 / ((a[inside].astype(float) - b[inside]) ** 2).mean()))


# --- upstream's resize -------------------------------------------------------------------------------------------------------------------------------


def recorder():
    spec = importlib.util.spec_from_file_location("camera_record", GOLDEN / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed_and_name", list(enumerate(recorder().CASES)), ids=lambda x: x[1])
def test_resize_equals_torchvision(seed_and_name):
    """Exact where torch resizes uint8 natively, as where the arrays were recorded; one level in at most 1 % of values elsewhere."""
    seed, name = seed_and_name
    record, golden = recorder(), np.load(GOLDEN / "resize.npz")
    source_hw, out_hw = record.CASES[name]
    out = resize_like_upstream(record.picture(source_hw, seed), out_hw).astype(int)
    assert out.shape == (*out_hw, 3)
    difference = np.concatenate([abs(out[record.CROP] - golden[f"{name}.crop"]).ravel(), abs(out[::5, ::5] - golden[f"{name}.strided"]).ravel()])
    if "AVX" in torch.backends.cpu.get_cpu_capability():
        assert difference.max() == 0
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.01


def test_resize_takes_read_only_and_strided_pictures():
    rgb = noise((90, 160))
    read_only = np.frombuffer(rgb.tobytes(), np.uint8).reshape(rgb.shape)
    padded = np.hstack([rgb, noise((90, 3))])[:, :160]
    for picture in (read_only, padded):
        assert np.array_equal(resize_like_upstream(picture, (30, 50)), resize_like_upstream(rgb, (30, 50)))
    with pytest.raises(CameraError, match="uint8"):
        resize_like_upstream(rgb.astype(np.float32), (30, 50))


def test_resize_mode_is_the_plain_resize_and_says_so():
    rgb = noise((480, 640))
    view = ViewTransform(NUSCENES, OUT, "resize")
    assert np.array_equal(view(rgb), resize_like_upstream(rgb, OUT))
    assert (view.canonical, view.coverage, view.horizon_row_px) == (False, 0.0, None)
    assert (view.camera_id, view.camera_id_of(rgb)) == ("resize:any", "resize:640x480")
    with pytest.raises(CameraError, match="calibration and mounting"):
        view.project(np.ones((1, 3)))
    with pytest.raises(ConfigError, match="'crop'"):
        ViewTransform(NUSCENES, OUT, "crop")


def test_resize_mode_with_a_camera_knows_its_geometry():
    source = CameraModel(name="s", width=640, height=480, K=np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), T_ego_camera=Mount(z_m=1.5).T_ego_camera)
    view = ViewTransform(NUSCENES, OUT, "resize", source)
    assert view.camera_id == "resize:640x480"
    assert view.project(np.array([[10.0, 1.0, 0.5]])) == pytest.approx(np.array([[(270.5) * 512 / 640 - 0.5, 290.5 * 288 / 480 - 0.5]]))
    assert view.horizon_row_px == pytest.approx(240.5 * 288 / 480 - 0.5)
    with pytest.raises(CameraError, match="picture of 320×240, but camera 's' makes 640×480"):
        view(noise((240, 320)))


# --- a picture that already is the model's -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("canonical", [NUSCENES, NUPLAN, WORLD], ids=lambda c: c.name)
@pytest.mark.parametrize("out_hw", [OUT, (144, 256)])
def test_the_canonical_camera_itself_is_only_resized(canonical, out_hw):
    elsewhere = canonical.model().T_ego_camera.copy()
    elsewhere[:3, 3] += [0.5, 0.3, -0.2]  # the place does not change what a picture shows
    view = ViewTransform(canonical, out_hw, "warp", canonical.model().mounted(elsewhere))
    rgb = noise((canonical.height, canonical.width))
    assert np.array_equal(view(rgb), resize_like_upstream(rgb, out_hw))
    assert view.is_identity
    assert (view.canonical, view.coverage, view.camera_id) == (True, 1.0, canonical.name)


def test_a_quarter_of_a_pixel_is_not_the_same_camera():
    K = shifted(NUSCENES.model().K, 0.25, 0)
    assert not ViewTransform(NUSCENES, OUT, "warp", replace(NUSCENES.model(), K=K)).is_identity


# --- scenes made without the code under test ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", RIGS)
@pytest.mark.parametrize("out_hw", [OUT, (144, 256)])
def test_a_point_lands_where_the_canonical_camera_would_see_it(name, out_hw):
    rig = RIGS[name]
    view = ViewTransform(NUSCENES, out_hw, "warp", rig.camera, min_coverage=0.7)
    for point in POINTS:
        expected = ideal_px(NUSCENES, point - np.array(rig.t), out_hw)
        assert np.abs(centre_px(view(rig.photograph(point))) - expected).max() < 0.5
        assert np.abs(view.project(point[None])[0] - expected).max() < 1e-6
        assert np.array_equal(project_ego_points(view, point[None]), view.project(point[None]))


@pytest.mark.parametrize("name", RIGS)
def test_a_point_lands_where_resize_mode_says(name):
    rig = RIGS[name]
    view = ViewTransform(NUSCENES, OUT, "resize", rig.camera)
    for point in POINTS:
        assert np.abs(centre_px(view(rig.photograph(point))) - view.project(point[None])[0]).max() < 0.5


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


@pytest.mark.parametrize(
    ("source", "pattern", "least_db"),
    [(s, p, db) for s in ("turned", "shifted", "full_hd") for p, db in ((zone_plate, 37), (checkerboard, 40), (road_detail, 38))] + [("uhd", zone_plate, 37)],
)
def test_a_warped_picture_equals_the_resized_canonical_one(source, pattern, least_db):
    """Nothing finer than the model's pixels may come through as a pattern, nothing coarser may be lost."""
    K = NUSCENES.model().K
    hw, K_source, rpy = {
        "turned": ((900, 1600), K, (0.01, 0.006, -0.004)),
        "shifted": ((900, 1600), shifted(K, 0.5, 0.5), (0, 0, 0)),
        "full_hd": ((1080, 1920), np.array([[1500.0, 0, 960], [0, 1500, 580], [0, 0, 1]]), (0, 0, 0)),
        "uhd": ((2160, 3840), np.array([[3000.0, 0, 1920], [0, 3000, 1160], [0, 0, 1]]), (0, 0, 0)),
    }[source]
    T = np.eye(4)
    T[:3, :3], T[2, 3] = rotation(*rpy), 1.5
    view = ViewTransform(NUSCENES, OUT, "warp", CameraModel(name="s", width=hw[1], height=hw[0], K=K_source, T_ego_camera=T))
    assert not view.is_identity
    warped = view(plane_picture(K_source, hw, rpy, pattern))
    assert psnr_db(warped, resize_like_upstream(plane_picture(K, (900, 1600), (0, 0, 0), pattern), OUT)) > least_db


# --- what a camera must see --------------------------------------------------------------------------------------------------------------------------


USUAL = Mount(z_m=1.5)


def pinhole(f: float, size: tuple[int, int] = (1600, 900), mount: Mount = USUAL, c: tuple[float, float] | None = None, **kwargs) -> CameraModel:
    c = c or ((size[0] - 1) / 2, (size[1] - 1) / 2)
    K = np.array([[f, 0, c[0]], [0, f, c[1]], [0, 0, 1]])
    return CameraModel(name="s", width=size[0], height=size[1], K=K, T_ego_camera=mount.T_ego_camera, **kwargs)


@pytest.mark.parametrize(("size", "share"), [((512, 288), 1.0), ((256, 288), 0.5), ((256, 144), 0.25), ((512, 72), 0.25)])
def test_coverage_is_a_share_of_the_canonical_view(size, share):
    """A sensor of the same focal length and a part of the size sees that part."""
    source = pinhole(WORLD.fx, size, c=(size[0] / 2, size[1] / 2))
    assert ViewTransform(WORLD, OUT, "warp", source, min_coverage=0.0).coverage == pytest.approx(share, abs=0.004)


def test_what_is_not_seen_is_black_and_what_is_seen_is_not():
    view = ViewTransform(WORLD, OUT, "warp", pinhole(WORLD.fx, (256, 144), c=(128, 72)), min_coverage=0.2)
    out = view(np.full((144, 256, 3), 200, np.uint8))[..., 0]
    assert (out[73:215, 129:383] == 200).all()  # one pixel in from the edge of what is seen, which is at 72:216, 128:384
    out[71:217, 127:385] = 0
    assert not out.any()


def test_the_narrow_udacity_camera_is_refused_under_warp_and_runs_under_resize():
    source = CameraModel.from_yaml(Path(__file__).parents[2] / "config" / "cameras" / "udacity_ch2_center.yaml")
    with pytest.raises(CoverageError, match=r"sees 10\.\d% of the view of nuscenes_cam_front, expected at least 90%.*20°×15°.*camera_mode: resize"):
        ViewTransform(NUSCENES, OUT, "warp", source)
    view = ViewTransform(NUSCENES, OUT, "resize", source)
    assert view.coverage == pytest.approx(0.105, abs=0.01)
    assert view.horizon_row_px == pytest.approx(210.5 * 288 / 480 - 0.5, abs=0.3)
    assert view(noise((480, 640))).shape == (288, 512, 3)


def test_min_coverage_is_a_limit_that_counts():
    source = pinhole(1500.0)
    coverage = ViewTransform(NUSCENES, OUT, "warp", source, min_coverage=0.0).coverage
    assert 0.5 < coverage < 0.9
    with pytest.raises(CoverageError):
        ViewTransform(NUSCENES, OUT, "warp", source)
    assert ViewTransform(NUSCENES, OUT, "warp", source, min_coverage=coverage - 1e-3).coverage == coverage


def test_rays_beyond_the_fold_of_the_distortion_do_not_count_as_seen():
    """r(1 − 0.9 r²) turns at r = 0.61, inside the canonical view whose corner is at 0.77: without the guard those rays come back into the picture."""
    folded = ViewTransform(NUSCENES, OUT, "warp", pinhole(1000.0, distortion_model="plumb_bob", D=np.array([-0.9, 0, 0, 0, 0])), min_coverage=0.0)
    u, v = np.meshgrid(np.arange(1600), np.arange(900))
    within = np.hypot((u - NUSCENES.cx) / NUSCENES.fx, (v - NUSCENES.cy) / NUSCENES.fy) < 1 / math.sqrt(2.7)
    assert folded.coverage == pytest.approx(within.mean(), abs=0.002)
    assert folded.coverage < 0.97


def test_a_body_frame_taken_for_an_optical_one_is_explained():
    T = np.eye(4)
    T[2, 3] = 1.5  # z up: the "camera" looks at the sky
    with pytest.raises(CoverageError, match=r"optical axis points to .*0.0, 0.0, 1.0.*Optical frames have z forward"):
        ViewTransform(NUSCENES, OUT, "warp", pinhole(1000.0).mounted(T))


def test_warp_needs_a_camera_and_its_mounting():
    with pytest.raises(CameraError, match="camera_info"):
        ViewTransform(NUSCENES, OUT, "warp")
    with pytest.raises(CameraError, match="mounting is not known"):
        ViewTransform(NUSCENES, OUT, "warp", pinhole(1000.0).mounted(None))


@pytest.mark.parametrize(
    ("mount", "limits", "text"),
    [
        (Mount(z_m=1.5, pitch_rad=0.2), {"max_pitch_rad": 0.15}, r"pitch: got 11.5°.*limit ±8.6°"),
        (Mount(z_m=1.5, pitch_rad=-0.2), {"max_pitch_rad": 0.15}, r"pitch: got -11.5°"),
        (Mount(z_m=0.0), {}, r"height: got 0.00 m"),
        (Mount(z_m=4.0), {}, r"height: got 4.00 m above the ego origin, expected 0.50 to 3.50 m"),
        (Mount(z_m=2.0), {"max_height_m": 1.9}, "height"),
        (Mount(z_m=1.0), {"min_height_m": 1.1}, "height"),
    ],
)
def test_mountings_outside_the_bands_are_refused(mount, limits, text):
    wide = pinhole(500.0, mount=mount)
    with pytest.raises(CameraError, match=text):
        ViewTransform(NUSCENES, OUT, "warp", wide, **limits)
    wider = {"max_pitch_rad": 0.3, "min_height_m": -1.0, "max_height_m": 9.0}
    assert ViewTransform(NUSCENES, OUT, "warp", wide, **wider).coverage > 0.9


def test_a_picture_of_another_size_is_refused():
    view = ViewTransform(NUSCENES, OUT, "warp", pinhole(1000.0, binning=(2, 2)))
    assert view(noise((450, 800))).shape == (288, 512, 3)
    with pytest.raises(CameraError, match="picture of 1600×900, but camera 's' makes 800×450"):
        view(noise((900, 1600)))


# --- into the network --------------------------------------------------------------------------------------------------------------------------------


def test_model_input_is_two_x_over_255_minus_one_channels_first():
    rgb = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2).copy()
    rgb[..., 1] = 255 - rgb[..., 1]
    x = to_model_input(rgb, torch.device("cpu"), torch.float32)
    assert x.shape == (1, 3, 1, 256)
    assert x.is_contiguous()
    assert x[0, 0, 0].tolist() == pytest.approx([2 * i / 255 - 1 for i in range(256)], abs=1e-6)
    assert (x[0, 0, 0, 0], x[0, 0, 0, 255], x[0, 1, 0, 0]) == (-1.0, 1.0, 1.0)
    half = to_model_input(rgb, torch.device("cpu"), torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, x.to(torch.bfloat16))


def test_no_tensor_lands_on_the_default_device():
    rgb, source = noise((90, 160)), pinhole(1000.0)
    with torch.device("meta"):
        view = ViewTransform(NUSCENES, OUT, "warp", source)
        assert view(noise((900, 1600))).any()
        assert resize_like_upstream(rgb, (30, 50)).any()
        assert to_model_input(rgb, torch.device("cpu"), torch.float32).device.type == "cpu"


@pytest.mark.parametrize(("offset_s", "moved_ns"), [(0.0, 0), (-0.05, -50_000_000), (0.0000000014, 1), (1.5, 1_500_000_000)])
def test_effective_stamp(offset_s, moved_ns):
    stamp_ns = 1_700_000_000_123_456_789  # a float would lose its last digits
    assert effective_stamp_ns(stamp_ns, offset_s) == stamp_ns + moved_ns
