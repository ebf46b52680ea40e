"""The road from above, fast enough for a video: drawn once, then turned and cut for every frame."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import DensePath
from vavam_world.contracts import F64, U8, ActorState, RoadMap, Route, Vehicle, WorldState
from vavam_world.report import palette
from vavam_world.report.on_camera import ahead
from vavam_world.report.shapes import actor_box, ego_box

MARGIN_M = 60.0
DASH_M = (3.0, 4.5)  # paint, gap: as on the rendered road


class RoadFromAbove:
    """A picture of the road around a route, `scale` pixels a metre, north up."""

    def __init__(self, road_map: RoadMap, route: Route, scale: float = 6.0) -> None:
        low, high = route.xy_m.min(axis=0) - MARGIN_M, route.xy_m.max(axis=0) + MARGIN_M
        self._scale, self._west_north = scale, np.array([low[0], high[1]])
        width, height = np.ceil((high - low) * scale).astype(int)
        self._picture: U8 = np.full((height, width, 3), palette.GROUND, np.uint8)
        for polygons, colour in ((road_map.sidewalk, palette.SIDEWALK), (road_map.road, palette.ROAD)):
            for rings in polygons:
                cv2.fillPoly(self._picture, [self._px(r) for r in rings], colour, cv2.LINE_AA, 4)
        for prop in road_map.props:
            if prop.kind in ("house", "tree", "bush"):
                self._prop(prop.kind, prop.x_m, prop.y_m, prop.yaw_rad, prop.length_m, prop.width_m)
        self._paint(road_map)
        cv2.polylines(self._picture, [self._px(route.xy_m)], False, palette.ROUTE, max(1, round(0.5 * scale)), cv2.LINE_AA, 4)

    def _px(self, xy: F64) -> npt.NDArray[np.int32]:
        px = (np.asarray(xy) - self._west_north) * (self._scale, -self._scale)
        return np.asarray(np.round(px * 16), np.int32)

    def _prop(self, kind: str, x: float, y: float, yaw: float, length: float, width: float) -> None:
        if kind == "house":
            c, s = np.cos(yaw), np.sin(yaw)
            corners = 0.5 * np.array([[length, width], [-length, width], [-length, -width], [length, -width]])
            cv2.fillPoly(self._picture, [self._px(corners @ np.array([[c, s], [-s, c]]) + (x, y))], palette.HOUSE, cv2.LINE_AA, 4)
        else:
            cx, cy = (int(v) for v in self._px(np.array([[x, y]]))[0])
            cv2.circle(self._picture, (cx, cy), int(max(length, 1.0) * 0.5 * self._scale * 16), palette.PLANT, cv2.FILLED, cv2.LINE_AA, 4)

    def _paint(self, road_map: RoadMap) -> None:
        for marking in road_map.markings:
            colour = palette.YELLOW if marking.colour == "yellow" else palette.WHITE
            if marking.kind in ("stop", "crosswalk"):
                cv2.fillPoly(self._picture, [self._px(marking.xy_m)], colour, cv2.LINE_AA, 4)
                continue
            for piece in [marking.xy_m] if marking.kind == "solid" else dashes(marking.xy_m):
                cv2.polylines(self._picture, [self._px(piece)], False, colour, max(1, round(marking.width_m * self._scale)), cv2.LINE_AA, 4)

    def frame(
        self,
        state: WorldState,
        vehicle: Vehicle,
        path: DensePath | None,
        size: tuple[int, int],
        *,
        intruder_id: int | None = None,
        beside: DensePath | None = None,
    ) -> U8:
        """(height, width, 3): the ego two thirds down, heading up, with all road users, the rest of a path, and of one that nobody follows."""
        width, height = size
        ego = state.ego
        M = self._to_frame(ego.x_m, ego.y_m, ego.yaw_rad, (width / 2, height * 0.7))
        out: U8 = cv2.warpAffine(self._picture, M @ self._source(), (width, height), borderValue=palette.GROUND).astype(np.uint8)

        def px(xy: F64) -> npt.NDArray[np.int32]:
            return np.asarray(np.round((xy @ M[:, :2].T + M[:, 2]) * 16), np.int32)

        for actor in state.actors:
            self._actor(out, px, actor, actor.id == intruder_id)
        cv2.fillPoly(out, [px(ego_box(ego, vehicle))], palette.EGO, cv2.LINE_AA, 4)
        for shown, colour, thick in ((path, palette.PATH, 3), (beside, palette.BESIDE, 2)):
            if shown is not None and len(rest := ahead(shown, state.stamp_ns)[0]) > 1:
                cv2.polylines(out, [px(rest)], False, colour, thick, cv2.LINE_AA, 4)
        cv2.polylines(out, [px(ego_box(ego, vehicle))], True, palette.WHITE, 1, cv2.LINE_AA, 4)
        return out

    @staticmethod
    def _actor(out: U8, px: Callable[[F64], npt.NDArray[np.int32]], actor: ActorState, intruder: bool) -> None:
        corners = px(actor_box(actor))
        cv2.fillPoly(out, [corners], palette.actor_rgb(actor.kind, intruder=intruder), cv2.LINE_AA, 4)
        if actor.kind not in ("pedestrian", "parked"):  # the end it drives towards
            cv2.polylines(out, [corners[[0, 3]]], False, palette.WHITE, 2, cv2.LINE_AA, 4)

    def _to_frame(self, x: float, y: float, yaw: float, at: tuple[float, float]) -> F64:
        """(2, 3): map metres → frame pixels."""
        c, s = np.cos(yaw) * self._scale, np.sin(yaw) * self._scale
        A = np.array([[s, -c], [-c, -s]])  # ahead is up, left is left
        return np.column_stack([A, np.array(at) - A @ np.array([x, y])])

    def _source(self) -> F64:
        """(3, 3): pixels of the whole picture → map metres."""
        k = 1.0 / self._scale
        return np.array([[k, 0.0, self._west_north[0]], [0.0, -k, self._west_north[1]], [0.0, 0.0, 1.0]])


def dashes(xy_m: F64) -> list[F64]:
    """A line (N, 2) cut into its painted pieces."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy_m, axis=0).T))])
    starts = np.arange(0.0, s[-1], sum(DASH_M))
    return [np.stack([np.interp(np.linspace(a, min(a + DASH_M[0], s[-1]), 4), s, xy_m[:, i]) for i in (0, 1)], axis=1) for a in starts]
