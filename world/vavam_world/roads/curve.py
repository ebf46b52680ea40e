"""Plane curves of continuous curvature: straights, and bends of clothoid, arc, clothoid between them.

A curve is held as knots between which the curvature is linear in the arc length. Heading is then a polynomial and the position an integral, taken
with five Gauss points per knot interval: exact to rounding for intervals of 2 m and less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vavam_world.contracts import F64, Turn, WorldError

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_KNOT_M = 2.0
_STRAIGHT_RAD = math.radians(35.0)  # what changes direction by less is no turn
RAMP = 0.25  # share of a bend's angle that each of its two clothoids turns


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Knots (K,) of a curve: arc length, position, heading (unwrapped), curvature (+ left)."""

    s_m: F64
    xy_m: F64  # (K, 2)
    yaw_rad: F64
    curvature_1pm: F64

    @property
    def length_m(self) -> float:
        """Arc length."""
        return float(self.s_m[-1])

    def at(self, s_m: F64) -> tuple[F64, F64, F64]:
        """Position (N, 2), heading (N,) and curvature (N,) at arc lengths (N,). Beyond either end the curve goes on straight."""
        s = np.asarray(s_m, dtype=np.float64)
        inside = np.clip(s, 0.0, self.s_m[-1])
        i = np.clip(np.searchsorted(self.s_m, inside, side="right") - 1, 0, len(self.s_m) - 2)
        u = inside - self.s_m[i]
        k0 = self.curvature_1pm[i]
        slope = (self.curvature_1pm[i + 1] - k0) / (self.s_m[i + 1] - self.s_m[i])
        yaw = self.yaw_rad[i] + k0 * u + 0.5 * slope * u * u
        xy = self.xy_m[i] + _chord(u, self.yaw_rad[i], k0, slope)
        beyond = s - inside
        xy = xy + beyond[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
        return xy, yaw, np.where(beyond == 0.0, k0 + slope * u, 0.0)

    def offset(self, s_m: F64, d_m: F64 | float) -> F64:
        """Points (N, 2) at arc lengths (N,), `d_m` to the left."""
        xy, yaw, _ = self.at(s_m)
        moved: F64 = xy + np.asarray(d_m, dtype=np.float64).reshape(-1, 1) * np.stack([-np.sin(yaw), np.cos(yaw)], axis=1)
        return moved

    def grid(self, step_m: float, start_m: float = 0.0, end_m: float | None = None) -> F64:
        """Even arc lengths from `start_m` to `end_m` (the curve's end), at most `step_m` apart."""
        end = self.length_m if end_m is None else end_m
        return np.linspace(start_m, end, max(2, math.ceil((end - start_m) / step_m - 1e-9) + 1))


def _chord(u: F64, yaw: F64, k0: F64, slope: F64) -> F64:
    """Displacement (N, 2) over lengths u from headings `yaw`, with curvature k0 + slope·t."""
    t = 0.5 * u[:, None] * (1.0 + _NODES)
    angle = yaw[:, None] + k0[:, None] * t + 0.5 * slope[:, None] * t * t
    return np.stack([0.5 * u * (np.cos(angle) @ _WEIGHTS), 0.5 * u * (np.sin(angle) @ _WEIGHTS)], axis=1)


def from_pieces(start_xy_m: F64, yaw_rad: float, pieces: Sequence[tuple[float, float, float]]) -> Curve:
    """Curve from pieces (length, curvature at its start, at its end), joined at a pose. Pieces shorter than 1e-9 m are left out."""
    lengths: list[F64] = []
    ks: list[float] = []
    for length, k0, k1 in pieces:
        if length <= 1e-9:
            continue
        n = 1 if k0 == k1 == 0.0 else math.ceil(length / _KNOT_M)
        lengths.append(np.full(n, length / n))
        ks.extend(k0 + (k1 - k0) * j / n for j in range(n))
        last = k1
    step, k = np.concatenate(lengths), np.array([*ks, last])
    slope = np.diff(k) / step
    yaw = yaw_rad + np.concatenate([[0.0], np.cumsum(step * 0.5 * (k[1:] + k[:-1]))])
    xy = np.asarray(start_xy_m) + np.vstack([np.zeros(2), np.cumsum(_chord(step, yaw[:-1], k[:-1], slope), axis=0)])
    return Curve(np.concatenate([[0.0], np.cumsum(step)]), xy, yaw, k)


def bend_tangent(angle_rad: float) -> float:
    """Length of straight that a bend of `angle_rad` with a smallest radius of 1 m takes on either side of its corner."""
    a = abs(angle_rad)
    bend = from_pieces(np.zeros(2), 0.0, _bend(a, 1.0))
    return float(bend.xy_m[-1, 1] / math.sin(a))


def _bend(angle_rad: float, radius_m: float) -> list[tuple[float, float, float]]:
    k, ramp = math.copysign(1.0 / radius_m, angle_rad), 2.0 * RAMP * abs(angle_rad) * radius_m
    return [(ramp, 0.0, k), ((1.0 - 2.0 * RAMP) * abs(angle_rad) * radius_m, k, k), (ramp, k, 0.0)]


def rounded(corners_xy_m: F64, radius_m: Sequence[float]) -> Curve:
    """Polyline (N, 2) whose N − 2 inner corners are bends of the given smallest radii. Corners of less than 1e-6 rad are none.

    Raises WorldError where two bends need more straight than lies between their corners."""
    leg = np.diff(corners_xy_m, axis=0)
    length = np.hypot(leg[:, 0], leg[:, 1])
    heading = np.arctan2(leg[:, 1], leg[:, 0])
    turn = (np.diff(heading) + math.pi) % (2.0 * math.pi) - math.pi
    cut = [0.0, *(bend_tangent(a) * r if abs(a) > 1e-6 else 0.0 for a, r in zip(turn, radius_m, strict=True)), 0.0]
    pieces: list[tuple[float, float, float]] = []
    for i, whole in enumerate(length):
        straight = float(whole) - cut[i] - cut[i + 1]
        if straight < -1e-6:
            raise WorldError(f"bends at corners {i} and {i + 1}: got {whole:.1f} m between them, expected {cut[i] + cut[i + 1]:.1f} m: smaller radii")
        pieces.append((straight, 0.0, 0.0))
        if i < len(turn) and cut[i + 1] > 0.0:
            pieces.extend(_bend(float(turn[i]), radius_m[i]))
    return from_pieces(corners_xy_m[0], float(heading[0]), pieces)


def turn_of(yaw_in: float, yaw_out: float) -> Turn:
    """Which way the direction of travel changes."""
    change = (yaw_out - yaw_in + math.pi) % (2.0 * math.pi) - math.pi
    return "straight" if abs(change) < _STRAIGHT_RAD else "left" if change > 0.0 else "right"


def turn_between(start_xy_m: F64, start_yaw: float, end_xy_m: F64, end_yaw: float, lead_m: float, max_radius_m: float) -> tuple[Curve, float]:
    """The way from one pose to another by at most one bend, and its smallest radius (inf where straight).

    The bend is as wide as `max_radius_m` and straights of `lead_m` at both ends allow. Raises WorldError where the poses' lines do not meet ahead."""
    a, b = np.array([math.cos(start_yaw), math.sin(start_yaw)]), np.array([math.cos(end_yaw), math.sin(end_yaw)])
    gap = end_xy_m - start_xy_m
    cross = float(a[0] * b[1] - a[1] * b[0])
    if abs(cross) < 1e-9:
        if abs(a[0] * gap[1] - a[1] * gap[0]) > 1e-6 or float(a @ gap) <= 0.0:
            raise WorldError("way through a junction: got parallel lines beside each other, expected one line")
        return from_pieces(start_xy_m, start_yaw, [(float(np.hypot(*gap)), 0.0, 0.0)]), math.inf
    before, after = float(gap[0] * b[1] - gap[1] * b[0]) / cross, float(a[1] * gap[0] - a[0] * gap[1]) / -cross
    room = min(before, after) - lead_m
    if room <= 0.0:
        raise WorldError(f"way through a junction: got {min(before, after):.1f} m to its corner, expected more than {lead_m:.1f} m: a larger junction")
    angle = math.atan2(cross, float(a @ b))
    radius = min(max_radius_m, room / bend_tangent(angle))
    return rounded(np.array([start_xy_m, start_xy_m + before * a, end_xy_m]), [radius]), radius
