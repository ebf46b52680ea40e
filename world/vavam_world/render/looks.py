"""Light, sky and haze of a weather. Light is baked into vertex colours by each face's normal: the same on every backend, and free."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import F64, TEXTURE_SETS, U8, WEATHERS, LookSpec

SKY_HEIGHT, SKY_WIDTH = 256, 1024
HAZE_DEPTH_M = 22.0  # how high the haze reaches, as far as it veils the sky
SKY_LOW_RAD, SKY_HIGH_RAD = -0.005, math.pi / 2  # elevations at the sky picture's lower and upper edge


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What a LookSpec's weather and seed come to. Colours are RGB 0..1."""

    sun_direction: F64  # (3,) towards the sun
    sun: F64  # (3,) its light on a face that looks at it
    ambient_sky: F64  # (3,) light on a face that looks up
    ambient_ground: F64  # (3,) light on a face that looks down
    zenith: F64
    horizon: F64
    haze: F64  # what everything fades to
    visibility_m: float  # haze = 1 − exp(−distance / visibility)
    haze_step_m: float  # haze is reckoned from the camera's place rounded to this
    shadow: float  # share of the light that a cast shadow takes; 0 for none
    clouds: float  # share of the sky under clouds, 0..1
    wet: float  # 0..1
    lamps: bool  # headlights and windows are lit
    seed: int

    def light(self, normal: F64) -> F64:
        """(N, 3) normals → (N, 3) colour of the light on them, at most 1."""
        up = normal[:, 2:3] * 0.5 + 0.5
        lit = self.ambient_ground * (1.0 - up) + self.ambient_sky * up
        lit = lit + self.sun * np.clip(normal @ self.sun_direction, 0.0, None)[:, None]
        return np.asarray(np.clip(lit, 0.0, 1.0), dtype=np.float64)


def make_look(spec: LookSpec) -> Look:
    """The light of `spec`. The sun's place and the shades vary with the seed within what the weather allows. Raises ConfigError."""
    for what, value, known in (("weather", spec.weather, WEATHERS), ("textures", spec.textures, TEXTURE_SETS)):
        if value not in known:
            raise ConfigError(f"look.{what}: got {value!r}, expected one of {', '.join(known)}")
    rng = np.random.default_rng([spec.seed, 101])
    azimuth = rng.uniform(-math.pi, math.pi)
    elevation = math.radians(rng.uniform(28.0, 60.0))
    jitter = rng.uniform(-1.0, 1.0, 3)
    clouds = {"clear": rng.uniform(0.05, 0.45), "overcast": 1.0, "dusk": rng.uniform(0.25, 0.6), "rain": 1.0, "fog": 1.0}[spec.weather]
    a = np.array
    match spec.weather:
        case "clear":
            values = (a([0.62, 0.58, 0.50]), a([0.46, 0.49, 0.54]), a([0.36, 0.35, 0.33]), a([0.22, 0.45, 0.80]), a([0.74, 0.83, 0.92]), a([0.72, 0.80, 0.88]))
            rest = (650.0, 8.0, 0.48, 0.0, False)
        case "overcast":
            values = (a([0.10, 0.10, 0.10]), a([0.74, 0.76, 0.79]), a([0.46, 0.46, 0.47]), a([0.56, 0.60, 0.66]), a([0.76, 0.78, 0.80]), a([0.72, 0.74, 0.77]))
            rest = (420.0, 6.0, 0.0, 0.0, False)
        case "dusk":
            elevation = math.radians(rng.uniform(5.0, 11.0))
            values = (a([0.56, 0.35, 0.18]), a([0.40, 0.38, 0.48]), a([0.26, 0.24, 0.28]), a([0.13, 0.17, 0.36]), a([0.92, 0.56, 0.34]), a([0.62, 0.46, 0.44]))
            rest = (380.0, 5.0, 0.0, 0.0, True)
        case "rain":
            values = (a([0.04, 0.04, 0.04]), a([0.53, 0.56, 0.60]), a([0.32, 0.33, 0.35]), a([0.40, 0.44, 0.49]), a([0.58, 0.61, 0.64]), a([0.56, 0.59, 0.62]))
            rest = (170.0, 2.5, 0.0, 1.0, True)
        case _:
            values = (a([0.03, 0.03, 0.03]), a([0.68, 0.70, 0.72]), a([0.48, 0.49, 0.50]), a([0.70, 0.73, 0.76]), a([0.78, 0.80, 0.82]), a([0.78, 0.80, 0.82]))
            rest = (rng.uniform(38.0, 60.0), 1.0, 0.0, 0.25, True)
    sun, sky, ground, zenith, horizon, haze = (np.clip(v * (1.0 + 0.05 * jitter[i % 3]), 0.0, 1.0) for i, v in enumerate(values))
    visibility, step, shadow, wet, lamps = rest
    direction = a([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)])
    return Look(
        sun_direction=direction, sun=sun, ambient_sky=sky, ambient_ground=ground, zenith=zenith, horizon=horizon, haze=haze,
        visibility_m=visibility, haze_step_m=step, shadow=shadow, clouds=float(clouds), wet=wet, lamps=lamps, seed=spec.seed,
    )  # fmt: skip


