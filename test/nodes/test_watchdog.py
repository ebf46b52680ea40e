"""watchdog_node in its own process, against a live stand-in for everything around it: vehicle, camera, planner, follower."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from carla_msgs.msg import CarlaEgoVehicleControl
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Bool
from watchdog_rig import LATCHED, NS, TICK_S, Make, command_msg, rigs

from vavam_ros.core.gate import Decision, GateState, Output
from vavam_ros.core.gate_checks import GateCommand, GateConfig
from vavam_ros.nodes.stamps import header_msg, stamp_ns, time_msg
from vavam_ros.nodes.vehicle_output import VehicleOutput
from vavam_ros.nodes.watchdog_table import LIMIT_NAMES

pytestmark = pytest.mark.ros


@pytest.fixture
def rig(world: Any, start: Any) -> Iterator[Make]:
    yield from rigs(world, start)


def test_limits_and_parameters_are_the_same_list() -> None:
    assert set(LIMIT_NAMES) == set(GateConfig.__dataclass_fields__)


def test_process_is_light() -> None:
    code = "import sys, vavam_ros.nodes.watchdog_node\nprint(sorted({'torch', 'cv2', 'transforms3d', 'matplotlib', 'einops'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["carla", "ackermann_stamped", "ackermann"])
def test_dry_run_enable_pass_disable(rig: Make, kind: str) -> None:
    r, _ = rig(kind)
    r.wait_for("READY")
    time.sleep(0.5)
    assert r.passed == []  # dry run
    r.arm()
    sent = command_msg(kind, 0)
    for _, got in r.passed[:4]:
        if kind != "ackermann":
            assert 0 < time.time_ns() - stamp_ns(got.header) < 20 * NS
            got.header, sent.header = header_msg(0, ""), header_msg(0, "")
        assert got == sent  # nothing else is touched
    said = len(r.states)
    assert r.enable(False) == (True, "stopping")
    r.wait_for("STOP")
    assert any("disabled by request" in state for state in r.states[said:]), r.states[said:]
    assert r.world.wait(r.is_held), r.passed[-1]
    assert r.speed < 0.2
    last = r.passed[-1][1]
    if kind == "carla":
        assert last.steer == 0.125
    else:
        assert getattr(last, "drive", last).steering_angle == -0.125
    assert r.world.wait(lambda: r.enable() == (True, "enabled"))  # the new enable that a stop needs


def test_stamps_are_kept_and_a_command_passes_once_and_at_once(rig: Make) -> None:
    r, _ = rig()
    r.arm()
    time.sleep(0.5)
    r.off.add("command")
    time.sleep(0.15)
    before = len(r.passed)
    stamp = time.time_ns()
    began = time.monotonic()
    r.world.publisher(CarlaEgoVehicleControl, "control_in").publish(command_msg("carla", stamp, throttle=0.7))
    assert r.world.wait(lambda: any(stamp_ns(m.header) == stamp for _, m in r.passed[before:]), 2.0)
    at = next(t for t, m in r.passed[before:] if stamp_ns(m.header) == stamp)
    assert at - began < 0.3  # an order above what it takes, an order below what re-emission alone would allow to accumulate


def test_planner_dead_and_follower_floods(rig: Make) -> None:
    r, _ = rig()
    r.arm()
    r.command = {"throttle": 1.0, "steer": 0.125}
    r.flood = 30  # 600 Hz
    r.off |= {"heartbeat", "diagnostics", "path"}
    r.wait_for("STOP", 5.0)
    at = len(r.passed)
    assert r.world.wait(r.is_held, 10.0), r.passed[-1]
    assert all(m.throttle == 0.0 for _, m in r.passed[at:])
    assert r.speed < 0.2
    assert len(r.world.node.get_publishers_info_by_topic(f"/{r.name}/control_out")) == 1
    assert r.enable()[0] is False
    time.sleep(0.5)
    assert r.is_held()
    assert r.world.says("gate_flood")
    assert r.world.says("gate_stopped")


def test_one_fault_after_the_other_stops_names_its_cause_and_needs_a_new_enable(rig: Make) -> None:
    r, process = rig()
    r.wait_for("READY")

    def heartbeat() -> None:
        r.off.add("heartbeat")

    def nan() -> None:
        r.command = {"throttle": float("nan")}

    def jump() -> None:
        r.x += 10.0

    def inactive() -> None:
        r.off.add("diagnostics")
        r.diagnose(state="inactive")

    for inject, cause in ((heartbeat, "heartbeat of /planner"), (nan, "command refused: throttle is nan"), (jump, "odometry jumped by 10"),
                          (inactive, "/planner is not active")):  # fmt: skip
        r.speed = 1.5
        assert r.world.wait(lambda: r.enable()[0]), r.states[-3:]
        r.wait_for("ACTIVE", 5.0)
        time.sleep(0.2)
        inject()
        r.wait_for("STOP", 5.0)
        assert r.states[-1].startswith(f"STOP: {cause}"), r.states[-1]
        assert r.world.wait(r.is_held), r.passed[-1]
        r.command = {}
        r.off.clear()
    assert all(m.throttle == m.throttle for _, m in r.passed)
    assert r.world.wait(lambda: r.world.says("gate_bad_command"))
    assert process.alive


@pytest.mark.parametrize("how", ["odometry", "nan"])
def test_odometry_lost(rig: Make, how: str) -> None:
    r, _ = rig()
    r.arm()
    r.off.add(how)
    r.wait_for("STOP", 5.0)
    assert "odometry" in r.states[-1]
    assert r.world.wait(r.is_held, 10.0)
    brakes = [m.brake for _, m in r.passed]
    assert max(b for b in brakes if b < 1.0) > 1.2 * GateConfig().stop_decel_mps2 / 8.0  # harder than the comfortable stop


def test_images_late_degrades_and_recovers(rig: Make) -> None:
    r, _ = rig()
    r.arm()
    r.off.add("image")
    r.wait_for("DEGRADED", 5.0)
    before = len(r.passed)
    assert r.world.wait(lambda: len(r.passed) > before + 2)  # still driving
    r.off.clear()
    r.wait_for("ACTIVE", 5.0)


@pytest.mark.parametrize(("topic", "latched"), [("manual_override", False), ("/carla/ego_vehicle/vehicle_control_manual_override", True)])
def test_manual_override(rig: Make, topic: str, latched: bool) -> None:
    r, _ = rig()
    r.arm()
    r.world.publisher(Bool, topic, LATCHED if latched else 1).publish(Bool(data=True))
    r.wait_for("READY", 5.0)
    assert "manual override" in r.states[-1]
    time.sleep(0.2)
    silent = len(r.passed)
    time.sleep(0.4)
    assert len(r.passed) == silent
    assert r.enable() == (False, "refused: manual override")
    r.world.publisher(Bool, topic).publish(Bool(data=False))
    assert r.world.wait(lambda: r.enable()[0])


def test_an_override_from_before_the_start_is_heard(world: Any, rig: Make) -> None:
    other = world("other")
    other.publisher(Bool, "/carla/ego_vehicle/vehicle_control_manual_override", LATCHED).publish(Bool(data=True))
    r, _ = rig()
    assert r.world.wait(lambda: any(s == "READY: manual override" for s in r.states)), r.states
    assert r.enable()[0] is False


def test_exactly_one_publisher_and_a_second_is_refused_by_name(rig: Make) -> None:
    r, _ = rig()
    r.wait_for("READY")
    assert len(r.world.node.get_publishers_info_by_topic(f"/{r.name}/control_out")) == 1
    second = r.world.node.create_publisher(CarlaEgoVehicleControl, f"/{r.name}/control_out", 1)
    r.wait_for("WARMUP")
    ok, why = r.enable()
    assert not ok
    assert "also published by /world" in why
    assert r.world.wait(lambda: r.world.says("gate_second_publisher"))
    r.world.node.destroy_publisher(second)
    r.arm()
    r.world.node.create_publisher(CarlaEgoVehicleControl, f"/{r.name}/control_out", 1)
    r.wait_for("STOP")


def test_a_reported_error_degrades_until_it_is_gone(rig: Make) -> None:
    r, _ = rig()
    r.arm()
    r.diagnose(level=2, task="input", message="[bad_image] image refused")
    r.wait_for("DEGRADED", 5.0)
    assert "bad_image" in r.states[-1]
    r.diagnose(level=0, task="input")
    r.wait_for("ACTIVE", 5.0)


def test_an_orderly_end_leaves_a_brake(rig: Make) -> None:
    r, process = rig()
    r.arm()
    assert process.stop() == 0
    assert r.world.wait(lambda: r.passed[-1][1].brake == pytest.approx(2.0 / 8.0))
    assert r.passed[-1][1].throttle == 0.0


def test_auto_enable_only_with_simulated_time(rig: Make) -> None:
    r, _ = rig(auto_enable=True)
    r.wait_for("READY")
    assert r.world.wait(lambda: r.world.says("gate_auto_enable"))
    assert r.state == "READY"


def test_simulated_time(rig: Make) -> None:
    """Arms by itself, survives a clock that stands still, and stops when it jumps back."""
    r, _ = rig(simulated=True, auto_enable=True, clock_stall_s=1.0)
    r.wait_for("ACTIVE")
    r.off.add("clock")  # a simulator that waits, for somebody else: the last command answered its last tick
    time.sleep(1.5)
    assert r.state == "ACTIVE", r.states
    r.off.clear()
    time.sleep(0.3)
    assert r.state == "ACTIVE", r.states
    r.off |= {"odometry", "image", "path", "command"}  # their stamps jump back, too, and messages of other topics may come before the clock's
    r.sim_ns -= 5 * NS
    r.wait_for("STOP")
    assert "the clock jumped back" in r.states[-1]


def test_lockstep_is_not_deadlocked_by_a_dead_follower(rig: Make) -> None:
    """The clock goes on only when a command stamped with its present time came."""
    r, _ = rig(simulated=True, auto_enable=True, clock_stall_s=0.5, disarmed_output="brake")
    r.wait_for("ACTIVE")
    r.off |= {"command", "clock", "image", "path"}
    time.sleep(0.2)
    stood_at = r.sim_ns
    end = time.monotonic() + 10.0
    for _ in range(40):
        r.sim_ns += round(TICK_S * NS)
        r.world.publisher(Clock, "/clock").publish(Clock(clock=time_msg(r.sim_ns)))
        assert r.world.wait(lambda: any(stamp_ns(m.header) == r.sim_ns for _, m in r.passed[-5:]), end - time.monotonic()), f"stuck: {r.states[-3:]}"
        if r.state == "STOP":
            break
    assert r.state == "STOP"
    assert (r.sim_ns - stood_at) / NS < 1.0
    assert "no command answers" in r.states[-1] or "command is" in r.states[-1]


def test_a_parameter_that_cannot_be_meant_keeps_it_in_init(rig: Make) -> None:
    r, process = rig(stop_decel_mps2=9.0)
    assert r.world.wait(lambda: r.states and r.states[-1].startswith("INIT: gate stop_decel_mps2 9"))
    assert r.world.node.count_publishers(f"/{r.name}/control_out") == 0
    assert process.alive


def test_a_low_rate_still_stops(rig: Make) -> None:
    """Its own period is no pause of the process."""
    r, _ = rig(rate_hz=1.0)
    r.arm()
    r.off |= {"command", "path", "odometry", "image", "heartbeat"}
    r.wait_for("STOP", 8.0)


def test_an_override_is_not_taken_back_by_another_topic(rig: Make) -> None:
    r, _ = rig()
    r.arm()
    r.world.publisher(Bool, "manual_override").publish(Bool(data=True))
    r.wait_for("READY", 5.0)
    r.world.publisher(Bool, "/carla/ego_vehicle/vehicle_control_manual_override", LATCHED).publish(Bool(data=False))
    time.sleep(0.5)
    assert r.enable() == (False, "refused: manual override")


def test_an_image_of_another_clock_is_named(rig: Make) -> None:
    r, _ = rig()
    r.off.add("image")

    def sent() -> bool:
        r.world.publisher(CameraInfo, "camera_info").publish(CameraInfo(header=header_msg(time.time_ns() + 60 * NS, "camera")))
        return bool(r.world.says("gate_bad_image"))

    assert r.world.wait(sent)


def test_a_take_over_ends_auto_enable(rig: Make) -> None:
    r, _ = rig(simulated=True, auto_enable=True)
    r.off.add("command")  # not READY before the person comes
    assert r.world.wait(lambda: r.world.node.count_subscribers(f"/{r.name}/manual_override") >= 2)
    r.world.publisher(Bool, "manual_override").publish(Bool(data=True))
    assert r.world.wait(lambda: bool(r.states) and "manual override" in r.states[-1])
    r.off.clear()
    r.world.publisher(Bool, "manual_override").publish(Bool(data=False))
    assert r.world.wait(lambda: bool(r.states) and r.states[-1] == "READY: waiting for enable")
    time.sleep(0.5)
    assert r.state == "READY"


def test_odometry_that_goes_on_without_a_clock_stops(rig: Make) -> None:
    """Otherwise the last throttle would be repeated for as long as the clock stands."""
    r, _ = rig(simulated=True, auto_enable=True, clock_stall_s=0.5)
    r.wait_for("ACTIVE")
    r.world.publishers["/clock"] = type("Mute", (), {"publish": lambda self, msg: None})()
    r.wait_for("STOP", 5.0)
    assert "/clock stands still, odometry goes on" in r.states[-1]
    assert r.world.wait(r.is_held, 15.0), r.passed[-1]


def test_nothing_from_before_a_stop_is_held_after_it() -> None:
    sent: list[str] = []
    publisher = SimpleNamespace(topic_name="/out", publish=sent.append)
    messages = SimpleNamespace(
        msg_type=None, restamped=lambda msg, ns: f"held {msg}", stop=lambda decel, msg, ns: f"stop, steering of {msg}", hold=lambda msg, ns: "brake"
    )
    out = VehicleOutput(SimpleNamespace(create_publisher=lambda *a: publisher), messages, rate_hz=20.0, simulated=True)  # type: ignore[arg-type]
    old, new = ("old", GateCommand(stamp_ns=NS, values=(1.0,))), ("new", GateCommand(stamp_ns=3 * NS, values=(0.0,)))
    held = Decision(state=GateState.DEGRADED, output=Output.HOLD)
    passed = Decision(state=GateState.ACTIVE, output=Output.PASS)
    out.emit(passed, old, NS, changed=True)
    out.emit(held, old, NS + NS // 10, changed=True)
    out.emit(Decision(state=GateState.STOP, output=Output.BRAKE), old, 2 * NS, changed=True)
    out.emit(held, new, 3 * NS, changed=True)
    out.emit(passed, new, 4 * NS, changed=True)
    assert sent == ["old", "held old", "brake", "stop, steering of old", "new"]
