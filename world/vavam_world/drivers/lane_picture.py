"""From a picture to where paint may be on the ground: seen from above, narrow and brighter than the road beside it.

Shape letters: X rows of the ground grid, going away · Y its columns, from right to left.
"""

from __future__ import annotations

import cv2
import numpy as np

from vavam_world.contracts import F64, U8, CameraSpec, Control, EgoState
from vavam_world.render.camera import project

AHEAD_M = 28.0  # further away a picture of the world's size shows less than a pixel of paint
SIDE_M = 14.0
STEP_X_M, STEP_Y_M = 0.25, 0.05
NARROW_M = 0.55  # what is wider than this is no line
FAINT, FULL = 7.0, 24.0  # grey levels above the surroundings that count for nothing, and for a line


class GroundPicture:
    """One camera's view of flat ground, as a grid in the ego frame. Built once per camera."""

    def __init__(self, camera: CameraSpec) -> None:
        self.camera = camera
        self.x_m = np.arange(2.0, AHEAD_M + 1e-9, STEP_X_M)  # X
        self.y_m = np.arange(-SIDE_M, SIDE_M + 1e-9, STEP_Y_M)  # Y
        x, y = np.meshgrid(self.x_m, self.y_m, indexing="ij")
        here = EgoState(x_m=0.0, y_m=0.0, yaw_rad=0.0, speed_mps=0.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
        uv = project(camera, here, np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)).reshape(*x.shape, 2)
        inside = (uv[..., 0] > 1.0) & (uv[..., 0] < camera.width - 1.0) & (uv[..., 1] > 1.0) & (uv[..., 1] < camera.height - 1.0)
        seen = inside & np.isfinite(uv).all(axis=-1)  # X Y
        uv = np.where(seen[..., None], uv, -10.0).astype(np.float32)
        self._map_u, self._map_v = uv[..., 0] - 0.5, uv[..., 1] - 0.5  # cv2 has pixel centres at whole numbers
        # The line of sight just beyond the picture's edge makes a bright step there: keep clear of it.
        self._clear = cv2.erode(seen.astype(np.uint8), np.ones((1, round(NARROW_M / STEP_Y_M) + 2), np.uint8)) > 0
        self.seen = seen.astype(np.float64)  # 1 where the camera looks
        self._kernel = np.ones((1, round(NARROW_M / STEP_Y_M) | 1), np.uint8)

    def paint(self, image: U8) -> F64:
        """(X, Y) how much like a line each place looks, 0..1, smoothed across; 0 where the camera does not see."""
        warm = cv2.addWeighted(image[..., 0], 0.5, image[..., 1], 0.5, 0.0)  # white and yellow are both bright in red and green
        above = cv2.remap(warm, self._map_u, self._map_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        lines = cv2.morphologyEx(above, cv2.MORPH_TOPHAT, self._kernel).astype(np.float32)
        rough = float(np.median(lines[self._clear])) if self._clear.any() else 0.0
        faint = max(FAINT, 3.0 * rough)
        score = np.clip((lines - faint) / (FULL - FAINT), 0.0, 1.0) * self._clear
        return np.asarray(cv2.GaussianBlur(score, (7, 3), sigmaX=1.6, sigmaY=0.8), dtype=np.float64)

    def look_up(self, grid: F64, x_m: F64, y_m: F64) -> F64:
        """Values of an (X, Y) grid at ground points of any shape, by the nearest cell; 0 beyond the grid."""
        i = np.rint((x_m - self.x_m[0]) / STEP_X_M).astype(np.int64)
        j = np.rint((y_m - self.y_m[0]) / STEP_Y_M).astype(np.int64)
        good = (i >= 0) & (i < grid.shape[0]) & (j >= 0) & (j < grid.shape[1])
        return np.where(good, grid[np.clip(i, 0, grid.shape[0] - 1), np.clip(j, 0, grid.shape[1] - 1)], 0.0)
