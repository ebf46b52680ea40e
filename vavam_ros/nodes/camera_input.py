"""Which camera takes the pictures, and where it is mounted: camera_info or a file, then parameters, TF or the file (mounting.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import CameraInfo

from vavam_ros.core.camera import CameraModel, CanonicalCamera, MountChoice
from vavam_ros.core.contracts import CameraError, InputError
from vavam_ros.nodes import convert
from vavam_ros.nodes.mounting import Mounting

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode


class CameraInput:
    """Executor only. `source` is the mounted camera, None as long as it is not known."""

    def __init__(self, node: ModelNode, canonical: CanonicalCamera, yaml: CameraModel | None, *, from_topic: bool) -> None:
        self._node = node
        self._camera = None if from_topic else yaml
        self._key: tuple[Any, ...] | None = None
        self._choice: MountChoice | None = None
        self.source: CameraModel | None = None
        self._mounting = Mounting(node, canonical, yaml.T_ego_camera if yaml is not None else None)

    def destroy(self) -> None:
        """Stop listening to TF."""
        self._mounting.destroy()

    @property
    def mount_source(self) -> str:
        """parameter, tf, yaml, or none."""
        return self._choice.source if self._choice is not None else "none"

    def update(self, info: CameraInfo) -> bool:
        """Take in the camera_info of a picture; only a changed one costs anything. False when it cannot be used."""
        key = convert.camera_key(info)
        if key == self._key:
            return True
        try:
            camera = convert.camera_model(info, rectified=self._node.parameters.flag("image_rectified"))
        except CameraError as e:
            self._camera = self.source = self._key = None
            self._node.board.event("camera_unusable", error=e)
            return False
        if self._key is not None:
            self._node.board.event("camera_changed")
        self._camera, self._key, self.source = camera, key, None
        return True

    def mount(self, image_frame: str) -> bool:
        """Give the camera its mounting, once. False while TF has not given it; without any the view will say so."""
        if self.source is not None:
            return True
        assert self._camera is not None
        p, odometry = self._node.parameters, self._node.odometry
        newest = odometry.newest if odometry is not None else None
        base = p.text("base_frame_id") or (newest.base_frame_id if newest is not None else None)
        try:
            self._choice = self._mounting.choice(image_frame or self._camera.frame_id, base)
            if self._choice is None and self._node.board.is_active("mount_waiting"):
                return False
            self.source = self._camera.mounted(self._choice.T_ego_camera if self._choice is not None else None)
        except (CameraError, InputError) as e:
            self._node.board.event("camera_unusable", error=e)
            return False
        return True
