from __future__ import annotations

from array import array

import numpy as np
import pytest
from cv_bridge import CvBridge
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vavam_ros.msg import DrivingCommand, FrameTokens, TrajectorySamples

from vavam_ros.core.contracts import (
    Command,
    DensePath,
    EgoPose,
    EncodingError,
    InputError,
    Plan,
    PoseQuality,
    Selection,
    TokenError,
    TokenFrame,
    Violation,
)
from vavam_ros.core.geometry import planar_T
from vavam_ros.nodes import convert

pytestmark = pytest.mark.ros
STAMP = 1_700_000_000_123_456_789


def image(encoding: str, *, width: int = 16, height: int = 10, padding: int = 0) -> Image:
    channels = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "yuv422": 2, "yuv422_yuy2": 2, "mono8": 1}[encoding]
    step = width * channels + padding
    data = array("B", np.random.default_rng(0).integers(0, 256, height * step, dtype=np.uint8).tobytes())
    return Image(header=convert.header_msg(STAMP, "camera"), width=width, height=height, encoding=encoding, step=step, data=data)


def ego(stamp: int = STAMP) -> EgoPose:
    return EgoPose(
        stamp_ns=stamp, odom_frame_id="odom", T_odom_ego=planar_T(1.0, 2.0, 0.3), linear_mps=np.array([5.0, 0, 0]), angular_radps=np.array([0, 0, 0.1]),
        quality=PoseQuality.EXTRAPOLATED,
    )  # fmt: skip


def plan() -> Plan:
    xy = np.arange(2 * 6 * 2, dtype=np.float32).reshape(2, 6, 2) / 8
    return Plan(
        stamp_ns=STAMP, epoch=3, model_id="m", command=Command.LEFT, xy_ego_m=xy, dt_s=0.5,
        selection=Selection(index=1, reason="medoid", spread_m=np.array([1, 2, 3], np.float32)),
        violations=(Violation(check="speed", value=70.0, limit=60.0, unit="m/s"),), context_stamps_ns=(STAMP - 500_000_000, STAMP), pose=ego(),
        canonical=True, stage_ms=(("context", 1.5), ("denoise", 2.5)),
    )  # fmt: skip


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "yuv422", "yuv422_yuy2"])
def test_decoding_equals_cv_bridge_pixel_for_pixel(encoding: str, padding: int) -> None:
    msg = image(encoding, padding=padding)
    decoded = convert.camera_image(msg)
    assert np.array_equal(decoded.rgb, CvBridge().imgmsg_to_cv2(msg, desired_encoding="rgb8"))
    assert (decoded.stamp_ns, decoded.frame_id) == (STAMP, "camera")


def test_rgb_is_not_copied() -> None:
    msg = image("rgb8")
    assert np.shares_memory(convert.camera_image(msg).rgb, np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize(
    ("msg", "text"),
    [
        (image("mono8"), "colour"),
        (Image(encoding="nonsense", width=4, height=4, step=12, data=bytes(48)), "nonsense"),
        (Image(encoding="bgr8", width=4, height=4, step=12, data=bytes(40)), "40 bytes"),
        (Image(encoding="bgr8", width=4, height=4, step=3, data=bytes(48)), "step"),
        (Image(encoding="bgr8"), "0×0"),
        (Image(encoding="8UC3", width=4, height=4, step=12, data=bytes(48)), "bgr8"),
        (CompressedImage(format="jpeg", data=b"\xff\xd8\xff\xe0 not a jpeg"), "JPEG"),
        (CompressedImage(format="jpeg", data=b""), "no bytes"),
    ],
)
def test_images_that_cannot_be_used_are_named(msg: Image | CompressedImage, text: str) -> None:
    with pytest.raises(EncodingError, match=text):
        convert.camera_image(msg)


def test_the_time_offset_moves_the_stamp() -> None:
    assert convert.camera_image(image("rgb8"), offset_ns=-5).stamp_ns == STAMP - 5


def test_odometry_keeps_frames_and_refuses_what_is_no_rotation() -> None:
    msg = Odometry(header=convert.header_msg(STAMP, "map"), child_frame_id="ego_vehicle")
    msg.pose.pose.position.x, msg.pose.pose.orientation.w, msg.twist.twist.linear.x = 3.0, 1.0, 4.0
    sample = convert.odometry_sample(msg, estimated=True)
    assert (sample.stamp_ns, sample.odom_frame_id, sample.base_frame_id, sample.quality) == (STAMP, "map", "ego_vehicle", PoseQuality.ESTIMATED)
    assert sample.T_odom_base[0, 3] == 3.0
    assert sample.linear_mps[0] == 4.0
    msg.pose.pose.orientation.w = 0.0
    with pytest.raises(InputError, match="quaternion"):
        convert.odometry_sample(msg)
    msg.pose.pose.orientation.w, msg.pose.pose.position.y = 1.0, float("nan")
    with pytest.raises(InputError, match="finite"):
        convert.odometry_sample(msg)


def test_token_frames_survive_the_message() -> None:
    frame = TokenFrame(
        stamp_ns=STAMP, epoch=7, camera_frame_id="camera", tokens=np.arange(12, dtype=np.uint16).reshape(3, 4), codebook_size=64, tokenizer_id="t",
        camera_id="world_front", canonical=True, coverage=0.5, pose=ego(),
    )  # fmt: skip
    msg = convert.frame_tokens_msg(frame, "ego")
    back = convert.token_frame(msg)
    assert np.array_equal(back.tokens, frame.tokens)
    assert back.tokens.dtype == np.uint16
    np.testing.assert_allclose(back.pose.T_odom_ego, frame.pose.T_odom_ego, atol=1e-12)
    for name in ("stamp_ns", "epoch", "camera_frame_id", "codebook_size", "tokenizer_id", "camera_id", "canonical", "coverage"):
        assert getattr(back, name) == getattr(frame, name)
    assert back.pose.quality is PoseQuality.EXTRAPOLATED
    assert msg.ego_frame_id == "ego"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grid_height": 4}, TokenError),
        ({"schema_version": 9}, TokenError),
        ({"tokens": array("H")}, TokenError),
        ({"pose_quality": 99}, InputError),
        ({"odom_frame_id": ""}, InputError),
        ({"coverage": float("nan")}, InputError),
    ],
)
def test_token_messages_that_cannot_be_used_are_refused(change: dict[str, object], error: type[Exception]) -> None:
    msg = FrameTokens(schema_version=1, grid_height=3, grid_width=4, tokens=array("H", range(12)), codebook_size=64, odom_frame_id="odom")
    msg.pose.orientation.w = 1.0
    convert.token_frame(msg)
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(error):
        convert.token_frame(msg)


