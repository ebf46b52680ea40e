"""path_follower_node in its own process: messages in, messages out; and the control messages by themselves."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
from ackermann_msgs.msg import AckermannDrive, AckermannDriveStamped
from carla_msgs.msg import CarlaEgoVehicleControl, CarlaEgoVehicleInfo, CarlaEgoVehicleInfoWheel
from geometry_msgs.msg import Vector3
from nav_msgs.msg import Odometry, Path
from rclpy.qos import DurabilityPolicy, QoSProfile

from vavam_ros.core.contracts import NS_PER_S, ConfigError, DensePath, InputError
from vavam_ros.nodes import control_messages as cm
from vavam_ros.nodes import convert
from vavam_ros.nodes.parameter_table import markdown
from vavam_ros.nodes.path_follower_table import ACTUATION_NAMES, FOLLOW_NAMES, PARAMETERS

pytestmark = pytest.mark.ros
GIVEN = {"wheelbase_m": 2.9, "max_steer_rad": 0.61, "rear_axle_x_m": -1.4}
T0 = 100 * NS_PER_S
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def vehicle_info(yaw: float = 0.0, max_steer: float = 0.61, wheelbase: float = 2.9, rear: float = -1.4) -> CarlaEgoVehicleInfo:
    """As the bridge sends it: positions from the origin along the axes of the map, front wheels first."""
    info = CarlaEgoVehicleInfo()
    for x, steer in ((rear + wheelbase, max_steer), (rear, 0.0)):
        for y in (0.8, -0.8):
            at = Vector3(x=x * math.cos(yaw) - y * math.sin(yaw), y=x * math.sin(yaw) + y * math.cos(yaw), z=-0.3)
            info.wheels.append(CarlaEgoVehicleInfoWheel(max_steer_angle=steer, position=at))
    return info


def odometry(stamp_ns: int, x: float = 0.0, v: float = 8.0, yaw: float = 0.0) -> Odometry:
    """The actor's origin; x is that of the rear axle at heading 0."""
    msg = Odometry(header=convert.header_msg(stamp_ns, "map"), child_frame_id="ego_vehicle")
    msg.pose.pose.position.x = x + 1.4
    msg.pose.pose.orientation.z, msg.pose.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    msg.twist.twist.linear.x = v
    return msg


def path(stamp_ns: int, *, frame: str = "map", left: float = 0.0, v: float = 8.0, x0: float = 0.0) -> Path:
    """3 s on a parabola to the left, by `left` metres at its end."""
    t = np.linspace(0.0, 3.0, 31)
    xyz = np.column_stack([x0 + v * t, left * (t / 3.0) ** 2, np.zeros(31)])
    stamps = stamp_ns + np.round(t * NS_PER_S).astype(np.int64)
    dense = DensePath(stamp_ns=stamp_ns, frame_id=frame, stamps_ns=stamps, xyz_m=xyz, yaw_rad=np.zeros(31), speed_mps=np.full(31, v), age_s=0.0)
    return convert.dense_path_msg(dense)


