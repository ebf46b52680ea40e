"""Ways of getting images, cameras, odometry, routes and time into a node."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMsg
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_ros import StaticTransformBroadcaster
from vavam_ros.msg import FrameTokens, TrajectorySamples

from vavam_ros.core.contracts import Command
from vavam_ros.nodes import convert
from vavam_ros.nodes.planner_node import PlannerNode
from vavam_ros.nodes.tokenizer_node import TokenizerNode
from vavam_ros.nodes.vavam_node import VavamNode

pytestmark = pytest.mark.ros
NS = 1_000_000_000
CAMERA_YAML = """
image_width: 512
image_height: 288
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [409.6857, 0, 256, 0, 409.6857, 144, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
mount: {x_m: 1.5, z_m: 1.5}
"""


def running(host: Any, world: Any, kind: Any, **params: Any) -> tuple[Any, Any]:
    h = host(kind, **params)
    w = world(h.name)
    h.node.autostart()
    return h, w


def test_simulated_time_and_a_bag_that_loops(host: Any, world: Any) -> None:
    h, w = running(host, world, VavamNode, use_sim_time=True)
    samples, path = w.listen(TrajectorySamples, "samples"), w.listen(PathMsg, "path")
    assert w.wait(lambda: w.says("no_clock"))
    start = 1_000 * NS
    w.drive(8.0, clock_from_ns=start, speed=2.0, until=lambda: len(samples) >= 6 and len(path) >= 6)
    assert len(samples) >= 6
    assert not w.says("clock_mismatch")
    last = convert.stamp_ns(samples[-1].header)
    assert start <= last < start + 20 * NS
    assert start <= convert.stamp_ns(path[-1].header) < start + 20 * NS, "placed in simulated time"
    epoch, n, resets = samples[-1].epoch, len(samples), h.node.board.count_of("time_jumped")
    w.drive(8.0, clock_from_ns=start - 100 * NS, speed=2.0, until=lambda: len(samples) >= n + 6)  # /clock, images and odometry all jump
    assert h.node.board.count_of("time_jumped") > resets
    after = [s for s in samples[n:] if convert.stamp_ns(s.header) < start]
    assert len(after) >= 4, "it recovers"
    assert all(s.epoch > epoch for s in after)
    assert all(t.sec < 1_000 for s in after for t in s.context_stamps), "no frame from before the jump in a context"
    assert w.wait(lambda: not w.says("no_clock"))


def test_a_clock_that_jumps_alone_flushes(host: Any, world: Any) -> None:
    h, w = running(host, world, VavamNode, use_sim_time=True)
    raw = w.listen(PathMsg, "path_raw")
    w.drive(8.0, clock_from_ns=500 * NS, until=lambda: len(raw) >= 2)
    assert h.node.odometry.newest is not None
    w.publisher(Clock, "/clock").publish(Clock(clock=convert.time_msg(100 * NS)))
    assert w.wait(lambda: h.node.odometry.newest is None)
    assert h.node.planning._plan is None
    assert "clock jumped" in h.says("time_jumped")


def test_camera_from_a_file_needs_no_camera_info(host: Any, world: Any, tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_text(CAMERA_YAML)
    params = {"camera_info_source": "yaml", "camera_yaml": str(tmp_path / "camera.yaml"), "camera_mount_rpy_deg": [], "camera_mount_from_tf": False}
    h, w = running(host, world, TokenizerNode, **params)
    tokens = w.listen(FrameTokens, "tokens")
    w.drive(20.0, info=False, until=lambda: len(tokens) >= 2)
    assert tokens
    assert (tokens[-1].camera_id, tokens[-1].canonical) == ("world_front", True)
    assert h.node.tokenizing._camera.mount_source == "yaml"


def test_without_a_mount_there_are_no_tokens_and_diagnostics_say_how_to_give_one(host: Any, world: Any) -> None:
    _, w = running(host, world, TokenizerNode, camera_mount_rpy_deg=[], camera_mount_from_tf=False)
    tokens = w.listen(FrameTokens, "tokens")
    w.drive(15.0, until=lambda: w.says("camera_unusable"))
    assert "mounting is not known" in w.status("input")["message"]
    assert not tokens


def test_resize_mode_needs_no_camera_and_says_that_it_is_not_canonical(host: Any, world: Any) -> None:
    _, w = running(host, world, VavamNode, camera_mode="resize", camera_mount_rpy_deg=[])
    samples, tokens = w.listen(TrajectorySamples, "samples"), w.listen(FrameTokens, "tokens")
    w.drive(20.0, info=False, until=lambda: len(samples) >= 2 and len(tokens) >= 2)
    assert not samples[-1].canonical
    assert tokens[-1].camera_id.startswith("resize:")
    assert w.wait(lambda: w.says("not_canonical"))


def test_an_image_given_up_for_want_of_odometry_is_taken_when_it_is_said_again(host: Any, world: Any) -> None:
    """A simulator in lock-step waits for this very image; best effort may have lost the odometry that belongs to it."""
    h, w = running(host, world, TokenizerNode, odometry_wait_s=0.1)
    tokens = w.listen(FrameTokens, "tokens")
    assert w.wait(lambda: h.node.active)
    stamp = w.now_ns()

    def say(*, odometry: bool) -> None:
        if odometry:
            for k in range(-4, 1):
                w.publisher(Odometry, "odometry").publish(w.odometry(stamp + k * 20_000_000))
        w.publisher(CameraInfo, "camera_info").publish(w.camera_info(stamp))
        w.publisher(Image, "image").publish(w.image(stamp))

    assert w.wait(lambda: bool(say(odometry=False) or h.node.board.count_of("no_pose")))
    assert not tokens
    assert w.wait(lambda: bool(say(odometry=True) or tokens))
    assert convert.stamp_ns(tokens[0].header) == stamp


def test_approximate_pairing_and_a_time_offset(host: Any, world: Any) -> None:
    _, w = running(host, world, TokenizerNode, sync_slop_s=0.02, image_time_offset_s=-0.05, tokenize_rate_hz=0.0)
    tokens = w.listen(FrameTokens, "tokens")
    original = w.camera_info
    w.camera_info = lambda stamp: original(stamp + 5_000_000)
    start, _ = w.drive(20.0, until=lambda: len(tokens) >= 5)
    assert len(tokens) >= 5
    offsets = {(convert.stamp_ns(t.header) - start) % (NS // 10) for t in tokens}
    assert offsets == {NS // 20}, "image stamps minus 50 ms"


def test_images_wait_for_odometry_and_are_dropped_with_the_reason_without(host: Any, world: Any) -> None:
    h, w = running(host, world, TokenizerNode, tokenize_rate_hz=0.0)
    tokens = w.listen(FrameTokens, "tokens")
    w.drive(20.0, until=lambda: len(tokens) >= 3)
    assert tokens[-1].pose_quality == FrameTokens.POSE_MEASURED
    original = w.odometry
    w.odometry = lambda stamp: original(stamp - 100_000_000)  # 100 ms late: images wait, poses are measured all the same
    n = len(tokens)
    w.drive(10.0, until=lambda: len(tokens) >= n + 10)
    assert {t.pose_quality for t in tokens[n + 5 :]} == {FrameTokens.POSE_MEASURED}
    w.odometry = lambda stamp: original(stamp - 320_000_000)  # beyond odometry_wait_s: carried on by the twist
    n = len(tokens)
    w.drive(10.0, until=lambda: any(t.pose_quality == FrameTokens.POSE_EXTRAPOLATED for t in tokens[n:]))
    assert any(t.pose_quality == FrameTokens.POSE_EXTRAPOLATED for t in tokens[n:])
    w.odometry = lambda stamp: original(stamp - 2 * NS)
    w.drive(10.0, until=lambda: bool(h.says("no_pose")))
    assert "odometry has not reached the image stamp" in h.says("no_pose")


def test_incompatible_qos_names_both_sides_and_an_override_repairs_it(host: Any, world: Any) -> None:
    h, w = running(host, world, PlannerNode, command_source="route")
    w.publisher(PathMsg, "route", QoSProfile(depth=1))  # volatile; the node asks for latched
    assert w.wait(lambda: w.says("qos_incompatible"))
    message = w.status("input")["message"]
    for text in (f"/{h.name}/route", "/world", "DURABILITY", "VOLATILE", "TRANSIENT_LOCAL"):
        assert text in message, message
    topic = "/route_from_a_bag"
    h2 = host(PlannerNode, command_source="route", **{f"qos_overrides.{topic}.subscription.durability": "volatile"}, remaps={"~/route": topic})
    w2 = world(h2.name)
    h2.node.autostart()
    publisher = w2.publisher(PathMsg, topic, QoSProfile(depth=1))

    def send() -> bool:
        publisher.publish(route("odom"))
        return h2.node.planning._commands.source.route_frame_id == "odom" if h2.node.active else False

    assert w2.wait(send)
    assert not w2.says("qos_incompatible")


def route(frame: str, points: int = 60) -> PathMsg:
    """Straight on along x, then sharply left; pose headers empty, as from the CARLA bridge."""
    msg = PathMsg(header=convert.header_msg(0, frame))
    for i in range(points):
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y = min(float(i), 10.0), max(0.0, 2.0 * (i - 10.0))
        msg.poses.append(pose)
    return msg


def test_a_route_in_another_frame_needs_tf(host: Any, world: Any) -> None:
    h, w = running(host, world, VavamNode, command_source="route")
    samples = w.listen(TrajectorySamples, "samples")
    w.publisher(PathMsg, "route", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)).publish(route("atlantis"))
    fixed = w.odometry(0)
    fixed.twist.twist.linear.x = 8.0

    def standing(stamp: int) -> Any:
        fixed.header = convert.header_msg(stamp, "odom")
        return fixed

    w.odometry = standing  # at the origin, with a speed: 24 m along the route lies round the corner
    w.drive(20.0, until=lambda: w.says("bad_route"))
    assert "atlantis" in w.status("input")["message"]
    assert samples[-1].command == int(Command.STRAIGHT)
    transform = TransformStamped(child_frame_id="atlantis")
    transform.header.frame_id = "odom"
    transform.transform.rotation.w = 1.0
    broadcaster = StaticTransformBroadcaster(w.node)
    broadcaster.sendTransform(transform)
    w.drive(15.0, until=lambda: samples[-1].command == int(Command.LEFT))
    assert samples[-1].command == int(Command.LEFT), h.node.board.statuses("n")
    assert w.wait(lambda: not w.says("bad_route"), 10.0)
    w.publisher(PathMsg, "route").publish(PathMsg(header=convert.header_msg(0, "odom")))
    assert w.wait(lambda: w.says("bad_route")), "an empty route is no route"


def test_bgra_as_from_carla_and_odometry_in_map(host: Any, world: Any) -> None:
    _, w = running(host, world, VavamNode, rear_axle_x_m=-1.4)
    path, base, samples = w.listen(PathMsg, "path"), w.listen(PathMsg, "path_base_link"), w.listen(TrajectorySamples, "samples")
    image, odometry = w.image, w.odometry

    def in_map(stamp: int) -> Any:
        msg = odometry(stamp)
        msg.header.frame_id, msg.child_frame_id = "map", "ego_vehicle"
        return msg

    w.image, w.odometry = lambda stamp: image(stamp, encoding="bgra8"), in_map
    w.drive(20.0, until=lambda: len(path) >= 3 and len(base) >= 3)
    assert path[-1].header.frame_id == "map"
    assert base[-1].header.frame_id == "ego_vehicle"
    last = samples[-1]
    here = odometry(convert.stamp_ns(last.header)).pose.pose
    yaw = 2 * math.atan2(here.orientation.z, here.orientation.w)
    ego = (here.position.x - 1.4 * math.cos(yaw), here.position.y - 1.4 * math.sin(yaw))  # the rear axle, 1.4 m behind the actor's origin
    assert math.dist((last.pose.position.x, last.pose.position.y), ego) < 0.02


def test_stamps_of_a_time_to_come_are_another_clock_and_no_path_is_published(host: Any, world: Any) -> None:
    _, w = running(host, world, VavamNode)
    raw, path = w.listen(PathMsg, "path_raw"), w.listen(PathMsg, "path")
    w.now_ns = lambda: time.time_ns() + 2 * NS
    w.drive(30.0, until=lambda: len(raw) >= 2 and w.says("clock_mismatch"))
    assert raw
    assert w.says("clock_mismatch")
    assert not path


def test_odometry_whose_twist_is_left_empty_is_named(host: Any, world: Any) -> None:
    _, w = running(host, world, TokenizerNode)
    original = w.odometry

    def without_twist(stamp: int) -> Any:
        msg = original(stamp)
        msg.twist.twist.linear.x = msg.twist.twist.angular.z = 0.0
        return msg

    w.drive(3.0)
    assert not w.says("odometry_inconsistent")
    w.odometry = without_twist
    w.drive(15.0, until=lambda: w.says("odometry_inconsistent"))
    assert "the twists say" in w.status("input")["message"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"camera_max_pitch_deg": 5.0, "camera_mount_rpy_deg": [0.0, 8.0, 0.0], "min_coverage": 0.5}, "camera pitch"),
        ({"camera_min_height_m": 2.0}, "camera height"),
    ],
)
def test_the_bands_of_the_mounting_are_parameters(host: Any, world: Any, params: dict[str, Any], text: str) -> None:
    _, w = running(host, world, TokenizerNode, **params)
    w.drive(20.0, until=lambda: w.says("camera_unusable"))
    assert text in w.status("input")["message"]
