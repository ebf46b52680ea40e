"""ros2 launch vavam_ros rosbag.launch.py model:=DIR (--show-args lists the rest); the system itself is vavam_ros/bringup.py."""

from launch import LaunchDescription
from vavam_ros.launch_actions import describe


def generate_launch_description() -> LaunchDescription:
    """Called by launch."""
    return describe("rosbag")
