"""bag_player_node against a real subscriber in another process's place: order, clock, rate, loop, offset, latched topics, pause, errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vavam_ros.bags import BagWriter
from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.replay import messages
from vavam_ros.replay.playback import Lockstep, Timeline
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

rclpy = pytest.importorskip("rclpy")
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

pytestmark = pytest.mark.ros
T0 = 1_000 * NS_PER_S


class Ear:
    """Writes down what a player publishes, in order of arrival."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node("ear", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.odometry: list[int] = []
        self.clock: list[int] = []
        self.quality: list[str] = []
        self.node.create_subscription(Odometry, "/heard", lambda m: self.odometry.append(messages.stamp_ns_of(m)), 500)
        self.node.create_subscription(Clock, "/clock", lambda m: self.clock.append(m.clock.sec * NS_PER_S + m.clock.nanosec), 500)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(String, "/vavam/pose_quality", lambda m: self.quality.append(m.data), latched)

    def listen(self, until: Callable[[], bool], seconds: float = 60.0) -> bool:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
        return until()

    def close(self) -> None:
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture(scope="module", params=["drive.mcap", "drive.db3"])
def bag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of odometry at 20 Hz and the latched pose quality."""
    path: Path = tmp_path_factory.mktemp("bag") / request.param
    clip = RoadClip(RoadClipConfig(duration_s=2.0, odometry_rate_hz=20.0, width=32, height=18, start_ns=T0))
    with BagWriter(path) as writer:
        writer.write_pose_quality(T0, "measured")
        writer.add_topic("/odometry", messages.ODOMETRY)
        for sample in clip.odometry():
            writer.write("/odometry", sample.stamp_ns, messages.odometry(writer, sample))
    return path


def start(bag: Path, /, **parameters: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vavam_ros.nodes.bag_player_node", "--ros-args", "-r", "/odometry:=/heard"]
    for name, value in {"bag": bag, "wait_for_subscribers_s": 60.0, **parameters}.items():
        command += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ))


def finish(player: subprocess.Popen[str], ear: Ear) -> str:
    assert ear.listen(lambda: player.poll() is not None), "the player did not end"
    ear.listen(lambda: False, 0.3)
    said, _ = player.communicate()  # closes the pipe
    return said


def test_all_messages_in_order_with_their_clock(bag: Path, ear: Ear) -> None:
    player = start(bag, clock_hz=200.0)
    said = finish(player, ear)
    assert player.returncode == 0
    assert "played 42 messages in 1 round(s)" in said
    assert "lateness" in said
    assert ear.odometry == [T0 + i * NS_PER_S // 20 for i in range(41)]
    assert ear.quality == ["measured"]
    assert ear.clock == sorted(ear.clock)
    assert set(ear.odometry) <= {*ear.clock, T0}  # /clock shows each message's own time; the first may go out before we are matched
    assert len(set(ear.clock)) > 60  # and ticks between messages


def test_offset_and_duration(bag: Path, ear: Ear) -> None:
    player = start(bag, rate=10.0, start_offset_s=1.0, duration_s=0.5)
    finish(player, ear)
    assert player.returncode == 0
    assert ear.odometry == [T0 + i * NS_PER_S // 20 for i in range(20, 30)]
    assert ear.quality == ["measured"]  # latched before the offset, and there all the same


@pytest.mark.parametrize(("shut_down", "expected"), [(True, 0), (False, 1)])
def test_only_a_publish_after_the_end_is_forgiven(bag: Path, shut_down: bool, expected: int) -> None:
    code = f"""
import sys, rclpy
from vavam_ros.nodes import bag_player_node as player
def play(node):
    publisher = node.create_publisher(player.Clock, "/late", 1)
    rclpy.shutdown() if {shut_down} else node.destroy_publisher(publisher)
    publisher.publish(player.Clock())
