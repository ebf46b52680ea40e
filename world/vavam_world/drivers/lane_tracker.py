"""The lane the vehicle is in, as a clothoid between two lines, followed from picture to picture.

Shape letters: H hypotheses · S points along the lane · N offsets across a line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vavam_world.contracts import F64
from vavam_world.drivers.lane_picture import GroundPicture

STEP_M = 0.5
S_M = STEP_M * np.arange(1, 53, dtype=np.float64)  # arc lengths at which the lines are looked at, up to 26 m
_NEAR = 0.65  # half the width of the window around a line, first pass
_FINE = 0.35
_N = np.linspace(-1.0, 1.0, 15)
# How far the lane may reasonably be from what the last picture and the odometry say, as standard deviations: offset, heading, curvature, its slope, width.
_PRIOR_SD = np.array([0.12, 0.03, 0.008, 0.0008, 0.08])
_LOOSE_SD = np.array([0.8, 0.15, 0.03, 0.0003, 0.3])  # the same with no picture before
_POINT_SD = 0.12  # of one seen piece of line
LINE_SCORE = 0.25  # from here on a point shows paint


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneShape:
    """The lane ahead in the ego frame: its centre at x = 0 and heading there, curvature, its change, and the width."""

    offset_m: float = 0.0  # of the lane centre, + left of the vehicle
    heading_rad: float = 0.0
    curvature_1pm: float = 0.0
    slope_1pm2: float = 0.0  # curvature per metre
    width_m: float = 3.45

    def vector(self) -> F64:
        """(5,)"""
        return np.array([self.offset_m, self.heading_rad, self.curvature_1pm, self.slope_1pm2, self.width_m])

    def at(self, s_m: F64) -> tuple[F64, F64, F64]:
        """x, y and heading of the lane centre at even arc lengths from 0, each shaped as `s_m` (S,)."""
        x, y, yaw = _lines(self.vector()[None], s_m)
        return x[0], y[0], yaw[0]

    def moved(self, dx_m: float, dy_m: float, dyaw_rad: float) -> LaneShape:
        """The same lane seen after a motion, given in the ego frame before it."""
        offset = self.offset_m + math.tan(self.heading_rad) * dx_m + 0.5 * self.curvature_1pm * dx_m**2 - dy_m
        heading = self.heading_rad + self.curvature_1pm * dx_m + 0.5 * self.slope_1pm2 * dx_m**2 - dyaw_rad
        curvature = float(np.clip(self.curvature_1pm + self.slope_1pm2 * dx_m, -0.06, 0.06))
        return replace(self, offset_m=offset * math.cos(heading), heading_rad=heading, curvature_1pm=curvature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one picture showed: the lane fitted, and the share of either line's points (0..1) with paint on them."""

    shape: LaneShape
    left: float
    right: float

    @property
    def support(self) -> float:
        """How well the lane is seen: a solid line alone gives about 0.5, none 0."""
        return 0.5 * (self.left + self.right)


def find_lane(ground: GroundPicture, paint: F64, expected: LaneShape, *, tracked: bool) -> Sighting:
    """Fit the lane to a picture's paint: a coarse search around what is expected, then least squares on the paint near both lines."""
    if not paint.any():
        return Sighting(shape=expected, left=0.0, right=0.0)
    if tracked:
        axes = (np.linspace(-0.3, 0.3, 5), np.linspace(-0.06, 0.06, 5), np.linspace(-0.02, 0.02, 7), np.zeros(1), np.zeros(1))
    else:
        axes = (np.linspace(-0.9, 0.9, 9), np.linspace(-0.12, 0.12, 7), np.linspace(-0.035, 0.035, 13), np.zeros(1), np.linspace(-0.2, 0.2, 3))
    offsets = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)  # H 5
    start = expected.vector()
    sd = _PRIOR_SD if tracked else _LOOSE_SD
    hypotheses = start + offsets
    fit = _scores(ground, paint, hypotheses) - 0.03 * np.sum((offsets / sd) ** 2, axis=1) * (0.25 if tracked else 1.0)
    best = hypotheses[int(np.argmax(fit))]
    for half in (_NEAR, _NEAR, _NEAR, _FINE, _FINE, _FINE):
        best = _refined(ground, paint, best, start, sd, half)
    left, right = _support(ground, paint, best)
    names = ("offset_m", "heading_rad", "curvature_1pm", "slope_1pm2", "width_m")
    return Sighting(shape=LaneShape(**dict(zip(names, best.tolist(), strict=True))), left=left, right=right)


