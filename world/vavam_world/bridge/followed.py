"""The follower's acknowledgement → DensePath."""

from __future__ import annotations

import math

import numpy as np
from nav_msgs.msg import Path

from vavam_ros.core.contracts import NS_PER_S, DensePath
from vavam_world.bridge.stamps import stamp_ns


def dense_path(msg: Path) -> DensePath:
    """nav_msgs/Path with a stamp per pose → DensePath. Speeds are differences of the positions; a pose without a later stamp has its predecessor's."""
    stamps = np.array([stamp_ns(p.header) for p in msg.poses], np.int64)
    xyz = np.array([(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in msg.poses], np.float64).reshape(-1, 3)
    yaw = np.array([2.0 * math.atan2(p.pose.orientation.z, p.pose.orientation.w) for p in msg.poses], np.float64)
    speed = np.zeros(len(stamps))
    if len(stamps) > 1:
        dt = np.diff(stamps) / NS_PER_S
        steps = np.linalg.norm(np.diff(xyz, axis=0), axis=1)
        speed[:-1] = np.divide(steps, dt, out=np.zeros_like(steps), where=dt > 0)
        speed[-1] = speed[-2]
    return DensePath(
        stamp_ns=stamp_ns(msg.header),
        frame_id=msg.header.frame_id,
        stamps_ns=stamps,
        xyz_m=xyz,
        yaw_rad=np.unwrap(yaw),
        speed_mps=speed,
        age_s=0.0,
    )
