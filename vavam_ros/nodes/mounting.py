"""Where the camera is mounted: from parameters, TF or the camera file, in that order. TF is looked up once and cached; it is not in the hot path."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import rclpy.time
from tf2_ros import Buffer, TransformException, TransformListener

from vavam_ros.core.camera import CanonicalCamera, Mount, MountChoice, choose_mount
from vavam_ros.core.contracts import F64
from vavam_ros.nodes import convert

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode


class Mounting:
    """Answers `choice(camera_frame, base_frame)`: the mounting, or None while TF may still give it."""

    def __init__(self, node: ModelNode, canonical: CanonicalCamera, yaml: F64 | None) -> None:
        p = node.parameters
        self._node, self._yaml = node, yaml
        self._parameter = _from_parameters(p.numbers("camera_mount_xyz_m"), p.numbers("camera_mount_rpy_deg"), canonical)
        self._rear_axle_x_m = p.number("rear_axle_x_m")
        self._wait_s = p.number("camera_mount_tf_wait_s")
        self._asked_s: float | None = None
        self._found: dict[tuple[str, str], F64] = {}
        self._buffer: Buffer | None = None
        self._listener: TransformListener | None = None
        if self._parameter is None and p.flag("camera_mount_from_tf"):
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, node)  # from the start, so that a mount published before the first image is there for it

    def destroy(self) -> None:
        """Stop listening to TF."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None

    def choice(self, camera_frame: str, base_frame: str | None) -> MountChoice | None:
        """The mounting of a camera. None: ask again with the next image (diagnostics then say what is awaited). Raises CameraError, InputError."""
        board = self._node.board
        if self._parameter is None and self._buffer is not None:
            tf = self._from_tf(camera_frame.removeprefix("/"), (base_frame or "").removeprefix("/"))
            if tf is None:
                self._asked_s = time.monotonic() if self._asked_s is None else self._asked_s
                waited_s = time.monotonic() - self._asked_s
                over = waited_s > self._wait_s
                then = "using the camera file's mount" if over and self._yaml is not None else "no tokens until it comes"
                base, camera = base_frame or "(odometry's child frame)", camera_frame or "(empty frame_id)"
                board.state("mount_waiting", True, base=base, camera=camera, seconds=waited_s, then=then)
                return choose_mount(yaml=self._yaml) if over else None
            board.state("mount_waiting", False)
            return choose_mount(tf=tf)
        return choose_mount(parameter=self._parameter, yaml=self._yaml)

    def _from_tf(self, camera_frame: str, base_frame: str) -> F64 | None:
        key = (base_frame, camera_frame)
        if key not in self._found:
            assert self._buffer is not None
            if not (base_frame and camera_frame):
                return None
            if self._listener is None:  # another camera than the one found before
                self._listener = TransformListener(self._buffer, self._node)
            try:
                transform = self._buffer.lookup_transform(base_frame, camera_frame, rclpy.time.Time())
            except TransformException:
                return None
            self._found[key] = convert.mount_T(transform, self._rear_axle_x_m)
            self.destroy()  # the rest of /tf is none of ours
        return self._found[key]


def _from_parameters(xyz_m: tuple[float, ...], rpy_deg: tuple[float, ...], canonical: CanonicalCamera) -> F64 | None:
    """T_ego_camera of the two parameters; a position that is not given is the canonical camera's. None when the rotation is not given."""
    if not rpy_deg:
        return None
    x, y, z = xyz_m or (canonical.mount.x_m, canonical.mount.y_m, canonical.mount.z_m)
    roll, pitch, yaw = (math.radians(v) for v in rpy_deg)
    return Mount(x_m=x, y_m=y, z_m=z, roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw).T_ego_camera
