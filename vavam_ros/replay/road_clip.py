"""A simple drawn drive: a road in perspective with exact odometry, for the demo and for tests.

It is part of the package, not of the tests, because `vavam demo` must work from an installation without a source tree.

World: x along the road's mean direction, y left, z up, flat ground. The road's centre line is y = f(x), one smooth wave; the vehicle keeps the middle of
the right lane. Every picture is the view of a pinhole (or plumb_bob) camera: ground by intersecting the pixel rays with z = 0, posts by projection.
The same seed gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from vavam_ros.core.camera.camera_model import Mount
from vavam_ros.core.contracts import F64, NS_PER_S, U8, ConfigError, OdometrySample
from vavam_ros.core.geometry import planar_T

LANE_M = 3.5


def _default_K() -> F64:
    return np.array([[506.0, 0.0, 320.0], [0.0, 506.0, 180.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadClipConfig:
    """What is drawn and driven. `curve_m` and `wave_m`: amplitude and length of the road's wave."""

    width: int = 640
    height: int = 360
    K: F64 = field(default_factory=_default_K)
    D: tuple[float, ...] = ()  # plumb_bob
    T_base_camera: F64 = field(default_factory=lambda: Mount(x_m=1.7, z_m=1.5).T_ego_camera)
    duration_s: float = 12.0
    image_rate_hz: float = 10.0
    odometry_rate_hz: float = 50.0
    speed_mps: float = 10.0
    speed_change_mps: float = 2.0  # the speed swings by this much, slowly
    curve_m: float = 6.0
    wave_m: float = 160.0
    start_ns: int = 1_000 * NS_PER_S
    seed: int = 0

    def __post_init__(self) -> None:
        if self.duration_s <= 0 or self.image_rate_hz <= 0 or self.odometry_rate_hz <= 0:
            raise ConfigError("road clip: duration_s, image_rate_hz and odometry_rate_hz must be positive")
        if self.speed_mps - abs(self.speed_change_mps) < 0:
            raise ConfigError(f"road clip: speed {self.speed_mps} ± {self.speed_change_mps} m/s would drive backwards")
        if self.K.shape != (3, 3) or self.T_base_camera.shape != (4, 4):
            raise ConfigError(f"road clip: K {self.K.shape} must be (3, 3) and T_base_camera {self.T_base_camera.shape} (4, 4)")


