"""From a decoded picture to the picture the model looks at. The one transform that run time and training share.

    source picture ─ (shrink) ─ remap: undistort + rotate + canonical intrinsics ─▶ canonical picture ─ resize_like_upstream ─▶ (H, W, 3)

``warp`` renders what the canonical camera would have seen from where the source camera is: its rotation and lens are exchanged, its place is not
(a picture does not say how far things are; `ViewTransform` refuses heights outside a band instead). The rendering has three times the model's
resolution, so that the reduction to the model's size is upstream's own antialiased resize; a source that is finer than the rendering is shrunk to
it first, antialiased as well. A source that already is the canonical camera goes through the resize alone, bit for bit.

``resize`` stretches the picture to the model's size as upstream does with any picture, and marks it as not canonical.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from vavam_ros.core.camera.camera_model import CameraModel, CanonicalCamera, Mount
from vavam_ros.core.camera.lens import Lens
from vavam_ros.core.contracts import F64, NS_PER_S, U8, CameraError, ConfigError, CoverageError

_SAME_PX = 1 / 64  # the remap rounds to 1/32 pixel: less than half of it moves nothing
_OVERSAMPLING = 3  # rendered pixels per output pixel; less loses up to 7 dB against the directly resized canonical picture, more costs time only
_FINER = 1.25  # a source with more pixels than this per rendered pixel is shrunk first; bilinear sampling would alias

MIN_COVERAGE, MAX_PITCH_DEG, MIN_HEIGHT_M, MAX_HEIGHT_M = 0.9, 20.0, 0.5, 3.5  # which cameras are accepted under warp


def resize_like_upstream(rgb: U8, out_hw: tuple[int, int]) -> U8:
    """(h, w, 3) uint8 → (H, W, 3) uint8: antialiased bilinear on integers, equal to torchvision's v2.functional.resize(antialias=True).

    Source: VideoActionModel vam/datalib/transforms.py (ResizeByFactor) and token_creator.py. Bit-equal on CPUs where torchvision too resizes uint8
    natively (x86 with AVX2); elsewhere torchvision goes through floats and differs by at most one level.
    """
    _check_rgb(rgb)
    if rgb.shape[:2] == tuple(out_hw):
        return rgb
    packed = np.require(rgb, requirements=["C", "W"])  # torch warns about memory it may not write to
    x = rearrange(torch.from_numpy(packed), "h w c -> 1 c h w")
    y = interpolate(x, size=tuple(out_hw), mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(rearrange(y, "1 c h w -> h w c").numpy())


def to_model_input(rgb: U8, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W) in [−1, 1]: 2·x/255 − 1, computed in float32 as upstream does, then cast."""
    _check_rgb(rgb)
    x = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(device)
    x = rearrange(x, "h w c -> 1 c h w").to(torch.float32, memory_format=torch.contiguous_format)
    return (2.0 * (x / 255.0) - 1.0).to(dtype)


def effective_stamp_ns(stamp_ns: int, offset_s: float) -> int:
    """The moment a picture shows: its stamp plus `image_time_offset_s`, in nanoseconds.

    The offset is negative when pictures are stamped late (on reception, or at the end of a read-out), positive when they are stamped before the
    exposure. It is also where the offset between two clocks goes. Odometry is then read at this moment, and everything downstream carries it.
    """
    return stamp_ns + round(offset_s * NS_PER_S)


