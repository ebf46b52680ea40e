"""Stand-in for the calls of ROS 2 `tf2_ros` that vavam_ros makes; for machines without ROS 2 only."""

from __future__ import annotations

from vavam_ros_standins import refuse_beside_real

refuse_beside_real(__name__, __file__)

from tf2_ros._broadcasters import StaticTransformBroadcaster, TransformBroadcaster, TransformListener  # noqa: E402  (the guard comes first)
from tf2_ros._buffer import Buffer  # noqa: E402
from tf2_ros._exceptions import (  # noqa: E402
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
