"""Triangle meshes as arrays, and the few solids everything in the world is put together from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vavam_world.contracts import F64, LABELS, U8

I32 = npt.NDArray[np.int32]
Rect = tuple[float, float, float, float]  # u0, v0, u1, v1 in a texture
Colour = tuple[float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0)
LABEL = {name: index for index, name in enumerate(LABELS)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """N vertices, M triangles (counter-clockwise from outside). `glow` 0..1 is how little a vertex depends on the light."""

    xyz_m: F64  # (N, 3)
    normal: F64  # (N, 3)
    uv: F64  # (N, 2)
    colour: F64  # (N, 3) 0..1, multiplies the texture
    glow: F64  # (N,)
    label: U8  # (N,)
    triangles: I32  # (M, 3)

    def placed(self, x_m: float, y_m: float, yaw_rad: float = 0.0, z_m: float = 0.0) -> Mesh:
        """Turned about z, then moved."""
        c, s = math.cos(yaw_rad), math.sin(yaw_rad)
        R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return replace(self, xyz_m=self.xyz_m @ R.T + np.array([x_m, y_m, z_m]), normal=self.normal @ R.T)

    def tinted(self, colour: Colour) -> Mesh:
        """With its colours multiplied."""
        return replace(self, colour=self.colour * np.asarray(colour))

    def labelled(self, name: str) -> Mesh:
        """With one semantic class."""
        return replace(self, label=np.full(len(self.xyz_m), LABEL[name], dtype=np.uint8))


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all."""
    if not meshes:
        return Mesh(
            xyz_m=np.zeros((0, 3)), normal=np.zeros((0, 3)), uv=np.zeros((0, 2)), colour=np.zeros((0, 3)), glow=np.zeros(0),
            label=np.zeros(0, np.uint8), triangles=np.zeros((0, 3), np.int32),
        )  # fmt: skip
    starts = np.cumsum([0, *(len(m.xyz_m) for m in meshes[:-1])])
    return Mesh(
        xyz_m=np.concatenate([m.xyz_m for m in meshes]),
        normal=np.concatenate([m.normal for m in meshes]),
        uv=np.concatenate([m.uv for m in meshes]),
        colour=np.concatenate([m.colour for m in meshes]),
        glow=np.concatenate([m.glow for m in meshes]),
        label=np.concatenate([m.label for m in meshes]),
        triangles=np.concatenate([m.triangles + start for m, start in zip(meshes, starts)]).astype(np.int32),
    )


def raw(xyz_m: F64, triangles: npt.ArrayLike, *, normal: F64, uv: F64, colour: Colour = WHITE, glow: float = 0.0, label: str = "object") -> Mesh:
    """A mesh of one colour and class; `normal` (3,) or (N, 3)."""
    n = len(xyz_m)
    normals, uvs, colours = np.empty((n, 3)), np.empty((n, 2)), np.empty((n, 3))
    normals[:], uvs[:], colours[:] = normal, uv, colour
    return Mesh(
        xyz_m=np.asarray(xyz_m, dtype=np.float64),
        normal=normals,
        uv=uvs,
        colour=colours,
        glow=np.full(n, glow),
        label=np.full(n, LABEL[label], dtype=np.uint8),
        triangles=np.asarray(triangles, dtype=np.int32).reshape(-1, 3),
    )


def _cross(a: F64, b: F64) -> F64:
    """np.cross for single vectors, a tenth of its time."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def quad(corners: npt.ArrayLike, rect: Rect, colour: Colour = WHITE, glow: float = 0.0, label: str = "object") -> Mesh:
    """Four corners, counter-clockwise from the front, the first at the texture's lower left."""
    p = np.asarray(corners, dtype=np.float64)
    normal = _cross(p[1] - p[0], p[3] - p[0])
    if not normal.any():
        normal = _cross(p[2] - p[1], p[3] - p[1])
    u0, v0, u1, v1 = rect
    uv = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]])
    return raw(p, [[0, 1, 2], [0, 2, 3]], normal=normal / max(math.sqrt(float(normal @ normal)), 1e-12), uv=uv, colour=colour, glow=glow, label=label)