class ViewTransform:
    """Brings pictures of one source camera to the model's view. Immutable: a changed camera needs a new one (`CameraModel.same_as`).

    Attributes: `coverage` share of the canonical view that the source sees (0 where that is unknown), `canonical` whether the output has the model's
    geometry, `camera_id` the canonical camera's name or "resize:<w>x<h>", `horizon_row_px` row of the horizon at the middle column of the output
    (None where the geometry is unknown), `lens` and `T_ego_view` of the output picture (None likewise).
    """

    def __init__(
        self,
        canonical: CanonicalCamera,
        out_hw: tuple[int, int],
        mode: Literal["warp", "resize"] = "warp",
        source: CameraModel | None = None,
        *,
        min_coverage: float = MIN_COVERAGE,
        max_pitch_rad: float = np.radians(MAX_PITCH_DEG),
        min_height_m: float = MIN_HEIGHT_M,
        max_height_m: float = MAX_HEIGHT_M,
    ) -> None:
        """`out_hw` in pixels. `max_pitch_rad` bounds the pitch between source and canonical camera, the heights bound the source's mounting.

        Raises CameraError for warp without a camera, without its mounting or outside the bands; CoverageError below `min_coverage`.
        """
        if mode not in ("warp", "resize"):
            raise ConfigError(f"camera_mode: got {mode!r}, expected warp or resize")
        self.canonical_camera, self.source, self.out_hw, self.mode = canonical, source, (int(out_hw[0]), int(out_hw[1])), mode
        self.canonical = mode == "warp"
        self._shrink_hw: tuple[int, int] | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        self.lens: Lens | None = None
        self.T_ego_view: F64 | None = None
        if mode == "warp":
            self._init_warp(canonical, source, min_coverage)
            assert source is not None
            assert source.T_ego_camera is not None
            _check_mount(Mount.from_matrix(source.T_ego_camera), canonical.mount, max_pitch_rad, min_height_m, max_height_m)
        else:
            self._init_resize(canonical, source)
        self.horizon_row_px = _horizon_row(self)

    def __call__(self, rgb: U8) -> U8:
        """(h, w, 3) uint8 of the source → (H, W, 3) uint8 for the model; black where a warped source sees nothing. Raises CameraError on another size."""
        _check_rgb(rgb)
        if self.source is not None and rgb.shape[:2] != self.source.image_hw:
            (h, w), (sh, sw) = rgb.shape[:2], self.source.image_hw
            raise CameraError(
                f"picture of {w}×{h}, but camera {self.source.name!r} makes {sw}×{sh} (size, binning and region of interest taken together). "
                "Give the calibration of this resolution, or the camera_info that belongs to this image topic"
            )
        if self._maps is not None:
            if self._shrink_hw is not None:
                rgb = resize_like_upstream(rgb, self._shrink_hw)
            rgb = np.asarray(cv2.remap(rgb, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)
        return resize_like_upstream(rgb, self.out_hw)

    @property
    def camera_id(self) -> str:
        """What token frames are labelled with. In resize mode without a source camera the size is not known beforehand: see `camera_id_of`."""
        if self.canonical:
            return self.canonical_camera.name
        return "resize:any" if self.source is None else _resize_id(self.source.image_hw)

    def camera_id_of(self, rgb: U8) -> str:
        """The label of this picture's tokens."""
        return self.canonical_camera.name if self.canonical else _resize_id((rgb.shape[0], rgb.shape[1]))

    @property
    def is_identity(self) -> bool:
        """Whether the source already is the canonical camera, so that pictures are only resized."""
        return self.canonical and self._maps is None

    def project(self, xyz_ego_m: F64) -> F64:
        """Points (N, 3) in the ego frame → pixels (N, 2) of the output; NaN where they are not in front of the camera. Raises CameraError
        where the output's geometry is unknown (resize without a calibrated and mounted camera)."""
        if self.lens is None or self.T_ego_view is None:
            raise CameraError("this view has no known geometry to project into: give the camera's calibration and mounting")
        return _project(self.lens, self.T_ego_view, xyz_ego_m)

    def _init_resize(self, canonical: CanonicalCamera, source: CameraModel | None) -> None:
        self.coverage = 0.0
        if source is None:
            return
        h, w = source.image_hw
        self.lens, self.T_ego_view = source.lens.resized(self.out_hw[1] / w, self.out_hw[0] / h), source.T_ego_camera
        level = source if source.T_ego_camera is not None else source.mounted(canonical.mount.T_ego_camera)
        self.coverage = float(_covered(_source_px(canonical.model(), self.out_hw, level), source.image_hw).mean())

    def _init_warp(self, canonical: CanonicalCamera, source: CameraModel | None, min_coverage: float) -> None:
        if source is None:
            raise CameraError("camera_mode: warp needs the camera's calibration: publish camera_info, give a camera YAML, or choose camera_mode: resize")
        if source.T_ego_camera is None:
            raise CameraError(
                f"camera {source.name!r}: its mounting is not known. Give the camera mount parameter, "
                f"publish TF from base_link to {source.frame_id or 'the camera frame'!r}, or add a mount block to the camera YAML"
            )
        view, (h, w) = canonical.model(), source.image_hw
        px = _source_px(view, (self.out_hw[0] * _OVERSAMPLING, self.out_hw[1] * _OVERSAMPLING), source)  # (rows, columns, 2)
        seen = _covered(px, (h, w))
        self.coverage = float(seen.mean())
        if self.coverage < min_coverage:
            raise CoverageError(_coverage_text(canonical, source, self.coverage, min_coverage))
        self.lens = view.lens.resized(self.out_hw[1] / canonical.width, self.out_hw[0] / canonical.height)
        self.T_ego_view = source.T_ego_camera.copy()
        self.T_ego_view[:3, :3] = canonical.mount.T_ego_camera[:3, :3]
        if (h, w) == (canonical.height, canonical.width) and _is_same(px, (h, w)):
            return
        px, self._shrink_hw = _shrunk(px, seen, (h, w))
        edge = [px_max - 1 for px_max in (self._shrink_hw or (h, w))[::-1]]
        px = np.where(seen[..., None], np.clip(px, 0, edge), -4.0).astype(np.float32)  # outside: wholly in the black border
        fixed, fraction = cv2.convertMaps(px[..., 0], px[..., 1], cv2.CV_16SC2)
        self._maps = np.asarray(fixed), np.asarray(fraction)


def project_ego_points(view: ViewTransform | CanonicalCamera, xyz_ego_m: F64, out_hw: tuple[int, int] | None = None) -> F64:
    """Points (N, 3) in the ego frame → pixels (N, 2); NaN where they are not in front of the camera.

    In the picture that `view` makes, or in that of an ideal canonical camera at `out_hw` (its native size unless given).
    """
    if isinstance(view, ViewTransform):
        return view.project(xyz_ego_m)
    h, w = out_hw or (view.height, view.width)
    return _project(view.model().lens.resized(w / view.width, h / view.height), view.mount.T_ego_camera, xyz_ego_m)


def _check_rgb(rgb: U8) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise CameraError(f"picture: got {rgb.dtype} {rgb.shape}, expected uint8 (height, width, 3)")


def _resize_id(hw: tuple[int, int]) -> str:
    return f"resize:{hw[1]}x{hw[0]}"


def _project(lens: Lens, T_ego_camera: F64, xyz_ego_m: F64) -> F64:
    xyz = np.asarray(xyz_ego_m, np.float64)
    return lens.project((xyz - T_ego_camera[:3, 3]) @ T_ego_camera[:3, :3])


def _source_px(view: CameraModel, render_hw: tuple[int, int], source: CameraModel) -> F64:
    """Where each pixel of the canonical picture, rendered at this size, lies in the source picture: (rows, columns, 2), NaN where nowhere."""
    assert view.T_ego_camera is not None
    assert source.T_ego_camera is not None
    rows, columns = render_hw
    u, v = np.meshgrid(np.arange(columns, dtype=np.float64), np.arange(rows, dtype=np.float64))
    rays_view = view.lens.resized(columns / view.width, rows / view.height).unproject(np.stack([u, v], axis=-1).reshape(-1, 2))
    rays_source = rays_view @ (source.T_ego_camera[:3, :3].T @ view.T_ego_camera[:3, :3]).T
    return source.lens.project(rays_source).reshape(rows, columns, 2)


def _covered(px: F64, hw: tuple[int, int]) -> np.ndarray:
    """Which of these positions (…, 2) lie in a picture of this size, up to the edges of its outermost pixels."""
    with np.errstate(invalid="ignore"):
        return np.asarray((px[..., 0] >= -0.5) & (px[..., 0] <= hw[1] - 0.5) & (px[..., 1] >= -0.5) & (px[..., 1] <= hw[0] - 0.5))


def _is_same(px: F64, hw: tuple[int, int]) -> bool:
    """Whether the positions are those of a picture of this size that is merely stretched."""
    rows, columns = px.shape[:2]
    u, v = (np.arange(columns) + 0.5) * hw[1] / columns - 0.5, (np.arange(rows) + 0.5) * hw[0] / rows - 0.5
    return bool(np.isfinite(px).all() and max(abs(px[..., 0] - u).max(), abs(px[..., 1] - v[:, None]).max()) < _SAME_PX)


def _shrunk(px: F64, seen: np.ndarray, hw: tuple[int, int]) -> tuple[F64, tuple[int, int] | None]:
    """Positions in the source shrunk to the resolution of the rendering, and its size; or unchanged and None when it is not finer."""
    across, down = np.diff(px, axis=1)[seen[:, 1:]], np.diff(px, axis=0)[seen[1:]]
    finer = min(float(np.nanmedian(np.hypot(*across.T))), float(np.nanmedian(np.hypot(*down.T))))
    if finer <= _FINER:
        return px, None
    small = round(hw[0] / finer), round(hw[1] / finer)
    return (px + 0.5) * [small[1] / hw[1], small[0] / hw[0]] - 0.5, small


def _coverage_text(canonical: CanonicalCamera, source: CameraModel, coverage: float, min_coverage: float) -> str:
    assert source.T_ego_camera is not None
    h, w = source.image_hw
    K, forward = source.lens.K, source.T_ego_camera[:3, 2]
    fov = [np.degrees(2 * np.arctan(0.5 * n / f)) for n, f in ((w, K[0, 0]), (h, K[1, 1]))]
    want = [np.degrees(2 * np.arctan(0.5 * n / f)) for n, f in ((canonical.width, canonical.fx), (canonical.height, canonical.fy))]
    hint = "Use a wider lens, or camera_mode: resize (then the geometry is not the model's)"
    if forward[0] < 0.7:  # more than 45° off straight ahead
        hint = (
            f"Its optical axis points to {np.round(forward, 2).tolist()} in the ego frame (forward, left, up): the mounting or the TF frame looks wrong. "
            "Optical frames have z forward; check that frame_id names the optical frame"
        )
    return (
        f"camera {source.name!r} sees {coverage:.1%} of the view of {canonical.name}, expected at least {min_coverage:.0%}. "
        f"Its field of view is about {fov[0]:.0f}°×{fov[1]:.0f}°, the model's {want[0]:.0f}°×{want[1]:.0f}°. {hint}"
    )


def _check_mount(mount: Mount, canonical: Mount, max_pitch_rad: float, min_height_m: float, max_height_m: float) -> None:
    """What a rotation cannot repair: another height; and a pitch that is more likely a wrong mounting than a camera that looks ahead."""
    pitch = mount.pitch_rad - canonical.pitch_rad
    if abs(pitch) > max_pitch_rad:
        raise CameraError(
            f"camera pitch: got {np.degrees(pitch):.1f}° against the canonical camera (positive looks down), limit ±{np.degrees(max_pitch_rad):.1f}°. "
            "Correct the mounting, or raise the limit if the camera really looks there"
        )
    if not min_height_m <= mount.z_m <= max_height_m:
        raise CameraError(
            f"camera height: got {mount.z_m:.2f} m above the ego origin, expected {min_height_m:.2f} to {max_height_m:.2f} m "
            f"(the model knows {canonical.z_m:.2f} m). Correct the mounting, or widen the band"
        )


def _horizon_row(view: ViewTransform) -> float | None:
    """Row where the horizon of a flat world crosses the middle column of the output."""
    if view.lens is None or view.T_ego_view is None:
        return None
    R = view.T_ego_view[:3, :3]
    heading = np.arctan2(R[1, 2], R[0, 2]) + np.radians(np.linspace(-60, 60, 241))
    px = view.lens.project(np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], axis=-1) @ R)
    px = px[np.isfinite(px).all(axis=1)]
    middle = (view.out_hw[1] - 1) / 2
    if not len(px) or not px[:, 0].min() <= middle <= px[:, 0].max():
        return None
    order = np.argsort(px[:, 0])
    return float(np.interp(middle, px[order, 0], px[order, 1]))
