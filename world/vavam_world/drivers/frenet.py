"""The route as a frame of reference: arc length s along it, d to its left.

Shape letters: N points, in any number of axes before the last · M grid points.
"""

from __future__ import annotations

import math

import numpy as np

from vavam_world.contracts import F64, Route

GRID_M = 1.0
EXTENSION_M = 80.0  # straight on before the route's start and past its end


class RouteFrame:
    """A route on an even grid, extended straight at both ends, with what is derived from it once."""

    def __init__(self, route: Route) -> None:
        self.length_m = route.length_m
        s = np.arange(-EXTENSION_M, route.length_m + EXTENSION_M + GRID_M, GRID_M)
        inside = np.clip(s, 0.0, route.length_m)
        beyond = s - inside
        self.s_m = s  # (M,)
        self.yaw_rad = np.interp(inside, route.s_m, route.yaw_rad)
        self.x_m = np.interp(inside, route.s_m, route.xy_m[:, 0]) + beyond * np.cos(self.yaw_rad)
        self.y_m = np.interp(inside, route.s_m, route.xy_m[:, 1]) + beyond * np.sin(self.yaw_rad)
        self.curvature_1pm = np.where(beyond == 0.0, np.interp(inside, route.s_m, route.curvature_1pm), 0.0)
        self.speed_limit_mps = np.interp(inside, route.s_m, route.speed_limit_mps)

    def project(self, x_m: float, y_m: float, hint_s_m: float, window_m: float = 15.0) -> tuple[float, float]:
        """(s, d) of a point near arc length `hint_s_m`, by the nearest grid point and the heading there."""
        i0 = self._index(hint_s_m - window_m)
        i1 = self._index(hint_s_m + window_m) + 1
        distance2 = (self.x_m[i0:i1] - x_m) ** 2 + (self.y_m[i0:i1] - y_m) ** 2
        s = float(self.s_m[i0 + int(np.argmin(distance2))])
        for _ in range(2):  # Newton steps to the foot of the perpendicular
            cx, cy, yaw = float(np.interp(s, self.s_m, self.x_m)), float(np.interp(s, self.s_m, self.y_m)), float(np.interp(s, self.s_m, self.yaw_rad))
            dx, dy = x_m - cx, y_m - cy
            d = -dx * math.sin(yaw) + dy * math.cos(yaw)
            along = dx * math.cos(yaw) + dy * math.sin(yaw)
            s += along / max(1.0 - self.curvature_at(s) * d, 0.2)
        cx, cy, yaw = float(np.interp(s, self.s_m, self.x_m)), float(np.interp(s, self.s_m, self.y_m)), float(np.interp(s, self.s_m, self.yaw_rad))
        return s, -(x_m - cx) * math.sin(yaw) + (y_m - cy) * math.cos(yaw)

    def project_all(self, xy_m: F64, from_s_m: float, to_s_m: float) -> tuple[F64, F64]:
        """(s, d), each (N,), of points (N, 2), looked for between two arc lengths; to within a few centimetres."""
        i0, i1 = self._index(from_s_m), self._index(to_s_m) + 1
        distance2 = (xy_m[:, :1] - self.x_m[i0:i1]) ** 2 + (xy_m[:, 1:] - self.y_m[i0:i1]) ** 2  # N, window
        i = i0 + np.argmin(distance2, axis=1)
        dx, dy, yaw = xy_m[:, 0] - self.x_m[i], xy_m[:, 1] - self.y_m[i], self.yaw_rad[i]
        along = dx * np.cos(yaw) + dy * np.sin(yaw)
        return self.s_m[i] + along, -dx * np.sin(yaw) + dy * np.cos(yaw)

    def place(self, s_m: F64, d_m: F64) -> tuple[F64, F64, F64]:
        """x, y of points (s, d) and the route's heading there, each shaped as `s_m`."""
        yaw = np.interp(s_m, self.s_m, self.yaw_rad)
        x = np.interp(s_m, self.s_m, self.x_m) - d_m * np.sin(yaw)
        y = np.interp(s_m, self.s_m, self.y_m) + d_m * np.cos(yaw)
        return x, y, yaw

    def curvature_at(self, s_m: float) -> float:
        """1/m, + left."""
        return float(np.interp(s_m, self.s_m, self.curvature_1pm))

    def yaw_at(self, s_m: float) -> float:
        """Heading of the route, unwrapped."""
        return float(np.interp(s_m, self.s_m, self.yaw_rad))

    def _index(self, s_m: float) -> int:
        return int(np.clip(round((s_m - self.s_m[0]) / GRID_M), 0, len(self.s_m) - 1))


def quintic(d0: F64, slope0: F64, bend0: F64, d1: F64, length_m: F64) -> F64:
    """(..., 6) coefficients in u = s / length of the offset that leaves (d0, slope, bend) and arrives at d1 with neither slope nor bend.

    `slope0` and `bend0` are first and second derivatives by arc length. All arguments broadcast."""
    a0, a1, a2 = d0, slope0 * length_m, 0.5 * bend0 * length_m**2
    gap, slope, bend = d1 - a0 - a1 - a2, -a1 - 2.0 * a2, -2.0 * a2
    a3 = 10.0 * gap - 4.0 * slope + 0.5 * bend
    a4 = -15.0 * gap + 7.0 * slope - bend
    a5 = 6.0 * gap - 3.0 * slope + 0.5 * bend
    return np.stack(np.broadcast_arrays(a0, a1, a2, a3, a4, a5), axis=-1)


def quintic_at(coefficients: F64, s_m: F64, length_m: F64) -> tuple[F64, F64, F64]:
    """Offset and its first two derivatives by arc length at `s_m`; past the end the offset stays. Coefficients (..., 6) against s (..., T)."""
    length = np.asarray(length_m)[..., None]
    u = np.clip(s_m / length, 0.0, 1.0)
    a = [coefficients[..., i, None] for i in range(6)]
    d = a[0] + u * (a[1] + u * (a[2] + u * (a[3] + u * (a[4] + u * a[5]))))
    slope = (a[1] + u * (2.0 * a[2] + u * (3.0 * a[3] + u * (4.0 * a[4] + u * 5.0 * a[5])))) / length
    bend = (2.0 * a[2] + u * (6.0 * a[3] + u * (12.0 * a[4] + u * 20.0 * a[5]))) / length**2
    return d, slope, bend
