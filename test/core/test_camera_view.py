"""Picture → the model's view: upstream's resize, the canonical camera itself, what a camera must see, and the tensor for the network."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vavam_ros.core.camera import (
    CANONICAL_CAMERAS,
    CameraModel,
    Mount,
    ViewTransform,
    effective_stamp_ns,
    resize_like_upstream,
    to_model_input,
)
from vavam_ros.core.contracts import CameraError, ConfigError, CoverageError

NUSCENES, NUPLAN, WORLD = (CANONICAL_CAMERAS[n] for n in ("nuscenes_cam_front", "nuplan_cam_f0", "world_front"))
OUT = (288, 512)
COARSE = (72, 128)  # enough for a refusal
GOLDEN = Path(__file__).parents[1] / "golden" / "camera"


def noise(hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)


def shifted(K: np.ndarray, right_px: float, down_px: float) -> np.ndarray:
    return K + np.array([[0, 0, right_px], [0, 0, down_px], [0, 0, 0]])


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
    coverage = ViewTransform(NUSCENES, COARSE, "warp", source, min_coverage=0.0).coverage
    assert 0.5 < coverage < 0.9
    with pytest.raises(CoverageError):
        ViewTransform(NUSCENES, COARSE, "warp", source)
    assert ViewTransform(NUSCENES, COARSE, "warp", source, min_coverage=coverage - 1e-3).coverage == coverage


def test_rays_beyond_the_fold_of_the_distortion_do_not_count_as_seen():
    """r(1 − 0.9 r²) turns at r = 0.61, inside the canonical view whose corner is at 0.77: without the guard those rays come back into the picture."""
    folded = ViewTransform(NUSCENES, COARSE, "warp", pinhole(1000.0, distortion_model="plumb_bob", D=np.array([-0.9, 0, 0, 0, 0])), min_coverage=0.0)
    u, v = np.meshgrid(np.arange(1600), np.arange(900))
    within = np.hypot((u - NUSCENES.cx) / NUSCENES.fx, (v - NUSCENES.cy) / NUSCENES.fy) < 1 / math.sqrt(2.7)
    assert folded.coverage == pytest.approx(within.mean(), abs=0.002)
    assert folded.coverage < 0.97


def test_a_body_frame_taken_for_an_optical_one_is_explained():
    T = np.eye(4)
    T[2, 3] = 1.5  # z up: the "camera" looks at the sky
    with pytest.raises(CoverageError, match=r"optical axis points to .*0.0, 0.0, 1.0.*Optical frames have z forward"):
        ViewTransform(NUSCENES, COARSE, "warp", pinhole(1000.0).mounted(T))


def test_warp_needs_a_camera_and_its_mounting():
    with pytest.raises(CameraError, match="camera_info"):
        ViewTransform(NUSCENES, COARSE, "warp")
    with pytest.raises(CameraError, match="mounting is not known"):
        ViewTransform(NUSCENES, COARSE, "warp", pinhole(1000.0).mounted(None))


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
        ViewTransform(NUSCENES, COARSE, "warp", wide, **limits)
    wider = {"max_pitch_rad": 0.3, "min_height_m": -1.0, "max_height_m": 9.0}
    assert ViewTransform(NUSCENES, COARSE, "warp", wide, **wider).coverage > 0.9


def test_pitch_is_counted_from_the_canonical_one():
    """nuPlan's camera looks 1.3° down by itself."""
    for pitch_rad, refused in ((0.07, False), (0.08, True), (-0.02, False), (-0.04, True)):
        source = pinhole(500.0, mount=Mount(z_m=1.5, pitch_rad=pitch_rad))
        if refused:
            with pytest.raises(CameraError, match="pitch"):
                ViewTransform(NUPLAN, COARSE, "warp", source, max_pitch_rad=0.05)
        else:
            assert ViewTransform(NUPLAN, COARSE, "warp", source, max_pitch_rad=0.05).canonical


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
