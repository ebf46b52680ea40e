"""Rays ↔ pixels: the pinhole and fisheye models of ROS CameraInfo, with the field in which each of them can be trusted.

Camera axes are optical (x right, y down, z forward). Pixel (0, 0) is the centre of the top left pixel, as in OpenCV and CameraInfo.
Formulas: Brown–Conrady and its rational extension (OpenCV calib3d documentation, `distCoeffs` k1 k2 p1 p2 k3 k4 k5 k6), Kannala–Brandt for
equidistant (OpenCV fisheye documentation, θ_d = θ(1 + k1θ² + k2θ⁴ + k3θ⁶ + k4θ⁸)).

Distortion polynomials are fitted inside the picture only; outside they fold back, so that rays far off the axis land inside the picture again.
Rays beyond the first turning point of the radial function are therefore treated as not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vavam_ros.core.contracts import F64, CameraError

COEFFICIENTS = {"none": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
DISTORTION_MODELS = tuple(COEFFICIENTS)
_MIN_DEPTH = 1e-6  # of a unit ray: a pinhole sees nothing at or behind 90°


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """Intrinsics of a picture as it is (binning and region of interest already applied)."""

    K: F64  # (3, 3)
    distortion_model: str  # one of DISTORTION_MODELS
    D: F64  # (COEFFICIENTS[distortion_model],)

    def project(self, xyz: F64) -> F64:
        """Points or rays (N, 3) in camera axes → pixels (N, 2); NaN where the lens forms no (trustworthy) image."""
        x, y, z = np.asarray(xyz, np.float64).T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.distortion_model == "equidistant":
                r = np.hypot(x, y)
                theta = np.arctan2(r, z)
                seen = theta < self.max_angle_rad
                scale = np.where(r > 0, _kannala_brandt(theta, self.D) / r, 1 / z)
                a, b = x * scale, y * scale
            else:
                a, b = x / z, y / z
                seen = (z > _MIN_DEPTH * np.sqrt(x * x + y * y + z * z)) & (np.hypot(a, b) < math.tan(self.max_angle_rad))
                if self.distortion_model != "none":
                    a, b = _brown(a, b, self.D)
            px = np.stack([self.K[0, 0] * a + self.K[0, 1] * b + self.K[0, 2], self.K[1, 1] * b + self.K[1, 2]], axis=-1)
        px[~seen] = np.nan
        return px

    def unproject(self, px: F64) -> F64:
        """Pixels (N, 2) → rays (N, 3) with z = 1. Inverse of `project` for views of less than 180°."""
        points = np.ascontiguousarray(px, np.float64).reshape(-1, 1, 2)
        precise = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-12)
        if self.distortion_model == "equidistant":
            ab = cv2.fisheye.undistortPoints(points, self.K, self.D, criteria=precise)
        elif self.distortion_model == "none":
            b = (points[..., 1] - self.K[1, 2]) / self.K[1, 1]
            ab = np.stack([(points[..., 0] - self.K[0, 2] - self.K[0, 1] * b) / self.K[0, 0], b], axis=-1)
        else:
            ab = cv2.undistortPoints(points, self.K, self.D, criteria=precise)
        flat = np.asarray(ab, np.float64).reshape(-1, 2)
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    def resized(self, scale_x: float, scale_y: float) -> Lens:
        """The lens of the same picture resized by these factors (pixel centres at half-integers of the picture's extent, as every resize does)."""
        return replace(self, K=scale_intrinsics(self.K, scale_x, scale_y))

    @property
    def max_angle_rad(self) -> float:
        """Angle off the axis at which the radial function first turns back (π/2 for an ideal pinhole, π for an ideal fisheye)."""
        if self.distortion_model == "equidistant":
            k1, k2, k3, k4 = self.D
            turning = _smallest_positive_root([1.0, 3 * k1, 5 * k2, 7 * k3, 9 * k4])  # in θ²
            return min(math.pi, math.sqrt(turning))
        if self.distortion_model == "none":
            return math.pi / 2
        k1, k2, _, _, k3, k4, k5, k6 = np.pad(self.D, (0, 8 - len(self.D)))
        # r·N(s)/Q(s) with s = r²: its slope has the sign of (N + 2sN')·Q − 2s·N·Q'; a pole of Q ends the field as well
        n, q = np.polynomial.Polynomial([1, k1, k2, k3]), np.polynomial.Polynomial([1, k4, k5, k6])
        two_s = np.polynomial.Polynomial([0, 2])
        slope = (n + two_s * n.deriv()) * q - two_s * n * q.deriv()
        return math.atan(math.sqrt(min(_smallest_positive_root(np.asarray(slope.coef, np.float64)), _smallest_positive_root(np.asarray(q.coef, np.float64)))))


def scale_intrinsics(K: F64, scale_x: float, scale_y: float) -> F64:
    """K (3, 3) of a picture resized by these factors. The half pixels keep the picture's edges, not its pixel centres, in place."""
    return np.array(
        [
            [K[0, 0] * scale_x, K[0, 1] * scale_x, (K[0, 2] + 0.5) * scale_x - 0.5],
            [0.0, K[1, 1] * scale_y, (K[1, 2] + 0.5) * scale_y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def checked_distortion(model: str, d: F64, owner: str) -> tuple[str, F64]:
    """Name and coefficients as messages and files give them → one of DISTORTION_MODELS with exactly its coefficients.

    Accepted besides: an empty name without coefficients or with zeros only (none), "fisheye" (older name of equidistant), too few plumb_bob
    coefficients when at least four (k3 = 0), all-zero tails. Raises CameraError for anything else.
    """
    d = np.asarray(d, np.float64).reshape(-1)
    if not np.isfinite(d).all():
        raise CameraError(f"{owner}: distortion coefficients {d.tolist()} are not finite; calibrate the camera again")
    name = {"fisheye": "equidistant"}.get(model, model)
    if name in ("", "none"):
        if np.any(d):
            raise CameraError(f"{owner}: got distortion coefficients {d.tolist()} without a distortion model, expected one of {', '.join(DISTORTION_MODELS)}")
        return "none", np.zeros(0)
    if name not in COEFFICIENTS:
        raise CameraError(
            f"{owner}: got distortion model {model!r}, expected one of {', '.join(DISTORTION_MODELS)}; calibrate with one of these, or rectify first"
        )
    n = COEFFICIENTS[name]
    if name == "plumb_bob" and len(d) == 4:
        d = np.append(d, 0.0)
    if not np.any(d):  # drivers without distortion fill any number of zeros
        d = np.zeros(n)
    if len(d) < n or np.any(d[n:]):
        raise CameraError(f"{owner}: got {len(d)} distortion coefficients, expected {n} for {name}")
    return ("none", np.zeros(0)) if name != "equidistant" and not np.any(d) else (name, d[:n])


def _brown(a: F64, b: F64, d: F64) -> tuple[F64, F64]:
    """Brown–Conrady (5 coefficients) or its rational extension (8) on the normalised plane."""
    k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(d, (0, 8 - len(d)))
    s = a * a + b * b
    radial = (1 + s * (k1 + s * (k2 + s * k3))) / (1 + s * (k4 + s * (k5 + s * k6)))
    return a * radial + 2 * p1 * a * b + p2 * (s + 2 * a * a), b * radial + p1 * (s + 2 * b * b) + 2 * p2 * a * b


def _kannala_brandt(theta: F64, d: F64) -> F64:
    t2 = theta * theta
    out: F64 = theta * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3]))))
    return out


def _smallest_positive_root(coefficients: F64 | list[float]) -> float:
    """Of a polynomial given lowest power first; infinity without one."""
    roots = np.polynomial.polynomial.polyroots(np.trim_zeros(np.asarray(coefficients, np.float64), "b"))
    real = roots.real[(abs(roots.imag) < 1e-9 * (1 + abs(roots.real))) & (roots.real > 0)]
    return float(real.min()) if len(real) else math.inf
