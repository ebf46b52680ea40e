"""The bridge's facts, one by one, on the live topics of a world in its own process, which is single-stepped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ackermann_msgs.msg import AckermannDrive
from carla_msgs.msg import CarlaControl, CarlaEgoVehicleControl
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from vavam_world.bridge.qos import TOPICS
from vavam_world.contracts import START_NS, TICK_NS, Vehicle

pytestmark = pytest.mark.ros
VEHICLE = Vehicle()
Fact = Callable[[Any], None]
FACTS: list[tuple[str, Fact]] = []


def fact(text: str) -> Callable[[Fact], Fact]:
    """One row of the table."""

    def add(check: Fact) -> Fact:
        FACTS.append((text, check))
        return check

    return add


def yaw_of(q: Any) -> float:
    return 2.0 * math.atan2(q.z, q.w)


def headings(side: Any, count: int) -> list[float]:
    return list(np.unwrap([yaw_of(o.pose.pose.orientation) for o in side.heard["odometry"][-count:]]))


# ── topics and quality of service ────────────────────────────────────────────────────────────────────────────────────────────────


@fact("topics out have the bridge's types, are reliable, and transient local where it latches")
def _(side: Any) -> None:
    for topic in TOPICS.values():
        if topic.direction == "out":
            (info,) = side.node.get_publishers_info_by_topic(side.name(topic.kind))
            package, name = topic.type.__module__.split(".")[0], topic.type.__name__
            assert info.topic_type == f"{package}/msg/{name}", topic.kind
            assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE, topic.kind
            latched = topic.kind in ("vehicle_info", "world_info", "waypoints")
            assert info.qos_profile.durability == (DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE), topic.kind


@fact("topics in have the bridge's types and names; depth 10, the override latched with depth 1")
def _(side: Any) -> None:
    types = {
        "/carla/ego_vehicle/vehicle_control_cmd": "carla_msgs/msg/CarlaEgoVehicleControl",
        "/carla/ego_vehicle/vehicle_control_cmd_manual": "carla_msgs/msg/CarlaEgoVehicleControl",
        "/carla/ego_vehicle/vehicle_control_manual_override": "std_msgs/msg/Bool",
        "/carla/ego_vehicle/enable_autopilot": "std_msgs/msg/Bool",
        "/carla/ego_vehicle/ackermann_cmd": "ackermann_msgs/msg/AckermannDrive",
        "/carla/control": "carla_msgs/msg/CarlaControl",
    }
    for name, kind in types.items():
        (info,) = side.node.get_subscriptions_info_by_topic(name)
        assert info.topic_type == kind
    assert {t.kind: t.depth for t in TOPICS.values() if t.depth != 10} == {"tf": 100, "waypoints": 1, "override": 1}


@fact("a volatile publisher does not match the override's subscription")
def _(side: Any) -> None:
    volatile = side.node.create_publisher(Bool, side.name("override"), 10)
    latched = side.node.create_publisher(Bool, side.name("override"), QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert side.until(lambda: latched.get_subscription_count() == 1)
    assert volatile.get_subscription_count() == 0
    side.node.destroy_publisher(volatile)
    side.node.destroy_publisher(latched)


@fact("vehicle_info, world_info and waypoints are sent once, and a late subscriber still gets them")
def _(side: Any) -> None:
    kinds = ("vehicle_info", "world_info", "waypoints")
    for kind in kinds:
        side.listen(kind, QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL), key=f"late_{kind}")
    assert side.until(lambda: all(side.heard[f"late_{k}"] for k in kinds))
    side.step(4)
    for kind in kinds:
        assert len(side.heard[kind]) == len(side.heard[f"late_{kind}"]) == 1, kind


@fact("a volatile late subscriber to vehicle_info gets nothing, as carla_ackermann_control does not")
def _(side: Any) -> None:
    side.listen("vehicle_info", QoSProfile(depth=10), key="volatile_info")
    side.step(4)
    assert not side.heard["volatile_info"]


# ── time and stepping ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@fact("a step is 0.05 s of simulated time: /clock, odometry and status carry the same stamp")
def _(side: Any) -> None:
    was = side.stamp("clock")
    side.step(3)
    assert side.stamp("clock") - was == 3 * TICK_NS
    assert side.stamp("clock") == side.stamp("odometry") == side.stamp("vehicle_status") > START_NS


@fact("/carla/status: frame number, fixed_delta_seconds 0.05, synchronous, running during a step and not in a pause")
def _(side: Any) -> None:
    n = len(side.heard["status"])
    side.step(1)
    frame = (side.stamp("odometry") - START_NS) // TICK_NS
    assert side.until(lambda: side.last("status").frame == frame and side.last("status").synchronous_mode_running is False)
    new = side.heard["status"][n:]  # the pause before may be among them, where its message was late
    assert {s.synchronous_mode for s in new} == {True}
    assert {s.fixed_delta_seconds for s in new} == {np.float32(0.05)}
    assert any(s.synchronous_mode_running for s in new)


@fact("PAUSE: nothing moves; STEP_ONCE: one tick; PLAY: on and on")
def _(side: Any) -> None:
    side.step(1)
    n = len(side.heard["clock"])
    time.sleep(0.3)
    assert len(side.heard["clock"]) == n
    side.command(CarlaControl.STEP_ONCE)
    assert side.until(lambda: len(side.heard["clock"]) == n + 1)
    side.command(CarlaControl.PLAY)
    assert side.until(lambda: len(side.heard["clock"]) > n + 10)
    side.command(CarlaControl.PAUSE)
    assert side.until(lambda: not side.last("status").synchronous_mode_running)
    time.sleep(0.2)
    n = len(side.heard["clock"])
    time.sleep(0.2)
    assert len(side.heard["clock"]) == n


# ── vehicle ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@fact("odometry: frame map, child is the role, covariances 0, flat")
def _(side: Any) -> None:
    o = side.last("odometry")
    assert (o.header.frame_id, o.child_frame_id) == ("map", "ego_vehicle")
    assert not np.any(o.pose.covariance)
    assert not np.any(o.twist.covariance)
    assert o.pose.pose.position.z == o.pose.pose.orientation.x == o.pose.pose.orientation.y == 0.0


@fact("odometry's pose is the vehicle's origin, not the rear axle")
def _(side: Any) -> None:
    first, route = side.heard["odometry"][0].pose.pose, side.last("waypoints").poses
    at = np.array([first.position.x, first.position.y])
    xy = np.array([(p.pose.position.x, p.pose.position.y) for p in route])
    along = xy[1] - xy[0]
    s = float((at - xy[0]) @ along / np.linalg.norm(along))
    assert s == pytest.approx(5.0 + VEHICLE.actor_origin_x_m, abs=1e-6)  # the rear axle starts 5 m into the route
    assert yaw_of(first.orientation) == pytest.approx(math.atan2(along[1], along[0]), abs=1e-9)


@fact("odometry's twist is along the body's axes and of the origin: it moves sideways in a bend, by yaw rate times lever arm")
def _(side: Any) -> None:
    side.drive(20, throttle=0.5, steer=-0.4)
    a, b = side.heard["odometry"][-2:]
    rate = b.twist.twist.angular.z
    assert rate > 0.1
    assert b.twist.twist.linear.y == pytest.approx(rate * VEHICLE.actor_origin_x_m, rel=1e-9)
    yaw = 0.5 * sum(np.unwrap([yaw_of(a.pose.pose.orientation), yaw_of(b.pose.pose.orientation)]))
    moved = np.array([b.pose.pose.position.x - a.pose.pose.position.x, b.pose.pose.position.y - a.pose.pose.position.y]) / 0.05
    ahead, left = moved @ [math.cos(yaw), math.sin(yaw)], moved @ [-math.sin(yaw), math.cos(yaw)]
    assert ahead == pytest.approx(b.twist.twist.linear.x, abs=0.15)
    assert left == pytest.approx(b.twist.twist.linear.y, abs=0.15)


@fact("steer is + to the right: minus makes the yaw grow, plus makes it fall")
def _(side: Any) -> None:
    side.drive(25, throttle=0.6, steer=-0.3)
    left = headings(side, 5)
    side.drive(25, throttle=0.4, steer=0.3)
    right = headings(side, 5)
    assert left[-1] > left[0] + 0.01
    assert right[-1] < right[0] - 0.01
    assert side.last("odometry").twist.twist.angular.z < 0.0


@fact("throttle speeds up, brake slows down to a halt and not beyond, and the last control is kept for ever")
def _(side: Any) -> None:
    side.drive(5, throttle=1.0, steer=0.0, brake=0.0)
    first = side.last("speedometer").data
    side.step(20)  # without a further control
    assert side.last("speedometer").data > first + 1.0
    side.drive(80, throttle=0.0, steer=0.0, brake=1.0)
    assert side.last("speedometer").data == pytest.approx(0.0, abs=1e-3)


@fact("speedometer and odometry are negative backwards, vehicle_status has the magnitude")
def _(side: Any) -> None:
    side.drive(80, throttle=0.0, brake=1.0, steer=0.0)
    side.drive(30, throttle=0.6, brake=0.0, reverse=True)
    assert side.last("speedometer").data < -0.5
    assert side.last("odometry").twist.twist.linear.x == pytest.approx(side.last("speedometer").data, abs=1e-5)
    assert side.last("vehicle_status").velocity == pytest.approx(-side.last("speedometer").data, abs=1e-3)
    side.drive(60, throttle=0.0, brake=1.0, reverse=False)


@fact("vehicle_status: frame map, orientation of the odometry, control in effect, acceleration in map")
def _(side: Any) -> None:
    side.drive(8, throttle=0.7, brake=0.0, steer=0.0)
    status, odometry = side.last("vehicle_status"), side.last("odometry")
    assert status.header.frame_id == "map"
    assert status.orientation == odometry.pose.pose.orientation
    assert status.control.throttle == pytest.approx(0.7)
    assert status.control.gear == 1
    yaw = yaw_of(status.orientation)
    a = status.acceleration.linear
    assert a.x * math.cos(yaw) + a.y * math.sin(yaw) > 0.5


@fact("vehicle_info: radians, 0 on wheels that do not steer; rear axle and wheelbase follow from the wheels")
def _(side: Any) -> None:
    info = side.last("vehicle_info")
    assert info.rolename == "ego_vehicle"
    assert info.type.startswith("vehicle.")
    steered = [w for w in info.wheels if w.max_steer_angle > 0.0]
    fixed = [w for w in info.wheels if w.max_steer_angle == 0.0]
    assert (len(steered), len(fixed)) == (2, 2)
    assert {w.max_steer_angle for w in steered} == {np.float32(VEHICLE.max_steer_rad)}
    rear = np.mean([w.position.x for w in fixed])
    assert rear == pytest.approx(-VEHICLE.actor_origin_x_m)
    assert np.mean([w.position.x for w in steered]) - rear == pytest.approx(VEHICLE.wheelbase_m)
    assert info.wheels[0].position.y > 0.0 > info.wheels[1].position.y  # front left comes first; y is to the left


@fact("the curvature driven is that of the wheel angle and the wheelbase told")
def _(side: Any) -> None:
    side.drive(40, throttle=0.3, brake=0.0, steer=-0.5)
    o, info = side.last("odometry"), side.last("vehicle_info")
    base = info.wheels[0].position.x - info.wheels[3].position.x
    assert o.twist.twist.angular.z / o.twist.twist.linear.x == pytest.approx(math.tan(0.5 * info.wheels[0].max_steer_angle) / base, rel=0.02)


# ── who drives ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@fact("manual override: the person's control counts, the other's is lost, until it is taken back")
def _(side: Any) -> None:
    side.drive(2, throttle=0.2, brake=0.0, steer=0.0)
    side.publish("manual", CarlaEgoVehicleControl(throttle=0.9))  # without the override: lost
    side.step(3)
    assert side.last("vehicle_status").control.throttle == pytest.approx(0.2)
    side.publish("override", Bool(data=True))
    side.publish("control", CarlaEgoVehicleControl(throttle=0.2))
    for _ in range(50):
        side.publish("manual", CarlaEgoVehicleControl(brake=0.6))
        side.publish("control", CarlaEgoVehicleControl(throttle=1.0))
        side.step()
        if side.last("vehicle_status").control.brake == pytest.approx(0.6):
            break
    side.publish("control", CarlaEgoVehicleControl(throttle=1.0))
    side.step(5)
    assert side.last("vehicle_status").control.brake == pytest.approx(0.6)
    side.publish("override", Bool(data=False))
    side.drive(1, throttle=0.3)


@fact("control with NaN is not taken in")
def _(side: Any) -> None:
    side.drive(2, throttle=0.25, brake=0.0, steer=0.0)
    side.publish("control", CarlaEgoVehicleControl(throttle=float("nan"), brake=1.0))
    side.step(10)
    assert side.last("vehicle_status").control.throttle == pytest.approx(0.25)


@fact("control beyond its range is cut to it")
def _(side: Any) -> None:
    side.publish("control", CarlaEgoVehicleControl(throttle=7.0, steer=-3.0))
    for _ in range(20):
        side.step()
        control = side.last("vehicle_status").control
        if control.throttle == 1.0:
            break
    assert (control.throttle, control.steer) == (1.0, -1.0)
    side.drive(40, throttle=0.0, brake=1.0, steer=0.0)


@fact("ackermann_cmd: m/s and radians, + to the left")
def _(side: Any) -> None:
    side.drive(40, throttle=0.0, brake=1.0, steer=0.0)
    for _ in range(6):
        side.publish("ackermann", AckermannDrive(steering_angle=0.2, speed=3.0))
        side.step(10)
    assert side.last("vehicle_status").control.steer == pytest.approx(-0.2 / VEHICLE.max_steer_rad, abs=1e-3)
    assert side.last("speedometer").data == pytest.approx(3.0, abs=0.3)
    assert headings(side, 4)[-1] > headings(side, 4)[0]
    side.drive(40, throttle=0.0, brake=1.0, steer=0.0)


@fact("enable_autopilot: the vehicle drives by itself")
def _(side: Any) -> None:
    side.drive(60, throttle=0.0, brake=1.0, steer=0.0)
    side.publish("autopilot", Bool(data=True))
    for _ in range(40):
        side.step()
        if side.last("vehicle_status").control.brake != 1.0:
            break
    assert side.last("vehicle_status").control.brake != 1.0
    side.publish("autopilot", Bool(data=False))
    side.drive(1, throttle=0.0, brake=1.0)


@pytest.mark.parametrize("check", [pytest.param(check, id=text) for text, check in FACTS])
def test_fact(side: Any, check: Fact) -> None:
    check(side)
