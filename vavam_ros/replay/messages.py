"""Recorded messages ↔ core types, for bags read and written without ROS. (Live messages are converted in nodes/convert.py.)

Shape letters: K samples · H waypoints · N rows of a dense path.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vavam_ros.bags import BagWriter
from vavam_ros.core.camera.camera_model import CameraModel, Roi
from vavam_ros.core.camera.image_decode import decode_compressed, decode_raw
from vavam_ros.core.contracts import F64, NS_PER_S, CameraImage, Command, DensePath, FrameError, InputError, OdometrySample, Plan, PoseQuality, TokenFrame
from vavam_ros.core.geometry import invert, planar_T, pose_matrix, to_xyz_quat_xyzw

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
PATH = "nav_msgs/msg/Path"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
DRIVING_COMMAND = "vavam_ros/msg/DrivingCommand"
TRAJECTORY_SAMPLES = "vavam_ros/msg/TrajectorySamples"
FRAME_TOKENS = "vavam_ros/msg/FrameTokens"
SCHEMA_VERSION = 1


# --- recorded message → core type ---------------------------------------------------------------------------------------------------


def stamp_ns_of(message: Any) -> int:
    """Header stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def odometry_from(message: Any, quality: PoseQuality = PoseQuality.MEASURED) -> OdometrySample:
    """nav_msgs/Odometry → OdometrySample. Raises InputError on numbers that are not finite or no rotation."""
    pose, twist = message.pose.pose, message.twist.twist
    p, q, v, w = pose.position, pose.orientation, twist.linear, twist.angular
    linear, angular = np.array([v.x, v.y, v.z]), np.array([w.x, w.y, w.z])
    if not (np.isfinite(linear).all() and np.isfinite(angular).all()):
        raise InputError(f"odometry twist is not finite: linear {linear}, angular {angular}")
    return OdometrySample(
        stamp_ns=stamp_ns_of(message),
        odom_frame_id=message.header.frame_id,
        base_frame_id=message.child_frame_id,
        T_odom_base=pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)),
        linear_mps=linear,
        angular_radps=angular,
        quality=quality,
    )


def image_from(message: Any, type_name: str) -> CameraImage:
    """Image or CompressedImage → CameraImage. Raises EncodingError."""
    if type_name == COMPRESSED_IMAGE:
        rgb = decode_compressed(message.data, message.format)
    else:
        rgb = decode_raw(message.data, message.encoding, int(message.width), int(message.height), int(message.step), bool(message.is_bigendian))
    return CameraImage(stamp_ns=stamp_ns_of(message), frame_id=message.header.frame_id, rgb=rgb)


def camera_from(message: Any, T_ego_camera: F64 | None) -> CameraModel:
    """CameraInfo → CameraModel. Raises CameraError for a distortion model that is not supported."""
    roi = message.roi
    return CameraModel.from_camera_info_fields(
        width=int(message.width),
        height=int(message.height),
        distortion_model=message.distortion_model,
        d=[float(x) for x in message.d],
        k=[float(x) for x in message.k],
        binning_x=int(message.binning_x),
        binning_y=int(message.binning_y),
        roi=Roi(x=int(roi.x_offset), y=int(roi.y_offset), width=int(roi.width), height=int(roi.height)),
        frame_id=message.header.frame_id,
        T_ego_camera=T_ego_camera,
    )


def transforms_from(message: Any) -> dict[str, tuple[str, F64]]:
    """TFMessage → child frame: (parent frame, T_parent_child)."""
    found = {}
    for t in message.transforms:
        p, q = t.transform.translation, t.transform.rotation
        found[t.child_frame_id] = (t.header.frame_id, pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)))
    return found


