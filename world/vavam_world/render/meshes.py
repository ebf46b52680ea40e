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


def raw(xyz_m: F64, triangles: npt.ArrayLike, *, normal: F64, uv: F64, colour: Colour | F64 = WHITE, glow: float = 0.0, label: str = "object") -> Mesh:
    """A mesh of one class; `normal` (3,) or (N, 3), `uv` (2,) or (N, 2), `colour` (3,) or (N, 3)."""
    n = len(xyz_m)
    normals, uvs, colours, glows, labels = np.empty((n, 3)), np.empty((n, 2)), np.empty((n, 3)), np.empty(n), np.empty(n, dtype=np.uint8)
    normals[:], uvs[:], colours[:], glows[:], labels[:] = normal, uv, colour, glow, LABEL[label]
    return Mesh(
        xyz_m=np.asarray(xyz_m, dtype=np.float64),
        normal=normals,
        uv=uvs,
        colour=colours,
        glow=glows,
        label=labels,
        triangles=np.asarray(triangles, dtype=np.int32).reshape(-1, 3),
    )


def _cross(a: F64, b: F64) -> F64:
    """np.cross of (N, 3), a fraction of its time."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def _normals(p: F64) -> F64:
    """(Q, 3) unit normals of quads (Q, 4, 3); one whose last corner is its first has that of the triangle that it is."""
    normal = _cross(p[:, 1] - p[:, 0], p[:, 3] - p[:, 0])
    thin = ~normal.any(axis=1)
    if thin.any():
        normal[thin] = _cross(p[thin, 2] - p[thin, 1], p[thin, 3] - p[thin, 1])
    x, y, z = normal.T
    return np.asarray(normal / np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)[:, None], dtype=np.float64)


@lru_cache(maxsize=64)
def _quad_faces(count: int) -> I32:
    """(2·count, 3) triangles of quads whose corners follow each other."""
    return np.asarray(4 * np.arange(count)[:, None] + np.array([0, 1, 2, 0, 2, 3]), dtype=np.int32).reshape(-1, 3)


def quads(
    corners: npt.ArrayLike, rect: Rect | Sequence[Rect], colour: Colour | Sequence[Colour] = WHITE, *, glow: float = 0.0, label: str = "object"
) -> Mesh:
    """Q quads (Q, 4, 3): corners counter-clockwise from the front, the first at the texture's lower left. One `rect` and `colour`, or one for each."""
    p = np.asarray(corners, dtype=np.float64)
    uv = np.tile(np.asarray(rect, dtype=np.float64)[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2), (1 if np.ndim(rect) == 2 else len(p), 1))
    colours = np.asarray(colour, dtype=np.float64)
    colours = colours if colours.ndim == 1 else np.repeat(colours, 4, axis=0)
    return raw(p.reshape(-1, 3), _quad_faces(len(p)), normal=np.repeat(_normals(p), 4, axis=0), uv=uv, colour=colours, glow=glow, label=label)


def quad(corners: npt.ArrayLike, rect: Rect, colour: Colour = WHITE, glow: float = 0.0, label: str = "object") -> Mesh:
    """One of `quads`."""
    return quads(np.asarray(corners, dtype=np.float64)[None], rect, colour, glow=glow, label=label)


@lru_cache(maxsize=16)
def _prism_faces(n: int) -> I32:
    """Triangles of a prism: n quads of sides, then the fan of the lower y, then that of the upper."""
    fan = np.array([[0, i, i + 1] for i in range(1, n - 1)])
    return np.concatenate([_quad_faces(n), 4 * n + fan, 5 * n + fan[:, ::-1]]).astype(np.int32)


def prism(profile: npt.ArrayLike, y0: float, y1: float, rect: Rect, colour: Colour = WHITE, *, glow: float = 0.0, label: str = "object") -> Mesh:
    """A convex profile in the x-z plane, counter-clockwise as seen from −y, drawn out from y0 to y1 (y0 < y1), closed."""
    p = np.asarray(profile, dtype=np.float64)
    n = len(p)
    xyz, normal, uv = np.empty((6 * n, 3)), np.empty((6 * n, 3)), np.empty((6 * n, 2))
    sides, caps = xyz[: 4 * n].reshape(n, 4, 3), xyz[4 * n :].reshape(2, n, 3)
    sides[:, :2, ::2] = p[:, None]
    sides[:, 2:, ::2] = np.concatenate([p[1:], p[:1]])[:, None]
    sides[..., 1] = (y0, y1, y1, y0)
    caps[..., ::2] = p
    caps[0, :, 1], caps[1, :, 1] = y0, y1
    normal[: 4 * n] = np.repeat(_normals(sides), 4, axis=0)
    normal[4 * n : 5 * n], normal[5 * n :] = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
    low, high = p.min(axis=0), p.max(axis=0)
    unit = (p - low) / np.maximum(high - low, 1e-9)
    u0, v0, u1, v1 = rect
    uv[: 4 * n].reshape(n, 4, 2)[:] = ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
    uv[4 * n :].reshape(2, n, 2)[:] = np.array([u0, v0]) + unit * np.array([u1 - u0, v1 - v0])
    return raw(xyz, _prism_faces(n), normal=normal, uv=uv, colour=colour, glow=glow, label=label)


def box(low: Sequence[float], high: Sequence[float], rect: Rect, colour: Colour = WHITE, *, glow: float = 0.0, label: str = "object") -> Mesh:
    """A box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    return prism([(x0, z0), (x1, z0), (x1, z1), (x0, z1)], y0, y1, rect, colour, glow=glow, label=label)


@lru_cache(maxsize=16)
def _tube(sides: int) -> tuple[F64, I32]:
    """(sides + 1, 2) points of a unit circle, the first again at the end, and the triangles between two such rings."""
    angle = np.arange(sides + 1) * 2.0 * math.pi / sides
    i, k = np.arange(sides), sides + 1
    faces = np.concatenate([np.stack([i, i + 1, i + 1 + k], axis=1), np.stack([i, i + 1 + k, i + k], axis=1)])
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), faces.astype(np.int32)


def rod(radius: float, z0: float, z1: float, rect: Rect, colour: Colour = WHITE, *, sides: int = 5, top: float | None = None, label: str = "object") -> Mesh:
    """An upright tube about z, open below; `top` is its radius above (0 makes a cone)."""
    ring, faces = _tube(sides)
    upper = radius if top is None else top
    xyz, normal, uv = np.empty((2, sides + 1, 3)), np.empty((2, sides + 1, 3)), np.empty((2, sides + 1, 2))
    xyz[0, :, :2], xyz[1, :, :2] = ring * radius, ring * upper
    xyz[0, :, 2], xyz[1, :, 2] = z0, z1
    normal[..., :2], normal[..., 2] = ring, (radius - upper) / max(z1 - z0, 1e-9)
    normal[:] = normal[0] / np.linalg.norm(normal[0], axis=1, keepdims=True)
    uv[..., 0] = rect[0] + np.linspace(0.0, 1.0, sides + 1) * (rect[2] - rect[0])
    uv[0, :, 1], uv[1, :, 1] = rect[1], rect[3]
    return raw(xyz.reshape(-1, 3), faces, normal=normal.reshape(-1, 3), uv=uv.reshape(-1, 2), colour=colour, label=label)


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
