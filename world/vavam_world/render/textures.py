"""Procedural textures: ground materials that repeat, and one atlas of 8 × 8 slots for everything that stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vavam_world.contracts import F64, U8
from vavam_world.render.looks import fractal_noise
from vavam_world.render.meshes import Rect

SLOT_PX, SLOTS_ACROSS = 128, 8
TILE_PX = 512
STYLES = 4  # façades per number of floors
FLOORS = (1, 2, 3, 5)
ROOFS, LEAVES, BARKS, FENCES, SIGNS = 3, 6, 2, 2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """A texture set's colours (RGB 0..255), each a choice by seed."""

    road: tuple[tuple[int, int, int], ...]
    ground: tuple[tuple[int, int, int], ...]
    ground_kind: str  # grass, meadow, paving, gravel
    sidewalk: tuple[tuple[int, int, int], ...]
    walls: tuple[tuple[int, int, int], ...]
    wall_kind: str  # plaster, brick, timber, metal
    roofs: tuple[tuple[int, int, int], ...]
    leaves: tuple[tuple[int, int, int], ...]
    pitched: float  # share of houses with a gable


PALETTES = {
    "suburb": Palette(
        road=((92, 92, 95), (104, 102, 100)), ground=((92, 128, 58), (104, 132, 66)), ground_kind="grass",
        sidewalk=((168, 164, 156), (150, 148, 146)), walls=((226, 214, 190), (196, 128, 100), (214, 220, 222), (232, 204, 150), (186, 200, 178)),
        wall_kind="plaster", roofs=((158, 74, 54), (112, 66, 54), (92, 90, 96)),
        leaves=((74, 116, 46), (96, 132, 52), (58, 98, 48), (122, 134, 50), (150, 110, 46)), pitched=0.95,
    ),
    "city": Palette(
        road=((78, 79, 83), (88, 87, 88)), ground=((142, 140, 136), (128, 128, 130)), ground_kind="paving",
        sidewalk=((176, 174, 170), (158, 154, 148)), walls=((160, 88, 70), (190, 184, 172), (140, 146, 154), (206, 188, 158), (120, 110, 106)),
        wall_kind="brick", roofs=((96, 96, 100), (120, 116, 110), (80, 76, 76)),
        leaves=((68, 104, 50), (84, 116, 56), (96, 112, 48)), pitched=0.15,
    ),
    "country": Palette(
        road=((112, 108, 102), (98, 96, 94)), ground=((118, 134, 62), (140, 136, 74), (98, 126, 56)), ground_kind="meadow",
        sidewalk=((146, 136, 114), (130, 128, 108)), walls=((236, 232, 222), (150, 102, 66), (178, 172, 160), (170, 62, 48)),
        wall_kind="timber", roofs=((122, 58, 44), (94, 76, 62), (76, 72, 72)),
        leaves=((60, 100, 40), (50, 84, 44), (92, 118, 44), (130, 122, 50)), pitched=1.0,
    ),
    "industrial": Palette(
        road=((100, 100, 102), (86, 86, 90)), ground=((146, 136, 118), (132, 126, 112)), ground_kind="gravel",
        sidewalk=((150, 150, 150), (136, 134, 130)), walls=((120, 142, 164), (176, 176, 174), (164, 126, 92), (130, 156, 130), (196, 186, 150)),
        wall_kind="metal", roofs=((126, 130, 134), (108, 106, 104), (140, 118, 100)),
        leaves=((84, 108, 56), (72, 92, 48), (110, 116, 64)), pitched=0.25,
    ),
}  # fmt: skip


def slot(kind: str, index: int = 0) -> Rect:
    """Where a picture lies in the atlas (u0, v0, u1, v1), kept clear of its neighbours."""
    first, count = {
        "plain": (0, 1), "roof": (1, ROOFS), "bark": (4, BARKS), "fence": (6, FENCES), "leaf": (8, LEAVES), "sign": (16, SIGNS),
        "facade": (24, STYLES * len(FLOORS)), "wall": (40, STYLES),
    }[kind]  # fmt: skip
    n = first + index % count
    row, column = divmod(n, SLOTS_ACROSS)
    rim = 3.0 / (SLOT_PX * SLOTS_ACROSS)
    side = 1.0 / SLOTS_ACROSS
    return column * side + rim, 1.0 - (row + 1) * side + rim, (column + 1) * side - rim, 1.0 - row * side - rim


