"""Lock-step and free running, through a world in its own process."""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from carla_msgs.msg import CarlaEgoVehicleControl
from nav_msgs.msg import Path as PathMsg
from rclpy.context import Context
from vavam_world.bridge.result import EGO_COLUMNS, load_trace
from vavam_world.contracts import START_NS, TICK_NS, MapSpec, RouteSpec, Scenario, TrafficSpec

from vavam_ros.core.contracts import ConfigError
from vavam_ros.nodes.convert import header_msg, stamp_ns

pytestmark = pytest.mark.ros
EMPTY = Scenario(name="empty", map=MapSpec(kind="straight"), route=RouteSpec(length_m=200.0), start_speed_mps=5.0, time_limit_s=1.0)


class Follower:
    """Answers odometry with a control, and each planned picture with a path, after a while that differs from run to run.

    What it commands depends on the pixels of the last picture it planned from: were a plan late or early by a tick, the run would be another."""

    def __init__(self, side: Any, *, controls: int = 10**9, stale: float = 0.0) -> None:
        """Falls silent after so many controls; `stale`: how often it says its last word again."""
        self._side, self._left, self._brightness, self._stale = side, controls, 0.0, stale
        self._random = random.Random()
        self._publisher = side.node.create_publisher(PathMsg, "/test/followed", 10)
        side.publish_without_wait = side.node.create_publisher(CarlaEgoVehicleControl, side.name("control"), 10)
        side.on["odometry"] = self._on_odometry
        side.on["image"] = self._on_image

    def _on_odometry(self, msg: Any) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        if stamp_ns(msg.header) == START_NS:
            self._brightness = 0.0  # a new run
        time.sleep(self._random.uniform(0.0, 0.004))
        steer = 0.3 * math.sin(stamp_ns(msg.header) * 1e-9) + 0.2 * (self._brightness - 0.5)
        stale = CarlaEgoVehicleControl(header=header_msg(stamp_ns(msg.header) - TICK_NS, "map"), brake=1.0)
        if self._random.random() < self._stale:
            self._side.publish_without_wait.publish(stale)  # a gate that says its last word again: not this tick's control
        control = CarlaEgoVehicleControl(header=msg.header, throttle=0.5, steer=steer)
        self._side.publish_without_wait.publish(control)
        if self._random.random() < self._stale:
            self._side.publish_without_wait.publish(stale)

    def _on_image(self, msg: Any) -> None:
        if (stamp_ns(msg.header) - START_NS) // TICK_NS % 10:
            return
        time.sleep(self._random.uniform(0.0, 0.02))
        self._brightness = float(np.frombuffer(msg.data, np.uint8).mean()) / 255.0
        self._publisher.publish(PathMsg(header=header_msg(stamp_ns(msg.header), "map")))


def start(start_world: Any, scenario: Scenario, **params: Any) -> Any:
    return start_world(scenario, mode="lock_step", settle_s=0.5, **params)


def test_lock_step_is_the_same_twice_bit_for_bit(start_world: Any, make_side: Any, tmp_path: Path) -> None:
    scenario = Scenario(
        name="twice",
        map=MapSpec(kind="crossroads"),
        route=RouteSpec(turns=("left",), length_m=150.0),
        traffic=TrafficSpec(vehicles=4, pedestrians=2),
        start_speed_mps=4.0,
        time_limit_s=2.5,
    )
    side = make_side(kinds=("odometry", "image"))
    Follower(side, stale=0.3)
    results = []
    for run in ("a", "b"):
        process = start(start_world, scenario, result_file=tmp_path / f"{run}.json", followed_topic="/test/followed", run_on=False)
        assert process.wait(60.0) == 0, process.text
        results.append(json.loads((tmp_path / f"{run}.json").read_text()))
    a, b = results
    assert a["finished"] in ("time", "collision", "off_road")
    assert a["ticks"] > 30
    assert (a["digest"], a["ticks"], a["plans"]) == (b["digest"], b["ticks"], b["plans"])
    with np.load(tmp_path / "a.npz") as first, np.load(tmp_path / "b.npz") as second:
        np.testing.assert_array_equal(first["ego"], second["ego"])
        np.testing.assert_array_equal(first["controls"], second["controls"])
        assert np.unique(first["controls"][:, 2]).size == len(first["controls"])  # each tick has a control of its own
        assert (first["controls"][:, 1] == 0.0).all()  # the stale ones never counted
    trace = load_trace(tmp_path / "a.npz")
    assert len(trace.states) == a["ticks"] + 1
    assert [float(getattr(trace.states[-1].ego, c)) for c in EGO_COLUMNS][:2] == [trace.states[-1].ego.x_m, trace.states[-1].ego.y_m]


def test_a_control_that_does_not_come_ends_lock_step_by_name(start_world: Any, make_side: Any, no_cameras: Path, tmp_path: Path) -> None:
    side = make_side("hero", kinds=("odometry",))
    Follower(side, controls=5)
    result = tmp_path / "result.json"
    process = start(start_world, EMPTY, objects_definition_file=no_cameras, answer_timeout_s=0.5, result_file=result)
    assert process.wait(30.0) == 1
    assert "control of stamp 100.250 s on /carla/hero/vehicle_control_cmd did not come within 0.5 s" in process.text
    assert "has 1 publisher(s)" in process.text
    values = json.loads(result.read_text())
    assert values["finished"] == "error"
    assert "100.250" in values["detail"]
    assert values["ticks"] == 5


