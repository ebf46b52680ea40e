"""Moving things in the scene graph: nodes are kept per shape and posed anew for every picture."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from vavam_world.contracts import F64, ActorState, WorldState
from vavam_world.render import bodies, ground
from vavam_world.render.camera import FAR_M, in_sight
from vavam_world.render.meshes import raw
from vavam_world.render.panda import FLAT_ALPHA, geom_node, keep_bounds, recolour, rgba_of
from vavam_world.render.scene import SPARE_M, Scene, label_rgba, layer_root, sun_offset

OCTAGON = np.array([[1.0, 0.8], [0.9, 1.0], [-0.9, 1.0], [-1.0, 0.8], [-1.0, -0.8], [-0.9, -1.0], [0.9, -1.0], [1.0, -0.8]])  # of a shadow, in half sizes
YAW_STEPS = 48  # light on a body is reckoned for its heading rounded to a 48th of a turn
Shape = tuple[str, int, float, float, float, int]


class Figure:
    """One body, its shadow, and its stand-in for the label pass."""

    def __init__(self, shape: Shape, scene: Scene, parents: tuple[Any, Any]) -> None:
        kind, variant, length, width, height, phase = shape
        self.body = bodies.pedestrian(variant, height, phase) if kind == "pedestrian" else bodies.vehicle(kind, variant, length, width, height)
        self.scene = scene
        self.heading = self.shade = (math.nan, False)
        self.alpha = -1
        mesh = self.body.mesh
        self.rgba = rgba_of(mesh.colour, 0)
        self.node = geom_node(mesh, self.rgba, "actor")
        keep_bounds(self.node)
        self.path = parents[0].attach_new_node(self.node)
        self.label_path: Any = None
        rim = 0.2
        half = np.array([length / 2.0 + rim, width / 2.0 + rim]) if kind != "pedestrian" else np.array([0.26, 0.26])
        self.outline = OCTAGON * half
        self.height = height
        self.shadow_path = parents[1].attach_new_node("shadow")
        self.shadow_heading = math.nan

    def pose(self, actor: ActorState, haze: int) -> None:
        """Put the body where the actor is, lit and hazed as seen from the camera."""
        for path in (self.path, self.shadow_path, self.label_path):
            if path is not None:
                path.show()
                path.set_pos_hpr(actor.x_m, actor.y_m, 0.0, math.degrees(actor.yaw_rad), 0.0, 0.0)
        heading = round(actor.yaw_rad * YAW_STEPS / (2.0 * math.pi)) % YAW_STEPS * 2.0 * math.pi / YAW_STEPS
        shade = (heading, actor.braking)
        if shade != self.shade:
            self.shade = shade
            self.rgba[:, :3] = rgba_of(self._colours(heading, actor.braking), 0)[:, :3]
        elif haze == self.alpha:
            return
        self.alpha = haze
        self.rgba[:, 3] = haze
        recolour(self.node, self.rgba)
        if heading != self.shadow_heading:
            self.shadow_heading = heading
            self._shadow(heading)

    def _colours(self, heading: float, braking: bool) -> Any:
        look, mesh = self.scene.look, self.body.mesh
        light = look.light(mesh.placed(0.0, 0.0, heading).normal)
        sheen = 0.12 * np.clip(mesh.normal[:, 2:3], 0.0, 1.0) * look.horizon  # paint and glass throw the sky back
        colours = mesh.colour * light + sheen
        rear = (1.0, 0.12, 0.08) if braking else (0.78, 0.06, 0.06) if look.lamps else (0.42, 0.05, 0.05)
        colours[self.body.rear] = rear
        colours[self.body.front] = (1.0, 0.98, 0.88) if look.lamps else np.array([0.86, 0.88, 0.90]) * light[self.body.front]
        return colours

    def _shadow(self, heading: float) -> None:
        look = self.scene.look
        away = sun_offset(look) * self.height
        c, s = math.cos(-heading), math.sin(-heading)
        moved = self.outline * (0.75 if look.shadow > 0.0 else 1.0) + np.array([c * away[0] - s * away[1], s * away[0] + c * away[1]])
        hull = cv2.convexHull(np.concatenate([self.outline, moved]).astype(np.float32)).reshape(-1, 2).astype(np.float64)
        if cv2.contourArea(hull.astype(np.float32), True) < 0.0:
            hull = hull[::-1]
        n = len(hull)
        fan = [[0, i, i + 1] for i in range(1, n - 1)]
        mesh = ground.darkened(raw(np.column_stack([hull, np.full(n, 0.02)]), fan, normal=ground.UP, uv=np.zeros(2)), max(look.shadow, 0.34))
        self.shadow_path.node().remove_all_children()
        self.shadow_path.attach_new_node(geom_node(mesh, rgba_of(mesh.colour, FLAT_ALPHA), "shadow"))

    def label(self, root: Any) -> None:
        """Add the stand-in of the label pass, once."""
        if self.label_path is None:
            mesh = replace(self.body.mesh)
            self.label_path = root.attach_new_node(geom_node(mesh, label_rgba(mesh), "actor"))
            self.label_path.set_transform(self.path.get_transform())
            if self.path.is_hidden():
                self.label_path.hide()

    def hide(self) -> None:
        """Not in this picture."""
        for path in (self.path, self.shadow_path, self.label_path):
            if path is not None:
                path.hide()


class Cast:
    """All figures of a scene; `pose` uses those that fit and makes what is lacking."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.figures: dict[Shape, list[Figure]] = defaultdict(list)
        self.parents = (scene.standing_root.attach_new_node("actors"), layer_root(scene.root, "shadow"))
        self._label_root: Any = None
        self._shadow_per_m = float(np.hypot(*sun_offset(scene.look)))

    def pose(self, state: WorldState, camera_xyz_m: F64, sights: Sequence[F64]) -> None:
        """Show the actors of `state` that may show, themselves or their shadows, in pictures from there with these `sights`."""
        used: dict[Shape, int] = defaultdict(int)
        x, y, _ = camera_xyz_m.tolist()
        for actor in self._in_sight(state.actors, sights):
            away = math.hypot(actor.x_m - x, actor.y_m - y)
            if away > FAR_M + actor.length_m:
                continue
            shape = shape_of(actor)
            kept = self.figures[shape]
            if used[shape] == len(kept):
                kept.append(Figure(shape, self.scene, self.parents))
                if self._label_root is not None:
                    kept[-1].label(self._label_root)
            kept[used[shape]].pose(actor, self.scene.haze_at(away))
            used[shape] += 1
        for shape, kept in self.figures.items():
            for figure in kept[used[shape] :]:
                figure.hide()

    def _in_sight(self, actors: Sequence[ActorState], sights: Sequence[F64]) -> list[ActorState]:
        if not actors:
            return []
        size = np.array([(a.x_m, a.y_m, a.height_m, a.length_m, a.width_m) for a in actors])
        height = size[:, 2]
        radius = 0.5 * np.hypot(size[:, 3], size[:, 4]) + height * (1.0 + self._shadow_per_m) + SPARE_M
        seen = in_sight(sights, np.column_stack([size[:, :2], 0.5 * height]), radius)
        return [actors[i] for i in np.flatnonzero(seen).tolist()]

    def label(self, root: Any) -> None:
        """From now on, every figure has a stand-in under `root`."""
        if self._label_root is None:
            self._label_root = root
            for kept in self.figures.values():
                for figure in kept:
                    figure.label(root)


def shape_of(actor: ActorState) -> Shape:
    """What of an actor decides its mesh; a walker's phase follows from where it is."""
    phase = -1
    if actor.kind == "pedestrian" and abs(actor.speed_mps) > 0.05:
        along = actor.x_m * math.cos(actor.yaw_rad) + actor.y_m * math.sin(actor.yaw_rad)
        phase = int(along / bodies.STRIDE_M * bodies.PHASES) % bodies.PHASES
    return actor.kind, actor.variant, round(actor.length_m, 2), round(actor.width_m, 2), round(actor.height_m, 2), phase