def test_samples_carry_the_whole_plan() -> None:
    msg: TrajectorySamples = convert.samples_msg(plan(), "ego")
    assert np.array_equal(np.array(msg.xy, np.float32).reshape(2, 6, 2), plan().xy_ego_m)
    assert (msg.num_samples, msg.horizon, msg.dt_s, msg.selected, msg.command, msg.epoch) == (2, 6, 0.5, 1, DrivingCommand.LEFT, 3)
    assert (msg.valid, list(msg.violations)) == (False, ["speed: 70 m/s (limit 60)"])
    assert [convert.stamp_ns(Path(header=msg.header).header), msg.header.frame_id] == [STAMP, "ego"]
    assert [(t.sec, t.nanosec) for t in msg.context_stamps] == [(1_699_999_999, 623_456_789), (1_700_000_000, 123_456_789)]
    assert (list(msg.stage_names), list(msg.stage_ms), list(msg.spread_m)) == (["context", "denoise"], [1.5, 2.5], [1, 2, 3])


def test_raw_path_has_the_models_points_and_their_times() -> None:
    msg = convert.raw_path_msg(plan(), "ego")
    assert [convert.stamp_ns(p.header) - STAMP for p in msg.poses] == [500_000_000 * i for i in range(1, 7)]
    assert [(p.pose.position.x, p.pose.position.y) for p in msg.poses] == [tuple(xy) for xy in plan().selected_xy_ego_m.tolist()]
    assert (msg.header.frame_id, convert.stamp_ns(msg.header)) == ("ego", STAMP)


def test_dense_path_turns_headings_into_quaternions() -> None:
    yaw = np.array([0.0, np.pi / 2, -np.pi])
    path = DensePath(stamp_ns=5, frame_id="map", stamps_ns=np.array([5, 6, 7]), xyz_m=np.eye(3), yaw_rad=yaw, speed_mps=np.ones(3), age_s=0.0)
    msg = convert.dense_path_msg(path)
    got = [2 * np.arctan2(p.pose.orientation.z, p.pose.orientation.w) for p in msg.poses]
    np.testing.assert_allclose(np.exp(1j * np.array(got)), np.exp(1j * yaw), atol=1e-12)
    assert [p.header.frame_id for p in msg.poses] == ["map"] * 3


def test_commands_and_routes_are_checked() -> None:
    assert convert.command(DrivingCommand(schema_version=1, command=1)) is Command.LEFT
    for bad in (DrivingCommand(schema_version=1, command=77), DrivingCommand(schema_version=0, command=1)):
        with pytest.raises(InputError):
            convert.command(bad)
    route = Path(poses=[PoseStamped(), PoseStamped()])
    assert convert.route_xy(route).shape == (2, 2)
    route.poses[1].pose.position.x = float("inf")
    with pytest.raises(InputError, match="finite"):
        convert.route_xy(route)
    with pytest.raises(InputError, match="0 points"):
        convert.route_xy(Path())


def test_camera_key_sees_every_change_that_matters() -> None:
    def info(**changes: object) -> CameraInfo:
        return CameraInfo(**({"width": 4, "height": 3, "k": [1.0, 0, 2, 0, 1, 1, 0, 0, 1]} | changes))

    key = convert.camera_key(info())
    assert convert.camera_key(info()) == key
    for change in ({"width": 5}, {"d": [0.1]}, {"binning_x": 2}, {"k": [2.0, 0, 2, 0, 1, 1, 0, 0, 1]}, {"distortion_model": "equidistant"}):
        assert convert.camera_key(info(**change)) != key


def test_what_is_in_no_frame_or_out_of_this_world_is_refused() -> None:
    odometry = Odometry(header=convert.header_msg(1, ""), child_frame_id="base_link")
    odometry.pose.pose.orientation.w = 1.0
    with pytest.raises(InputError, match="frame_id is empty"):
        convert.odometry_sample(odometry)
    for x in (1e300, float("nan")):
        route = Path(header=convert.header_msg(1, "odom"), poses=[PoseStamped(), PoseStamped()])
        route.poses[1].pose.position.x = x
        with pytest.raises(InputError, match="not finite or beyond"):
            convert.route_xy(route)
