"""The camera side of the core, in one import: bytes → picture (image_decode), camera models (lens, camera_model), picture → the model's view (view)."""

from vavam_ros.core.camera.camera_model import CANONICAL_CAMERAS, CameraModel, CanonicalCamera, Mount, MountChoice, Roi, choose_mount, mount_from_dict
from vavam_ros.core.camera.image_decode import RAW_ENCODINGS, decode_compressed, decode_raw
from vavam_ros.core.camera.lens import DISTORTION_MODELS, Lens
from vavam_ros.core.camera.view import ViewTransform, effective_stamp_ns, project_ego_points, resize_like_upstream, to_model_input

__all__ = [
    "CANONICAL_CAMERAS",
    "DISTORTION_MODELS",
    "RAW_ENCODINGS",
    "CameraModel",
    "CanonicalCamera",
    "Lens",
    "Mount",
    "MountChoice",
    "Roi",
    "ViewTransform",
    "choose_mount",
    "decode_compressed",
    "decode_raw",
    "effective_stamp_ns",
    "mount_from_dict",
    "project_ego_points",
    "resize_like_upstream",
    "to_model_input",
]
