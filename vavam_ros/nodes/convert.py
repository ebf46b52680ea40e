"""ROS messages ↔ core types: the two meet here, and, for processes without torch, in stamps.py, motion_messages.py and control_messages.py.

Shape letters: K samples · H waypoints · N rows of a dense path · h w token grid.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, TransformStamped, Twist, Vector3
from nav_msgs.msg import Path
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vavam_ros.core.camera import CameraModel, Roi, decode_compressed, decode_raw
from vavam_ros.core.camera.image_decode import RAW_ENCODINGS
from vavam_ros.core.contracts import (
    F64,
    NS_PER_S,
    U8,
    CameraImage,
    Command,
    EgoPose,
    EncodingError,
    InputError,
    Plan,
    PoseQuality,
    TokenError,
    TokenFrame,
)
from vavam_ros.core.geometry import pose_matrix, to_xyz_quat_xyzw, transform_points
from vavam_ros.core.history.token_ring import image_digest
from vavam_ros.msg import DrivingCommand, FrameTokens, TrajectorySamples
from vavam_ros.nodes.motion_messages import dense_path_msg as dense_path_msg  # as: part of this module
from vavam_ros.nodes.motion_messages import odometry_sample as odometry_sample
from vavam_ros.nodes.motion_messages import pose_T as pose_T
from vavam_ros.nodes.motion_messages import vector
from vavam_ros.nodes.stamps import header_msg as header_msg
from vavam_ros.nodes.stamps import stamp_ns as stamp_ns
from vavam_ros.nodes.stamps import time_msg as time_msg

if TYPE_CHECKING:
    from typing import Any

_BRIDGE = CvBridge()
_NO_COLOUR = ("mono", "8UC1", "16UC1", "32FC1", "bayer", "8UC")


# ── poses ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pose_msg(T: F64) -> Pose:
    """(4, 4) → geometry_msgs/Pose."""
    xyz, q = to_xyz_quat_xyzw(T)
    return Pose(
        position=Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2])),
        orientation=Quaternion(x=float(q[0]), y=float(q[1]), z=float(q[2]), w=float(q[3])),
    )


def transform_T(transform: TransformStamped) -> F64:
    """TF transform → (4, 4) that takes points of its child to its parent. Raises InputError."""
    p, q = transform.transform.translation, transform.transform.rotation
    return pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def mount_T(transform: TransformStamped, rear_axle_x_m: float) -> F64:
    """TF base_link → camera as T_ego_camera: the ego point lies at x = `rear_axle_x_m` in base_link. Raises InputError."""
    p, q = transform.transform.translation, transform.transform.rotation
    return pose_matrix((p.x - rear_axle_x_m, p.y, p.z), (q.x, q.y, q.z, q.w))


def _twist_msg(pose: EgoPose) -> Twist:
    v, w = pose.linear_mps, pose.angular_radps
    return Twist(linear=Vector3(x=float(v[0]), y=float(v[1]), z=float(v[2])), angular=Vector3(x=float(w[0]), y=float(w[1]), z=float(w[2])))


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


FARTHEST_M = 1e8  # farther than any map; larger numbers overflow when they are squared


def camera_image(msg: Image | CompressedImage, offset_ns: int = 0) -> CameraImage:
    """Image or CompressedImage → CameraImage with `offset_ns` added to its stamp. Raises EncodingError.

    The common encodings are decoded without a copy of the message's bytes; others that carry colour go through cv_bridge."""
    return CameraImage(stamp_ns=stamp_ns(msg.header) + offset_ns, frame_id=msg.header.frame_id, rgb=_rgb(msg))


def _rgb(msg: Image | CompressedImage) -> U8:
    if isinstance(msg, CompressedImage):
        return decode_compressed(msg.data, msg.format)
    if msg.encoding in RAW_ENCODINGS or msg.encoding.startswith(_NO_COLOUR):  # the core refuses the latter, with the remedy
        return decode_raw(msg.data, msg.encoding, msg.width, msg.height, msg.step, bool(msg.is_bigendian))
    try:
        rgb = np.asarray(_BRIDGE.imgmsg_to_cv2(msg, desired_encoding="rgb8"))
    except (CvBridgeError, ValueError, TypeError, KeyError) as e:
        raise EncodingError(f"image encoding {msg.encoding!r}, {msg.width}×{msg.height}: {e}. Expected one of {', '.join(RAW_ENCODINGS)}") from e
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise EncodingError(f"image encoding {msg.encoding!r}: cv_bridge gave {rgb.dtype} {rgb.shape}, expected uint8 (height, width, 3)")
    return rgb


