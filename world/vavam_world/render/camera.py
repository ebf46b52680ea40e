"""The camera's geometry, without a picture: where a point of the map falls, and what a pixel of the ground is away.

A picture spans 0..width × 0..height: pixel (i, j) covers [i, i+1) × [j, j+1), and the optical axis meets it at (cx, cy), as CARLA renders
and its bridge reports (cx = width/2 is the picture's middle). A coordinate u here lies therefore in pixel floor(u).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import F64, CameraSpec, EgoState

NEAR_M = 0.2
FAR_M = 300.0
MAX_SIDE_PX = 4096


def check(spec: CameraSpec) -> CameraSpec:
    """The camera itself. Raises ConfigError where it cannot be rendered."""
    values = (spec.fx, spec.fy, spec.cx, spec.cy, spec.x_m, spec.y_m, spec.z_m, spec.roll_rad, spec.pitch_rad, spec.yaw_rad)
    if not (1 <= spec.width <= MAX_SIDE_PX and 1 <= spec.height <= MAX_SIDE_PX):
        raise ConfigError(f"camera {spec.name!r}: got {spec.width}×{spec.height} px, expected sides of 1 to {MAX_SIDE_PX}")
    if not all(math.isfinite(v) for v in values) or spec.fx <= 0.0 or spec.fy <= 0.0:
        raise ConfigError(f"camera {spec.name!r}: got fx {spec.fx}, fy {spec.fy}, mount {values[4:]}, expected finite values and positive focal lengths")
    return spec


def drawn_size(spec: CameraSpec, scale: float) -> tuple[int, int]:
    """(width, height) that a picture is drawn with at `scale` times its size."""
    return round(spec.width * scale), round(spec.height * scale)


def mount_R(spec: CameraSpec) -> F64:
    """(3, 3) rotation that takes the camera body's axes (x forward, y left, z up) to the ego's: yaw, then pitch, then roll."""
    cr, sr = math.cos(spec.roll_rad), math.sin(spec.roll_rad)
    cp, sp = math.cos(spec.pitch_rad), math.sin(spec.pitch_rad)
    cy, sy = math.cos(spec.yaw_rad), math.sin(spec.yaw_rad)
    yaw = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    pitch = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    roll = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    return np.asarray(yaw @ pitch @ roll, dtype=np.float64)


def T_map_body(spec: CameraSpec, ego: EgoState) -> F64:
    """(4, 4) pose of the camera's body in map. The ego's origin lies on the ground, z = 0."""
    c, s = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
    R_map_ego = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    T = np.eye(4)
    T[:3, :3] = R_map_ego @ mount_R(spec)
    T[:3, 3] = R_map_ego @ np.array([spec.x_m, spec.y_m, spec.z_m]) + np.array([ego.x_m, ego.y_m, 0.0])
    return T


def sight(spec: CameraSpec, T_map_body: F64) -> F64:
    """(5, 4) planes round what a picture can show, in map: its edges and FAR_M. A row (n, c) has n·p + c > 0, in metres, for what lies beyond."""
    left, right = spec.cx / spec.fx, (spec.width - spec.cx) / spec.fx
    high, low = spec.cy / spec.fy, (spec.height - spec.cy) / spec.fy
    out = np.array([[-left, 1.0, 0.0], [-right, -1.0, 0.0], [-high, 0.0, 1.0], [-low, 0.0, -1.0], [1.0, 0.0, 0.0]])  # forward, left, up
    normal = (out / np.linalg.norm(out, axis=1, keepdims=True)) @ T_map_body[:3, :3].T
    return np.column_stack([normal, -normal @ T_map_body[:3, 3] - np.array([0.0, 0.0, 0.0, 0.0, FAR_M])])


def in_sight(sights: Sequence[F64], xyz_map: F64, radius_m: F64) -> npt.NDArray[np.bool_]:
    """(N,) whether balls at (N, 3) with radii (N,) may show in one of the pictures with these `sight`s."""
    seen = np.zeros(len(xyz_map), dtype=np.bool_)
    for planes in sights:
        seen |= (xyz_map @ planes[:, :3].T + planes[:, 3] <= radius_m[:, None]).all(axis=1)
    return seen


def project(spec: CameraSpec, ego: EgoState, xyz_map: F64) -> F64:
    """(N, 3) map points → (N, 2) picture coordinates (u right, v down), NaN for points less than NEAR_M in front of the camera."""
    points = np.asarray(xyz_map, dtype=np.float64).reshape(-1, 3)
    T = T_map_body(spec, ego)
    forward, left, up = ((points - T[:3, 3]) @ T[:3, :3]).T
    depth = np.where(forward >= NEAR_M, forward, np.nan)
    return np.stack([spec.cx - spec.fx * left / depth, spec.cy - spec.fy * up / depth], axis=1)


def ground_distance_m(spec: CameraSpec, width: int, height: int) -> F64:
    """(height, width) distance along the ray of each pixel's centre to the ground, inf above the horizon, at any resolution of the picture."""
    u = (np.arange(width) + 0.5) * spec.width / width
    v = (np.arange(height) + 0.5) * spec.height / height
    left, up = (spec.cx - u) / spec.fx, (spec.cy - v) / spec.fy
    R = mount_R(spec)
    sink = -(R[2, 0] + R[2, 1] * left[None, :] + R[2, 2] * up[:, None])
    length = np.sqrt(1.0 + left[None, :] ** 2 + up[:, None] ** 2)
    away = np.full((height, width), np.inf)
    np.divide(spec.z_m * length, sink, out=away, where=sink > 1e-6)
    return away
