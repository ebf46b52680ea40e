"""`vavam launch` with real nodes: from a bag to samples, and an end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


def test_a_bag_becomes_samples_and_the_system_ends_with_it(drive: Path) -> None:
    from vavam_ros.msg import TrajectorySamples

    arguments = [
        f"model:={drive / 'model'}",
        f"bag:={drive / 'drive.mcap'}",
        "config:=rosbag,cpu",
        "camera_mode:=resize",
        "lockstep:=true",
    ]
    received: list[Any] = []
    lines: list[str] = []
    # Without ROS 2 and with the stand-ins not installed (pip_ros installs them), the source tree's serve.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "pip_ros" / "standins")])}
    command = [sys.executable, "-m", "vavam_ros.cli.main", "launch", "rosbag", *arguments]
    rclpy.init()
    try:
        node = rclpy.create_node("listener")
        node.create_subscription(TrajectorySamples, "/vavam/samples", received.append, 50)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            assert running.stdout is not None
            reader = threading.Thread(target=lines.extend, args=(running.stdout,))
            reader.start()
            deadline = time.monotonic() + 150.0
            while running.poll() is None and time.monotonic() < deadline:
                rclpy.spin_once(node, timeout_sec=0.1)
            if running.poll() is None:
                running.terminate()
            reader.join()
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    text = "".join(lines)
    assert running.returncode == 0, text
    assert "[bag_player_node] ended with status 0" in text, text
    assert len(received) >= 6, text
