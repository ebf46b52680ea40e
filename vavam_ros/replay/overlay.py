"""Trajectories drawn into a camera picture.

Shape letters: K samples · H waypoints · N points.
"""

from __future__ import annotations

import cv2
import numpy as np

from vavam_ros.core.camera import ViewTransform, project_ego_points
from vavam_ros.core.contracts import F64, U8, Plan
from vavam_ros.core.geometry import plan_spline, transform_points

RIBBON_WIDTH_M = 1.8  # about a car
SELECTED_RGB = (255, 140, 0)
SAMPLE_RGB = (120, 200, 255)
TRUTH_RGB = (60, 220, 90)


def dense(xy_ego_m: F64, dt_s: float, start_velocity_mps: F64 | None, count: int = 60) -> F64:
    """(H, 2) waypoints → (count, 2) points on the curve from the origin through them."""
    spline = plan_spline(xy_ego_m, dt_s, start_velocity_mps)
    return spline(np.linspace(0.0, spline.end_s, count))[0]


def to_recorded_px(view: ViewTransform, hw: tuple[int, int], xy_ego_m: F64) -> F64:
    """Ground points (N, 2) in the ego frame → pixels (N, 2) of the recorded picture; NaN behind the camera.

    With the camera's own calibration where it is known, else with the canonical camera's, scaled: that is a guess."""
    xyz = transform_points(np.eye(4), xy_ego_m)
    source = view.source
    if source is not None and source.T_ego_camera is not None:
        T = source.T_ego_camera
        return source.lens.project((xyz - T[:3, 3]) @ T[:3, :3])
    return project_ego_points(view.canonical_camera, xyz, hw)


def draw_plan(picture: U8, view: ViewTransform, plan: Plan, truth_xy_m: F64 | None) -> U8:
    """A copy of the recorded picture (h, w, 3) with all samples, the selected one as a ribbon, and what was driven."""
    out: U8 = picture.copy()
    hw = (picture.shape[0], picture.shape[1])
    thin = max(1, round(hw[1] / 640))
    for sample in plan.xy_ego_m:
        _polyline(out, to_recorded_px(view, hw, dense(np.asarray(sample, np.float64), plan.dt_s, None)), SAMPLE_RGB, thin)
    selected = dense(np.asarray(plan.selected_xy_ego_m, np.float64), plan.dt_s, plan.pose.linear_mps)
    _ribbon(out, view, hw, selected)
    _polyline(out, to_recorded_px(view, hw, selected), SELECTED_RGB, 2 * thin)
    if truth_xy_m is not None and len(truth_xy_m):
        px = to_recorded_px(view, hw, dense(truth_xy_m, plan.dt_s, plan.pose.linear_mps))
        _polyline(out, px, (20, 60, 20), 4 * thin)
        _polyline(out, px, TRUTH_RGB, 2 * thin)
    return out


def _ribbon(out: U8, view: ViewTransform, hw: tuple[int, int], xy: F64) -> None:
    """The strip that a vehicle following the points sweeps, half transparent."""
    tangent = np.gradient(xy, axis=0)
    length = np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.maximum(length, 1e-6)
    left = to_recorded_px(view, hw, xy + 0.5 * RIBBON_WIDTH_M * normal)
    right = to_recorded_px(view, hw, xy - 0.5 * RIBBON_WIDTH_M * normal)
    layer = out.copy()
    usable = _drawable(left, hw) & _drawable(right, hw)
    for i in np.flatnonzero(usable[:-1] & usable[1:]):
        quad = np.round(np.stack([left[i], left[i + 1], right[i + 1], right[i]]) * 16).astype(np.int32)
        cv2.fillConvexPoly(layer, quad, SELECTED_RGB, lineType=cv2.LINE_8, shift=4)
    np.copyto(out, cv2.addWeighted(layer, 0.35, out, 0.65, 0.0))


def _drawable(px: F64, hw: tuple[int, int]) -> np.ndarray:
    """In front of the camera and not absurdly far outside the picture, where fixed-point drawing would overflow."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(px).all(axis=1) & (np.abs(px[:, 0]) < 6 * hw[1]) & (np.abs(px[:, 1]) < 6 * hw[0]))


def _polyline(out: U8, px: F64, colour: tuple[int, int, int], thickness: int) -> None:
    usable = _drawable(px, (out.shape[0], out.shape[1]))
    for i in np.flatnonzero(usable[:-1] & usable[1:]):
        a, b = (tuple(int(v) for v in np.round(p * 16)) for p in (px[i], px[i + 1]))
        cv2.line(out, a, b, colour, thickness, lineType=cv2.LINE_AA, shift=4)


def jpeg(rgb: U8, max_width: int = 720, quality: int = 82) -> bytes:
    """An RGB picture as JPEG bytes, shrunk to a width."""
    h, w = rgb.shape[:2]
    if w > max_width:
        rgb = cv2.resize(rgb, (max_width, round(h * max_width / w)), interpolation=cv2.INTER_AREA).astype(np.uint8)
    ok, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return data.tobytes()
