"""Other looks of the same drive: brightness, contrast, colours, haze, sharpness as another camera on another day would have them, one draw for each drive.

What was driven stays the same, so that a model that reads tokens learns it for more looks than were recorded. Nothing is moved: a picture that is shifted or
mirrored would need another trajectory. With OpenCV, which the camera transform needs anyway: a library of augmentations would be one more dependency, mostly
one that is tied to torch's version, for what is one line each.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vavam_ros.core.contracts import F32, U8


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the pictures of one drive are changed. Each is the change of a camera or of the air; the neutral value changes nothing."""

    gamma: float = 1.0
    contrast: float = 1.0  # about the middle grey
    brightness: float = 1.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of red, green, blue: white balance
    saturation: float = 1.0
    hue_deg: float = 0.0
    haze: float = 0.0  # share of a light grey, from 0 at the lower edge of the picture to this at its middle and above
    haze_grey: float = 0.75
    blur_px: float = 0.0  # standard deviation
    noise: float = 0.0  # standard deviation, in 8-bit steps; the same for the same picture

    def __call__(self, rgb: U8) -> U8:
        """(H, W, 3) → the same shape, in this look."""
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(self.hue_deg / 360.0 * 256.0) % 256)  # wraps around, as hues do
        x: F32 = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.float32) / 255.0
        grey = x.mean(axis=-1, keepdims=True)
        x = grey + self.saturation * (x - grey)
        x = np.clip(x, 0.0, 1.0) ** self.gamma
        x = (self.contrast * (x - 0.5) + 0.5) * self.brightness * np.asarray(self.gains, np.float32)
        if self.haze:
            height = len(x)
            share = self.haze * np.clip(2.0 * (1.0 - np.arange(height, dtype=np.float32) / height), 0.0, 1.0)[:, None, None]
            x = x + share * (self.haze_grey - x)
        if self.blur_px:
            x = np.asarray(cv2.GaussianBlur(x, (0, 0), self.blur_px), np.float32)
        x = 255.0 * x
        if self.noise:
            x = x + np.random.default_rng(int(rgb[::7, ::7].sum())).normal(0.0, self.noise, x.shape).astype(np.float32)
        changed: U8 = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        return changed


@lru_cache(maxsize=8)
def look_of(seed: int, drive: str) -> Look:
    """The look of a drive: of seed and name alone, whichever process draws it."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"look {seed} {drive}".encode()).digest()[:8], "big"))
    gains = rng.uniform(0.9, 1.1, 3)
    return Look(
        gamma=float(np.exp(rng.uniform(-0.35, 0.35))),
        contrast=float(rng.uniform(0.75, 1.25)),
        brightness=float(rng.uniform(0.75, 1.25)),
        gains=(float(gains[0]), float(gains[1]), float(gains[2])),
        saturation=float(rng.uniform(0.3, 1.6)),
        hue_deg=float(rng.uniform(-25.0, 25.0)),
        haze=float(max(0.0, rng.uniform(-0.3, 0.45))),
        haze_grey=float(rng.uniform(0.6, 0.9)),
        blur_px=float(max(0.0, rng.uniform(-0.8, 0.8))),
        noise=float(max(0.0, rng.uniform(-5.0, 5.0))),
    )
