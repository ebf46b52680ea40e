"""Stand-in for the calls of ROS 2 `message_filters` that vavam_ros makes; for machines without ROS 2 only."""

from __future__ import annotations

from vavam_ros_standins import refuse_beside_real

refuse_beside_real(__name__, __file__)

from message_filters._filters import SimpleFilter, Subscriber  # noqa: E402  (the guard comes first)
from message_filters._synchronizers import ApproximateTimeSynchronizer, TimeSynchronizer  # noqa: E402

__all__ = ["ApproximateTimeSynchronizer", "SimpleFilter", "Subscriber", "TimeSynchronizer"]
