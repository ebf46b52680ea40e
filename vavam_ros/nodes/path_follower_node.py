"""path_follower_node: paths and odometry in, one control command per odometry message out. A process of its own, without torch.

`~/path` in the odometry's frame is followed as it is; in the ego frame it is placed at the pose of its header's stamp. `~/followed` shows each path once it is
taken in. The commands go to the gate (watchdog_node), never to the vehicle: where there is no usable path this node is silent, says why in diagnostics, and
the gate stops the vehicle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # humble has no rclpy.clock_type
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from vavam_ros.core.contracts import NS_PER_S, ConfigError, DensePath, EgoPose, InputError, VavamError, Waiting, WaitReason
from vavam_ros.core.follow import DriveCommand, carla_control, dense_path, follow
from vavam_ros.core.geometry import yaw_of
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory, PushOutcome
from vavam_ros.nodes.conditions import Level
from vavam_ros.nodes.control_messages import AckermannValues, CarlaValues, VehicleGeometry, message_class, to_message, vehicle_geometry, vehicle_info_class
from vavam_ros.nodes.diagnostics import Board
from vavam_ros.nodes.motion_messages import dense_path_msg, odometry_sample, path_rows
from vavam_ros.nodes.parameters import Parameters
from vavam_ros.nodes.path_follower_table import PARAMETERS, carla_actuation, follow_config, given_geometry, with_given
from vavam_ros.nodes.qos import OVERRIDABLE, keep_last
from vavam_ros.nodes.stamps import stamp_ns
from vavam_ros.nodes.topic_monitor import TopicMonitor

REPORT_S = 1.0
KEPT_PATHS = 32
MAX_AHEAD_S = 5.0  # a path stamped further ahead of odometry is of another clock; kept, it would stay the newest for ever
TASKS = ("input", "output")
_LATER = (WaitReason.NO_ODOMETRY, WaitReason.ODOMETRY_BEHIND)


class PathFollowerNode(Node):
    """All callbacks run in one thread."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("path_follower_node", **kwargs)
        self.parameters = p = Parameters(self, PARAMETERS)
        self.board = Board(self._log)
        self._history: OdometryHistory | None = None  # begins with the vehicle's geometry: it says where the rear axle is
        self._waiting_paths: list[Path] = []  # for odometry to reach their stamp
        self._paths: list[DensePath] = []  # by header stamp; the newest that is due is followed
        self._previous: DriveCommand | None = None
        self.commands = self.paths = 0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._reporter = self.create_timer(REPORT_S, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        try:
            p.raise_errors()
            self._connect()
        except ConfigError as e:
            self.board.state("follower_parameters", True, error=e)
        p.fixed = True

    def _connect(self) -> None:
        overridable = QoSOverridingOptions(OVERRIDABLE)
        self._type = self.parameters.text("control_type")
        control_class, geometry = message_class(self._type), given_geometry(self.parameters)
        info_class = vehicle_info_class() if geometry is None else None
        if geometry is not None:
            self._use(geometry)
        self._control = self.create_publisher(control_class, "~/control", keep_last(10, reliable=True), qos_overriding_options=overridable)
        self._followed = self.create_publisher(Path, "~/followed", keep_last(10, reliable=True), qos_overriding_options=overridable)
        if info_class is not None:
            self.board.state("follower_no_vehicle_info", True, topic=self.resolve_topic_name("~/vehicle_info"))
            self.create_subscription(info_class, "~/vehicle_info", self._on_vehicle_info, keep_last(10, reliable=True, latched=True))
        self._monitors = {name: TopicMonitor(name=name, topic=self.resolve_topic_name(name), given=name) for name in ("~/path", "~/odometry")}
        self.create_subscription(Path, "~/path", self._on_path, keep_last(10, reliable=True), qos_overriding_options=overridable)
        # best effort: it matches reliable publishers as well
        self.create_subscription(Odometry, "~/odometry", self._on_odometry, keep_last(50, reliable=False), qos_overriding_options=overridable)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _use(self, vehicle: VehicleGeometry) -> None:
        """Follow with this vehicle from now on. Raises ConfigError."""
        p = self.parameters
        self._config, self._actuation = follow_config(p, vehicle), carla_actuation(p, vehicle)
        self._history = OdometryHistory(OdometryConfig(max_gap_s=p.number("odometry_max_gap_s")), vehicle.rear_axle_x_m)
        self.vehicle = vehicle
        self._forget()
        self.get_logger().info(f"vehicle: {vehicle}")

    def _on_vehicle_info(self, msg: Any) -> None:
        try:
            vehicle = with_given(self.parameters, vehicle_geometry(msg))
            if self._history is None or vehicle != self.vehicle:
                self._use(vehicle)
        except VavamError as e:
            self.board.event("follower_bad_vehicle_info", error=e)
            return
        self.board.state("follower_no_vehicle_info", False)

    def _on_path(self, msg: Path) -> None:
        if not self._monitors["~/path"].seen(stamp_ns(msg.header)):
            self.board.event("no_stamp", topic=self._monitors["~/path"].topic)
            return
        self._waiting_paths = [*self._waiting_paths, msg][-KEPT_PATHS:]
        self._place_waiting()

    def _on_odometry(self, msg: Odometry) -> None:
        if not self._monitors["~/odometry"].seen(stamp_ns(msg.header)):
            self.board.event("no_stamp", topic=self._monitors["~/odometry"].topic)
        history = self._history
        if history is None:
            return
        try:
            sample = odometry_sample(msg)
        except InputError as e:
            self.board.event("bad_odometry", error=e)
            return
        outcome = history.push(sample)
        if outcome in (PushOutcome.REJECTED_NONFINITE, PushOutcome.REJECTED_NO_STAMP):
            self.board.event("bad_odometry", error=outcome.value)
            return
        if outcome.was_reset:
            self.board.event("odometry_reset", outcome=outcome.value)
            self._forget()
        self._place_waiting()
        if outcome in (PushOutcome.DUPLICATE, PushOutcome.OUT_OF_ORDER):
            return
        pose = history.pose_at(sample.stamp_ns)
        assert isinstance(pose, EgoPose)  # it was pushed just now
        self._step(pose, sample.base_frame_id)

    def _forget(self) -> None:
        self._waiting_paths, self._paths, self._previous = [], [], None

    # ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _place_waiting(self) -> None:
        """Take in the paths whose stamp odometry has reached."""
        waiting, self._waiting_paths = self._waiting_paths, []
        for msg in waiting:
            try:
                path = self._placed(msg)
            except InputError as e:
                self.board.event("follower_bad_path", error=e)
                continue
            if path is None:
                self._waiting_paths.append(msg)
                continue
            self.paths += 1
            self._paths = sorted([*self._paths, path], key=lambda kept: kept.stamp_ns)[-KEPT_PATHS:]
            self._followed.publish(dense_path_msg(path))

    def _placed(self, msg: Path) -> DensePath | None:
        """The path in the odometry's frame; None while odometry has not reached its stamp. Raises InputError."""
        history, at, frame = self._history, stamp_ns(msg.header), msg.header.frame_id
        stamps, xyz = path_rows(msg)
        if history is None or history.newest_stamp_ns is None:
            return None
        newest = history.pose_at(history.newest_stamp_ns)
        assert isinstance(newest, EgoPose)
        ahead_s = (at - newest.stamp_ns) / NS_PER_S
        if ahead_s > MAX_AHEAD_S:
            raise InputError(f"path: got a stamp {ahead_s:.1f} s ahead of the newest odometry, expected at most {MAX_AHEAD_S:g} s: they must be of one clock")
        if frame == newest.odom_frame_id:
            return dense_path(at, frame, stamps, xyz, start_yaw_rad=yaw_of(newest.T_odom_ego))
        if frame != self.parameters.text("ego_frame_id"):
            raise InputError(f"path: got frame {frame!r}, expected the odometry's {newest.odom_frame_id!r} or {self.parameters.text('ego_frame_id')!r}")
        pose = history.pose_at(at)
        if isinstance(pose, Waiting):
            if pose.reason in _LATER:
                return None
            raise InputError(f"path: cannot be placed at its stamp: {pose}")
        return dense_path(at, pose.odom_frame_id, stamps, xyz, T_frame_ego=pose.T_odom_ego, start_velocity_mps=pose.linear_mps[:2])

    def _due(self, now_ns: int) -> DensePath | None:
        """The newest path that may be followed at an odometry stamp. A path of that very stamp was planned from what was seen then: it comes later."""
        age_ns = max(1, round(self.parameters.number("min_plan_age_s") * NS_PER_S))
        due = [i for i, path in enumerate(self._paths) if path.stamp_ns + age_ns <= now_ns]
        if not due:
            return None
        self._paths = self._paths[due[-1] :]
        return self._paths[0]

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _step(self, pose: EgoPose, base_frame_id: str) -> None:
        path = self._due(pose.stamp_ns)
        found = Waiting(reason=WaitReason.NO_PATH) if path is None else follow(path, pose, self._previous, self._config)
        idle = path is None and self._previous is None
        self.board.state("follower_idle", idle)
        self.board.state("follower_no_command", isinstance(found, Waiting) and not idle, reason=found)
        if isinstance(found, Waiting):
            return
        self._previous = found
        if self._type == "carla":
            throttle, brake, steer = carla_control(found, float(pose.linear_mps[0]), self._actuation)
            values: CarlaValues | AckermannValues = CarlaValues(throttle=throttle, brake=brake, steer=steer)
        else:
            values = AckermannValues(steer_rad=found.steer_rad, speed_mps=found.speed_mps, accel_mps2=found.accel_mps2)
        self._control.publish(to_message(self._type, values, pose.stamp_ns, base_frame_id))
        self.commands += 1
        self.board.put("output", steer_rad=found.steer_rad, speed_mps=found.speed_mps, accel_mps2=found.accel_mps2, decided_by=found.reason)

    def report(self) -> None:
        """Publish diagnostics, in wall time."""
        board = self.board
        if hasattr(self, "_monitors"):
            for monitor in self._monitors.values():
                board.put_all("input", monitor.values(self._monitors["~/odometry"].last_stamp_ns))
            lost = [m.topic for m in self._monitors.values() if m.count == 0 or m.age_s > 5.0]
            board.state("follower_input_missing", bool(lost), topics=", ".join(lost))
            board.put("output", commands=self.commands, paths=self.paths, paths_waiting=len(self._waiting_paths))
        name = self.get_fully_qualified_name()
        message = DiagnosticArray(status=[s for s in board.statuses(name) if s.name.endswith(TASKS)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _log(self, level: Level, text: str) -> None:
        if level is Level.ERROR:
            self.get_logger().error(text)
        else:
            self.get_logger().warning(text)


def main(args: Sequence[str] | None = None) -> None:
    """Run the node. SIGINT and SIGTERM end it with exit code 0."""
    rclpy.init(args=list(args) if args is not None else None)
    node = PathFollowerNode()
    try:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # rclpy's: a callback was publishing when the signal came
        if rclpy.ok():
            raise
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
