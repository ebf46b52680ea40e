"""tokenizer_node and planner_node in two processes, the planner started first; compressed images; the camera's mount from TF."""

from __future__ import annotations

import signal
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Path
from tf2_ros import StaticTransformBroadcaster
from vavam_ros.msg import DrivingCommand, FrameTokens, TrajectorySamples

from vavam_ros.nodes import convert

pytestmark = pytest.mark.ros
TOKENIZER = {"image_transport": "compressed", "camera_mount_rpy_deg": [], "rear_axle_x_m": 0.0}


def broadcast_mount(node: Any) -> StaticTransformBroadcaster:
    """The canonical camera's mount: 1.5 m ahead, 1.5 m up, optical axes."""
    transform = TransformStamped(child_frame_id="camera")
    transform.header.frame_id = "base_link"
    t, q = transform.transform.translation, transform.transform.rotation
    t.x, t.z = 1.5, 1.5
    q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
    broadcaster = StaticTransformBroadcaster(node)
    broadcaster.sendTransform(transform)
    return broadcaster


@pytest.fixture(scope="module")
def pair(module_start: Any, module_world: Any) -> Iterator[Any]:
    """Both nodes, running, and the test's side of them."""
    w, p = module_world("tokenizer_node"), module_world("planner_node")
    tokens = {"~/tokens": "/tokenizer_node/tokens", "~/odometry": "/tokenizer_node/odometry"}
    p.process = module_start("planner_node", params={"command_source": "topic", "command_timeout_s": 1.0}, remaps=tokens)
    p.samples, p.raw, p.path = p.listen(TrajectorySamples, "samples"), p.listen(Path, "path_raw"), p.listen(Path, "path")
    w.tokens = w.listen(FrameTokens, "tokens")
    assert p.wait(lambda: p.says("not_paired"), 60.0), p.process.text
    p.starved = p.status("input")["message"]
    w.process = module_start("tokenizer_node", params=TOKENIZER)
    w.drive(60.0, compressed=True, until=lambda: w.says("mount_waiting"))
    w.unmounted = (w.says("mount_waiting"), len(w.tokens))
    w.broadcaster = broadcast_mount(w.node)
    w.drive(30.0, compressed=True, until=lambda: len(p.raw) >= 3)
    assert p.raw, w.process.text + p.process.text
    yield w, p
    for side in (w, p):
        assert side.process.alive, side.process.text


def plans_come(w: Any, p: Any, count: int = 2, seconds: float = 15.0) -> bool:
    n = len(p.raw)
    w.drive(seconds, compressed=True, until=lambda: len(p.raw) >= n + count)
    return len(p.raw) >= n + count


def test_starvation_says_who_is_missing(pair: Any) -> None:
    assert "no publisher on /tokenizer_node/tokens" in pair[1].starved


def test_no_tokens_before_the_mount_is_known(pair: Any) -> None:
    w, _ = pair
    assert w.unmounted == (True, 0)
    assert w.wait(lambda: not w.says("mount_waiting"))
    assert w.status("model")["values"]["mount"] == "tf"


@pytest.mark.smoke
def test_plans_from_the_other_processes_tokens(pair: Any) -> None:
    w, p = pair
    assert plans_come(w, p, 4)
    stamps = {convert.stamp_ns(m.header) for m in w.tokens}
    assert {convert.stamp_ns(m.header) for m in p.samples[-3:]} <= stamps
    frame = w.tokens[-1]
    assert (frame.grid_height, frame.grid_width, len(frame.tokens), frame.canonical) == (3, 4, 12, True)
    assert frame.coverage > 0.99
    assert p.path[-1].header.frame_id == "odom"
    assert "tokenize" not in " ".join(p.status("timing")["values"]), "the planner has no tokenizer"


@pytest.mark.parametrize("kind", ["tokenizer", "grid", "range", "schema"])
def test_tokens_of_another_model_are_refused_and_named(pair: Any, kind: str) -> None:
    w, p = pair
    good = w.tokens[-1]
    bad = FrameTokens(**{name: getattr(good, name) for name in FrameTokens.get_fields_and_field_types()})
    bad.header = convert.header_msg(w.now_ns(), "camera")
    if kind == "tokenizer":
        bad.tokenizer_id = "somebody else's"
    elif kind == "grid":
        bad.grid_height, bad.grid_width = 4, 3
    elif kind == "range":
        bad.tokens = array("H", [9999] * 12)
    else:
        bad.schema_version = 200
    w.publisher(FrameTokens, "tokens").publish(bad)
    assert p.wait(lambda: p.says("bad_tokens"))
    expected = {"tokenizer": "somebody else's", "grid": "grid", "range": "9999", "schema": "schema_version 200"}[kind]
    assert p.wait(lambda: expected in p.status("input")["message"]), p.status("input")["message"]
    assert plans_come(w, p)


def test_commands(pair: Any) -> None:
    w, p = pair
    command = p.publisher(DrivingCommand, "command")
    assert plans_come(w, p)
    assert p.wait(lambda: p.says("command_default")), "nobody has sent one"
    n = len(p.samples)

    def send(number: int) -> bool:
        command.publish(DrivingCommand(header=convert.header_msg(w.now_ns(), ""), schema_version=1, command=number))
        return False

    w.drive(15.0, compressed=True, until=lambda: send(DrivingCommand.LEFT) or any(s.command == DrivingCommand.LEFT for s in p.samples[n:]))
    assert any(s.command == DrivingCommand.LEFT for s in p.samples[n:])
    assert p.wait(lambda: not p.says("command_default"))
    send(77)
    assert p.wait(lambda: p.says("bad_command"))
    w.drive(15.0, compressed=True, until=lambda: "timed out" in p.status("input")["message"])
    assert "timed out" in p.status("input")["message"]
    assert p.samples[-1].command == DrivingCommand.STRAIGHT


def test_a_restarted_tokenizer_is_followed(pair: Any, module_start: Any) -> None:
    w, p = pair
    assert w.process.stop(signal.SIGINT) == 0, w.process.text
    assert "Traceback" not in w.process.text
    w.process = module_start("tokenizer_node", params=TOKENIZER)
    assert plans_come(w, p, 2, 60.0), w.process.text