def fractal_noise(rng: np.random.Generator, height: int, width: int, cells: int, octaves: int = 4) -> F64:
    """(height, width) noise 0..1 that repeats at its edges, `cells` waves across at the coarsest."""
    total, weight = np.zeros((height, width)), 0.0
    for octave in range(octaves):
        n = min(cells * 2**octave, width)
        rows = max(1, min(n * height // width, height))
        grid = rng.uniform(0.0, 1.0, (rows, n))
        y, x = np.arange(height) * rows / height, np.arange(width) * n / width
        yi, xi = y.astype(int), x.astype(int)
        fy, fx = (y - yi)[:, None], (x - xi)[None, :]
        fy, fx = fy * fy * (3.0 - 2.0 * fy), fx * fx * (3.0 - 2.0 * fx)
        rows_of = grid[yi] * (1.0 - fy) + grid[(yi + 1) % rows] * fy
        total += (rows_of.take(xi, axis=1) * (1.0 - fx) + rows_of.take((xi + 1) % n, axis=1) * fx) * 0.5**octave
        weight += 0.5**octave
    return np.asarray(total / weight, dtype=np.float64)


def sky_picture(look: Look, textures: str) -> U8:
    """(SKY_HEIGHT, SKY_WIDTH, 3) RGB all around, upper edge first: gradient, sun, clouds, and what stands on the horizon."""
    rng = np.random.default_rng([look.seed, 102])
    elevation = np.linspace(SKY_HIGH_RAD, SKY_LOW_RAD, SKY_HEIGHT)[:, None]
    azimuth = (np.arange(SKY_WIDTH) + 0.5)[None, :] * 2.0 * math.pi / SKY_WIDTH
    rise = np.clip(np.sin(np.clip(elevation, 0.0, None)), 0.0, 1.0) ** 0.55
    picture = look.horizon * (1.0 - rise[..., None]) + look.zenith * rise[..., None] + np.zeros((SKY_HEIGHT, SKY_WIDTH, 1))
    toward = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation) + 0.0 * azimuth], axis=-1)
    near_sun = np.clip(toward @ look.sun_direction, 0.0, 1.0)[..., None]
    low_sun = look.sun_direction[2] < 0.3
    if look.clouds < 1.0:
        glow = np.array([1.0, 0.72, 0.42]) if low_sun else np.array([1.0, 0.97, 0.9])
        picture += glow * (0.35 * near_sun**12 + 0.25 * near_sun**60)
        if low_sun:
            picture += np.array([0.30, 0.08, -0.06]) * near_sun**2 * np.clip(1.0 - 3.0 * np.abs(elevation), 0.0, 1.0)[..., None]
    cloud = fractal_noise(rng, SKY_HEIGHT, SKY_WIDTH, 12, 5)
    cover = np.clip((cloud - (0.74 - 0.42 * look.clouds)) * 5.0, 0.0, 1.0) * np.clip(elevation * 6.0, 0.0, 1.0)
    if look.clouds >= 1.0:
        picture *= (0.88 + 0.22 * cloud * np.clip(elevation * 3.0, 0.0, 1.0))[..., None]
    else:
        white = np.array([0.98, 0.72, 0.62]) if low_sun else np.array([0.97, 0.97, 0.98])
        picture += (white - picture) * (0.75 * cover)[..., None]
        picture += near_sun**1500 * np.array([0.8, 0.7, 0.5])
    skyline, colour = _skyline(rng, textures)
    fade = math.exp(-420.0 / look.visibility_m)
    behind = look.haze * (1.0 - fade) + colour * look.light(np.array([[0.0, 0.0, 1.0]]))[0] * fade
    veil = 1.0 - np.exp(-HAZE_DEPTH_M / (look.visibility_m * np.sin(np.clip(elevation, 0.004, None))))
    picture += (look.haze - picture) * veil[..., None]
    edge = np.clip((skyline[None, :] - elevation) / 0.004, 0.0, 1.0)[..., None]
    picture = picture * (1.0 - edge) + behind * edge
    return np.asarray(np.clip(picture * 255.0, 0.0, 255.0), dtype=np.uint8)


def _skyline(rng: np.random.Generator, textures: str) -> tuple[F64, F64]:
    """(SKY_WIDTH,) elevation of what stands on the horizon, and its colour."""
    hills = fractal_noise(rng, 4, SKY_WIDTH, 10, 5)[0]
    if textures in ("city", "industrial"):
        blocks = np.repeat(rng.uniform(0.006, 0.055 if textures == "city" else 0.028, SKY_WIDTH // 8), 8)
        gaps = np.repeat(rng.uniform(0.0, 1.0, SKY_WIDTH // 8) < 0.3, 8)
        return np.where(gaps, 0.008, blocks) + 0.004, np.array([0.42, 0.43, 0.46])
    height, colour = (0.075, np.array([0.30, 0.38, 0.27])) if textures == "country" else (0.035, np.array([0.24, 0.33, 0.20]))
    rough = fractal_noise(rng, 4, SKY_WIDTH, 200, 2)[0]
    return height * (0.15 + hills**1.5) + 0.006 * rough, colour