def facade(floors: int, style: int) -> Rect:
    """The slot of a façade with about this many floors."""
    nearest = min(range(len(FLOORS)), key=lambda i: abs(FLOORS[i] - floors))
    return slot("facade", nearest * STYLES + style % STYLES)


@lru_cache(maxsize=2)
def atlas(textures: str, seed: int, lamps: bool) -> U8:
    """(1024, 1024, 3) RGB, upper edge first; `lamps` lights some of the windows."""
    palette = PALETTES[textures]
    side = SLOT_PX * SLOTS_ACROSS
    picture = np.full((side, side, 3), 255, dtype=np.uint8)

    def put(n: int, tile: F64 | U8) -> None:
        row, column = divmod(n, SLOTS_ACROSS)
        picture[row * SLOT_PX : (row + 1) * SLOT_PX, column * SLOT_PX : (column + 1) * SLOT_PX] = np.clip(tile, 0, 255).astype(np.uint8)

    rng = np.random.default_rng([seed, 201])
    for i in range(ROOFS):
        put(1 + i, _roof(rng, palette.roofs[i % len(palette.roofs)], palette.pitched > 0.5))
    for i in range(BARKS):
        put(4 + i, _speckle(rng, (96 + 30 * i, 78 + 30 * i, 58 + 34 * i), 40.0, stretch=8))
    put(6, _planks(rng, (150, 116, 80)))
    put(7, _mesh_fence(rng))
    for i in range(LEAVES):
        put(8 + i, _leaves(rng, palette.leaves[int(rng.integers(len(palette.leaves)))]))
    for i in range(SIGNS):
        put(16 + i, _sign(i))
    for style in range(STYLES):
        colour = palette.walls[int(rng.integers(len(palette.walls)))]
        for i, floors in enumerate(FLOORS):
            put(24 + i * STYLES + style, _facade(rng, palette.wall_kind, colour, floors, lamps))
        put(40 + style, _wall(rng, palette.wall_kind, colour))
    return picture


def road(textures: str, seed: int, wet: float) -> U8:
    """(512, 512, 3) asphalt: grain, tone, mended patches, cracks; darker and glossier when wet."""
    rng = np.random.default_rng([seed, 202])
    palette = PALETTES[textures]
    base = np.asarray(palette.road[int(rng.integers(len(palette.road)))], dtype=np.float64)
    tone = fractal_noise(rng, TILE_PX, TILE_PX, 4, 3) - 0.5
    tile = base + 26.0 * tone[..., None] + rng.normal(0.0, 7.0, (TILE_PX, TILE_PX, 1))
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.integers(0, TILE_PX - 90, 2)
        w, h = rng.integers(25, 90, 2)
        tile[y : y + h, x : x + w] += rng.uniform(-18.0, 6.0)
        cv2.rectangle(tile, (int(x), int(y)), (int(x + w), int(y + h)), tuple(base - 26.0), 1)
    for _ in range(int(rng.integers(3, 9))):
        steps = np.cumsum(rng.normal(0.0, 5.0, (24, 2)) + rng.normal(0.0, 4.0, 2), axis=0)
        points = (rng.uniform(60, TILE_PX - 60, 2) + steps).astype(np.int32)
        cv2.polylines(tile, [points.reshape(-1, 1, 2)], False, tuple(base - 34.0), 1)
    if wet:
        pools = np.clip((fractal_noise(rng, TILE_PX, TILE_PX, 5, 3) - 0.52) * 6.0, 0.0, 1.0)[..., None]
        tile = tile * (1.0 - 0.34 * wet) + wet * pools * np.array([26.0, 30.0, 36.0])
    return np.asarray(np.clip(tile, 0, 255), dtype=np.uint8)