def prism(profile: npt.ArrayLike, y0: float, y1: float, rect: Rect, colour: Colour = WHITE, *, glow: float = 0.0, label: str = "object") -> Mesh:
    """A convex profile in the x-z plane, counter-clockwise as seen from −y, drawn out from y0 to y1 (y0 < y1), closed."""
    p = np.asarray(profile, dtype=np.float64)
    n = len(p)
    parts = []
    for i in range(n):
        (xa, za), (xb, zb) = p[i], p[(i + 1) % n]
        parts.append(quad([(xa, y0, za), (xa, y1, za), (xb, y1, zb), (xb, y0, zb)], rect, colour, glow, label))
    fan = [[0, i, i + 1] for i in range(1, n - 1)]
    low, high = p.min(axis=0), p.max(axis=0)
    unit = (p - low) / np.maximum(high - low, 1e-9)
    uv = np.stack([rect[0] + unit[:, 0] * (rect[2] - rect[0]), rect[1] + unit[:, 1] * (rect[3] - rect[1])], axis=1)
    for y, sign in ((y0, -1.0), (y1, 1.0)):
        xyz = np.stack([p[:, 0], np.full(n, y), p[:, 1]], axis=1)
        faces = fan if sign < 0 else [f[::-1] for f in fan]
        parts.append(raw(xyz, faces, normal=np.array([0.0, sign, 0.0]), uv=uv, colour=colour, glow=glow, label=label))
    return merge(parts)


def box(low: Sequence[float], high: Sequence[float], rect: Rect, colour: Colour = WHITE, *, glow: float = 0.0, label: str = "object") -> Mesh:
    """A box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    return prism([(x0, z0), (x1, z0), (x1, z1), (x0, z1)], y0, y1, rect, colour, glow=glow, label=label)


def rod(radius: float, z0: float, z1: float, rect: Rect, colour: Colour = WHITE, *, sides: int = 5, top: float | None = None, label: str = "object") -> Mesh:
    """An upright tube about z, open below; `top` is its radius above (0 makes a cone)."""
    angle = np.arange(sides + 1) * 2.0 * math.pi / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    upper = radius if top is None else top
    xyz = np.concatenate([np.column_stack([ring * radius, np.full(sides + 1, z0)]), np.column_stack([ring * upper, np.full(sides + 1, z1)])])
    slope = (radius - upper) / max(z1 - z0, 1e-9)
    normal = np.column_stack([ring, np.full(sides + 1, slope)])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    u = rect[0] + np.linspace(0.0, 1.0, sides + 1) * (rect[2] - rect[0])
    uv = np.concatenate([np.column_stack([u, np.full(sides + 1, rect[1])]), np.column_stack([u, np.full(sides + 1, rect[3])])])
    i = np.arange(sides)
    k = sides + 1
    faces = np.concatenate([np.stack([i, i + 1, i + 1 + k], axis=1), np.stack([i, i + 1 + k, i + k], axis=1)])
    return raw(xyz, faces, normal=np.concatenate([normal, normal]), uv=uv, colour=colour, label=label)


@lru_cache(maxsize=4)
def _sphere(rings: int, sides: int) -> tuple[F64, I32, F64]:
    theta = np.linspace(-math.pi / 2, math.pi / 2, rings + 1)
    phi = np.linspace(0.0, 2.0 * math.pi, sides + 1)
    t, f = np.meshgrid(theta, phi, indexing="ij")
    xyz = np.stack([np.cos(t) * np.cos(f), np.cos(t) * np.sin(f), np.sin(t)], axis=-1).reshape(-1, 3)
    uv = np.stack([(f / (2.0 * math.pi)), (t / math.pi + 0.5)], axis=-1).reshape(-1, 2)
    k = sides + 1
    faces = []
    for r in range(rings):
        for s in range(sides):
            a, b, c, d = r * k + s, r * k + s + 1, (r + 1) * k + s + 1, (r + 1) * k + s
            faces += [[a, c, d]] if r == 0 else [[a, b, d]] if r == rings - 1 else [[a, b, c], [a, c, d]]
    return xyz, np.asarray(faces, dtype=np.int32), uv


def blob(
    centre: Sequence[float], radii: Sequence[float], rect: Rect, colour: Colour = WHITE, *, rng: np.random.Generator | None = None,
    rough: float = 0.0, rings: int = 5, sides: int = 7, label: str = "object",
) -> Mesh:  # fmt: skip
    """An ellipsoid, dented by `rough` of its radius: a crown, a bush, a head."""
    xyz, faces, unit_uv = _sphere(rings, sides)
    dent = np.ones(len(xyz))
    if rng is not None and rough > 0.0:
        dent = 1.0 + rng.uniform(-rough, rough, len(xyz))
        k = sides + 1
        dent[:k], dent[-k:] = dent[0], dent[-1]  # the poles and the seam stay closed
        dent[k - 1 :: k] = dent[::k]
    normal = xyz / np.asarray(radii)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    uv = np.stack([rect[0] + unit_uv[:, 0] * (rect[2] - rect[0]), rect[1] + unit_uv[:, 1] * (rect[3] - rect[1])], axis=1)
    shade = 0.72 + 0.28 * (xyz[:, 2] * 0.5 + 0.5)  # darker below, where less of the sky is seen
    mesh = raw(xyz * dent[:, None] * np.asarray(radii) + np.asarray(centre), faces, normal=normal, uv=uv, colour=colour, label=label)
    return replace(mesh, colour=mesh.colour * shade[:, None])
