"""The path that is followed, drawn into the camera's picture. Shape letters: N path points."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import NS_PER_S, DensePath
from vavam_world.contracts import F64, U8, CameraSpec, EgoState
from vavam_world.render.camera import project
from vavam_world.report.palette import PATH, Rgb

WIDTH_M = 1.8  # about the vehicle's
_SUB_PX = 4  # fractional bits of drawing coordinates


def scaled(camera: CameraSpec, width: int) -> CameraSpec:
    """The same camera with another number of pixels across."""
    k = width / camera.width
    height = round(camera.height * k)
    ky = height / camera.height
    return replace(camera, width=width, height=height, fx=camera.fx * k, fy=camera.fy * ky, cx=camera.cx * k, cy=camera.cy * ky)


def plan_at(plans: tuple[DensePath, ...], stamp_ns: int) -> DensePath | None:
    """The latest plan made at a stamp or before it."""
    return next((p for p in reversed(plans) if p.stamp_ns <= stamp_ns), None)


def ahead(path: DensePath, stamp_ns: int) -> tuple[F64, F64]:
    """What is left of a path at a stamp, every 0.05 s: (N, 2) places and (N,) headings in its frame. Empty where it is over."""
    t = (path.stamps_ns - path.stamps_ns[0]) / NS_PER_S
    now = max(0.0, (stamp_ns - int(path.stamps_ns[0])) / NS_PER_S)
    at = np.arange(now, t[-1] + 1e-9, 0.05)
    yaw = np.unwrap(path.yaw_rad)
    return np.stack([np.interp(at, t, path.xyz_m[:, i]) for i in (0, 1)], axis=1), np.interp(at, t, yaw)


def draw_path(picture: U8, camera: CameraSpec, ego: EgoState, path: DensePath | None, stamp_ns: int, colour: Rgb = PATH, width_m: float = WIDTH_M) -> U8:
    """A copy of a picture (H, W, 3) of `camera`, at any size, with the rest of a path as a ribbon on the ground, by default of the vehicle's width."""
    out: U8 = picture.copy()
    if path is None:
        return out
    xy, yaw = ahead(path, stamp_ns)
    if len(xy) < 2:
        return out
    seen = scaled(camera, picture.shape[1])
    normal = np.stack([-np.sin(yaw), np.cos(yaw)], axis=1)
    left, right = (_px(seen, ego, xy + side * 0.5 * width_m * normal) for side in (1.0, -1.0))
    layer = out.copy()
    for i in np.flatnonzero(_usable(left) & _usable(right)):
        cv2.fillConvexPoly(layer, _fixed(np.stack([left[i], left[i + 1], right[i + 1], right[i]])), colour, lineType=cv2.LINE_8, shift=_SUB_PX)
    out = cv2.addWeighted(layer, 0.45, out, 0.55, 0.0).astype(np.uint8)
    thick = max(1, round(picture.shape[1] / 320))
    for edge in (left, right):
        for i in np.flatnonzero(_usable(edge)):
            cv2.polylines(out, [_fixed(edge[i : i + 2])], False, colour, thick, cv2.LINE_AA, _SUB_PX)
    return out


def _px(camera: CameraSpec, ego: EgoState, xy: F64) -> F64:
    """Drawing coordinates, in which a pixel's centre is a whole number."""
    return project(camera, ego, np.column_stack([xy, np.zeros(len(xy))])) - 0.5


def _usable(px: F64) -> npt.NDArray[np.bool_]:
    """(N − 1,): both ends of a piece lie before the camera and not absurdly far out, where fixed-point drawing would overflow."""
    with np.errstate(invalid="ignore"):
        good = np.asarray(np.isfinite(px).all(axis=1) & (np.abs(px) < 8000.0).all(axis=1))
    return np.asarray(good[:-1] & good[1:])


def _fixed(px: F64) -> npt.NDArray[np.int32]:
    return np.asarray(np.round(px * 2**_SUB_PX), np.int32)