def ground(textures: str, seed: int) -> U8:
    """(512, 512, 3) what lies beside the road."""
    rng = np.random.default_rng([seed, 203])
    palette = PALETTES[textures]
    base = np.asarray(palette.ground[int(rng.integers(len(palette.ground)))], dtype=np.float64)
    tone = (fractal_noise(rng, TILE_PX, TILE_PX, 5, 5) - 0.5)[..., None]
    patch = np.clip((fractal_noise(rng, TILE_PX, TILE_PX, 4, 4) - 0.55) * 4.0, 0.0, 1.0)[..., None]
    grain = rng.normal(0.0, 1.0, (TILE_PX, TILE_PX, 1))
    if palette.ground_kind == "paving":
        tile = base + 18.0 * tone + 4.0 * grain
        tile = tile + _slabs(rng, 32, 14.0)
    elif palette.ground_kind == "gravel":
        tile = base + 46.0 * tone + 15.0 * grain + patch * np.array([-30.0, -12.0, -26.0])
    else:
        dry = np.array([52.0, 26.0, 4.0]) if palette.ground_kind == "meadow" else np.array([26.0, 12.0, 4.0])
        tile = base + tone * np.array([44.0, 56.0, 30.0]) + grain * np.array([9.0, 12.0, 6.0]) + patch * dry
    return np.asarray(np.clip(tile, 0, 255), dtype=np.uint8)


def sidewalk(textures: str, seed: int, wet: float) -> U8:
    """(512, 512, 3) slabs."""
    rng = np.random.default_rng([seed, 204])
    palette = PALETTES[textures]
    base = np.asarray(palette.sidewalk[int(rng.integers(len(palette.sidewalk)))], dtype=np.float64)
    tone = (fractal_noise(rng, TILE_PX, TILE_PX, 4, 4) - 0.5)[..., None]
    tile = base + 26.0 * tone + rng.normal(0.0, 5.0, (TILE_PX, TILE_PX, 1)) + _slabs(rng, 64, 10.0)
    return np.asarray(np.clip(tile * (1.0 - 0.22 * wet), 0, 255), dtype=np.uint8)


def _slabs(rng: np.random.Generator, size: int, spread: float) -> F64:
    n = TILE_PX // size
    tone = np.kron(rng.normal(0.0, spread * 0.6, (n, n)), np.ones((size, size)))
    line = np.zeros((TILE_PX, TILE_PX))
    for i in range(2):
        line[i::size, :] = -26.0
        line[:, i::size] = -26.0
    return np.asarray((tone + line)[..., None], dtype=np.float64)


