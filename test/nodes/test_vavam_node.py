"""vavam_node in its own process, from outside. One process serves the tests of a group, which also shows that it recovers from each of them."""

from __future__ import annotations

import os
import signal
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMsg
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64, UInt64
from vavam_ros.msg import FrameTokens, TrajectorySamples

from vavam_ros.nodes import convert

pytestmark = pytest.mark.ros
NS = 1_000_000_000


@pytest.fixture(scope="module")
def live(module_start: Any, module_world: Any) -> Iterator[Any]:
    """A running vavam_node that has made its first plans, and the test's side of it."""
    w = module_world("vavam_node")
    w.process = module_start("vavam_node", params={"pairing_report_s": 1.0, "num_samples": 5})
    w.raw, w.samples, w.tokens = w.listen(PathMsg, "path_raw"), w.listen(TrajectorySamples, "samples"), w.listen(FrameTokens, "tokens")
    w.path, w.base, w.age, w.beats = w.listen(PathMsg, "path"), w.listen(PathMsg, "path_base_link"), w.listen(Float64, "age_ms"), w.listen(UInt64, "heartbeat")
    w.drive(60.0, until=lambda: len(w.raw) >= 3 and len(w.base) >= 5)
    assert w.raw, w.process.text
    yield w
    assert w.process.alive, w.process.text


def recovers(w: Any) -> bool:
    """New plans come from good input."""
    n = len(w.raw)
    w.drive(15.0, until=lambda: len(w.raw) >= n + 2)
    return len(w.raw) >= n + 2


def test_outputs_have_the_right_stamps_frames_and_counts(live: Any) -> None:
    w = live
    first = len(w.samples)
    start, _ = w.drive(4.0)
    assert w.wait(lambda: len(w.samples) >= first + 7)
    samples, raws = w.samples[first:], {convert.stamp_ns(m.header): m for m in w.raw}
    stamps = [convert.stamp_ns(m.header) for m in samples]
    image_stamps = {start + i * NS // 10 for i in range(60)}
    assert set(stamps) <= image_stamps, "plans carry the images' own stamps"
    assert np.allclose(np.diff(stamps[1:]) / NS, 0.5, atol=0.11), "two a second"
    last = samples[-1]
    assert (last.header.frame_id, last.num_samples, last.horizon, last.dt_s, last.odom_frame_id) == ("ego", 5, 6, 0.5, "odom")
    assert len(last.xy) == 5 * 6 * 2
    assert len(last.context_stamps) == 4, "the context has filled"
    raw = raws[stamps[-1]]
    xy = np.array(last.xy).reshape(5, 6, 2)[last.selected]
    assert [(p.pose.position.x, p.pose.position.y) for p in raw.poses] == [tuple(map(float, p)) for p in xy]
    token_stamps = {convert.stamp_ns(m.header) for m in w.tokens}
    assert set(stamps[1:]) <= token_stamps, "tokens are published too where someone listens"
    truth = w.odometry(stamps[-1]).pose.pose
    assert abs(last.pose.position.x - truth.position.x) + abs(last.pose.position.y - truth.position.y) < 0.01, "the pose at the image stamp"


def test_the_path_is_right_now(live: Any) -> None:
    w = live
    n = len(w.path)
    w.drive(2.0)
    assert len(w.path) >= n + 10, "10 Hz"
    path, base = w.path[-1], next(b for b in reversed(w.base) if convert.stamp_ns(b.header) in {convert.stamp_ns(p.header) for p in w.path[-3:]})
    path = next(p for p in w.path if convert.stamp_ns(p.header) == convert.stamp_ns(base.header))
    now = convert.stamp_ns(path.header)
    assert (path.header.frame_id, base.header.frame_id) == ("odom", "base_link")
    assert convert.stamp_ns(path.poses[0].header) == now, "cut at the present"
    steps = np.diff([convert.stamp_ns(p.header) for p in path.poses])
    assert (steps > 0).all()
    assert steps.max() <= 0.151 * NS
    # ~/path_base_link is ~/path seen from where base_link is at the header's time
    here = w.odometry(now).pose.pose
    yaw = 2 * np.arctan2(here.orientation.z, here.orientation.w)
    R = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    a = np.array([(p.pose.position.x, p.pose.position.y) for p in path.poses])
    b = np.array([(p.pose.position.x, p.pose.position.y) for p in base.poses])
    np.testing.assert_allclose(b @ R.T + (here.position.x, here.position.y), a, atol=0.05)
    assert 0.0 < w.age[-1].data < 1000.0


def test_heartbeat_and_diagnostics(live: Any) -> None:
    w = live
    n, number = len(w.beats), w.beats[-1].data
    w.drive(3.0)
    assert len(w.beats) - n >= 30, "10 Hz or more"
    assert w.beats[-1].data > number + 10
    timing = w.status("timing")["values"]
    for key in ("tokenize.p50_ms", "denoise.p95_ms", "latency.max_ms", "decode.p50_ms", "plan.skipped"):
        assert key in timing
    assert float(w.status("input")["values"]["~/odometry.rate_hz"]) > 20
    model = w.status("model")["values"]
    assert (model["state"], model["camera_id"], model["mount"]) == ("active", "world_front", "parameter")
    assert w.says("untrained")
    assert w.wait(lambda: not w.says("not_paired"))


def test_expired_plans_are_not_published(live: Any) -> None:
    w = live
    assert recovers(w)
    w.drive(1.5, images=False)  # odometry goes on
    n = len(w.path)
    w.drive(1.5, images=False, until=lambda: w.says("plan_expired"))
    assert len(w.path) == n
    assert w.says("plan_expired")
    assert w.wait(lambda: w.says("image_stale"))


def test_a_stop_path_instead_of_silence(live: Any) -> None:
    w = live
    assert set_parameter(w, "on_expired", "stop_path") == ""
    assert recovers(w)
    w.drive(1.5, images=False)
    n = len(w.path)
    w.drive(1.5, images=False)
    assert set_parameter(w, "on_expired", "silent") == ""
    assert len(w.path) > n + 3
    speeds = np.linalg.norm(np.diff([(p.pose.position.x, p.pose.position.y) for p in w.path[-1].poses], axis=0), axis=1)
    assert speeds[-1] < 0.2 * speeds[0], "it slows down"
    assert "a stop path is published" in w.status("output")["message"]


def set_parameter(w: Any, name: str, value: object) -> str:
    """Set a parameter of the node from outside; the reason when it refuses."""
    client = w.node.create_client(SetParameters, f"/{w.target}/set_parameters")
    assert client.wait_for_service(20.0)
    future = client.call_async(SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()]))
    assert w.wait(future.done, 20.0)
    result = future.result().results[0]
    return "" if result.successful else result.reason


