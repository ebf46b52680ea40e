"""From the buffer to the picture: haze, size, rain."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vavam_world.contracts import U8, CameraSpec
from vavam_world.render.camera import drawn_size, ground_distance_m
from vavam_world.render.looks import Look
from vavam_world.render.scene import MAX_HAZE

GROUND_FROM = 245  # alpha of the ground: its mark, less the rounding of the shadows on it
RAIN_PATTERNS = 8


class Developer:
    """Makes one camera's pictures. The buffer's alpha says how much haze lies before what stands; the ground's follows from the pixel."""

    def __init__(self, spec: CameraSpec, scale: float, look: Look) -> None:
        self.size = (spec.width, spec.height)
        width, height = drawn_size(spec, scale)
        away = ground_distance_m(spec, width, height)[::-1]
        self.ground: U8 = np.ascontiguousarray(MAX_HAZE * (1.0 - np.exp(-away / look.visibility_m))).astype(np.uint8)
        tone = tuple(int(c) for c in np.clip(look.haze[::-1] * 255.0, 0, 255).round())
        self.haze: U8 = np.empty((height, width, 4), dtype=np.uint8)
        self.haze[:] = (*tone, 255)
        self.rain = [_rain(np.random.default_rng([look.seed, 301, i]), spec.width, spec.height) for i in range(RAIN_PATTERNS)] if look.wet >= 1.0 else []
        self.order = np.random.default_rng([look.seed, 302]).permutation(RAIN_PATTERNS)

    def picture(self, bgra: U8, tick: int) -> U8:
        """(H·scale, W·scale, 4) BGRA, lower row first → (H, W, 3) RGB, upper row first."""
        alpha = cv2.extractChannel(bgra, 3)
        on_ground = cv2.inRange(alpha, GROUND_FROM, 255)
        cv2.copyTo(self.ground, on_ground, alpha)
        # Haze goes on before the averaging: an edge between near and far has no haze of its own.
        share: npt.NDArray[np.float32] = alpha.astype(np.float32) * np.float32(1.0 / MAX_HAZE)
        out = cv2.blendLinear(bgra, self.haze, np.float32(1.0) - share, share)
        if out.shape[1::-1] != self.size:
            out = cv2.resize(out, self.size, interpolation=cv2.INTER_LINEAR)  # at 1.5 : 1 a mean over every pixel, as INTER_AREA is, and six times as fast
        out = cv2.cvtColor(out, cv2.COLOR_BGRA2RGB)
        if self.rain:
            out = cv2.add(out, self.rain[int(self.order[tick // 2 % RAIN_PATTERNS])])
        return np.asarray(cv2.flip(out, 0), dtype=np.uint8)


def _rain(rng: np.random.Generator, width: int, height: int) -> U8:
    """(height, width, 3) what falling drops add, lower row first."""
    scale = height / 144.0
    layer = np.zeros((height, width), dtype=np.uint8)
    for _ in range(150):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        length = rng.uniform(5.0, 16.0) * scale
        lean = rng.uniform(-0.06, 0.14) * length
        start, end = (int(x * 16), int(y * 16)), (int((x + lean) * 16), int((y + length) * 16))
        cv2.line(layer, start, end, int(rng.integers(10, 30)), max(1, round(scale)), cv2.LINE_AA, 4)
    return np.asarray(cv2.merge([layer, layer, layer]), dtype=np.uint8)