def _speckle(rng: np.random.Generator, colour: tuple[int, int, int], spread: float, stretch: int = 1) -> F64:
    noise = rng.normal(0.0, 1.0, (SLOT_PX // stretch, SLOT_PX))
    noise = np.repeat(noise, stretch, axis=0)
    return np.asarray(np.asarray(colour, dtype=np.float64) + spread * 0.5 * noise[..., None], dtype=np.float64)


def _leaves(rng: np.random.Generator, colour: tuple[int, int, int]) -> F64:
    base = np.asarray(colour, dtype=np.float64) * rng.uniform(0.9, 1.2)
    tile = np.tile(base * 0.62, (SLOT_PX, SLOT_PX, 1))
    for _ in range(420):
        x, y = rng.integers(0, SLOT_PX, 2)
        tone = rng.uniform(0.6, 1.35) * base
        cv2.ellipse(tile, (int(x), int(y)), (int(rng.integers(3, 8)), int(rng.integers(2, 5))), float(rng.uniform(0, 180)), 0, 360, tuple(tone), -1)
    return tile


def _roof(rng: np.random.Generator, colour: tuple[int, int, int], tiled: bool) -> F64:
    tile = _speckle(rng, colour, 16.0)
    if tiled:
        tile[::8] *= 0.72
        tile[1::8] *= 0.86
        tile[:, ::8] *= 0.9
    return tile


def _planks(rng: np.random.Generator, colour: tuple[int, int, int]) -> F64:
    tile = _speckle(rng, colour, 12.0) * np.repeat(rng.uniform(0.85, 1.1, SLOT_PX // 8), 8)[None, :, None]
    tile[:, ::8] *= 0.45
    return tile


def _mesh_fence(rng: np.random.Generator) -> F64:
    tile = _speckle(rng, (120, 128, 124), 10.0)
    tile[::6] *= 0.7
    tile[:, ::6] *= 0.7
    return tile


def _sign(index: int) -> U8:
    tile = np.full((SLOT_PX, SLOT_PX, 3), 150, dtype=np.uint8)
    m = SLOT_PX // 2
    if index == 0:  # a limit of speed
        tile[:] = (245, 245, 245)
        cv2.circle(tile, (m, m), 54, (205, 24, 32), 16)
        cv2.putText(tile, "50", (26, 84), cv2.FONT_HERSHEY_DUPLEX, 2.0, (20, 20, 20), 6)
    elif index == 1:  # give way
        tile[:] = (205, 24, 32)
        cv2.fillConvexPoly(tile, np.array([[22, 22], [106, 22], [m, 100]], dtype=np.int32), (245, 245, 245))
    elif index == 2:  # priority
        tile[:] = (245, 245, 245)
        cv2.fillConvexPoly(tile, np.array([[m, 14], [114, m], [m, 114], [14, m]], dtype=np.int32), (246, 190, 20))
    elif index == 3:  # crossing
        tile[:] = (28, 84, 168)
        cv2.fillConvexPoly(tile, np.array([[m, 18], [110, 100], [18, 100]], dtype=np.int32), (245, 245, 245))
    else:  # a name
        tile[:] = (34, 110, 70)
        cv2.rectangle(tile, (8, 8), (119, 119), (240, 240, 240), 3)
        cv2.line(tile, (26, 50), (100, 50), (240, 240, 240), 8)
        cv2.line(tile, (26, 78), (80, 78), (240, 240, 240), 8)
    return tile


def _wall(rng: np.random.Generator, kind: str, colour: tuple[int, int, int]) -> F64:
    tile = _speckle(rng, colour, 8.0) + 14.0 * (fractal_noise(rng, SLOT_PX, SLOT_PX, 3, 3) - 0.5)[..., None]
    if kind == "brick":
        tile[::5] *= 0.84
    elif kind == "timber":
        tile[::9] *= 0.80
    elif kind == "metal":
        tile *= 0.93 + 0.08 * np.sin(np.arange(SLOT_PX) * 2.0 * np.pi / 8.0)[None, :, None]
    tile[-8:] *= 0.72  # damp at the foot
    return np.asarray(tile, dtype=np.float64)


def _facade(rng: np.random.Generator, kind: str, colour: tuple[int, int, int], floors: int, lamps: bool) -> F64:
    tile = _wall(rng, kind, colour)
    frame = (236.0, 234.0, 228.0) if rng.uniform() < 0.6 else (70.0, 62.0, 56.0)
    across = int(rng.integers(3, 5)) if floors < 5 else 5
    high, wide = SLOT_PX / floors, SLOT_PX / across
    tall = float(rng.uniform(0.42, 0.58)) if kind != "metal" else 0.26
    broad = float(rng.uniform(0.36, 0.62)) if kind != "metal" else 0.7
    door = int(rng.integers(across))
    for floor in range(floors):
        for column in range(across):
            x0, y1 = (column + 0.5 - broad / 2) * wide, SLOT_PX - (floor + 0.26) * high
            y0, x1 = y1 - tall * high, x0 + broad * wide
            low, upp = (int(x0), int(y0)), (int(x1), int(y1))
            if floor == 0 and column == door:
                low, upp = (int(x0), int(SLOT_PX - 0.72 * high)), (int(x1), SLOT_PX)
                tone = rng.uniform(40.0, 130.0, 3) if kind != "metal" else np.array([150.0, 152.0, 156.0])
                cv2.rectangle(tile, low, upp, tuple(tone), -1)
                cv2.rectangle(tile, low, upp, frame, 1)
                continue
            glass = np.array([58.0, 70.0, 84.0]) * rng.uniform(0.7, 1.5)
            if lamps and rng.uniform() < 0.4:
                glass = np.array([255.0, 214.0, 130.0])
            cv2.rectangle(tile, low, upp, tuple(glass), -1)
            if not lamps:  # sky in the upper panes
                cv2.rectangle(tile, low, (upp[0], int(y0 + 0.35 * (y1 - y0))), tuple(glass * 1.35), -1)
            cv2.rectangle(tile, low, upp, frame, max(1, int(high / 40)))
            cv2.line(tile, (int((x0 + x1) / 2), low[1]), (int((x0 + x1) / 2), upp[1]), frame, 1)
            cv2.rectangle(tile, (low[0] - 1, upp[1]), (upp[0] + 1, upp[1] + 1), tuple(np.asarray(colour) * 0.6), 1)
        if floor:
            tile[int(SLOT_PX - floor * high)] *= 0.86
    return tile