def test_parameters_from_outside(live: Any) -> None:
    w = live
    assert "clean it up" in set_parameter(w, "num_samples", 4)
    assert "invalid_plan" in set_parameter(w, "invalid_plan", "maybe")
    assert set_parameter(w, "invalid_plan", "drop") == ""
    n, s = len(w.raw), len(w.samples)
    w.drive(10.0, until=lambda: len(w.samples) > s + 2)
    assert len(w.raw) == n, "a plan that breaks limits is not published"
    assert not w.samples[-1].valid
    assert w.samples[-1].violations
    assert w.wait(lambda: "not followed" in w.status("output")["message"])
    assert set_parameter(w, "invalid_plan", "publish") == ""
    assert recovers(w)


def bad_odometry(w: Any, **kind: Any) -> Odometry:
    msg = w.odometry(w.now_ns())
    if "position" in kind:
        msg.pose.pose.position.x = kind["position"]
    if "twist" in kind:
        msg.twist.twist.linear.x = kind["twist"]
    if kind.get("zero_quaternion"):
        msg.pose.pose.orientation.z = msg.pose.pose.orientation.w = 0.0
    if kind.get("no_stamp"):
        msg.header.stamp.sec = msg.header.stamp.nanosec = 0
    return msg


@pytest.mark.parametrize("kind", [{"position": float("nan")}, {"twist": float("inf")}, {"zero_quaternion": True}, {"no_stamp": True}], ids=str)
def test_bad_odometry_is_named_and_survived(live: Any, kind: dict[str, Any]) -> None:
    w = live
    for _ in range(3):
        w.publisher(Odometry, "odometry").publish(bad_odometry(w, **kind))
    assert w.wait(lambda: w.says("no_stamp" if "no_stamp" in kind else "bad_odometry"))
    assert recovers(w)


def bad_image(w: Any, kind: str, stamp: int) -> Image:
    msg = w.image(stamp, encoding="mono8" if kind == "mono" else "bgr8")
    if kind == "truncated":
        msg.data = array("B", bytes(1000))
    if kind == "nonsense":
        msg.encoding = "hologram"
    if kind == "size":
        msg = w.image(stamp, size=(320, 240))
    return msg


@pytest.mark.parametrize(("kind", "code"), [("mono", "bad_image"), ("truncated", "bad_image"), ("nonsense", "bad_image"), ("size", "camera_unusable")])
def test_bad_images_are_named_and_survived(live: Any, kind: str, code: str) -> None:
    w = live
    assert recovers(w)

    def send() -> bool:
        now = w.now_ns()
        w.publisher(Odometry, "odometry").publish(w.odometry(now - 20_000_000))
        w.publisher(CameraInfo, "camera_info").publish(w.camera_info(now))
        w.publisher(Image, "image").publish(bad_image(w, kind, now))
        w.publisher(Odometry, "odometry").publish(w.odometry(now + 20_000_000))
        return bool(w.wait(lambda: w.says(code), 0.15))

    assert w.wait(send), w.diagnostics
    assert recovers(w)
    assert w.wait(lambda: not w.says(code), 10.0)


