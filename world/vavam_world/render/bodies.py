"""The shapes of cars, vans, trucks and pedestrians: x forward, z up, the origin on the ground below their centre."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vavam_world.render.meshes import Colour, Mesh, blob, box, merge, prism, quad, quads, rod
from vavam_world.render.textures import slot

PAINTS: tuple[Colour, ...] = (
    (0.86, 0.87, 0.88), (0.16, 0.17, 0.19), (0.52, 0.54, 0.57), (0.62, 0.10, 0.10), (0.12, 0.22, 0.46), (0.30, 0.36, 0.40),
    (0.90, 0.90, 0.86), (0.14, 0.34, 0.24), (0.74, 0.68, 0.56), (0.84, 0.46, 0.12), (0.20, 0.42, 0.60), (0.42, 0.12, 0.22),
)  # fmt: skip
GLASS: Colour = (0.14, 0.17, 0.20)
RUBBER: Colour = (0.09, 0.09, 0.10)
RIM: Colour = (0.55, 0.56, 0.58)
CLOTHES: tuple[Colour, ...] = ((0.70, 0.16, 0.16), (0.18, 0.30, 0.55), (0.85, 0.75, 0.30), (0.22, 0.24, 0.26), (0.30, 0.50, 0.34), (0.82, 0.82, 0.80))
TROUSERS: tuple[Colour, ...] = ((0.16, 0.18, 0.26), (0.30, 0.26, 0.22), (0.42, 0.44, 0.46), (0.12, 0.12, 0.13))
SKIN: tuple[Colour, ...] = ((0.86, 0.68, 0.56), (0.66, 0.48, 0.36), (0.42, 0.29, 0.21))
STRIDE_M = 1.4
PHASES = 8  # of a stride


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """A shape and which of its vertices are lights."""

    mesh: Mesh
    rear: slice  # tail and brake lights
    front: slice  # headlights


def vehicle(kind: str, variant: int, length_m: float, width_m: float, height_m: float) -> Body:
    """A car, van or truck of this size; `variant` chooses paint and shape."""
    paint = PAINTS[variant % len(PAINTS)]
    size = (length_m, width_m, height_m)
    if kind == "truck":
        parts, rear_z = _truck(*size, paint, PAINTS[(variant // 3) % len(PAINTS)]), 0.26 * height_m
    elif kind == "van":
        parts, rear_z = _van(*size, paint), 0.40 * height_m
    else:
        parts, rear_z = _car(*size, paint, (variant // len(PAINTS) + variant) % 3), 0.52 * height_m
    radius = 0.33 if kind != "truck" else 0.48
    axles = (0.31, -0.31) if kind != "truck" else (0.36, -0.22, -0.36)
    parts += [_wheel(share * length_m, side * (width_m / 2.0 - 0.085), radius) for share in axles for side in (-1.0, 1.0)]
    a, b = length_m / 2.0 + 0.012, width_m / 2.0
    parts.append(
        quad(
            [(-a, 0.26, 0.24 * height_m), (-a, -0.26, 0.24 * height_m), (-a, -0.26, 0.24 * height_m + 0.12), (-a, 0.26, 0.24 * height_m + 0.12)],
            slot("plain"),
            (0.92, 0.92, 0.86),
        )
    )
    solid = merge(parts)
    wide = 0.34 if kind != "truck" else 0.22
    rear = merge([_lamp(-a, side * (b - wide / 2.0 - 0.05), rear_z, wide, 0.16) for side in (-1.0, 1.0)])
    front_z = (0.42 if kind == "car" or kind == "parked" else 0.30) * height_m
    front = merge([_lamp(a, side * (b - 0.28), front_z, 0.36, 0.14) for side in (-1.0, 1.0)])
    n, r, f = len(solid.xyz_m), len(rear.xyz_m), len(front.xyz_m)
    whole = merge([solid, rear, front]).labelled("vehicle")
    return Body(mesh=whole, rear=slice(n, n + r), front=slice(n + r, n + r + f))


def _lamp(x: float, y: float, z: float, wide: float, high: float) -> Mesh:
    side = 1.0 if x > 0.0 else -1.0
    y0, y1 = y - side * wide / 2.0, y + side * wide / 2.0
    return quad([(x, y0, z - high / 2), (x, y1, z - high / 2), (x, y1, z + high / 2), (x, y0, z + high / 2)], slot("plain"))


def _wheel(x: float, y: float, radius: float) -> Mesh:
    angle = np.arange(10) * 2.0 * math.pi / 10
    ring = np.stack([x + radius * np.cos(angle), radius + radius * np.sin(angle)], axis=1)
    tyre = prism(ring, y - 0.11, y + 0.11, slot("plain"), RUBBER)
    hub = np.stack([x + 0.58 * radius * np.cos(angle), radius + 0.58 * radius * np.sin(angle)], axis=1)
    return merge([tyre, prism(hub, y - 0.135, y + 0.135, slot("plain"), RIM)])


def _tapered(low: list[tuple[float, float]], high: list[tuple[float, float]], z0: float, z1: float, colour: Colour) -> Mesh:
    """Four sides between two rings of four (x, y), closed above."""
    below, above = [(*c, z0) for c in low], [(*c, z1) for c in high]
    sides = [[below[i], below[j], above[j], above[i]] for i, j in ((0, 1), (1, 2), (2, 3), (3, 0))]
    return quads([*sides, above], slot("plain"), colour)


def _ring(x0: float, x1: float, half: float) -> list[tuple[float, float]]:
    return [(x0, -half), (x1, -half), (x1, half), (x0, half)]


def _car(length: float, width: float, height: float, paint: Colour, style: int) -> list[Mesh]:
    """style 0: saloon, 1: hatchback, 2: off-roader."""
    a, b, plain = length / 2.0, width / 2.0, slot("plain")
    belt = (0.60, 0.60, 0.62)[style] * height
    sill, bonnet = 0.17 * height, (0.52, 0.53, 0.58)[style] * height
    body = [
        (-a + 0.06, sill),
        (a - 0.06, sill),
        (a, 0.30 * height),
        (a - 0.05, 0.44 * height),
        (a - 0.28 * length, bonnet + 0.03),
        (-a + 0.02, belt - 0.01),
        (-a, 0.34 * height),
    ]
    roof_front, roof_back = (0.10, 0.13, 0.16)[style] * length, (-0.22, -0.38, -0.42)[style] * length
    glass_front, glass_back = (0.25, 0.27, 0.28)[style] * length, (-0.40, -0.475, -0.48)[style] * length
    top, narrow = height - 0.05, 0.84
    parts = [prism(body, -b, b, plain, paint), box((-a + 0.03, -b - 0.015, sill), (a - 0.03, b + 0.015, sill + 0.07), plain, (0.12, 0.12, 0.13))]
    parts.append(_tapered(_ring(glass_back, glass_front, b * 0.96), _ring(roof_back, roof_front, b * narrow * 0.94), belt - 0.04, top, GLASS))
    parts.append(
        _tapered(
            _ring(roof_back - 0.03, roof_front + 0.03, b * narrow * 0.96),
            _ring(roof_back + 0.1, roof_front - 0.1, b * narrow * 0.86),
            top - 0.02,
            height,
            paint,
        )
    )
    for x in (0.5 * (roof_front + roof_back), roof_back):  # pillars
        wide = 0.06 if x != roof_back else 0.12
        for side in (-1.0, 1.0):
            y0, y1 = side * (b * 0.965), side * (b * narrow * 0.945)
            p = [(x - wide, y0, belt - 0.04), (x + wide, y0, belt - 0.04), (x + wide, y1, top), (x - wide, y1, top)]
            parts.append(quad(p if side < 0 else p[::-1], plain, paint))
    parts.append(box((a - 0.10, -b * 0.45, 0.30 * height), (a + 0.008, b * 0.45, 0.37 * height), plain, (0.10, 0.10, 0.11)))
    for side in (-1.0, 1.0):
        y = side * (b + 0.07)
        parts.append(box((glass_front - 0.28, y - 0.07, belt), (glass_front - 0.16, y + 0.07, belt + 0.12), plain, paint))
    return parts


def _van(length: float, width: float, height: float, paint: Colour) -> list[Mesh]:
    a, b, plain = length / 2.0, width / 2.0, slot("plain")
    body = [
        (-a, 0.15 * height),
        (a - 0.05, 0.15 * height),
        (a, 0.28 * height),
        (a - 0.08, 0.44 * height),
        (a - 0.13 * length, 0.52 * height),
        (a - 0.27 * length, height),
        (-a, height),
    ]
    parts = [prism(body, -b, b, plain, paint)]
    x0, z0, x1, z1 = a - 0.14 * length, 0.55 * height, a - 0.255 * length, 0.93 * height
    out = 0.02
    parts.append(quad([(x0 + out, -b * 0.9, z0), (x0 + out, b * 0.9, z0), (x1 + out, b * 0.86, z1), (x1 + out, -b * 0.86, z1)], plain, GLASS))
    for side in (-1.0, 1.0):
        y = side * (b + 0.008)
        p = [(x1 - 0.15 * length, y, z0), (x0 - 0.02 * length, y, z0), (x1, y, z1 - 0.04), (x1 - 0.15 * length, y, z1 - 0.04)]
        parts.append(quad(p if side < 0 else p[::-1], plain, GLASS))
    parts.append(
        quad(
            [(-a - out, b * 0.8, 0.58 * height), (-a - out, -b * 0.8, 0.58 * height), (-a - out, -b * 0.8, 0.88 * height), (-a - out, b * 0.8, 0.88 * height)],
            plain,
            GLASS,
        )
    )
    parts.append(box((-a - 0.01, -b - 0.008, 0.15 * height), (a + 0.01, b + 0.008, 0.21 * height), plain, (0.14, 0.14, 0.15)))
    return parts


def _truck(length: float, width: float, height: float, paint: Colour, load: Colour) -> list[Mesh]:
    a, b, plain = length / 2.0, width / 2.0, slot("plain")
    cab = a - min(2.1, 0.28 * length)
    tall = min(height, 2.9)
    profile = [(cab, 0.18 * height), (a, 0.14 * height), (a, 0.50 * tall), (a - 0.22, tall), (cab, tall)]
    parts = [prism(profile, -b * 0.98, b * 0.98, plain, paint), box((-a, -b, 0.28 * height), (cab - 0.12, b, height), plain, load)]
    parts.append(box((-a + 0.1, -b * 0.7, 0.16 * height), (cab, b * 0.7, 0.28 * height), plain, (0.12, 0.12, 0.13)))
    parts.append(
        quad(
            [(a + 0.01, -b * 0.88, 0.54 * tall), (a + 0.01, b * 0.88, 0.54 * tall), (a - 0.19, b * 0.86, 0.92 * tall), (a - 0.19, -b * 0.86, 0.92 * tall)],
            plain,
            GLASS,
        )
    )
    for side in (-1.0, 1.0):
        y = side * (b * 0.98 + 0.008)
        p = [(cab + 0.3, y, 0.55 * tall), (a - 0.2, y, 0.55 * tall), (a - 0.34, y, 0.86 * tall), (cab + 0.3, y, 0.86 * tall)]
        parts.append(quad(p if side < 0 else p[::-1], plain, GLASS))
    return parts


def pedestrian(variant: int, height_m: float, phase: int) -> Body:
    """Someone standing (phase −1) or walking, at one of PHASES phases of the stride."""
    h, plain = height_m, slot("plain")
    coat, legs = CLOTHES[variant % len(CLOTHES)], TROUSERS[(variant // 2) % len(TROUSERS)]
    skin, hair = SKIN[(variant // 3) % len(SKIN)], ((0.14, 0.10, 0.08), (0.40, 0.28, 0.16), (0.62, 0.60, 0.58))[variant % 3]
    swing = 0.0 if phase < 0 else 0.50 * math.sin(2.0 * math.pi * phase / PHASES)
    hip, shoulder = 0.50 * h, 0.82 * h
    parts: list[Mesh] = []
    for side in (-1.0, 1.0):
        parts.append(_limb((0.0, side * 0.045 * h, hip), 0.50 * h, side * swing, 0.050 * h, 0.036 * h, legs, (0.10, 0.09, 0.09)))
        parts.append(_limb((0.0, side * 0.125 * h, shoulder), 0.36 * h, -side * swing * 0.8, 0.030 * h, 0.024 * h, coat, skin))
    low, high = _ring(-0.055 * h, 0.055 * h, 0.085 * h), _ring(-0.06 * h, 0.06 * h, 0.115 * h)
    parts.append(_tapered(low, high, hip - 0.06 * h, shoulder + 0.01 * h, coat))
    parts.append(rod(0.028 * h, shoulder, 0.87 * h, plain, skin, sides=5))
    parts.append(blob((0.0, 0.0, 0.925 * h), (0.058 * h, 0.050 * h, 0.072 * h), plain, skin, rings=5, sides=8))
    parts.append(blob((-0.012 * h, 0.0, 0.948 * h), (0.058 * h, 0.056 * h, 0.060 * h), plain, hair, rings=4, sides=8))
    whole = merge(parts).labelled("pedestrian")
    return Body(mesh=whole, rear=slice(0, 0), front=slice(0, 0))


def _limb(top: tuple[float, float, float], length: float, angle: float, upper: float, lower: float, colour: Colour, tip: Colour) -> Mesh:
    """A leg or an arm that hangs from `top`, swung forward by `angle`; the last part has another colour."""
    c, s = math.cos(angle), math.sin(angle)
    parts = []
    for z0, z1, w0, w1, tone in ((0.0, -0.86 * length, upper, lower, colour), (-0.86 * length, -length, lower, lower * 1.15, tip)):
        corners0, corners1 = _ring(-w1, w1 if tone is colour else w1 * 1.9, w1), _ring(-w0, w0, w0)
        parts.append(_tapered(corners0, corners1, z1, z0, tone))
    mesh = merge(parts)
    R = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    xyz, normal = mesh.xyz_m @ R.T, mesh.normal @ R.T
    mesh.xyz_m[:], mesh.normal[:] = xyz + np.asarray(top), normal
    return mesh