def _lines(params: F64, s_m: F64) -> tuple[F64, F64, F64]:
    """x, y and heading (H, S) of lane centres (H, 5) at even arc lengths, by the midpoint rule from x = 0."""
    step = float(s_m[1] - s_m[0])
    offset, heading, curvature, slope = (params[:, i : i + 1] for i in range(4))
    yaw = heading + curvature * s_m + 0.5 * slope * s_m**2
    middle = s_m - 0.5 * step
    way = heading + curvature * middle + 0.5 * slope * middle**2
    first = float(s_m[0])
    steps = np.full(len(s_m), step)
    steps[0] = first
    x = np.cumsum(steps * np.cos(way), axis=1)
    y = offset + np.cumsum(steps * np.sin(way), axis=1)
    return x, y, yaw


def _scores(ground: GroundPicture, paint: F64, params: F64) -> F64:
    """(H,) paint under both lines per point that can be seen."""
    x, y, yaw = _lines(params, S_M[::2])
    half = 0.5 * params[:, 4:5]
    total, seen = np.zeros(len(params)), np.full(len(params), 4.0)  # a few points that can be seen must not outweigh many
    for side in (1.0, -1.0):
        px, py = x - side * half * np.sin(yaw), y + side * half * np.cos(yaw)
        total += ground.look_up(paint, px, py).sum(axis=1)
        seen += ground.look_up(ground.seen, px, py).sum(axis=1)
    return np.asarray(total / seen)


def _refined(ground: GroundPicture, paint: F64, params: F64, prior: F64, prior_sd: F64, half_m: float) -> F64:
    """One Gauss–Newton step: the paint's centre of mass across each line, at each point, pulls the lane there; the prior holds it."""
    x, y, yaw = (a[0] for a in _lines(params[None], S_M))
    across = half_m * _N
    information = np.diag(1.0 / prior_sd**2)
    pull = (prior - params) / prior_sd**2
    for side in (1.0, -1.0):
        n = side * 0.5 * params[4] + across[:, None]  # N S
        found = ground.look_up(paint, x - n * np.sin(yaw), y + n * np.cos(yaw))
        mass = found.sum(axis=0)
        seen = mass > 0.5
        if not seen.any():
            continue
        shift = (found * across[:, None]).sum(axis=0)[seen] / mass[seen]
        weight = np.minimum(mass[seen], 3.0) / 3.0 / _POINT_SD**2  # neighbouring points are blurred into one another
        s = S_M[seen]
        slopes = np.stack([np.ones_like(s), s, 0.5 * s**2, s**3 / 6.0, np.full_like(s, 0.5 * side)], axis=1)
        information += (slopes * weight[:, None]).T @ slopes
        pull += (slopes * weight[:, None]).T @ shift
    out = params + np.linalg.solve(information, pull)
    return np.clip(out, [-3.0, -0.8, -0.07, -0.004, 2.8], [3.0, 0.8, 0.07, 0.004, 4.0])


def _support(ground: GroundPicture, paint: F64, params: F64) -> tuple[float, float]:
    x, y, yaw = (a[0] for a in _lines(params[None], S_M))
    shares = []
    for side in (1.0, -1.0):
        half = side * 0.5 * params[4]
        px, py = x - half * np.sin(yaw), y + half * np.cos(yaw)
        visible: npt.NDArray[np.bool_] = ground.look_up(ground.seen, px, py) > 0
        there = ground.look_up(paint, px, py) > LINE_SCORE
        shares.append(float((there & visible).sum() / max(int(visible.sum()), 10)))
    return shares[0], shares[1]