def data_digest(msg: Image | CompressedImage) -> int:
    """Fingerprint of a picture's bytes as they came, for the frozen-camera check at camera rate (no decoding)."""
    return image_digest(np.frombuffer(msg.data, np.uint8), compressed=isinstance(msg, CompressedImage))


def camera_model(msg: CameraInfo, *, rectified: bool = False) -> CameraModel:
    """CameraInfo → CameraModel without a mount. Raises CameraError."""
    roi = msg.roi
    return CameraModel.from_camera_info_fields(
        width=msg.width,
        height=msg.height,
        distortion_model=msg.distortion_model,
        d=list(msg.d),
        k=list(msg.k),
        r=list(msg.r),
        p=list(msg.p),
        binning_x=msg.binning_x,
        binning_y=msg.binning_y,
        roi=Roi(x=roi.x_offset, y=roi.y_offset, width=roi.width, height=roi.height),
        frame_id=msg.header.frame_id,
        rectified=rectified,
    )


def camera_key(msg: CameraInfo) -> tuple[Any, ...]:
    """Everything of a CameraInfo that changes the view, comparable."""
    r = msg.roi
    return (
        msg.width, msg.height, msg.distortion_model, tuple(msg.d), tuple(msg.k), tuple(msg.r), tuple(msg.p), msg.binning_x, msg.binning_y,
        (r.x_offset, r.y_offset, r.width, r.height), msg.header.frame_id,
    )  # fmt: skip


def command(msg: DrivingCommand) -> Command:
    """DrivingCommand → Command. Raises InputError for another number or schema."""
    if msg.schema_version != DrivingCommand.SCHEMA_VERSION:
        raise InputError(f"driving command: got schema_version {msg.schema_version}, expected {DrivingCommand.SCHEMA_VERSION}; set it (it is a field)")
    try:
        return Command(msg.command)
    except ValueError as e:
        raise InputError(f"driving command: got {msg.command}, expected RIGHT 0, LEFT 1 or STRAIGHT 2") from e


