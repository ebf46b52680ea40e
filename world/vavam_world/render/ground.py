"""What lies flat: ground, road, paint, sidewalks with their kerbs, and the shadows of what stands, cut into chunks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import shapely
import shapely.ops

from vavam_world.contracts import F64, Crosswalk, Marking, Prop, RoadMap
from vavam_world.render.looks import Look
from vavam_world.render.meshes import WHITE, Colour, Mesh, merge, raw

CHUNK_M = 48.0
KERB_M = 0.12
BEYOND_M = 320.0  # of the ground, outside the map's bounds
DASH_M, GAP_M = 3.0, 4.5
STRIPE_M = 0.5
ROAD_TILE_M, GROUND_TILE_M, SIDEWALK_TILE_M = 14.0, 22.0, 8.0
PAINT: dict[str, Colour] = {"white": (0.93, 0.93, 0.91), "yellow": (0.93, 0.74, 0.22)}
UP = np.array([0.0, 0.0, 1.0])

Key = tuple[int, int]


def key_of(x_m: float, y_m: float) -> Key:
    """The chunk a point lies in."""
    return math.floor(x_m / CHUNK_M), math.floor(y_m / CHUNK_M)


def centre_of(key: Key) -> tuple[float, float]:
    """Its middle, in map."""
    return (key[0] + 0.5) * CHUNK_M, (key[1] + 0.5) * CHUNK_M


def by_chunk(areas: Iterable[shapely.Geometry]) -> Iterator[tuple[Key, shapely.Geometry]]:
    """The areas cut along the chunks' edges, in a fixed order."""
    for area in areas:
        if area.is_empty:
            continue
        x0, y0, x1, y1 = area.bounds
        low, high = key_of(x0, y0), key_of(x1, y1)
        shapely.prepare(area)
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                cell = shapely.box(i * CHUNK_M, j * CHUNK_M, (i + 1) * CHUNK_M, (j + 1) * CHUNK_M)
                if area.intersects(cell) and not (part := area.intersection(cell)).is_empty:
                    yield (i, j), part


def flat(area: shapely.Geometry, key: Key, tile_m: float, *, z_m: float = 0.0, colour: Colour = WHITE, label: str = "road") -> Mesh:
    """A filled area. Texture coordinates count from the chunk's corner, so that they stay small."""
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(area))
    if len(triangles) == 0:
        return merge([])
    xy = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3]
    a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    turned = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0.0
    xy[turned] = xy[turned][:, ::-1]
    places, index = np.unique(np.ascontiguousarray(xy).reshape(-1, 2).view(np.complex128), return_inverse=True)  # sorted by x, then y, like rows but faster
    points = np.column_stack([places.real, places.imag])
    xyz = np.column_stack([points, np.full(len(points), z_m)])
    origin = np.floor(np.array([key[0] * CHUNK_M, key[1] * CHUNK_M]) / tile_m) * tile_m
    return raw(xyz, index.reshape(-1, 3), normal=UP, uv=(points - origin) / tile_m, colour=colour, label=label)


def polygon(rings: tuple[F64, ...]) -> shapely.Geometry:
    """Outline and holes as one valid area."""
    return shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))


def paint(markings: Iterable[Marking], crosswalks: Iterable[Crosswalk]) -> Iterator[tuple[shapely.Geometry, Colour]]:
    """The painted areas: lines as bands, dashes cut, zebra stripes along each crosswalk."""
    walks = list(crosswalks)
    for marking in markings:
        colour = PAINT[marking.colour]
        if marking.kind == "crosswalk":
            outline = shapely.make_valid(shapely.Polygon(marking.xy_m))
            yield from ((stripe, colour) for stripe in _stripes(outline, walks))
        elif marking.kind == "stop":
            yield shapely.make_valid(shapely.Polygon(marking.xy_m)), colour
        else:
            line = shapely.LineString(marking.xy_m)
            starts = [(0.0, line.length)]
            if marking.kind == "dashed":
                starts = [(s, min(s + DASH_M, line.length)) for s in np.arange(0.5 * GAP_M, max(line.length - 0.5, 0.0), DASH_M + GAP_M)]
            for start, end in starts:
                piece = shapely.ops.substring(line, start, end)
                yield shapely.buffer(piece, marking.width_m / 2.0, cap_style="flat", join_style="mitre"), colour