player.BagPlayerNode.play = play
sys.exit(player.main(sys.argv))
"""
    command = [sys.executable, "-c", code, "--ros-args", "-p", f"bag:={bag}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)
    assert run.returncode == expected, run.stderr
    assert ("Traceback" in run.stderr) != shut_down, run.stderr


def test_loop_goes_round_and_ends_on_interrupt(bag: Path, ear: Ear) -> None:
    player = start(bag, rate=20.0, loop=True)
    assert ear.listen(lambda: len(ear.odometry) >= 90)
    player.send_signal(signal.SIGINT)
    said = finish(player, ear)
    assert player.returncode == 0, said
    assert ear.odometry[:82] == [T0 + i * NS_PER_S // 20 for i in range(41)] * 2
    back = [b - a for a, b in zip(ear.clock, ear.clock[1:]) if b < a]
    assert back
    assert all(step == -2 * NS_PER_S for step in back)


def test_pause_holds_the_bag(bag: Path, ear: Ear) -> None:
    player = start(bag, rate=20.0, start_paused=True)
    client = ear.node.create_client(SetBool, "/bag_player/pause")
    assert ear.listen(client.service_is_ready)
    ear.listen(lambda: False, 2.5)
    assert ear.odometry == []
    client.call_async(SetBool.Request(data=False))
    finish(player, ear)
    assert len(ear.odometry) == 41


def test_nothing_is_played_before_everyone_is_there(bag: Path, ear: Ear) -> None:
    if bag.suffix == ".db3":
        pytest.skip("waiting does not depend on the storage: tested with mcap")
    player = start(bag, rate=20.0, wait_for_subscribers_topics="/late")
    ear.listen(lambda: False, 3.0)
    assert ear.odometry == [], "one subscriber is missing"
    ear.node.create_subscription(String, "/late", lambda m: None, 1)
    finish(player, ear)
    assert len(ear.odometry) == 41


def test_who_never_comes_is_named_and_the_bag_is_played_anyway(bag: Path, ear: Ear) -> None:
    if bag.suffix == ".db3":
        pytest.skip("waiting does not depend on the storage: tested with mcap")
    player = start(bag, rate=20.0, wait_for_subscribers_s=2.0, wait_for_subscribers_topics="/never")
    said = finish(player, ear)
    assert player.returncode == 0
    assert re.search(r"after 2 s .*nobody subscribes to /never.*; playing anyway", said), said  # the ear may not have been found within 2 s either


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"bag": "/nowhere.mcap"}, "no such bag"),
        ({"topics": "/nothing"}, "no topic /nothing"),
        ({"lockstep": True}, "needs one image topic"),
        ({"rate": -1.0}, "rate"),
    ],
)
def test_what_cannot_be_played_is_said(bag: Path, parameters: dict[str, object], expected: str) -> None:
    if bag.suffix == ".db3":
        pytest.skip("errors do not depend on the storage: tested with mcap")
    player = start(bag, **{"wait_for_subscribers_s": 0.0, **parameters})
    said, _ = player.communicate(timeout=60)
    assert player.returncode == 1
    assert expected in said


def test_timeline() -> None:
    line = Timeline(2.0)
    line.anchor(10 * NS_PER_S, 100)
    assert line.due_ns(12 * NS_PER_S) == 100 + NS_PER_S
    line.hold(50)
    assert line.due_ns(12 * NS_PER_S) == 150 + NS_PER_S
    assert line.bag_now(line.due_ns(11 * NS_PER_S)) == 11 * NS_PER_S
    assert Timeline(0.0).due_ns(5) == 0


def test_lockstep_waits_for_what_is_due_and_possible() -> None:
    """10 Hz pictures, tokens at 5 Hz, plans at 2.5 Hz; odometry lags one picture behind."""
    steps = Lockstep(tokenize_rate_hz=5.0, plan_rate_hz=2.5, await_samples=True, has_odometry=True)
    waits = []
    for i in range(8):
        stamp_ns = T0 + i * NS_PER_S // 10
        waits.append(list(steps.outstanding()))
        steps.give_up()
        steps.image_sent(stamp_ns)
        steps.odometry_sent(stamp_ns - NS_PER_S // 20)
    assert waits == [[], [], [T0], [], [T0 + 2 * NS_PER_S // 10], [], [T0 + 4 * NS_PER_S // 10], []]
    steps.reset()
    steps.image_sent(T0)
    steps.odometry_sent(T0)
    steps.tokens_came(T0)
    assert steps.outstanding() == [T0]  # its plan is due too
    steps.samples_came(T0)
    assert steps.outstanding() == []