class RoadClip:
    """The drive: `odometry()` and `picture(stamp)`; both from one finely integrated motion."""

    odom_frame_id = "odom"
    base_frame_id = "base_link"
    camera_frame_id = "camera_optical"

    def __init__(self, config: RoadClipConfig) -> None:
        self.config = config
        rng = np.random.default_rng(config.seed)
        rough = rng.random((512, 512))
        smooth = sum(np.roll(rough, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))  # tiles without a seam
        self._noise = (smooth - np.mean(smooth)) / np.std(smooth)
        self._sky_noise = cv2.resize(rng.random((12, 20)).astype(np.float32), (config.width, config.height), interpolation=cv2.INTER_CUBIC)
        self._integrate()
        self._cast_rays()

    # --- motion ---------------------------------------------------------------------------------------------------------------------

    def _centre(self, x: F64) -> tuple[F64, F64, F64]:
        """Centre line y, dy/dx, d²y/dx² at x."""
        k = 2 * np.pi / self.config.wave_m
        a = self.config.curve_m
        return a * (1 - np.cos(k * x)), a * k * np.sin(k * x), a * k * k * np.cos(k * x)

    def _integrate(self) -> None:
        """The motion at 1 kHz: midpoint rule along the curve parallel to the centre line, half a lane to its right."""
        c, dt = self.config, 1e-3
        n = int(np.ceil((c.duration_s + 1.0) / dt)) + 1
        t = np.arange(n) * dt
        omega = 2 * np.pi / max(c.duration_s, 8.0)
        distance = c.speed_mps * t + c.speed_change_mps / omega * (1 - np.cos(omega * t))
        x = np.empty(n)  # of the point on the centre line beside the vehicle
        x[0] = 0.0
        step = np.diff(distance)
        for i in range(n - 1):
            rate = self._progress(x[i])
            x[i + 1] = x[i] + step[i] * self._progress(x[i] + 0.5 * step[i] * rate)
        y, dy, d2y = self._centre(x)
        yaw = np.arctan(dy)
        curvature = d2y / (1 + dy**2) ** 1.5
        offset = -0.5 * LANE_M
        self._t, self._speed = t, c.speed_mps + c.speed_change_mps * np.sin(omega * t)
        self._xy = np.stack([x - offset * np.sin(yaw), y + offset * np.cos(yaw)], axis=1)
        self._yaw, self._yaw_rate = yaw, self._speed * curvature / (1 - offset * curvature)

    def _progress(self, x: float) -> float:
        """dx of the centre line per metre driven in the lane."""
        k, a = 2 * np.pi / self.config.wave_m, self.config.curve_m
        dy, d2y = a * k * np.sin(k * x), a * k * k * np.cos(k * x)
        curvature = d2y / (1 + dy * dy) ** 1.5
        return float(1.0 / (np.sqrt(1 + dy * dy) * (1 + 0.5 * LANE_M * curvature)))

    def state(self, stamp_ns: int) -> tuple[float, float, float, float, float]:
        """x, y, yaw, speed, yaw rate of base_link in odom at a stamp (linear between the 1 kHz steps)."""
        t = (stamp_ns - self.config.start_ns) / NS_PER_S
        columns = (self._xy[:, 0], self._xy[:, 1], self._yaw, self._speed, self._yaw_rate)
        x, y, yaw, v, w = (float(np.interp(t, self._t, column)) for column in columns)
        return x, y, yaw, v, w

    def odometry_at(self, stamp_ns: int) -> OdometrySample:
        """Exact odometry at a stamp."""
        x, y, yaw, v, w = self.state(stamp_ns)
        return OdometrySample(
            stamp_ns=stamp_ns,
            odom_frame_id=self.odom_frame_id,
            base_frame_id=self.base_frame_id,
            T_odom_base=planar_T(x, y, yaw),
            linear_mps=np.array([v, 0.0, 0.0]),
            angular_radps=np.array([0.0, 0.0, w]),
        )

    def _stamps(self, rate_hz: float) -> list[int]:
        n = int(np.floor(self.config.duration_s * rate_hz + 1e-9)) + 1
        return [self.config.start_ns + round(i * NS_PER_S / rate_hz) for i in range(n)]

    def odometry(self) -> Iterator[OdometrySample]:
        """All odometry samples, in order."""
        return (self.odometry_at(stamp_ns) for stamp_ns in self._stamps(self.config.odometry_rate_hz))

    def image_stamps(self) -> list[int]:
        """Stamps of the pictures, in order."""
        return self._stamps(self.config.image_rate_hz)

    # --- picture --------------------------------------------------------------------------------------------------------------------

    def _cast_rays(self) -> None:
        """Where each pixel's ray meets the ground, in base axes: fixed, as the ground is flat and the camera is bolted on."""
        c = self.config
        u, v = np.meshgrid(np.arange(c.width, dtype=np.float64), np.arange(c.height, dtype=np.float64))
        pixels = np.stack([u.ravel(), v.ravel()], axis=1)[:, None, :]
        normalised = cv2.undistortPoints(pixels, c.K, np.asarray(c.D, np.float64) if c.D else np.zeros(5))[:, 0]
        rays = np.concatenate([normalised, np.ones((len(normalised), 1))], axis=1) @ c.T_base_camera[:3, :3].T
        origin = c.T_base_camera[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = -origin[2] / rays[:, 2]
        self._ground = ((rays[:, 2] < 0) & (scale < 400.0)).reshape(c.height, c.width)
        hit = origin[:2] + scale[self._ground.ravel(), None] * rays[self._ground.ravel(), :2]
        distance = np.linalg.norm(hit - origin[:2], axis=1)
        self._hit_base = hit
        self._footprint_m = distance / c.K[0, 0]  # width of a pixel on the ground
        self._haze = np.clip(distance / 250.0, 0.0, 1.0)[:, None]
        self._detail = np.clip(1.0 - self._footprint_m * 8.0, 0.0, 1.0)
        elevation = np.clip((rays[:, 2] / np.linalg.norm(rays, axis=1)).reshape(c.height, c.width), 0.0, 0.6) / 0.6
        horizon, zenith = np.array([205.0, 215.0, 225.0]), np.array([95.0, 140.0, 205.0])
        self._sky = horizon + (zenith - horizon) * elevation[..., None] ** 0.6

    def picture(self, stamp_ns: int) -> U8:
        """(height, width, 3) uint8 RGB as the camera sees it at a stamp."""
        x, y, yaw, _, _ = self.state(stamp_ns)
        R = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        world = self._hit_base @ R.T + np.array([x, y])
        canvas = self._sky + (self._sky_noise[..., None] - 0.5) * 24.0
        canvas[self._ground] = self._ground_colour(world)
        rgb = np.ascontiguousarray(np.clip(canvas, 0, 255).astype(np.uint8))
        self._draw_posts(rgb, np.array([x, y]), R)
        return rgb

    def _ground_colour(self, world: F64) -> F64:
        centre, slope, _ = self._centre(world[:, 0])
        d = (world[:, 1] - centre) / np.sqrt(1 + slope**2)  # metres left of the centre line
        along = world[:, 0] + slope * (world[:, 1] - centre)
        coarse = self._sample_noise(world / 0.25) * self._detail
        fine = self._sample_noise(world / 0.04) * np.clip(1.0 - self._footprint_m * 40.0, 0.0, 1.0)
        grass = np.array([88.0, 118.0, 62.0]) + (coarse * 9.0 + fine * 5.0)[:, None]
        asphalt = np.array([92.0, 92.0, 96.0]) + (coarse * 4.0 + fine * 5.0)[:, None]
        colour = grass + (asphalt - grass) * self._cover(np.abs(d), LANE_M + 0.6)[:, None]
        edge = self._cover(np.abs(np.abs(d) - LANE_M), 0.08)
        dash = self._cover(np.abs(d), 0.07) * (np.mod(along, 9.0) < 3.0)
        paint = np.maximum(edge, dash)[:, None]
        colour = colour + (np.array([232.0, 232.0, 226.0]) - colour) * paint
        mixed: F64 = colour + (np.array([200.0, 208.0, 214.0]) - colour) * self._haze
        return mixed

    def _cover(self, distance_m: F64, half_width_m: float) -> F64:
        """Share of a pixel that a stripe of half a width covers: soft edges instead of stairs."""
        share: F64 = np.clip((half_width_m - distance_m) / np.maximum(self._footprint_m, 1e-3) + 0.5, 0.0, 1.0)
        return share

    def _sample_noise(self, texel: F64) -> F64:
        i = np.mod(np.floor(texel).astype(np.int64), 512)
        values: F64 = self._noise[i[:, 1], i[:, 0]]
        return values

    def _draw_posts(self, rgb: U8, position: F64, R: F64) -> None:
        """Marker posts every 25 m on both sides, far ones first."""
        c = self.config
        T_camera_base = np.linalg.inv(c.T_base_camera)
        first = int(np.floor((position[0] - 10.0) / 25.0))
        for i in range(first + 8, first - 1, -1):
            x = np.array([25.0 * i])
            y, slope, _ = self._centre(x)
            normal = np.array([-slope[0], 1.0]) / np.sqrt(1 + slope[0] ** 2)
            for side in (-1.0, 1.0):
                foot = (np.array([x[0], y[0]]) + side * (LANE_M + 1.6) * normal - position) @ R
                corners = np.array([[foot[0], foot[1] + s, z] for s, z in ((0.08, 0.0), (-0.08, 0.0), (-0.08, 1.0), (0.08, 1.0))])
                optical = corners @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
                if optical[:, 2].min() < 1.0:
                    continue
                px, _ = cv2.projectPoints(optical, np.zeros(3), np.zeros(3), c.K, np.asarray(c.D, np.float64) if c.D else None)
                quad = px[:, 0].astype(np.float64)
                if np.abs(quad).max() > 8 * c.width:
                    continue
                _fill(rgb, quad, (238, 238, 238))
                _fill(rgb, np.stack([quad[0] * 0.3 + quad[3] * 0.7, quad[1] * 0.3 + quad[2] * 0.7, quad[2], quad[3]]), (190, 40, 35))


def _fill(rgb: U8, quad: F64, colour: tuple[int, int, int]) -> None:
    """Fill a quadrilateral with sub-pixel corners and soft edges."""
    cv2.fillConvexPoly(rgb, np.round(quad * 16).astype(np.int32), colour, lineType=cv2.LINE_AA, shift=4)
