"""The drawn drive as a bag."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vavam_ros.bags import BagWriter
from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.contracts import NS_PER_S, Command
from vavam_ros.replay import messages
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

IMAGE_TOPIC = "/camera/image/compressed"
CAMERA_INFO_TOPIC = "/camera/camera_info"
ODOMETRY_TOPIC = "/odometry"
COMMAND_TOPIC = "/vavam/command"


def clip_for(canonical: CanonicalCamera, *, width: int = 640, duration_s: float = 12.0, seed: int = 0) -> RoadClipConfig:
    """A clip seen by a model's own camera, at a smaller size: warp mode then has nothing to complain about."""
    scale = width / canonical.width
    height = round(canonical.height * scale)
    lens = canonical.model().lens.resized(scale, height / canonical.height)
    return RoadClipConfig(width=width, height=height, K=lens.K, T_base_camera=canonical.mount.T_ego_camera, duration_s=duration_s, seed=seed)


def write_clip(path: Path, config: RoadClipConfig, *, overwrite: bool = False, command: Command | None = Command.STRAIGHT, storage: str = "mcap") -> None:
    """JPEG pictures with CameraInfo, odometry, the mount in /tf_static and a command twice a second."""
    clip = RoadClip(config)
    D = np.zeros(5)
    D[: len(config.D)] = config.D
    with BagWriter(path, storage="sqlite3" if storage == "sqlite3" else "mcap", overwrite=overwrite, custom_data={"source": "generated road clip"}) as writer:
        writer.write_pose_quality(config.start_ns, "measured")
        writer.add_topic("/tf_static", messages.TF_MESSAGE, latched=True)
        transform = messages.static_transform(writer, config.start_ns, clip.base_frame_id, clip.camera_frame_id, config.T_base_camera)
        writer.write("/tf_static", config.start_ns, transform)
        writer.add_topic(ODOMETRY_TOPIC, messages.ODOMETRY)
        writer.add_topic(IMAGE_TOPIC, messages.COMPRESSED_IMAGE)
        writer.add_topic(CAMERA_INFO_TOPIC, messages.CAMERA_INFO)
        writer.add_topic(COMMAND_TOPIC, messages.DRIVING_COMMAND)
        pending = [(s, 2) for s in clip.image_stamps()] + [(s.stamp_ns, 1) for s in clip.odometry()]
        if command is not None:
            pending += [(config.start_ns + round(0.5 * i * NS_PER_S), 0) for i in range(int(2 * config.duration_s) + 1)]
        for stamp_ns, kind in sorted(pending):  # at one stamp: command, odometry, picture
            if kind == 0 and command is not None:
                writer.write(COMMAND_TOPIC, stamp_ns, messages.driving_command(writer, stamp_ns, command))
            elif kind == 1:
                writer.write(ODOMETRY_TOPIC, stamp_ns, messages.odometry(writer, clip.odometry_at(stamp_ns)))
            else:
                info = messages.camera_info(writer, stamp_ns, clip.camera_frame_id, config.width, config.height, config.K, D)
                writer.write(CAMERA_INFO_TOPIC, stamp_ns, info)
                ok, data = cv2.imencode(".jpg", clip.picture(stamp_ns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
                assert ok
                writer.write(IMAGE_TOPIC, stamp_ns, messages.compressed_image(writer, stamp_ns, clip.camera_frame_id, data.tobytes(), "jpeg"))