def test_empty_image_stamps_are_refused_and_named(live: Any) -> None:
    w = live
    n = len(w.tokens)
    for _ in range(5):
        w.publisher(CameraInfo, "camera_info").publish(w.camera_info(0))
        w.publisher(Image, "image").publish(w.image(0))
    assert w.wait(lambda: w.says("no_stamp"))
    assert "~/image" not in w.status("input")["message"] or "/vavam_node/image" in w.status("input")["message"]
    assert len(w.tokens) == n
    assert recovers(w)


def test_a_frozen_camera_is_noticed(live: Any) -> None:
    w = live
    assert recovers(w)
    still = w.image(0)

    def repeat() -> bool:
        now = w.now_ns()
        still.header = convert.header_msg(now, "camera")
        w.publisher(Odometry, "odometry").publish(w.odometry(now))
        w.publisher(CameraInfo, "camera_info").publish(w.camera_info(now))
        w.publisher(Image, "image").publish(still)
        return bool(w.wait(lambda: w.says("image_frozen"), 0.1))

    assert w.wait(repeat)
    assert recovers(w)
    assert w.wait(lambda: not w.says("image_frozen"))


def test_a_changed_camera_begins_a_new_epoch_and_an_unusable_one_is_refused(live: Any) -> None:
    w = live
    assert recovers(w)
    epoch = w.samples[-1].epoch
    original = w.camera_info
    try:
        w.camera_info = lambda stamp, fx=400.0: original(stamp, fx)  # a little wider: still covers the view
        assert recovers(w)
        assert w.samples[-1].epoch > epoch
        assert w.wait(lambda: w.counted("camera_changed") >= 1)  # diagnostics come once a second
        w.camera_info = lambda stamp, fx=900.0: original(stamp, fx)  # a tele lens
        n = len(w.tokens)
        w.drive(10.0, until=lambda: w.says("camera_unusable"))
        assert "sees" in w.status("input")["message"]
        assert len(w.tokens) <= n + 1
        w.camera_info = lambda stamp: CameraInfo(header=convert.header_msg(stamp, "camera"))  # uncalibrated
        w.drive(10.0, until=lambda: "uncalibrated" in w.status("input")["message"])
        assert "uncalibrated" in w.status("input")["message"]
    finally:
        w.camera_info = original
    assert recovers(w)


def test_time_that_jumps_back_begins_a_new_epoch(live: Any) -> None:
    w = live
    assert recovers(w)
    epoch, n = w.samples[-1].epoch, len(w.samples)
    past = w.now_ns() - 30 * NS  # as when a bag of 30 s begins again, without /clock
    shifted = w.now_ns
    try:
        w.now_ns = lambda: past
        w.drive(8.0, until=lambda: len(w.samples) > n + 2)
    finally:
        w.now_ns = shifted
    late = w.samples[-1]
    assert abs(convert.stamp_ns(late.header) - past) < 10 * NS
    assert late.epoch > epoch
    assert min(t.sec for t in late.context_stamps) >= past // NS, "no frame from before the jump"
    assert w.wait(lambda: w.counted("time_jumped") >= 1)
    assert w.wait(lambda: w.says("clock_mismatch"))
    assert recovers(w)


def test_when_inputs_never_pair_the_report_says_why(live: Any) -> None:
    w = live
    w.drive(2.5, info=False, until=lambda: w.says("not_paired"))
    assert w.says("not_paired")
    w.drive(2.5, info=False)
    message = w.status("input")["message"]
    assert "Likely cause: /vavam_node/camera_info stopped" in message, message
    for topic in ("/vavam_node/image:", "/vavam_node/camera_info:", "/vavam_node/odometry:"):
        assert topic in message
    original = w.camera_info
    try:
        w.camera_info = lambda stamp: original(stamp + 3_000_000)  # 3 ms off
        w.drive(6.0, until=lambda: "sync_slop_s" in w.status("input")["message"])
        assert "differ by" in w.status("input")["message"]
    finally:
        w.camera_info = original
    assert recovers(w)
    assert w.wait(lambda: not w.says("not_paired"))


@pytest.mark.parametrize("sign", [signal.SIGTERM])
def test_signals_end_it_cleanly(live: Any, sign: int) -> None:
    """Last: it ends the node."""
    assert live.process.stop(sign) == 0, live.process.text
    assert "Traceback" not in live.process.text
    live.process = type("Ended", (), {"alive": True, "text": ""})()


def test_the_environment_is_isolated() -> None:
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert Path(os.environ["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "fastdds_shm.xml"
