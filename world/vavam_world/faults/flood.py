"""A follower out of control: full throttle, far too often. For the harness; it stamps with the simulated clock as a follower would."""

from __future__ import annotations

import argparse
import sys
import time

import rclpy
from carla_msgs.msg import CarlaEgoVehicleControl
from rosgraph_msgs.msg import Clock


def main(argv: list[str] | None = None) -> int:
    """Until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate-hz", type=float, default=200.0)
    args = parser.parse_args(argv)
    rclpy.init(args=[])
    node = rclpy.create_node("flood")
    newest = Clock()

    def on_clock(msg: Clock) -> None:
        nonlocal newest
        newest = msg

    node.create_subscription(Clock, "/clock", on_clock, 1)
    publisher = node.create_publisher(CarlaEgoVehicleControl, args.topic, 10)
    try:
        while rclpy.ok():
            began = time.monotonic()
            rclpy.spin_once(node, timeout_sec=0.0)
            message = CarlaEgoVehicleControl(throttle=1.0)
            message.header.stamp = newest.clock
            publisher.publish(message)
            time.sleep(max(0.0, 1.0 / args.rate_hz - (time.monotonic() - began)))
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
