"""Stand-in for the calls of ROS 2 `cv_bridge` that vavam_ros makes; for machines without ROS 2 only."""

from __future__ import annotations

from vavam_ros_standins import refuse_beside_real

refuse_beside_real(__name__, __file__)

from cv_bridge._bridge import CvBridge, CvBridgeError  # noqa: E402  (the guard comes first)

__all__ = ["CvBridge", "CvBridgeError"]
