"""Where on a route something is, and what is there."""

from __future__ import annotations

import math

import numpy as np

from vavam_world.contracts import Route

HINT_REACH_M = 25.0


def project(route: Route, x: float, y: float, hint_s: float | None = None) -> tuple[float, float]:
    """Arc length and offset (+ left) of the route's nearest place to a point in map; the first of equals.

    With `hint_s` only places within 25 m of that arc length count: a route may cross itself or come back. Before its start and beyond its end
    the arc length is that of the end, the offset that from the line through it."""
    first, last = 0, len(route.s_m) - 2
    if hint_s is not None:
        first = min(max(int(np.searchsorted(route.s_m, hint_s - HINT_REACH_M)) - 1, 0), last)
        last = min(max(int(np.searchsorted(route.s_m, hint_s + HINT_REACH_M)), first), last)
    a = route.xy_m[first : last + 2]
    step = a[1:] - a[:-1]
    square = step[:, 0] ** 2 + step[:, 1] ** 2
    dx, dy = x - a[:-1, 0], y - a[:-1, 1]
    t = np.minimum(np.maximum((dx * step[:, 0] + dy * step[:, 1]) / square, 0.0), 1.0)
    i = int(np.argmin((dx - t * step[:, 0]) ** 2 + (dy - t * step[:, 1]) ** 2))
    s = route.s_m[first + i] + t[i] * (route.s_m[first + i + 1] - route.s_m[first + i])
    return float(s), float((step[i, 0] * dy[i] - step[i, 1] * dx[i]) / math.sqrt(square[i]))


def pose_at(route: Route, s: float, d: float = 0.0) -> tuple[float, float, float]:
    """Position and heading (unwrapped) at arc length `s`, `d` to the left. Beyond either end the route goes on straight."""
    inside = min(max(s, 0.0), route.length_m)
    i = min(max(int(np.searchsorted(route.s_m, inside, side="right")) - 1, 0), len(route.s_m) - 2)
    t = (inside - route.s_m[i]) / (route.s_m[i + 1] - route.s_m[i])
    x, y = route.xy_m[i] + t * (route.xy_m[i + 1] - route.xy_m[i])
    yaw = float(route.yaw_rad[i] + t * (route.yaw_rad[i + 1] - route.yaw_rad[i]))
    cos, sin, beyond = math.cos(yaw), math.sin(yaw), s - inside
    return float(x + beyond * cos - d * sin), float(y + beyond * sin + d * cos), yaw