class Follower:
    """The node, and the test's side connected to it."""

    def __init__(self, world: Callable[[str], Any], start: Callable[..., Any], control: Any, **params: Any) -> None:
        self.world = world("path_follower_node")
        self.process = start("path_follower_node", params=params)
        self.control, self.followed = self.world.listen(control, "control"), self.world.listen(Path, "followed")
        node = self.world.node
        assert self.world.wait(lambda: node.count_subscribers("/path_follower_node/odometry") > 0 and node.count_subscribers("/path_follower_node/path") > 0)
        self.paths, self.odometry = self.world.publisher(Path, "path"), self.world.publisher(Odometry, "odometry", 50)
        assert self.world.wait(self._hears), self.process.text
        assert self.world.wait(lambda: node.count_publishers("/path_follower_node/control") > 0)

    def _hears(self) -> bool:
        """Both subscriptions are matched on both sides: messages without a stamp, which are counted and refused, arrive."""
        self.paths.publish(Path())
        self.odometry.publish(Odometry())
        values = self.world.status("input")["values"]
        return all(int(values.get(f"~/{name}.count", 0)) > 0 for name in ("path", "odometry"))

    def drive(self, ticks: int, **kwargs: Any) -> list[Any]:
        """Odometry at 20 Hz of simulated time along +x, a path at the first tick; every command."""
        for i in range(ticks):
            self.odometry.publish(odometry(T0 + i * NS_PER_S // 20, x=0.4 * i))
            if i == 0:
                self.paths.publish(path(T0, **kwargs))
                assert self.world.wait(lambda: len(self.followed) == 1), self.process.text
            elif not self.world.wait(lambda i=i: len(self.control) >= i, 5.0):
                pytest.fail(f"no command for tick {i}:\n{self.process.text}")
        return self.control


def seconds(msg: Any) -> int:
    stamp = cm.stamp_of(msg)
    assert stamp is not None
    return stamp


@pytest.mark.parametrize("frame", ["map", "ego"])
def test_one_carla_command_per_odometry_message_with_its_stamp(frame: str, world: Callable[[str], Any], start: Callable[..., Any]) -> None:
    """The vehicle from vehicle_info, spawned at some heading; a path to the left steers negative; the raw plan's frame is placed at the rear axle."""
    f = Follower(world, start, CarlaEgoVehicleControl)
    f.odometry.publish(odometry(T0 - NS_PER_S))
    assert f.world.wait(lambda: f.world.says("follower_no_vehicle_info"), 10.0), f.process.text
    f.world.publisher(CarlaEgoVehicleInfo, "vehicle_info", LATCHED).publish(vehicle_info(yaw=2.0))
    assert f.world.wait(lambda: "wheelbase_m=2.9" in f.process.text, 10.0), f.process.text
    commands = f.drive(20, frame=frame, left=6.0)
    assert [seconds(c) for c in commands] == [T0 + i * NS_PER_S // 20 for i in range(1, 20)]  # none before the path, nor at its own stamp
    assert commands[-1].steer < -0.02
    assert all(c.throttle * c.brake == 0.0 for c in commands)
    (shown,) = f.followed
    assert (shown.header.frame_id, convert.stamp_ns(shown.header)) == ("map", T0)
    first = shown.poses[0].pose.position
    assert (first.x, first.y) == pytest.approx((0.0, 0.0), abs=1e-6)  # the rear axle, not the actor's origin
    assert f.process.stop() == 0


@pytest.mark.parametrize(("control_type", "cls"), [("ackermann_stamped", AckermannDriveStamped), ("ackermann", AckermannDrive)])
def test_ackermann_commands_are_radians_to_the_left(control_type: str, cls: Any, world: Callable[[str], Any], start: Callable[..., Any]) -> None:
    f = Follower(world, start, cls, control_type=control_type, **GIVEN)
    drive = [getattr(c, "drive", c) for c in f.drive(12, left=6.0)]
    assert 0.02 < drive[-1].steering_angle < 0.3
    assert drive[-1].speed == pytest.approx(8.0, abs=0.5)


def test_silent_with_the_reason_where_nothing_can_be_followed(world: Callable[[str], Any], start: Callable[..., Any]) -> None:
    f = Follower(world, start, CarlaEgoVehicleControl, min_plan_age_s=0.2, **GIVEN)
    f.odometry.publish(odometry(T0))
    f.paths.publish(path(T0, frame="camera"))
    assert f.world.wait(lambda: f.world.counted("follower_bad_path") == 1)
    bad = path(T0)
    bad.poses[3].pose.position.y = math.nan
    f.paths.publish(bad)
    assert f.world.wait(lambda: f.world.counted("follower_bad_path") == 2)
    f.odometry.publish(odometry(T0 + NS_PER_S // 20))
    assert f.world.wait(lambda: f.world.says("follower_idle"))
    f.paths.publish(path(T0))
    assert f.world.wait(lambda: len(f.followed) == 1)
    for i in range(2, 6):
        f.odometry.publish(odometry(T0 + i * NS_PER_S // 20, x=0.4 * i))
    assert f.world.wait(lambda: len(f.control) == 2)  # from 0.2 s on
    assert [seconds(c) - T0 for c in f.control] == [NS_PER_S // 5, NS_PER_S // 4]
    for i in range(6, 10):
        f.odometry.publish(odometry(T0 + i * NS_PER_S // 20, x=0.4 * i, yaw=3.0))
    assert f.world.wait(lambda: f.world.says("follower_no_command"))
    assert len(f.control) == 2
    f.odometry.publish(odometry(T0 - 50 * NS_PER_S))  # time jumps back: the path is of another time
    assert f.world.wait(lambda: f.world.counted("odometry_reset") == 1)
    assert f.world.wait(lambda: f.world.says("follower_idle"))


def test_what_cannot_be_meant_is_said_and_nothing_is_published(world: Callable[[str], Any], start: Callable[..., Any]) -> None:
    w = world("path_follower_node")
    start("path_follower_node", params={**GIVEN, "follow.min_lookahead_m": 19.0, "follow.max_lookahead_m": 5.0})
    assert w.wait(lambda: w.says("follower_parameters"))
    assert "min_lookahead_m" in w.status("output")["message"]


def test_paths_of_another_clock_are_refused_and_push_out_no_good_one(world: Callable[[str], Any], start: Callable[..., Any]) -> None:
    f = Follower(world, start, CarlaEgoVehicleControl, **GIVEN)
    f.odometry.publish(odometry(T0 - NS_PER_S // 20))
    for i in range(40):
        f.paths.publish(path(T0 + (3600 + i) * NS_PER_S))
        assert f.world.wait(lambda i=i: len(f.followed) > 0 or f.world.counted("follower_bad_path") > 0)
    assert f.followed == []
    assert f.drive(10)


def test_a_given_wheel_angle_goes_before_that_of_vehicle_info(world: Callable[[str], Any], start: Callable[..., Any]) -> None:
    f = Follower(world, start, CarlaEgoVehicleControl, max_steer_rad=0.4)
    f.world.publisher(CarlaEgoVehicleInfo, "vehicle_info", LATCHED).publish(vehicle_info())
    assert f.world.wait(lambda: "max_steer_rad=0.4)" in f.process.text, 10.0), f.process.text
    assert "rear_axle_x_m=-1.4" in f.process.text


def test_the_process_has_neither_torch_nor_opencv() -> None:
    code = "import sys, vavam_ros.nodes.path_follower_node\nprint(sorted({'torch', 'cv2', 'vavam_ros.msg'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FilePath(__file__).resolve().parents[2])
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


# ── control messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("control_type", cm.CONTROL_TYPES)
def test_numbers_survive_the_message(control_type: str) -> None:
    carla, ackermann = cm.CarlaValues(throttle=0.5, steer=-0.25), cm.AckermannValues(steer_rad=0.25, speed_mps=8.0, accel_mps2=-1.5, jerk_mps3=2.0)
    values = carla if control_type == "carla" else ackermann
    msg = cm.to_message(control_type, values, T0 + 5, "ego_vehicle")
    assert isinstance(msg, cm.message_class(control_type))
    assert cm.values_of(msg) == values
    assert cm.stamp_of(msg) == (T0 + 5 if cm.has_stamp(control_type) else None)
    with pytest.raises(ConfigError, match="Values"):
        cm.to_message(control_type, ackermann if control_type == "carla" else carla, T0)


def test_a_command_that_is_not_finite_is_never_made() -> None:
    for kind, values in (("carla", cm.CarlaValues(steer=math.nan)), ("ackermann", cm.AckermannValues(speed_mps=math.inf))):
        with pytest.raises(InputError, match="finite"):
            cm.to_message(kind, values, T0)
    with pytest.raises(ConfigError, match="expected one of carla, ackermann_stamped, ackermann"):
        cm.message_class("twist")


def test_stop_messages_brake_keep_the_steering_and_hold() -> None:
    stop = cm.stop_message("carla", T0, decel_mps2=2.0, speed_mps=5.0, steering=-0.2, brake_decel_mps2=8.0)
    assert (stop.throttle, stop.brake, stop.steer) == pytest.approx((0.0, 0.25, -0.2))
    assert cm.stop_message("carla", T0, decel_mps2=0.0, speed_mps=0.0, hold=True).brake == 1.0
    drive = cm.stop_message("ackermann_stamped", T0, decel_mps2=2.0, speed_mps=5.0, steering=0.1).drive
    assert (drive.speed, drive.acceleration, drive.steering_angle) == pytest.approx((0.0, -2.0, 0.1))


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
def test_vehicle_info_gives_the_rear_axle_whatever_the_heading_at_spawn(yaw: float) -> None:
    found = cm.vehicle_geometry(vehicle_info(yaw))
    assert (found.rear_axle_x_m, found.wheelbase_m, found.max_steer_rad) == pytest.approx((-1.4, 2.9, 0.61), abs=1e-6)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (vehicle_info(max_steer=70.0), "expected radians"),
        (vehicle_info(max_steer=0.0), "expected some of both"),
        (vehicle_info(wheelbase=290.0), "wheelbase of 290"),
        (vehicle_info(max_steer=math.nan), "finite"),
        (CarlaEgoVehicleInfo(), "wheels"),
    ],
)
def test_vehicle_info_that_cannot_be_meant_is_refused(info: CarlaEgoVehicleInfo, said: str) -> None:
    with pytest.raises(InputError, match=said):
        cm.vehicle_geometry(info)


def test_a_missing_message_package_is_named_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "carla_msgs.msg", None)
    with pytest.raises(ConfigError, match="needs carla_msgs/CarlaEgoVehicleControl, which is not installed: it comes with the CARLA-ROS bridge"):
        cm.message_class("carla")


def test_every_limit_of_the_core_is_a_parameter_and_documented() -> None:
    from dataclasses import fields

    from vavam_ros.core.follow import CarlaActuation, FollowConfig

    assert {f.name for f in fields(FollowConfig)} == set(FOLLOW_NAMES) | {"wheelbase_m", "max_steer_rad"}
    assert {f.name for f in fields(CarlaActuation)} == set(ACTUATION_NAMES) | {"max_steer_rad"}
    assert all(row.problem(row.default) is None for row in PARAMETERS)
    assert "## path_follower_node" in markdown()