def route_xy(msg: Path, T_odom_route: F64 | None = None) -> F64:
    """nav_msgs/Path → (N, 2) metres, in its own frame or, with a transform, in the odometry frame. Raises InputError on NaN and under two points.

    The headers of the poses are not read: the CARLA bridge leaves them empty."""
    xyz = np.array([(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in msg.poses], dtype=np.float64).reshape(-1, 3)
    usable = bool((np.abs(xyz) <= FARTHEST_M).all())  # false for NaN as well
    if len(xyz) < 2 or not usable:
        odd = "" if usable else f", some not finite or beyond {FARTHEST_M:g} m"
        raise InputError(f"route: got {len(xyz)} points{odd}; expected two or more finite ones")
    placed = xyz if T_odom_route is None else transform_points(T_odom_route, xyz)
    return np.asarray(placed[:, :2])


def token_frame(msg: FrameTokens) -> TokenFrame:
    """FrameTokens → TokenFrame. Raises TokenError for another schema or a count that does not fit the grid, InputError for a pose that is none."""
    if msg.schema_version != FrameTokens.SCHEMA_VERSION:
        raise TokenError(f"frame tokens: got schema_version {msg.schema_version}, expected {FrameTokens.SCHEMA_VERSION}; build both nodes from one release")
    if len(msg.tokens) != msg.grid_height * msg.grid_width or not msg.tokens:
        raise TokenError(f"frame tokens: got {len(msg.tokens)} tokens, expected grid {msg.grid_height} × {msg.grid_width}")
    stamp = stamp_ns(msg.header)
    linear, angular = vector(msg.twist.linear), vector(msg.twist.angular)
    if not (np.isfinite(linear).all() and np.isfinite(angular).all()):
        raise InputError(f"frame tokens: twist is not finite: linear {linear.tolist()}, angular {angular.tolist()}")
    if msg.pose_quality not in {int(q) for q in PoseQuality}:
        raise InputError(f"frame tokens: got pose_quality {msg.pose_quality}, expected 0…{max(PoseQuality):d}")
    if not msg.odom_frame_id:
        raise InputError("frame tokens: odom_frame_id is empty, expected the frame of the pose: paths are published in it")
    if not 0.0 <= msg.coverage <= 1.0:
        raise InputError(f"frame tokens: got coverage {msg.coverage}, expected 0…1")
    return TokenFrame(
        stamp_ns=stamp,
        epoch=msg.epoch,
        camera_frame_id=msg.header.frame_id,
        tokens=np.array(msg.tokens, dtype=np.uint16).reshape(msg.grid_height, msg.grid_width),
        codebook_size=msg.codebook_size,
        tokenizer_id=msg.tokenizer_id,
        camera_id=msg.camera_id,
        canonical=msg.canonical,
        coverage=msg.coverage,
        pose=EgoPose(
            stamp_ns=stamp,
            odom_frame_id=msg.odom_frame_id,
            T_odom_ego=pose_T(msg.pose),
            linear_mps=linear,
            angular_radps=angular,
            quality=PoseQuality(msg.pose_quality),
        ),
    )


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def frame_tokens_msg(frame: TokenFrame, ego_frame_id: str) -> FrameTokens:
    """TokenFrame → FrameTokens."""
    h, w = frame.tokens.shape
    return FrameTokens(
        header=header_msg(frame.stamp_ns, frame.camera_frame_id),
        schema_version=FrameTokens.SCHEMA_VERSION,
        epoch=frame.epoch,
        odom_frame_id=frame.pose.odom_frame_id,
        ego_frame_id=ego_frame_id,
        pose=pose_msg(frame.pose.T_odom_ego),
        twist=_twist_msg(frame.pose),
        pose_quality=int(frame.pose.quality),
        grid_height=h,
        grid_width=w,
        tokens=array("H", frame.tokens.astype(np.uint16).tobytes()),
        codebook_size=frame.codebook_size,
        tokenizer_id=frame.tokenizer_id,
        camera_id=frame.camera_id,
        canonical=frame.canonical,
        coverage=frame.coverage,
    )


def raw_path_msg(plan: Plan, ego_frame_id: str) -> Path:
    """The model's points of the selected sample, in the ego frame at the image stamp. Orientation is left at identity: the model gives none."""
    path = Path(header=header_msg(plan.stamp_ns, ego_frame_id))
    for i, (x, y) in enumerate(plan.selected_xy_ego_m.tolist()):
        at = plan.stamp_ns + round((i + 1) * plan.dt_s * NS_PER_S)
        path.poses.append(PoseStamped(header=header_msg(at, ego_frame_id), pose=Pose(position=Point(x=x, y=y, z=0.0))))
    return path


def samples_msg(plan: Plan, ego_frame_id: str) -> TrajectorySamples:
    """Plan → TrajectorySamples with all K trajectories."""
    k, h, _ = plan.xy_ego_m.shape
    return TrajectorySamples(
        header=header_msg(plan.stamp_ns, ego_frame_id),
        schema_version=TrajectorySamples.SCHEMA_VERSION,
        epoch=max(plan.epoch, 0),
        model_id=plan.model_id,
        command=int(plan.command),
        num_samples=k,
        horizon=h,
        dt_s=plan.dt_s,
        xy=array("f", plan.xy_ego_m.astype(np.float32).tobytes()),
        selected=plan.selection.index,
        reason=plan.selection.reason,
        valid=not plan.violations,
        violations=[str(v) for v in plan.violations],
        spread_m=array("f", plan.selection.spread_m.astype(np.float32).tobytes()),
        odom_frame_id=plan.pose.odom_frame_id,
        pose=pose_msg(plan.pose.T_odom_ego),
        twist=_twist_msg(plan.pose),
        pose_quality=int(plan.pose.quality),
        canonical=plan.canonical,
        context_stamps=[time_msg(ns) for ns in plan.context_stamps_ns],
        stage_names=[name for name, _ in plan.stage_ms],
        stage_ms=array("f", [ms for _, ms in plan.stage_ms]),
    )


def rgb_msg(rgb: U8, ns: int, frame_id: str) -> Image:
    """(height, width, 3) uint8 → sensor_msgs/Image rgb8."""
    return _BRIDGE.cv2_to_imgmsg(np.ascontiguousarray(rgb), encoding="rgb8", header=header_msg(ns, frame_id))
