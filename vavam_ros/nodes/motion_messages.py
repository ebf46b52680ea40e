"""Odometry and paths: messages ↔ core types. Apart from convert.py, which imports torch and OpenCV: the follower's process has neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Vector3
from nav_msgs.msg import Odometry, Path

from vavam_ros.core.contracts import F64, DensePath, InputError, OdometrySample, PoseQuality
from vavam_ros.core.geometry import pose_matrix
from vavam_ros.nodes.stamps import header_msg, stamp_ns

if TYPE_CHECKING:
    import numpy.typing as npt


def pose_T(pose: Pose) -> F64:
    """geometry_msgs/Pose → (4, 4). Raises InputError on NaN and on quaternions that are no rotation."""
    p, q = pose.position, pose.orientation
    return pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def vector(v: Vector3) -> F64:
    """(3,)."""
    return np.array([v.x, v.y, v.z], dtype=np.float64)


def odometry_sample(msg: Odometry, *, estimated: bool = False) -> OdometrySample:
    """nav_msgs/Odometry → OdometrySample. Raises InputError for a pose that is none, or in no frame; NaN in the twist is left for the history to count."""
    if not msg.header.frame_id:
        raise InputError("odometry: header.frame_id is empty, expected the frame of the pose (odom, map): paths are published in it")
    return OdometrySample(
        stamp_ns=stamp_ns(msg.header),
        odom_frame_id=msg.header.frame_id,
        base_frame_id=msg.child_frame_id,
        T_odom_base=pose_T(msg.pose.pose),
        linear_mps=vector(msg.twist.twist.linear),
        angular_radps=vector(msg.twist.twist.angular),
        quality=PoseQuality.ESTIMATED if estimated else PoseQuality.MEASURED,
    )


def dense_path_msg(path: DensePath) -> Path:
    """DensePath → nav_msgs/Path: header = when it was placed, each pose with its own time and heading."""
    half = 0.5 * path.yaw_rad
    sin, cos = np.sin(half).tolist(), np.cos(half).tolist()
    poses = []
    for at, (x, y, z), s, c in zip(path.stamps_ns.tolist(), path.xyz_m.tolist(), sin, cos, strict=True):
        pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=0.0, y=0.0, z=s, w=c))
        poses.append(PoseStamped(header=header_msg(at, path.frame_id), pose=pose))
    return Path(header=header_msg(path.stamp_ns, path.frame_id), poses=poses)


def path_rows(msg: Path) -> tuple[npt.NDArray[np.int64], F64]:
    """Stamps (N,) and positions (N, 3) of a path's poses, as they are. Raises InputError where the header or a pose has no stamp."""
    if stamp_ns(msg.header) <= 0 or any(stamp_ns(p.header) <= 0 for p in msg.poses):
        raise InputError("path: a header.stamp is empty; each pose needs its own time, the header that of the image or of now")
    xyz = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in msg.poses]
    return np.array([stamp_ns(p.header) for p in msg.poses], dtype=np.int64), np.array(xyz, dtype=np.float64).reshape(-1, 3)
