"""Ideal cameras on the ego, and the classes of label pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vavam_world.contracts.basics import F64


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """An ideal pinhole camera on the ego. Mounting is that of the camera's body (x forward, y left, z up) in the ego frame.

    Pixel i covers i to i + 1 and the picture spans 0 to width, as CARLA's bridge has it (cx = width / 2): a pixel's centre lies at i + 0.5."""

    name: str = "front"
    width: int = 256
    height: int = 144
    fx: float = 152.55  # 80° across
    fy: float = 152.55
    cx: float = 128.0
    cy: float = 72.0
    x_m: float = 1.70
    y_m: float = 0.0
    z_m: float = 1.51
    roll_rad: float = 0.0
    pitch_rad: float = 0.0  # + looks down
    yaw_rad: float = 0.0

    @classmethod
    def from_fov(cls, fov_deg: float, width: int, height: int, **mount: Any) -> CameraSpec:
        """A CARLA camera: `fov` is its horizontal field of view."""
        f = width / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        return cls(width=width, height=height, fx=f, fy=f, cx=width / 2.0, cy=height / 2.0, **mount)

    @property
    def K(self) -> F64:
        """(3, 3) intrinsics."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


WORLD_CAMERA = CameraSpec.from_fov(80.0, 256, 144, name="world_front_256")
"""The world's own canonical camera; models trained here name it in their artifact."""

Backend = Literal["auto", "tiny", "egl"]
LABELS = ("sky", "ground", "road", "marking", "sidewalk", "building", "vegetation", "vehicle", "pedestrian", "object")
"""Semantic classes; a label picture holds their indices."""
