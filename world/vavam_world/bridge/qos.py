"""The bridge's topics: name, type, direction and quality of service, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ackermann_msgs.msg import AckermannDrive
from carla_msgs.msg import CarlaControl, CarlaEgoVehicleControl, CarlaEgoVehicleInfo, CarlaEgoVehicleStatus, CarlaStatus, CarlaWorldInfo
from nav_msgs.msg import Odometry, Path
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Bool, Float32
from tf2_msgs.msg import TFMessage

from vavam_ros.nodes.qos import keep_last


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One row. `{role}`, `{sensor}` in the name are filled in; always reliable, as the bridge has it."""

    kind: str
    name: str
    type: Any
    direction: Literal["out", "in"]
    depth: int = 10
    latched: bool = False

    @property
    def qos(self) -> QoSProfile:
        """As rclpy takes it."""
        return keep_last(self.depth, reliable=True, latched=self.latched)

    def full(self, role: str, sensor: str = "") -> str:
        """The name with its blanks filled."""
        return self.name.format(role=role, sensor=sensor)


TOPICS: dict[str, Topic] = {
    topic.kind: topic
    for topic in (
        Topic(kind="clock", name="/clock", type=Clock, direction="out"),
        Topic(kind="status", name="/carla/status", type=CarlaStatus, direction="out"),
        Topic(kind="world_info", name="/carla/world_info", type=CarlaWorldInfo, direction="out", latched=True),
        Topic(kind="tf", name="/tf", type=TFMessage, direction="out", depth=100),  # the transform broadcaster's own depth
        Topic(kind="vehicle_status", name="/carla/{role}/vehicle_status", type=CarlaEgoVehicleStatus, direction="out"),
        Topic(kind="vehicle_info", name="/carla/{role}/vehicle_info", type=CarlaEgoVehicleInfo, direction="out", latched=True),
        Topic(kind="odometry", name="/carla/{role}/{sensor}", type=Odometry, direction="out"),
        Topic(kind="speedometer", name="/carla/{role}/{sensor}", type=Float32, direction="out"),
        Topic(kind="camera_info", name="/carla/{role}/{sensor}/camera_info", type=CameraInfo, direction="out"),
        Topic(kind="image", name="/carla/{role}/{sensor}/image", type=Image, direction="out"),
        Topic(kind="compressed", name="/carla/{role}/{sensor}/image/compressed", type=CompressedImage, direction="out"),
        Topic(kind="waypoints", name="/carla/{role}/waypoints", type=Path, direction="out", depth=1, latched=True),
        Topic(kind="world_control", name="/carla/control", type=CarlaControl, direction="in"),
        Topic(kind="control", name="/carla/{role}/vehicle_control_cmd", type=CarlaEgoVehicleControl, direction="in"),
        Topic(kind="manual", name="/carla/{role}/vehicle_control_cmd_manual", type=CarlaEgoVehicleControl, direction="in"),
        # A volatile publisher does not match this one: the override has to be latched.
        Topic(kind="override", name="/carla/{role}/vehicle_control_manual_override", type=Bool, direction="in", depth=1, latched=True),
        Topic(kind="autopilot", name="/carla/{role}/enable_autopilot", type=Bool, direction="in"),
        Topic(kind="ackermann", name="/carla/{role}/ackermann_cmd", type=AckermannDrive, direction="in"),
    )
}
