"""The ground under the node tests: real rclpy, this package's messages, and large images between two processes."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed (make setup)")
pytestmark = [pytest.mark.ros, pytest.mark.smoke]

TALKER = """
import array, sys, time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vavam_ros.msg import FrameTokens
rclpy.init()
node = rclpy.create_node("talker")
tokens = node.create_publisher(FrameTokens, "tokens", 10)
images = node.create_publisher(Image, "image", qos_profile_sensor_data)
picture = Image(height=900, width=1600, step=4800, encoding="bgr8", data=array.array("B", bytes(range(250)) * (4320000 // 250)))
frame = FrameTokens(grid_height=2, grid_width=3, tokens=[0, 1, 2, 1023, 16384, 65535], tokenizer_id="t", odom_frame_id="odom")
frame.header.stamp.sec, frame.header.stamp.nanosec = 1700000000, 123456789
try:
    while True:
        tokens.publish(frame)
        images.publish(picture)
        time.sleep(1 / 30)
except (KeyboardInterrupt, rclpy._rclpy_pybind11.RCLError):
    pass
"""


@pytest.fixture
def listener() -> Iterator[Any]:
    rclpy.init()
    node = rclpy.create_node("listener")
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def talker() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", TALKER], text=True, stderr=subprocess.PIPE)
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def spin_until(node: Any, condition: Callable[[], bool], talker: subprocess.Popen[str], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert talker.poll() is None, f"the other process ended: {talker.communicate()[1]}"
        assert time.monotonic() < deadline, f"nothing arrived in {seconds} s"
        rclpy.spin_once(node, timeout_sec=0.2)


def test_tokens_and_raw_images_cross_from_another_process(listener: Any, talker: subprocess.Popen[str]) -> None:
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from vavam_ros.msg import FrameTokens

    frames: list[Any] = []
    pictures: list[Any] = []
    listener.create_subscription(FrameTokens, "tokens", frames.append, 10)
    listener.create_subscription(Image, "image", pictures.append, qos_profile_sensor_data)
    # One image arrives even over the default transports, which then fall silent: several prove the shared-memory profile.
    spin_until(listener, lambda: bool(frames) and len(pictures) >= 10, talker)
    assert list(frames[0].tokens) == [0, 1, 2, 1023, 16384, 65535]
    assert (frames[0].header.stamp.sec, frames[0].header.stamp.nanosec) == (1700000000, 123456789)
    assert pictures[-1].data == array.array("B", bytes(range(250)) * (4320000 // 250))


def test_this_run_holds_its_domain_alone() -> None:
    """A second run on this machine cannot claim the same domain while this one lives."""
    domain = int(os.environ["ROS_DOMAIN_ID"])
    assert 1 <= domain <= 100
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    with (Path(tempfile.gettempdir()) / f"vavam_ros_domain_{domain}.lock").open("w") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
