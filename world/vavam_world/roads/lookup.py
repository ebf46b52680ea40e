"""Which lane is here, and is it road: fast enough for every vehicle at every tick."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from vavam_world.contracts import F64, RoadMap, WorldError
from vavam_world.roads.surface import area_of

CELL_M = 4.0
_REACH_M = 7.0  # what costs less than this is found through the grid; else all lanes are searched
_YAW_M_PER_RAD = 4.0  # a heading that is 1 rad off counts as this far away


class LaneIndex:
    """Nearest lane and road surface of one map. Built once in about 0.1 s; the map does not change."""

    def __init__(self, road_map: RoadMap) -> None:
        lanes = [road_map.lanes[id] for id in sorted(road_map.lanes)]
        if not lanes:
            raise WorldError("lane index: got a map without lanes, expected at least one")
        self._a = np.vstack([lane.xy_m[:-1] for lane in lanes])
        self._step = np.vstack([np.diff(lane.xy_m, axis=0) for lane in lanes])
        self._length = np.hypot(self._step[:, 0], self._step[:, 1])
        self._unit = self._step / self._length[:, None]
        self._yaw = np.arctan2(self._step[:, 1], self._step[:, 0])
        self._s = np.concatenate([lane.s_m[:-1] for lane in lanes])
        self._lane = np.concatenate([np.full(len(lane.xy_m) - 1, lane.id) for lane in lanes])
        self._cells = self._grid()
        self._all = np.arange(len(self._a))
        self._road: Any = area_of(road_map.road)
        shapely.prepare(self._road)

    def _grid(self) -> dict[tuple[int, int], npt.NDArray[np.int64]]:
        """Segments by the cells whose centres they may be near: candidates for every point of the cell, in segment order."""
        reach = math.ceil((_REACH_M + 1.0) / CELL_M)
        middle = np.floor((self._a + 0.5 * self._step) / CELL_M).astype(np.int64)
        shift = np.arange(-reach, reach + 1)
        dx, dy = (v.ravel() for v in np.meshgrid(shift, shift, indexing="ij"))
        cell = (middle[:, None, :] + np.stack([dx, dy], axis=1)[None]).reshape(-1, 2)
        segment = np.repeat(np.arange(len(middle)), len(dx))
        order = np.lexsort((segment, cell[:, 1], cell[:, 0]))
        cell, segment = cell[order], segment[order]
        first = np.flatnonzero(np.any(np.diff(cell, axis=0, prepend=cell[:1] - 1) != 0, axis=1))
        return {(int(cell[i, 0]), int(cell[i, 1])): part for i, part in zip(first, np.split(segment, first[1:]), strict=True)}

    def nearest(self, x: float, y: float, yaw: float | None = None) -> tuple[int, float, float]:
        """Lane id, arc length and offset (+ left) of the lane whose centre line is nearest to a point in map.

        With a heading, lanes that run another way count as further away (4 m per rad): in a junction the lane that is driven, on a road the right
        direction. Equal ones: the smaller id. Before a lane's start or after its end the offset is that from its first or last segment's line.
        Raises WorldError on values that are not finite."""
        if not (math.isfinite(x) and math.isfinite(y) and (yaw is None or math.isfinite(yaw))):
            raise WorldError(f"nearest lane: got ({x}, {y}, {yaw}), expected finite values")
        near = self._cells.get((math.floor(x / CELL_M), math.floor(y / CELL_M)))
        found = None if near is None else self._best(near, x, y, yaw)
        if found is None or found[0] > _REACH_M:
            found = self._best(self._all, x, y, yaw)
        _, segment, s, d = found
        return int(self._lane[segment]), s, d

    def _best(self, near: npt.NDArray[np.int64], x: float, y: float, yaw: float | None) -> tuple[float, int, float, float]:
        """Cost, segment, arc length on its lane and offset of the best of some segments."""
        dx, dy = x - self._a[near, 0], y - self._a[near, 1]
        unit, length = self._unit[near], self._length[near]
        along = dx * unit[:, 0] + dy * unit[:, 1]
        across = unit[:, 0] * dy - unit[:, 1] * dx
        on = np.minimum(np.maximum(along, 0.0), length)
        cost = np.sqrt((along - on) ** 2 + across * across)
        if yaw is not None:
            off = np.abs((self._yaw[near] - yaw + math.pi) % (2.0 * math.pi) - math.pi)
            cost = cost + _YAW_M_PER_RAD * off
        best = int(cost.argmin())
        segment = int(near[best])
        return float(cost[best]), segment, float(self._s[segment] + on[best]), float(across[best])

    def on_road(self, xy: F64) -> npt.NDArray[np.bool_]:
        """Whether points (N, 2) lie on the drivable surface, (N,)."""
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        return np.asarray(shapely.contains_xy(self._road, points[:, 0], points[:, 1]))
