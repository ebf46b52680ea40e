"""Following a path: pursuit of its line, tracking of its timing, and CARLA's pedals. Pure functions; no ROS, no clock, no torch."""

from __future__ import annotations

from vavam_ros.core.follow.carla import CarlaActuation, carla_control, carla_motion
from vavam_ros.core.follow.follower import DriveCommand, FollowConfig, follow
from vavam_ros.core.follow.track import dense_path

__all__ = ["CarlaActuation", "DriveCommand", "FollowConfig", "carla_control", "carla_motion", "dense_path", "follow"]
