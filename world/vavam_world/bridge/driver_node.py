"""driver_node: one of the world's drivers in the planner's place, on the same live topics: picture, camera_info and odometry in, a path out.

It sees what a model would see and nothing else, so only drivers that look can drive here; the privileged expert drives from inside the world
(world_node's `expert_path`).
"""

from __future__ import annotations

import sys
from typing import Any

import rclpy
from message_filters import Subscriber, TimeSynchronizer
from nav_msgs.msg import Odometry, Path
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from vavam_ros.core.contracts import Command, ConfigError, InputError, VavamError, Waiting
from vavam_ros.core.history.odometry import OdometryHistory
from vavam_ros.nodes import convert
from vavam_ros.nodes.parameters import Parameters, Row
from vavam_ros.nodes.qos import keep_last
from vavam_world.bridge.setup import read_scenario
from vavam_world.contracts import WORLD_CAMERA, CameraSpec, Vehicle, View
from vavam_world.drivers import NAMES, make

PARAMETERS = (
    Row(name="driver", default="lane_follower", choices=NAMES, description="Who drives."),
    Row(name="scenario", default="", description="The world's scenario, for the speed to aim for: a JSON file, or JSON itself."),
    Row(name="rear_axle_x_m", default=-Vehicle().actor_origin_x_m, low=-10.0, high=10.0, unit="m", description="x of the rear axle in odometry's child frame."),
)


class DriverNode(Node):
    """Plans from every picture whose odometry is there; a picture without it waits for the next odometry message."""

    def __init__(self, **kwargs: Any) -> None:
        """Raises ConfigError on parameters that cannot be meant, and for a driver that would need to look into the world."""
        super().__init__("driver_node", **kwargs)
        p = Parameters(self, PARAMETERS)
        p.raise_errors()
        self._driver = make(p.text("driver"))
        if p.text("driver") == "expert":
            raise ConfigError("driver: got expert, expected one that needs only the picture and odometry: world_node's expert_path drives by the expert")
        self._driver.reset()
        self._cruise_mps = read_scenario(p.text("scenario")).cruise_mps
        self._history = OdometryHistory(rear_axle_x_m=p.number("rear_axle_x_m"))
        self._waiting: tuple[Image, CameraInfo] | None = None
        self._path = self.create_publisher(Path, "~/path", keep_last(5, reliable=True))
        self._sync = TimeSynchronizer(
            [
                Subscriber(self, Image, "~/image", qos_profile=keep_last(5, reliable=True)),
                Subscriber(self, CameraInfo, "~/camera_info", qos_profile=keep_last(5, reliable=True)),
            ],
            5,
        )
        self._sync.registerCallback(self._on_picture)
        self.create_subscription(Odometry, "~/odometry", self._on_odometry, keep_last(20, reliable=True))

    def _on_odometry(self, msg: Odometry) -> None:
        try:
            self._history.push(convert.odometry_sample(msg))
        except InputError as e:
            self.get_logger().error(f"odometry: {e}", throttle_duration_sec=1.0)
            return
        self._plan()

    def _on_picture(self, image: Image, info: CameraInfo) -> None:
        self._waiting = image, info
        self._plan()

    def _plan(self) -> None:
        if self._waiting is None:
            return
        image, info = self._waiting
        pose = self._history.pose_at(convert.stamp_ns(image.header))
        if isinstance(pose, Waiting):
            return
        self._waiting = None
        try:
            picture = convert.camera_image(image)
        except InputError as e:
            self.get_logger().error(f"image: {e}", throttle_duration_sec=1.0)
            return
        view = View(stamp_ns=pose.stamp_ns, pose=pose, image=picture.rgb, camera=_camera(info), command=Command.STRAIGHT, cruise_mps=self._cruise_mps)
        self._path.publish(convert.dense_path_msg(self._driver.plan(view)))


def _camera(info: CameraInfo) -> CameraSpec:
    """The intrinsics of camera_info on the mounting of the world's own camera."""
    fx, _, cx, _, fy, cy, *_ = (float(v) for v in info.k)
    own = WORLD_CAMERA
    return CameraSpec(name=own.name, width=info.width, height=info.height, fx=fx, fy=fy, cx=cx, cy=cy, x_m=own.x_m, y_m=own.y_m, z_m=own.z_m)


def main(args: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    rclpy.init(args=args)
    node: DriverNode | None = None
    try:
        node = DriverNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except VavamError as e:
        print(f"driver_node: {e}", file=sys.stderr, flush=True)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.destroy_node()  # else the middleware's shared memory outlives the process
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
