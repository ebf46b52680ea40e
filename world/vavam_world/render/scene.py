"""The scene graph of one map and look: chunks of merged geometry, sky, and the haze of what stands."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from panda3d import core as p3

from vavam_world.contracts import F64, LookSpec, RoadMap
from vavam_world.render import ground, props, textures
from vavam_world.render.camera import FAR_M, in_sight
from vavam_world.render.looks import SKY_HIGH_RAD, SKY_LOW_RAD, Look, sky_picture
from vavam_world.render.meshes import Mesh, merge, raw
from vavam_world.render.panda import FLAT_ALPHA, geom_node, keep_bounds, recolour, rgba_of, texture

MAX_HAZE = 240  # alpha of what stands: well below the ground's mark, which each shadow on it may lower by one
LABEL_STEP = 20  # between two classes' grey levels in the label pass
LAYERS = ("ground", "road", "paint", "sidewalk", "shadow")  # drawn in this order, without depth: nothing lies below them
NEAR_FIRST = "near first"  # the bin of what stands: what is hidden is not painted
p3.CullBinManager.get_global_ptr().add_bin(NEAR_FIRST, p3.CullBinManager.BT_front_to_back, 25)
SPARE_M = 1.0  # about what is taken to be in sight: backends draw up to a third of a pixel beside its place
RIM_SHADE = 0.22  # of what stands on the ground below it, without a sun


def label_rgba(mesh: Mesh) -> Any:
    """Vertex colours of the label pass."""
    grey = np.repeat(mesh.label[:, None].astype(np.uint8) * LABEL_STEP, 3, axis=1)
    return np.concatenate([grey, np.full((len(grey), 1), 255, np.uint8)], axis=1)


class Standing:
    """One chunk of what stands, recoloured as the haze between it and the camera changes."""

    def __init__(self, mesh: Mesh, look: Look, parent: Any) -> None:
        self.x_m, self.y_m = np.ascontiguousarray(mesh.xyz_m[:, :2].T)
        self.rgba = rgba_of(mesh.colour * (look.light(mesh.normal) * (1.0 - mesh.glow[:, None]) + mesh.glow[:, None]), 0)
        self.node = geom_node(mesh, self.rgba, "standing")
        keep_bounds(self.node)
        self.path = parent.attach_new_node(self.node)
        self.seen_from: tuple[float, float] | None = None

    def haze(self, at: tuple[float, float], look: Look) -> None:
        """Set each vertex's haze as seen from `at`."""
        if at != self.seen_from:
            self.seen_from = at
            away = np.hypot(self.x_m - at[0], self.y_m - at[1])
            self.rgba[:, 3] = MAX_HAZE * (1.0 - np.exp(-away / look.visibility_m))
            recolour(self.node, self.rgba)