def chain_transform(tree: dict[str, tuple[str, F64]], target: str, source: str) -> F64:
    """T_target_source through a tree of fixed transforms. Raises FrameError if the two do not connect."""

    def to_root(frame: str) -> list[tuple[str, F64]]:
        """(ancestor, T_ancestor_frame) from the frame itself to its root."""
        steps, T = [(frame, np.eye(4))], np.eye(4)
        while frame in tree and len(steps) <= len(tree):
            frame, T_parent_child = tree[frame]
            T = T_parent_child @ T
            steps.append((frame, T))
        return steps

    T_by_ancestor = dict(to_root(target))
    for ancestor, T_ancestor_source in to_root(source):
        if ancestor in T_by_ancestor:
            chained: F64 = invert(T_by_ancestor[ancestor]) @ T_ancestor_source
            return chained
    raise FrameError(f"no fixed transform connects {target!r} and {source!r}; /tf_static knows {sorted(tree)}")


# --- core type → message to record --------------------------------------------------------------------------------------------------


def stamp(writer: BagWriter, stamp_ns: int) -> Any:
    """builtin_interfaces/Time."""
    return writer.message("builtin_interfaces/msg/Time", sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def header(writer: BagWriter, stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return writer.message("std_msgs/msg/Header", stamp=stamp(writer, stamp_ns), frame_id=frame_id)


def _vector(writer: BagWriter, xyz: F64) -> Any:
    return writer.message("geometry_msgs/msg/Vector3", x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def pose(writer: BagWriter, T: F64) -> Any:
    """geometry_msgs/Pose of a (4, 4) matrix."""
    xyz, xyzw = to_xyz_quat_xyzw(T)
    position = writer.message("geometry_msgs/msg/Point", x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))
    return writer.message("geometry_msgs/msg/Pose", position=position, orientation=_quaternion(writer, xyzw))


def _quaternion(writer: BagWriter, xyzw: F64) -> Any:
    x, y, z, w = (float(c) for c in xyzw)
    return writer.message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def twist(writer: BagWriter, linear_mps: F64, angular_radps: F64) -> Any:
    """geometry_msgs/Twist."""
    return writer.message("geometry_msgs/msg/Twist", linear=_vector(writer, linear_mps), angular=_vector(writer, angular_radps))


def odometry(writer: BagWriter, sample: OdometrySample) -> Any:
    """nav_msgs/Odometry; the covariances stay 0 (unknown)."""
    none = np.zeros(36)
    return writer.message(
        ODOMETRY,
        header=header(writer, sample.stamp_ns, sample.odom_frame_id),
        child_frame_id=sample.base_frame_id,
        pose=writer.message("geometry_msgs/msg/PoseWithCovariance", pose=pose(writer, sample.T_odom_base), covariance=none),
        twist=writer.message("geometry_msgs/msg/TwistWithCovariance", twist=twist(writer, sample.linear_mps, sample.angular_radps), covariance=none),
    )


def compressed_image(writer: BagWriter, stamp_ns: int, frame_id: str, data: bytes, fmt: str) -> Any:
    """sensor_msgs/CompressedImage around encoded bytes as they are."""
    return writer.message(COMPRESSED_IMAGE, header=header(writer, stamp_ns, frame_id), format=fmt, data=np.frombuffer(data, np.uint8))


def camera_info(writer: BagWriter, stamp_ns: int, frame_id: str, width: int, height: int, K: F64, D: F64) -> Any:
    """sensor_msgs/CameraInfo of a plumb_bob camera, unrectified."""
    P = np.zeros((3, 4))
    P[:, :3] = K
    return writer.message(
        CAMERA_INFO,
        header=header(writer, stamp_ns, frame_id),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.asarray(D, np.float64),
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=P.ravel(),
        binning_x=0,
        binning_y=0,
        roi=writer.message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def static_transform(writer: BagWriter, stamp_ns: int, parent: str, child: str, T_parent_child: F64) -> Any:
    """A TFMessage with one transform."""
    xyz, xyzw = to_xyz_quat_xyzw(T_parent_child)
    transform = writer.message("geometry_msgs/msg/Transform", translation=_vector(writer, xyz), rotation=_quaternion(writer, xyzw))
    stamped = writer.message("geometry_msgs/msg/TransformStamped", header=header(writer, stamp_ns, parent), child_frame_id=child, transform=transform)
    return writer.message(TF_MESSAGE, transforms=[stamped])


def driving_command(writer: BagWriter, stamp_ns: int, command: Command) -> Any:
    """DrivingCommand."""
    return writer.message(DRIVING_COMMAND, header=header(writer, stamp_ns, ""), schema_version=SCHEMA_VERSION, command=int(command))


def path(writer: BagWriter, dense: DensePath) -> Any:
    """nav_msgs/Path with a stamp and a heading per pose."""
    poses = []
    for t_ns, xyz, yaw in zip(dense.stamps_ns, dense.xyz_m, dense.yaw_rad, strict=True):
        poses.append(_pose_stamped(writer, int(t_ns), dense.frame_id, xyz, float(yaw)))
    return writer.message(PATH, header=header(writer, dense.stamp_ns, dense.frame_id), poses=poses)


def path_raw(writer: BagWriter, plan: Plan, ego_frame_id: str) -> Any:
    """The model's own points: nav_msgs/Path in the ego frame at the image stamp, without headings."""
    step_ns = round(plan.dt_s * NS_PER_S)
    poses = [
        _pose_stamped(writer, plan.stamp_ns + (i + 1) * step_ns, ego_frame_id, np.array([x, y, 0.0]), 0.0) for i, (x, y) in enumerate(plan.selected_xy_ego_m)
    ]
    return writer.message(PATH, header=header(writer, plan.stamp_ns, ego_frame_id), poses=poses)


def _pose_stamped(writer: BagWriter, stamp_ns: int, frame_id: str, xyz: F64, yaw_rad: float) -> Any:
    T = planar_T(float(xyz[0]), float(xyz[1]), yaw_rad)
    T[2, 3] = xyz[2]
    return writer.message("geometry_msgs/msg/PoseStamped", header=header(writer, stamp_ns, frame_id), pose=pose(writer, T))


def trajectory_samples(writer: BagWriter, plan: Plan, ego_frame_id: str) -> Any:
    """TrajectorySamples of a plan: all K trajectories."""
    return writer.message(
        TRAJECTORY_SAMPLES,
        header=header(writer, plan.stamp_ns, ego_frame_id),
        schema_version=SCHEMA_VERSION,
        epoch=plan.epoch,
        model_id=plan.model_id,
        command=int(plan.command),
        num_samples=plan.xy_ego_m.shape[0],
        horizon=plan.xy_ego_m.shape[1],
        dt_s=plan.dt_s,
        xy=np.ascontiguousarray(plan.xy_ego_m, np.float32).ravel(),
        selected=plan.selection.index,
        reason=plan.selection.reason,
        valid=not plan.violations,
        violations=[str(v) for v in plan.violations],
        spread_m=np.asarray(plan.selection.spread_m, np.float32),
        odom_frame_id=plan.pose.odom_frame_id,
        pose=pose(writer, plan.pose.T_odom_ego),
        twist=twist(writer, plan.pose.linear_mps, plan.pose.angular_radps),
        pose_quality=int(plan.pose.quality),
        canonical=plan.canonical,
        context_stamps=[stamp(writer, s) for s in plan.context_stamps_ns],
        stage_names=[name for name, _ in plan.stage_ms],
        stage_ms=np.array([ms for _, ms in plan.stage_ms], np.float32),
    )


def frame_tokens(writer: BagWriter, frame: TokenFrame, ego_frame_id: str) -> Any:
    """FrameTokens of a token frame."""
    return writer.message(
        FRAME_TOKENS,
        header=header(writer, frame.stamp_ns, frame.camera_frame_id),
        schema_version=SCHEMA_VERSION,
        epoch=frame.epoch,
        odom_frame_id=frame.pose.odom_frame_id,
        ego_frame_id=ego_frame_id,
        pose=pose(writer, frame.pose.T_odom_ego),
        twist=twist(writer, frame.pose.linear_mps, frame.pose.angular_radps),
        pose_quality=int(frame.pose.quality),
        grid_height=frame.tokens.shape[0],
        grid_width=frame.tokens.shape[1],
        tokens=np.ascontiguousarray(frame.tokens, np.uint16).ravel(),
        codebook_size=frame.codebook_size,
        tokenizer_id=frame.tokenizer_id,
        camera_id=frame.camera_id,
        canonical=frame.canonical,
        coverage=frame.coverage,
    )
