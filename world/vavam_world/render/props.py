"""Houses, trees, bushes, poles, signs and fences, each from its Prop and its variant."""

from __future__ import annotations

import math

import numpy as np

from vavam_world.contracts import Prop
from vavam_world.render.meshes import WHITE, Colour, Mesh, Rect, blob, box, merge, prism, quad, quads, rod
from vavam_world.render.textures import PALETTES, facade, slot

WALL_PIECE_M = 11.0  # a façade picture is this wide at most
STEEL: Colour = (0.52, 0.54, 0.56)


def build(prop: Prop, textures: str, seed: int) -> Mesh:
    """The mesh of one prop in map coordinates; nothing for a parking place."""
    rng = np.random.default_rng([seed, prop.variant, abs(round(prop.x_m * 16.0)), abs(round(prop.y_m * 16.0))])
    match prop.kind:
        case "house":
            mesh = _house(prop, textures, rng)
        case "tree":
            mesh = _tree(prop, textures, rng)
        case "bush":
            mesh = _bush(prop, rng)
        case "pole":
            mesh = _pole(prop)
        case "sign":
            mesh = _sign(prop)
        case "fence":
            mesh = _fence(prop, textures)
        case _:
            return merge([])
    return mesh.placed(prop.x_m, prop.y_m, prop.yaw_rad)


def _tint(rng: np.random.Generator, spread: float) -> Colour:
    grey = 1.0 - rng.uniform(0.0, spread)
    r, g, b = np.clip(grey + rng.uniform(-0.5, 0.5, 3) * spread * 0.6, 0.3, 1.0)
    return float(r), float(g), float(b)


def _house(prop: Prop, textures: str, rng: np.random.Generator) -> Mesh:
    length, width = prop.length_m, prop.width_m
    palette = PALETTES[textures]
    style = int(rng.integers(4))
    tint = _tint(rng, 0.28)
    gable = rng.uniform() < palette.pitched and min(length, width) < 18.0
    rise = min(0.42 * min(length, width), 0.45 * prop.height_m, 4.5) if gable else 0.0
    eaves = prop.height_m - rise
    floors = max(1, round(eaves / 3.0))
    rect = facade(floors, style)
    walls = []
    a, b = length / 2.0, width / 2.0
    for (xa, ya), (xb, yb) in (((-a, -b), (a, -b)), ((a, -b), (a, b)), ((a, b), (-a, b)), ((-a, b), (-a, -b))):
        pieces = max(1, math.ceil(math.hypot(xb - xa, yb - ya) / WALL_PIECE_M))
        for i in range(pieces):
            p, q = i / pieces, (i + 1) / pieces
            x0, y0, x1, y1 = xa + (xb - xa) * p, ya + (yb - ya) * p, xa + (xb - xa) * q, ya + (yb - ya) * q
            walls.append([(x0, y0, 0.0), (x1, y1, 0.0), (x1, y1, eaves), (x0, y0, eaves)])
    parts = [quads(walls, rect, tint)]
    roof = slot("roof", int(rng.integers(3)))
    roof_tint = _tint(rng, 0.25)
    if gable:
        parts += _gable(a, b, eaves, rise, roof, roof_tint, slot("wall", style), tint)
        if rng.uniform() < 0.6:
            x, y = rng.uniform(-0.5, 0.5) * a, rng.uniform(-0.3, 0.3) * b
            parts.append(box((x - 0.35, y - 0.35, eaves), (x + 0.35, y + 0.35, prop.height_m + 0.7), slot("wall", style), (0.62, 0.42, 0.36)))
    else:
        parts.append(box((-a - 0.15, -b - 0.15, eaves - 0.1), (a + 0.15, b + 0.15, eaves + 0.45), slot("plain"), (0.62, 0.61, 0.60)))
        if rng.uniform() < 0.7:
            w = min(a, b) * 0.35
            x, y = rng.uniform(-0.4, 0.4) * a, rng.uniform(-0.4, 0.4) * b
            parts.append(box((x - w, y - w, eaves + 0.4), (x + w, y + w, eaves + 2.0), roof, roof_tint))
    return merge(parts).labelled("building")


def _gable(a: float, b: float, eaves: float, rise: float, roof: Rect, tint: Colour, wall: Rect, wall_tint: Colour) -> list[Mesh]:
    """Two slopes along the longer side, with eaves, and the triangles under them."""
    turn = b > a
    along, across = (b, a) if turn else (a, b)
    over = 0.45
    drop = rise * over / across
    ends, low, top = along + over, eaves - drop, eaves + rise
    side = across + over
    slopes = []
    for sign in (-1.0, 1.0):
        n = max(1, round(along / 5.0))
        for i in range(n):
            x0, x1 = -ends + 2 * ends * i / n, -ends + 2 * ends * (i + 1) / n
            if sign > 0:
                x0, x1 = x1, x0
            slopes.append([(x0, sign * side, low), (x1, sign * side, low), (x1, 0.0, top), (x0, 0.0, top)])
            slopes.append([(x1, sign * side, low - 0.02), (x0, sign * side, low - 0.02), (x0, 0.0, top - 0.02), (x1, 0.0, top - 0.02)])
    half = len(slopes) // 2
    parts = [quads(slopes, [roof, slot("plain")] * half, [tint, (0.4, 0.36, 0.33)] * half)]
    parts.append(prism([(-across, eaves - 0.1), (across, eaves - 0.1), (0.0, top - 0.1)], -along, along, wall, wall_tint).placed(0.0, 0.0, math.pi / 2))
    whole = merge(parts)
    return [whole.placed(0.0, 0.0, math.pi / 2) if turn else whole]


