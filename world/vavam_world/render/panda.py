"""Panda3D without a window: finding a backend, buffers that end up in memory, and meshes as geometry whose colours can be rewritten."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from panda3d import core as p3

from vavam_world.contracts import F64, U8, Backend, CameraSpec, WorldError
from vavam_world.render.camera import FAR_M, NEAR_M
from vavam_world.render.meshes import Mesh

MODULES = {"tiny": "p3tinydisplay", "egl": "p3headlessgl"}
PIPES = {"tiny": "TinyOffscreenGraphicsPipe", "egl": "eglGraphicsPipe"}
LIBRARIES = {"tiny": ("libX11.so.6",), "egl": ("libEGL.so.1", "libGL.so.1")}
PACKAGES = {"tiny": "libx11-6", "egl": "libegl1 libgl1 libgl1-mesa-dri"}
ROUNDING_PX = {"tiny": (0.18, 0.32), "egl": (0.0, 0.0)}  # measured: how far left of and above its place a backend draws, on average
FLAT_ALPHA = 255  # marks what lies on the ground: its haze follows from the pixel alone

QUIET = "".join(f"notify-level-{part} error\n" for part in ("display", "tinydisplay", "egldisplay", "glgsg"))
p3.load_prc_file_data("", f"load-display none\naudio-library-name null\n{QUIET}")


def missing_libraries(backend: str) -> list[str]:
    """The system libraries that this backend needs and the loader does not find."""
    gone = []
    for name in LIBRARIES[backend]:
        try:
            ctypes.CDLL(name)
        except OSError:
            gone.append(name)
    return gone


def open_pipe(backend: Backend) -> tuple[str, Any]:
    """The backend's name and its pipe; `auto` is the software rasterizer where it loads, else EGL. Raises WorldError, naming what to install."""
    said = []
    for name in ("tiny", "egl") if backend == "auto" else (backend,):
        if name not in MODULES:
            raise WorldError(f"renderer: got backend {name!r}, expected one of auto, {', '.join(MODULES)}")
        if gone := missing_libraries(name):
            said.append(f"backend {name!r}: got no {', '.join(gone)}, expected the system's library: apt-get install {PACKAGES[name]}")
            continue
        p3.load_prc_file_data("", f"aux-display {MODULES[name]}\n")
        selection = p3.GraphicsPipeSelection.get_global_ptr()
        selection.load_aux_modules()
        kind = p3.TypeRegistry.ptr().find_type(PIPES[name])
        pipe = selection.make_pipe(kind) if kind.get_index() else None
        if pipe is not None and pipe.is_valid():
            return name, pipe
        said.append(
            f"backend {name!r}: got no {PIPES[name]} from Panda3D {p3.PandaSystem.get_version_string()}, expected one: apt-get install {PACKAGES[name]}"
        )
    raise WorldError("renderer: " + "; ".join(said))


class Target:
    """An offscreen buffer and the memory its picture is copied to."""

    def __init__(self, engine: Any, pipe: Any, width: int, height: int, name: str, share: Any = None) -> None:
        wanted = p3.FrameBufferProperties()
        wanted.set_rgba_bits(8, 8, 8, 8)
        wanted.set_depth_bits(24)
        flags = p3.GraphicsPipe.BF_refuse_window | p3.GraphicsPipe.BF_fb_props_optional
        size = p3.WindowProperties.size(width, height)
        args = (pipe, name, 0, wanted, size, flags)
        self.buffer = engine.make_output(*args, share.get_gsg(), share) if share is not None else engine.make_output(*args)
        if self.buffer is None:
            raise WorldError(f"renderer: got no {width}×{height} buffer from {pipe.get_type()}, expected one: name another backend")
        self.width, self.height = width, height
        self.texture = p3.Texture(name)
        self.buffer.add_render_texture(self.texture, p3.GraphicsOutput.RTM_copy_ram, p3.GraphicsOutput.RTP_color)
        self.buffer.set_clear_color_active(True)
        self.buffer.set_clear_color((0.0, 0.0, 0.0, 0.0))
        self.buffer.set_active(False)

    def look_through(self, camera: Any) -> None:
        """Draw what this camera node sees."""
        region = self.buffer.make_display_region()
        region.set_camera(camera)

    def picture(self) -> U8:
        """(height, width, 4) BGRA, upper row first; a view that the next frame overwrites."""
        if not self.texture.has_ram_image():
            raise WorldError("renderer: got no picture from the buffer, expected one: another Renderer may have ended the graphics engine")
        memory = np.frombuffer(memoryview(self.texture.get_ram_image()), dtype=np.uint8)
        return memory.reshape(self.height, self.width, 4)[::-1]


