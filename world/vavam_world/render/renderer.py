"""Pictures of the world: one Renderer per process at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from panda3d import core as p3

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import LABELS, U8, Backend, CameraSpec, LookSpec, RoadMap, WorldError, WorldState
from vavam_world.render import camera, panda
from vavam_world.render.actors import Cast
from vavam_world.render.looks import make_look
from vavam_world.render.post import Developer
from vavam_world.render.scene import LABEL_STEP, Scene

FINE_PX = 100_000  # cameras up to this size are drawn larger and averaged: thin markings do not flicker
FINE_SCALE = 1.5  # by this much: most of what 2 does against flicker, for two thirds of its time (docs/decisions/0009)


class _Eye:
    """One camera: node, targets, and the way to its picture."""

    def __init__(self, spec: CameraSpec, backend: str) -> None:
        self.spec = spec
        self.scale = FINE_SCALE if spec.width * spec.height <= FINE_PX else 1.0
        self.node = p3.Camera(spec.name, panda.make_lens(spec, backend, self.scale))
        self.label_node = p3.Camera(f"{spec.name}_labels", panda.make_lens(spec, backend, 1.0))
        self.path, self.label_path = p3.NodePath(self.node), p3.NodePath(self.label_node)
        self.target: panda.Target | None = None
        self.label_target: panda.Target | None = None
        self.developer: Developer | None = None


class Renderer:
    """Draws RoadMap, LookSpec and WorldState as seen by cameras on the ego.

    The same arguments and state give the same pictures, bit for bit, per backend and version of Panda3D. Raises WorldError where no backend
    can be opened or another Renderer lives in this process, ConfigError for cameras that cannot be rendered.
    """

    _living: Renderer | None = None

    def __init__(self, road_map: RoadMap, look: LookSpec, cameras: Sequence[CameraSpec], *, backend: Backend = "auto") -> None:
        if Renderer._living is not None:
            raise WorldError("renderer: got a second one in this process, expected one at a time: close() the first, or load() another scene in it")
        names = [spec.name for spec in cameras]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"renderer: got cameras named {names}, expected at least one, each with its own name")
        for spec in cameras:
            camera.check(spec)
        self.backend, self._pipe = panda.open_pipe(backend)
        self._eyes = {spec.name: _Eye(spec, self.backend) for spec in cameras}
        self._engine: Any = p3.GraphicsEngine.get_global_ptr()
        self._first: Any = None
        make_look(look)
        for eye in self._eyes.values():
            eye.target = self._target(eye, eye.scale, eye.path)
        Renderer._living = self
        self._scene: Scene | None = None
        self._placed: WorldState | None = None
        self._loaded: tuple[RoadMap, LookSpec] | None = None
        self.load(road_map, look)

    @property
    def cameras(self) -> tuple[CameraSpec, ...]:
        """Those it was made with."""
        return tuple(eye.spec for eye in self._eyes.values())

    def _target(self, eye: _Eye, scale: float, path: Any) -> panda.Target:
        spec = eye.spec
        target = panda.Target(self._engine, self._pipe, *camera.drawn_size(spec, scale), path.get_name(), self._first)
        self._first = self._first or target.buffer
        target.look_through(path)
        return target

    def load(self, road_map: RoadMap, look: LookSpec) -> None:
        """Another map or look in the place of the present one. The present one again costs nothing: a drive is looked at, then drawn."""
        if self._loaded is not None and self._loaded[0] is road_map and self._loaded[1] == look:
            self._placed = None
            return
        made = make_look(look)  # first: what cannot be leaves the present scene in place
        if self._scene is not None:
            self._drop_scene()
        self._scene = Scene(road_map, look, made)
        self._cast = Cast(self._scene)
        self._placed = None
        for eye in self._eyes.values():
            eye.path.reparent_to(self._scene.root)
            eye.developer = Developer(eye.spec, eye.scale, made)
            if eye.target is not None:
                eye.target.buffer.set_clear_color((*made.haze, 0.0))  # below the sky's edge, beyond the ground's
        self._loaded = (road_map, look)

    def _drop_scene(self) -> None:
        for eye in self._eyes.values():
            eye.path.detach_node()
            eye.label_path.detach_node()
        if self._scene is not None:
            self._scene.remove()
        self._scene = self._loaded = None
        p3.RenderState.garbage_collect()
        p3.TransformState.garbage_collect()

    def _place(self, state: WorldState) -> Scene:
        if self._scene is None:
            raise WorldError("renderer: got a call after close(), expected none: make another Renderer")
        if state is self._placed:  # a picture's labels come after it
            return self._scene
        self._placed = None
        ego = state.ego
        if not all(math.isfinite(v) for v in (ego.x_m, ego.y_m, ego.yaw_rad)):
            raise WorldError(f"renderer: got an ego at {ego.x_m}, {ego.y_m}, {ego.yaw_rad}, expected finite numbers")
        poses = {name: camera.T_map_body(eye.spec, ego) for name, eye in self._eyes.items()}
        sights = [camera.sight(eye.spec, poses[name]) for name, eye in self._eyes.items()]
        at = next(iter(poses.values()))[:3, 3]
        self._scene.move_camera(at, sights)
        self._cast.pose(state, at, sights)
        for name, eye in self._eyes.items():
            matrix = panda.body_matrix(poses[name])
            eye.path.set_mat(matrix)
            eye.label_path.set_mat(matrix)
        self._placed = state
        return self._scene

    def _draw(self, active: Sequence[panda.Target]) -> None:
        for target in active:
            target.buffer.set_active(True)
        try:
            self._engine.render_frame()
        finally:
            for target in active:
                target.buffer.set_active(False)

    def render(self, state: WorldState) -> dict[str, U8]:
        """(H, W, 3) uint8 RGB of every camera, by its name."""
        self._place(state)
        self._draw([eye.target for eye in self._eyes.values() if eye.target])
        return {
            name: eye.developer.picture(np.ascontiguousarray(eye.target.picture()[::-1]), state.tick)
            for name, eye in self._eyes.items()
            if eye.target and eye.developer
        }

    def labels(self, state: WorldState, camera_name: str) -> U8:
        """(H, W) uint8: the index in `contracts.LABELS` of what each pixel of that camera shows; without blending."""
        if camera_name not in self._eyes:
            raise ConfigError(f"renderer: got camera {camera_name!r}, expected one of {', '.join(self._eyes)}")
        eye = self._eyes[camera_name]
        scene = self._place(state)
        root = scene.label_scene()
        self._cast.label(root)
        eye.label_path.reparent_to(root)
        if eye.label_target is None:
            eye.label_target = self._target(eye, 1.0, eye.label_path)
        self._draw([eye.label_target])
        grey = eye.label_target.picture()[:, :, 0]
        found = (grey.astype(np.uint16) + LABEL_STEP // 2) // LABEL_STEP
        return np.asarray(np.minimum(found, len(LABELS) - 1), dtype=np.uint8)

    def close(self) -> None:
        """Give everything back; the Renderer cannot be used any more."""
        if Renderer._living is not self:
            return
        self._drop_scene()
        for eye in self._eyes.values():
            for target in (eye.target, eye.label_target):
                if target is not None:
                    self._engine.remove_window(target.buffer)
            eye.target = eye.label_target = None
        self._first = None
        Renderer._living = None