def _tree(prop: Prop, textures: str, rng: np.random.Generator) -> Mesh:
    h = prop.height_m
    r = max(prop.length_m, prop.width_m) / 2.0
    leaf = slot("leaf", int(rng.integers(6)))
    bark = slot("bark", int(rng.integers(2)))
    tint = _tint(rng, 0.22)
    conifer = rng.uniform() < {"country": 0.45, "suburb": 0.25}.get(textures, 0.08)
    if conifer:
        parts = [rod(0.16, 0.0, 0.25 * h, bark, sides=5)]
        for i in range(3):
            z0, z1 = (0.14 + 0.25 * i) * h, (0.56 + 0.22 * i) * h
            parts.append(rod(r * (0.95 - 0.24 * i), z0, z1, leaf, (tint[0] * 0.72, tint[1] * 0.85, tint[2] * 0.85), sides=8, top=0.0))
    else:
        parts = [rod(0.05 + 0.028 * h, 0.0, 0.55 * h, bark, sides=6, top=0.02 * h)]
        crown = 0.62 * h
        parts.append(blob((0.0, 0.0, crown), (r * 0.86, r * 0.86, 0.36 * h), leaf, tint, rng=rng, rough=0.13, rings=4, sides=7))
        for angle in rng.uniform(0.0, 2.0 * math.pi) + np.arange(3) * 2.1:
            at = (0.48 * r * math.cos(angle), 0.48 * r * math.sin(angle), crown + rng.uniform(-0.16, 0.12) * h)
            size = r * rng.uniform(0.48, 0.66)
            shade = rng.uniform(0.82, 1.0)
            parts.append(blob(at, (size, size, size * 0.9), leaf, (tint[0] * shade, tint[1] * shade, tint[2] * shade), rng=rng, rough=0.15, rings=3, sides=6))
    return merge(parts).labelled("vegetation")


def _bush(prop: Prop, rng: np.random.Generator) -> Mesh:
    radii = (prop.length_m / 2.0, prop.width_m / 2.0, prop.height_m * 0.6)
    return blob(
        (0.0, 0.0, prop.height_m * 0.42), radii, slot("leaf", int(rng.integers(6))), _tint(rng, 0.25), rng=rng, rough=0.12, rings=4, sides=7, label="vegetation"
    )


def _pole(prop: Prop) -> Mesh:
    """A street lamp; its arm points along the prop's x."""
    h = prop.height_m
    parts = [rod(0.09, 0.0, h, slot("plain"), STEEL, sides=5, top=0.05)]
    if h > 3.0:
        parts.append(box((0.0, -0.04, h - 0.12), (1.3, 0.04, h - 0.04), slot("plain"), STEEL))
        parts.append(box((0.9, -0.12, h - 0.16), (1.5, 0.12, h - 0.05), slot("plain"), (0.86, 0.86, 0.82)))
    return merge(parts)


def _sign(prop: Prop) -> Mesh:
    """A post with a board that faces along the prop's x."""
    h = prop.height_m
    side = min(0.75, 0.32 * h)
    rect = slot("sign", prop.variant)
    kind = prop.variant % 5
    parts = [rod(0.035, 0.0, h, slot("plain"), STEEL, sides=4)]
    y, z0, z1 = side / 2.0, h - side, h
    if kind in (0, 2):  # a disc, a diamond
        n = 10 if kind == 0 else 4
        angle = np.arange(n) * 2.0 * math.pi / n
        middle = h - y
        u, v = (rect[0] + rect[2]) / 2.0, (rect[1] + rect[3]) / 2.0
        du, dv = (rect[2] - rect[0]) / 2.0, (rect[3] - rect[1]) / 2.0
        slices, uv = [], []
        for i in range(n):
            p, q = angle[i], angle[(i + 1) % n]
            corners = [(0.05, 0.0, middle), (0.05, y * math.cos(p), middle + y * math.sin(p)), (0.05, y * math.cos(q), middle + y * math.sin(q))]
            slices.append([*corners, corners[0]])
            slices.append([(0.04, *corners[2][1:]), (0.04, *corners[1][1:]), (0.04, 0.0, middle), (0.04, 0.0, middle)])
            uv.append([[u, v], [u + du * math.cos(p), v + dv * math.sin(p)], [u + du * math.cos(q), v + dv * math.sin(q)], [u, v]])
        disc = quads(slices, [rect, slot("plain")] * n, [WHITE, (0.5, 0.5, 0.5)] * n)
        disc.uv.reshape(n, 2, 4, 2)[:, 0] = uv
        parts.append(disc)
    else:
        parts.append(quad([(0.05, -y, z0), (0.05, y, z0), (0.05, y, z1), (0.05, -y, z1)], rect))
        parts.append(quad([(0.04, y, z0), (0.04, -y, z0), (0.04, -y, z1), (0.04, y, z1)], slot("plain"), (0.5, 0.5, 0.5)))
    return merge(parts).labelled("object")


def _fence(prop: Prop, textures: str) -> Mesh:
    """Panels along the prop's longer side."""
    length, turn = (prop.length_m, 0.0) if prop.length_m >= prop.width_m else (prop.width_m, math.pi / 2)
    rect = slot("fence", 1 if textures in ("industrial", "city") else 0)
    n = max(1, round(length / 2.4))
    parts = []
    for i in range(n):
        x0, x1 = -length / 2 + length * i / n, -length / 2 + length * (i + 1) / n
        parts.append(box((x0 + 0.03, -0.03, 0.05), (x1 - 0.03, 0.03, prop.height_m * 0.94), rect))
        parts.append(box((x0 - 0.05, -0.05, 0.0), (x0 + 0.05, 0.05, prop.height_m), slot("plain"), (0.46, 0.40, 0.34)))
    return merge(parts).placed(0.0, 0.0, turn)