def test_it_can_go_on_without_answers_and_keeps_the_last_control(start_world: Any, make_side: Any, no_cameras: Path, tmp_path: Path) -> None:
    side = make_side("hero", kinds=("odometry",))
    Follower(side, controls=5)
    result = tmp_path / "result.json"
    scenario = replace(EMPTY, time_limit_s=0.5)
    process = start(start_world, scenario, objects_definition_file=no_cameras, answer_timeout_s=0.3, on_timeout="continue", result_file=result)
    assert process.wait(30.0) == 0
    values = json.loads(result.read_text())
    assert (values["finished"], values["ticks"], values["timeouts"]) == ("time", 10, 6)
    with np.load(tmp_path / "result.npz") as trace:
        assert (trace["controls"][4:] == trace["controls"][4]).all()


def test_peers_that_are_not_there_are_named(start_world: Any, no_cameras: Path) -> None:
    process = start(start_world, EMPTY, objects_definition_file=no_cameras, wait_for_peers_s=0.3)
    assert process.wait(30.0) == 1
    assert "nobody publishes /carla/hero/vehicle_control_cmd; nobody subscribes to /carla/hero/odometry" in process.text


def test_waiting_for_the_control_times_out_after_a_second_and_goes_on(start_world: Any, make_side: Any, no_cameras: Path) -> None:
    side = make_side("hero", kinds=("clock", "odometry"))
    scenario = Scenario(name="long", map=MapSpec(kind="straight"), route=RouteSpec(length_m=200.0), time_limit_s=3600.0)
    params = {"synchronous_mode_wait_for_vehicle_control_command": True, "real_time_factor": 0.0}
    process = start_world(scenario, objects_definition_file=no_cameras, **params)
    assert side.until(lambda: len(side.heard["clock"]) >= 3)
    stamps = [m.clock.sec * 10**9 + m.clock.nanosec for m in side.heard["clock"]]
    assert np.diff(stamps).tolist()[:2] == [TICK_NS] * 2
    assert side.until(lambda: process.text.count("time-out (1 s) while waiting for a vehicle control of hero") >= 2)
    Follower(side)
    assert side.until(lambda: len(side.heard["clock"]) >= 60)  # without an answer these would take a minute
    names = {name for name, _ in side.node.get_topic_names_and_types()}
    assert {"/carla/hero/odometry", "/carla/hero/speedometer", "/carla/hero/vehicle_status"} <= names
    assert not any("front" in name for name in names)
    assert process.stop() == 0


def test_an_interrupted_free_run_writes_its_result_and_says_that_it_is_behind(start_world: Any, make_side: Any, tmp_path: Path) -> None:
    side = make_side(kinds=("clock",))
    result = tmp_path / "result.json"
    scenario = Scenario(name="long", map=MapSpec(kind="straight"), route=RouteSpec(length_m=200.0), time_limit_s=3600.0)
    process = start_world(scenario, real_time_factor=100.0, run_on=True, result_file=result)  # a thousand pictures a second
    assert side.until(lambda: "behind the wall clock" in process.text), process.text
    assert process.stop() == 0
    values = json.loads(result.read_text())
    assert values["finished"] == "interrupted"
    assert values["behind_s"] > 0.4
    assert len(load_trace(tmp_path / "result.npz").states) == values["ticks"] + 1


def test_all_large_pictures_arrive(start_world: Any, make_side: Any, repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = make_side(kinds=())
    monkeypatch.setattr(side, "name", lambda kind: f"/carla/ego_vehicle/vavam_front/{kind}")
    side.listen("image", key="large")
    objects = repo_root / "config" / "carla_objects.json"
    process = start_world(EMPTY, objects_definition_file=objects, real_time_factor=0.5, start_paused=True)
    monkeypatch.undo()
    assert side.is_known(), process.text
    side.command(0)
    assert process.wait(60.0) == 0, process.text
    side.until(lambda: len(side.heard["large"]) == 11)
    missing = set(range(11)) - {(stamp_ns(m.header) - START_NS) // (2 * TICK_NS) for m in side.heard["large"]}
    # the first: nobody was matched yet, or it was pushed out of a history of ten; the last: the end was too soon
    assert not missing, f"pictures {sorted(missing)} of 0 to 10 did not arrive\n{process.text}"
    assert [stamp_ns(m.header) for m in side.heard["large"]] == [START_NS + 2 * i * TICK_NS for i in range(11)]
    assert {(m.width, m.height, len(m.data)) for m in side.heard["large"]} == {(1600, 900, 1600 * 900 * 4)}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"mode": "lock_step", "synchronous_mode": "false"}, "synchronous_mode false"),
        ({"mode": "lock_step", "synchronous_mode_wait_for_vehicle_control_command": "true"}, "waits for the control by its stamp"),
        ({"start_paused": "true", "synchronous_mode": "false"}, "start_paused"),
        ({"model_camera": "rear"}, "got 'rear', expected one of front"),
        ({"scenario": "/nowhere/scenario.json"}, r"scenario /nowhere/scenario\.json"),
        ({"scenario": "'{\"name\": \"x\", \"speed\": 3}'"}, "unknown speed"),
        ({"mode": "quick"}, "expected one of"),
        ({"role_name": "'1 a'"}, "role_name"),
        ({"result_file": "/proc/nowhere/result.json"}, r"result_file /proc/nowhere/result\.json"),
        ({"result_file": "/tmp"}, "result_file /tmp: is a folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(params: dict[str, str], says: str) -> None:
    import rclpy
    from vavam_world.bridge.world_node import WorldNode

    context = Context()
    arguments = ["--ros-args"]
    for key, value in params.items():
        arguments += ["-p", f"{key}:={value}"]
    rclpy.init(context=context)
    try:
        with pytest.raises(ConfigError, match=says):
            WorldNode(context=context, cli_args=arguments)
    finally:
        context.try_shutdown()
