"""One drive as an mcap bag, with the topics and frames that the CARLA-ROS bridge gives a vehicle named ego_vehicle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from vavam_ros.bags import BagWriter
from vavam_ros.core.camera import Mount
from vavam_ros.core.contracts import DensePath, OdometrySample, PoseQuality
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.planning.command import CommandSource
from vavam_ros.replay import messages
from vavam_world.contracts import IMAGE_EVERY_TICKS, MAP_FRAME, U8, CameraSpec, EgoState, Route, Trace, Vehicle, WorldState
from vavam_world.drivers.loop import COMMAND_RULE

ROLE = "ego_vehicle"
CAMERA_FRAME = f"{ROLE}/rgb_front"
PREFIX = f"/carla/{ROLE}"
IMAGE_TOPIC = f"{PREFIX}/rgb_front/image/compressed"
CAMERA_INFO_TOPIC = f"{PREFIX}/rgb_front/camera_info"
LABEL_TOPIC = f"{PREFIX}/semantic_front/image/compressed"
ODOMETRY_TOPIC = f"{PREFIX}/odometry"
ROUTE_TOPIC = f"{PREFIX}/waypoints"
COMMAND_TOPIC = "/vavam/command"
ADVICE_TOPIC = "/world/expert/path"
JPEG_QUALITY = 90


class Eyes(Protocol):
    """What of a renderer a recording needs."""

    def render(self, state: WorldState) -> dict[str, U8]:
        """Picture per camera name."""
        ...

    def labels(self, state: WorldState, camera_name: str) -> U8:
        """(H, W) class per pixel."""
        ...


def actor_odometry(ego: EgoState, stamp_ns: int, vehicle: Vehicle) -> OdometrySample:
    """Odometry of the vehicle's CARLA origin, ahead of the rear axle; twist in its own frame."""
    x, y = ego.ahead(vehicle.actor_origin_x_m)
    return OdometrySample(
        stamp_ns=stamp_ns,
        odom_frame_id=MAP_FRAME,
        base_frame_id=ROLE,
        T_odom_base=planar_T(x, y, ego.yaw_rad),
        linear_mps=np.array([ego.speed_mps, ego.yaw_rate_radps * vehicle.actor_origin_x_m, 0.0]),
        angular_radps=np.array([0.0, 0.0, ego.yaw_rate_radps]),
        quality=PoseQuality.MEASURED,
    )


def write_drive(
    path: Path,
    trace: Trace,
    route: Route,
    camera: CameraSpec,
    eyes: Eyes,
    *,
    vehicle: Vehicle | None = None,
    labels: bool = False,
    image_every_ticks: int = IMAGE_EVERY_TICKS,
    command_rule: str = COMMAND_RULE,
    advice: Mapping[int, DensePath] | None = None,
) -> int:
    """Write a drive; the bag appears under its name only when it is complete, and replaces one of that name. Returns the number of pictures.

    Odometry at every tick; at image ticks (by default at 10 Hz) the picture as JPEG with its CameraInfo, the driving command by `command_rule` (of
    core.planning.command, from the route), and with `labels` the semantic classes as PNG. Route and mount are latched.
    `advice`: by stamp, what somebody else would have driven; of the image ticks it is written too, the rear axle's way as nav_msgs/Path."""
    vehicle = vehicle or Vehicle()
    start_ns = trace.states[0].stamp_ns
    custom = {"scenario": trace.scenario.name, "driver": trace.driver, "camera_id": camera.name, "rear_axle_x_m": f"{-vehicle.actor_origin_x_m:g}"}
    custom["command_rule"] = command_rule
    commands = CommandSource("route", rule=command_rule)
    commands.set_route(route.xy_m, MAP_FRAME)
    pictures = 0
    with BagWriter(path, overwrite=True, custom_data=custom) as writer:
        _latched(writer, start_ns, route, camera, vehicle)
        writer.add_topic(ODOMETRY_TOPIC, messages.ODOMETRY)
        writer.add_topic(COMMAND_TOPIC, messages.DRIVING_COMMAND)
        writer.add_topic(CAMERA_INFO_TOPIC, messages.CAMERA_INFO)
        writer.add_topic(IMAGE_TOPIC, messages.COMPRESSED_IMAGE)
        if advice is not None:
            writer.add_topic(ADVICE_TOPIC, messages.PATH)
        if labels:
            writer.add_topic(LABEL_TOPIC, messages.COMPRESSED_IMAGE)
        for state in trace.states:
            now = state.stamp_ns
            writer.write(ODOMETRY_TOPIC, now, messages.odometry(writer, actor_odometry(state.ego, now, vehicle)))
            if state.tick % image_every_ticks:
                continue
            command, _ = commands.at(now, state.ego.pose(now))
            writer.write(COMMAND_TOPIC, now, messages.driving_command(writer, now, command))
            info = messages.camera_info(writer, now, CAMERA_FRAME, camera.width, camera.height, camera.K, np.zeros(5))
            writer.write(CAMERA_INFO_TOPIC, now, info)
            data = _encoded(".jpg", eyes.render(state)[camera.name][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            writer.write(IMAGE_TOPIC, now, messages.compressed_image(writer, now, CAMERA_FRAME, data, "rgb8; jpeg compressed bgr8"))
            pictures += 1
            if advice is not None and now in advice:
                writer.write(ADVICE_TOPIC, now, messages.path(writer, advice[now]))
            if labels:
                classes = _encoded(".png", eyes.labels(state, camera.name), [cv2.IMWRITE_PNG_COMPRESSION, 3])
                writer.write(LABEL_TOPIC, now, messages.compressed_image(writer, now, CAMERA_FRAME, classes, "mono8; png compressed "))
    return pictures


def _latched(writer: BagWriter, start_ns: int, route: Route, camera: CameraSpec, vehicle: Vehicle) -> None:
    writer.write_pose_quality(start_ns, "measured")
    writer.add_topic("/tf_static", messages.TF_MESSAGE, latched=True)
    mount = Mount(
        x_m=camera.x_m - vehicle.actor_origin_x_m, y_m=camera.y_m, z_m=camera.z_m, roll_rad=camera.roll_rad, pitch_rad=camera.pitch_rad, yaw_rad=camera.yaw_rad
    )
    writer.write("/tf_static", start_ns, messages.static_transform(writer, start_ns, ROLE, CAMERA_FRAME, mount.T_ego_camera))
    writer.add_topic(ROUTE_TOPIC, messages.PATH, latched=True)
    header = messages.header(writer, start_ns, MAP_FRAME)
    blank = messages.header(writer, 0, "")  # the waypoint publisher leaves the poses' own headers empty
    poses = [
        writer.message("geometry_msgs/msg/PoseStamped", header=blank, pose=messages.pose(writer, planar_T(float(x), float(y), float(yaw))))
        for (x, y), yaw in zip(route.xy_m, route.yaw_rad, strict=True)
    ]
    writer.write(ROUTE_TOPIC, start_ns, writer.message(messages.PATH, header=header, poses=poses))


def _encoded(suffix: str, picture: U8, options: list[int]) -> bytes:
    ok, data = cv2.imencode(suffix, picture, options)
    assert ok
    return data.tobytes()