def _stripes(outline: shapely.Geometry, walks: list[Crosswalk]) -> Iterator[shapely.Geometry]:
    """A crosswalk's area as stripes along the traffic; an outline that is a stripe already is kept."""
    box = shapely.get_coordinates(shapely.minimum_rotated_rectangle(outline))
    if len(box) < 4 or min(np.linalg.norm(box[1] - box[0]), np.linalg.norm(box[2] - box[1])) < 1.2:
        yield outline
        return
    middle = np.array([outline.centroid.x, outline.centroid.y])
    if walks:
        walk = min(walks, key=lambda w: float(np.hypot((w.a_xy_m[0] + w.b_xy_m[0]) / 2 - middle[0], (w.a_xy_m[1] + w.b_xy_m[1]) / 2 - middle[1])))
        across = np.subtract(walk.b_xy_m, walk.a_xy_m)
    else:
        across = max((box[1] - box[0], box[2] - box[1]), key=lambda v: float(np.linalg.norm(v)))
    across = across / max(float(np.linalg.norm(across)), 1e-9)
    along = np.array([-across[1], across[0]])
    reach = float(np.abs((shapely.get_coordinates(outline) - middle) @ across).max())
    for offset in np.arange(-reach + 0.5 * STRIPE_M, reach - 0.5 * STRIPE_M + 1e-6, 2.0 * STRIPE_M):
        corners = [middle + across * (offset + u * STRIPE_M / 2) + along * v * 20.0 for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        yield outline.intersection(shapely.Polygon(corners))


def kerbs(area: shapely.Geometry, road: shapely.Geometry) -> Mesh:
    """Upright faces along the sidewalk's edges that meet the road, and a light stone strip on top of them."""
    parts = []
    for part in shapely.get_parts(area):
        if part.geom_type != "Polygon":
            continue
        part = shapely.geometry.polygon.orient(part)
        for ring in (part.exterior, *part.interiors):
            xy = shapely.get_coordinates(ring)
            start, step = xy[:-1], np.diff(xy, axis=0)
            length = np.hypot(step[:, 0], step[:, 1])
            keep = (shapely.distance(shapely.points(start + step / 2.0), road) < 0.06) & (length > 1e-6)
            if not keep.any():
                continue
            a, step, length = start[keep], step[keep], length[keep, None]
            out = np.column_stack([step[:, 1], -step[:, 0]]) / length
            b, inner_a, inner_b = a + step, a - out * 0.14, a + step - out * 0.14
            front = _quads(((a, 0.0), (b, 0.0), (b, KERB_M), (a, KERB_M)))
            top = _quads(((a, KERB_M), (b, KERB_M), (inner_b, KERB_M), (inner_a, KERB_M)))
            first = 4 * np.arange(len(a))[:, None]
            corners = np.concatenate([first + np.array(face) for face in ((0, 1, 2), (0, 2, 3))])
            outward = np.repeat(np.column_stack([out, np.zeros(len(out))]), 4, axis=0)
            uv = np.array([0.25, 0.25])
            parts.append(raw(front, corners, normal=outward, uv=uv, colour=(0.80, 0.80, 0.80), label="sidewalk"))
            parts.append(raw(top, corners, normal=UP, uv=uv, colour=WHITE, label="sidewalk"))
    return merge(parts)


def _quads(corners: Iterable[tuple[F64, float]]) -> F64:
    """Four corners (N, 2) with their heights → (4·N, 3), quad by quad."""
    return np.stack([np.column_stack([xy, np.full(len(xy), z)]) for xy, z in corners], axis=1).reshape(-1, 3)


def shadows(props: Iterable[Prop], look: Look) -> shapely.Geometry:
    """The area that houses, trees and the like keep the sun from; without a sun, a rim around each."""
    reach = look.sun_direction[:2] / max(float(look.sun_direction[2]), 0.25) if look.shadow > 0.0 else np.zeros(2)
    areas = []
    for prop in props:
        if prop.kind in ("parking", "sign"):
            continue
        at = np.array([prop.x_m, prop.y_m])
        c, s = math.cos(prop.yaw_rad), math.sin(prop.yaw_rad)
        away = -reach * prop.height_m
        if prop.kind in ("tree", "bush"):
            centre = at + away * (0.62 if prop.kind == "tree" else 0.4)
            radius = max(prop.length_m, prop.width_m) * 0.46
            areas.append(shapely.Point(*centre).buffer(radius, quad_segs=3))
            if prop.kind == "tree":
                areas.append(shapely.LineString([at, centre]).buffer(0.14, quad_segs=1))
            continue
        half = np.array([prop.length_m, prop.width_m]) / 2.0 if prop.kind != "pole" else np.array([0.07, 0.07])
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
        base = corners @ np.array([[c, s], [-s, c]]) + at
        hull = shapely.convex_hull(shapely.MultiPoint(np.concatenate([base, base + away])))
        areas.append(hull if look.shadow > 0.0 else hull.buffer(0.5, join_style="mitre"))
    return shapely.union_all(areas)


def ground_plane(road_map: RoadMap) -> Iterator[tuple[Key, Mesh]]:
    """The ground as squares of four chunks' side, out to where the haze hides its end."""
    x0, y0, x1, y1 = road_map.bounds_m
    side = 4
    low, high = key_of(x0 - BEYOND_M, y0 - BEYOND_M), key_of(x1 + BEYOND_M, y1 + BEYOND_M)
    for i in range(low[0] - low[0] % side, high[0] + 1, side):
        for j in range(low[1] - low[1] % side, high[1] + 1, side):
            square = shapely.box(i * CHUNK_M, j * CHUNK_M, (i + side) * CHUNK_M, (j + side) * CHUNK_M)
            yield (i, j), flat(square, (i, j), GROUND_TILE_M, label="ground")


@lru_cache(maxsize=2)
def layers(road_map: RoadMap) -> dict[str, list[Mesh]]:
    """Ground, road, paint and sidewalk, chunk by chunk: what of a map no look changes."""
    chunks: dict[str, dict[Key, list[Mesh]]] = {name: defaultdict(list) for name in ("ground", "road", "paint", "sidewalk")}
    for key, mesh in ground_plane(road_map):
        chunks["ground"][key].append(mesh)
    road = shapely.union_all([polygon(rings) for rings in road_map.road])
    for key, area in by_chunk([road]):
        chunks["road"][key].append(flat(area, key, ROAD_TILE_M, label="road"))
    shapely.prepare(road)
    for area, colour in paint(road_map.markings, road_map.crosswalks):
        for key, part in by_chunk([area]):
            chunks["paint"][key].append(flat(part, key, 1.0, colour=colour, label="marking"))
    for key, area in by_chunk([polygon(rings) for rings in road_map.sidewalk]):
        chunks["sidewalk"][key].append(flat(area, key, SIDEWALK_TILE_M, z_m=KERB_M, label="sidewalk"))
        chunks["sidewalk"][key].append(kerbs(area, road))
    return {name: [merge(cells[key]) for key in sorted(cells)] for name, cells in chunks.items()}


def shade(road_map: RoadMap, look: Look, share: float) -> list[Mesh]:
    """The shadows of what stands, chunk by chunk, each taking `share` of the light."""
    near = defaultdict(list)
    for prop in road_map.props:
        near[key_of(prop.x_m, prop.y_m)].append(prop)
    area = shapely.union_all([shadows(near[key], look) for key in sorted(near)])
    chunks: dict[Key, list[Mesh]] = defaultdict(list)
    for key, part in by_chunk([area]):
        chunks[key].append(darkened(flat(part, key, 1.0, z_m=KERB_M, label="ground"), share))
    return [merge(chunks[key]) for key in sorted(chunks)]


def darkened(mesh: Mesh, share: float) -> Mesh:
    """A mesh whose colours, multiplied onto what is drawn, take this share of the light, a little less of blue."""
    return replace(mesh, colour=np.tile(np.array([1.0 - share, 1.0 - share, 1.0 - 0.88 * share]), (len(mesh.xyz_m), 1)), glow=np.ones(len(mesh.xyz_m)))