class Scene:
    """Everything that does not move. `root` is drawn for pictures, `label_root` for labels."""

    def __init__(self, road_map: RoadMap, spec: LookSpec, look: Look) -> None:
        self.look = look
        self.road_map = road_map
        self.root = p3.NodePath("scene")
        self.root.set_shader_off()
        self.label_root = p3.NodePath("labels")
        self._layers: dict[str, list[Mesh]] = {}
        self._textures: dict[str, Any] = {}
        self._labelled = False
        self.atlas = texture(textures.atlas(spec.textures, spec.seed, look.lamps), "atlas")
        self._flat(spec)
        self._sky(spec)
        self.standing: list[Standing] = []
        self._standing_balls = np.zeros((0, 4))
        self._standing_meshes: list[Mesh] = []
        self.standing_root = self.root.attach_new_node("standing")
        self.standing_root.set_texture(self.atlas)
        self.standing_root.set_bin(NEAR_FIRST, 0)
        chunks: dict[ground.Key, list[Mesh]] = defaultdict(list)
        for prop in road_map.props:
            mesh = props.build(prop, spec.textures, spec.seed)
            if len(mesh.xyz_m):
                chunks[ground.key_of(prop.x_m, prop.y_m)].append(mesh)
        for key in sorted(chunks):
            whole = merge(chunks[key])
            self._standing_meshes.append(whole)
            self.standing.append(Standing(whole, look, self.standing_root))
        if self.standing:
            self._standing_balls = np.array([ball_around(mesh.xyz_m) for mesh in self._standing_meshes])

    def _flat(self, spec: LookSpec) -> None:
        look = self.look
        self._layers = {**ground.layers(self.road_map), "shadow": ground.shade(self.road_map, look, look.shadow or RIM_SHADE)}
        self._textures = {
            "ground": texture(textures.ground(spec.textures, spec.seed), "ground"),
            "road": texture(textures.road(spec.textures, spec.seed, look.wet), "road"),
            "sidewalk": texture(textures.sidewalk(spec.textures, spec.seed, look.wet), "sidewalk"),
        }
        for name in LAYERS:
            parent = layer_root(self.root, name)
            if name in self._textures:
                parent.set_texture(self._textures[name])
            for mesh in self._layers[name]:
                light = look.light(mesh.normal) if name != "shadow" else np.ones_like(mesh.normal)
                parent.attach_new_node(geom_node(mesh, rgba_of(mesh.colour * light, FLAT_ALPHA), name))

    def _sky(self, spec: LookSpec) -> None:
        radius, sectors, rows, columns = 0.97 * FAR_M, 8, 7, 4  # in sectors, so that those behind the camera are not drawn
        tilt = np.concatenate([np.linspace(SKY_LOW_RAD, 0.5, rows - 2), np.linspace(0.5, SKY_HIGH_RAD, 4)[1:]])
        k = columns + 1
        faces = [face for r in range(rows) for c in range(columns) for a in [r * k + c] for face in ([a, a + k, a + k + 1], [a, a + k + 1, a + 1])]
        self.sky = self.root.attach_new_node("sky")
        self.sky.set_bin("fixed", 0)  # last, where nothing stands
        self.sky.set_depth_write(False)
        self.sky.set_texture(texture(sky_picture(self.look, spec.textures), "sky"))
        for sector in range(sectors):
            turn = (sector + np.linspace(0.0, 1.0, k)) * 2.0 * math.pi / sectors
            t, f = np.meshgrid(tilt, turn, indexing="ij")
            xyz = radius * np.stack([np.cos(t) * np.cos(f), np.cos(t) * np.sin(f), np.sin(t)], axis=-1).reshape(-1, 3)
            uv = np.stack([f / (2.0 * math.pi), 0.004 + 0.992 * (t - SKY_LOW_RAD) / (SKY_HIGH_RAD - SKY_LOW_RAD)], axis=-1).reshape(-1, 2)
            mesh = raw(xyz, faces, normal=-xyz / radius, uv=uv, label="sky")
            self.sky.attach_new_node(geom_node(mesh, rgba_of(mesh.colour, 0), "sky"))

    def label_scene(self) -> Any:
        """The root of the label pass, built when first asked for."""
        if not self._labelled:
            self._labelled = True
            for name in LAYERS[:-1]:
                parent = layer_root(self.label_root, name)
                for mesh in self._layers[name]:
                    parent.attach_new_node(geom_node(mesh, label_rgba(mesh), name))
            for mesh in self._standing_meshes:
                self.label_root.attach_new_node(geom_node(mesh, label_rgba(mesh), "standing"))
        return self.label_root

    def move_camera(self, xyz_m: F64, sights: Sequence[F64]) -> None:
        """Carry the sky along and set the haze as seen from there of what may show in pictures with these `sights`; a function of the place alone."""
        x, y, z = xyz_m.tolist()
        self.sky.set_pos(x, y, z)
        step = self.look.haze_step_m
        at = (round(x / step) * step, round(y / step) * step)
        centre, radius = self._standing_balls[:, :3], self._standing_balls[:, 3]
        for i in np.flatnonzero(in_sight(sights, centre, radius + SPARE_M)).tolist():
            self.standing[i].haze(at, self.look)

    def haze_at(self, distance_m: float) -> int:
        """Alpha of something that stands this far away."""
        return int(MAX_HAZE * (1.0 - math.exp(-distance_m / self.look.visibility_m)))

    def remove(self) -> None:
        """Take everything out of memory."""
        for root in (self.root, self.label_root):
            root.remove_node()
        self.standing.clear()
        self._layers = {}
        self._standing_meshes.clear()


def ball_around(xyz_m: F64) -> F64:
    """(4,) centre and radius of a ball that holds all of (N, 3) points."""
    centre = 0.5 * (xyz_m.min(axis=0) + xyz_m.max(axis=0))
    return np.append(centre, np.sqrt(((xyz_m - centre) ** 2).sum(axis=1).max()))


def layer_root(root: Any, name: str) -> Any:
    """The node under which one flat layer hangs."""
    node = root.attach_new_node(name)
    node.set_bin("background", LAYERS.index(name))
    node.set_depth_test(False)
    node.set_depth_write(False)
    if name == "shadow":
        node.set_attrib(p3.ColorBlendAttrib.make(p3.ColorBlendAttrib.M_add, p3.ColorBlendAttrib.O_fbuffer_color, p3.ColorBlendAttrib.O_zero))
    return node


def sun_offset(look: Look) -> F64:
    """(2,) where the shadow of something one metre high ends."""
    return np.asarray(-look.sun_direction[:2] / max(float(look.sun_direction[2]), 0.25) if look.shadow > 0.0 else np.zeros(2), dtype=np.float64)