def make_lens(spec: CameraSpec, backend: str, scale: float) -> Any:
    """The lens of any pinhole intrinsics, drawn at `scale` times its size: the film is the picture on the plane one focal length away, moved
    by the principal point, and against what the backend's rounding of corners moves."""
    dx, dy = (shift / scale for shift in ROUNDING_PX[backend])
    lens = p3.PerspectiveLens()
    lens.set_film_size(spec.width / spec.fx, spec.height / spec.fy)
    lens.set_focal_length(1.0)
    lens.set_film_offset((spec.width / 2.0 - spec.cx - dx) / spec.fx, (spec.cy + dy - spec.height / 2.0) / spec.fy)
    lens.set_near_far(NEAR_M, FAR_M)
    return lens


def body_matrix(T_map_body: F64) -> Any:
    """A body pose (x forward, y left) as Panda's camera matrix (x right, y forward; row vectors)."""
    R, t = T_map_body[:3, :3], T_map_body[:3, 3]
    return p3.LMatrix4(*(-R[:, 1]), 0.0, *R[:, 0], 0.0, *R[:, 2], 0.0, *t, 1.0)


def _format() -> Any:
    place = p3.GeomVertexArrayFormat()
    place.add_column(p3.InternalName.get_vertex(), 3, p3.Geom.NT_float32, p3.Geom.C_point)
    place.add_column(p3.InternalName.get_texcoord(), 2, p3.Geom.NT_float32, p3.Geom.C_texcoord)
    colour = p3.GeomVertexArrayFormat(p3.InternalName.get_color(), 4, p3.Geom.NT_uint8, p3.Geom.C_color)
    whole = p3.GeomVertexFormat()
    whole.add_array(place)
    whole.add_array(colour)
    return p3.GeomVertexFormat.register_format(whole)


FORMAT = _format()


def geom_node(mesh: Mesh, rgba: U8, name: str = "mesh") -> Any:
    """A node of one Geom with the mesh's triangles and these (N, 4) vertex colours."""
    data = p3.GeomVertexData(name, FORMAT, p3.Geom.UH_static)
    data.unclean_set_num_rows(len(mesh.xyz_m))
    place = np.concatenate([mesh.xyz_m, mesh.uv], axis=1).astype(np.float32)
    data.modify_array_handle(0).copy_data_from(place.tobytes())
    data.modify_array_handle(1).copy_data_from(np.ascontiguousarray(rgba).tobytes())
    primitive = p3.GeomTriangles(p3.Geom.UH_static)
    primitive.set_index_type(p3.Geom.NT_uint32)
    index = primitive.modify_vertices()
    index.unclean_set_num_rows(mesh.triangles.size)
    index.modify_handle().copy_data_from(np.ascontiguousarray(mesh.triangles, dtype=np.uint32).tobytes())
    geom = p3.Geom(data)
    geom.add_primitive(primitive)
    node = p3.GeomNode(name)
    node.add_geom(geom)
    return node


def keep_bounds(node: Any) -> None:
    """For a node that will be recoloured: its bounds are what they are now. Panda3D would reckon them anew, point by point, at each change."""
    geom = node.modify_geom(0)
    geom.set_bounds(geom.get_bounds())
    node.set_bounds(node.get_internal_bounds())


def recolour(node: Any, rgba: U8) -> None:
    """Put other vertex colours into a node made by `geom_node`; see `keep_bounds`."""
    node.modify_geom(0).modify_vertex_data().modify_array_handle(1).copy_data_from(np.ascontiguousarray(rgba).tobytes())


def texture(picture: U8, name: str) -> Any:
    """An RGB picture, upper row first, as a mip-mapped texture that repeats: clamping costs the software rasterizer three times as much."""
    height, width = picture.shape[:2]
    made = p3.Texture(name)
    made.setup_2d_texture(width, height, p3.Texture.T_unsigned_byte, p3.Texture.F_rgb)
    made.set_ram_image(np.ascontiguousarray(picture[::-1, :, ::-1]).tobytes())
    made.set_minfilter(p3.SamplerState.FT_linear_mipmap_nearest)
    made.set_magfilter(p3.SamplerState.FT_linear)
    return made


def rgba_of(colour: F64, alpha: F64 | int) -> U8:
    """(N, 3) colours 0..1 and alpha 0..255 as vertex colours."""
    out = np.empty((len(colour), 4), dtype=np.uint8)
    out[:, :3] = np.clip(colour * 255.0 + 0.5, 0.0, 255.0)
    out[:, 3] = alpha
    return out
