"""World and the real follower node, in lock-step: it drives along the route, the same way twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMsg
from vavam_world.bridge.result import load_trace
from vavam_world.bridge.stamps import header_msg, stamp_ns
from vavam_world.contracts import START_NS, TICK_NS, MapSpec, RouteSpec, Scenario

pytestmark = pytest.mark.ros
SCENARIO = Scenario(name="follow", map=MapSpec(kind="curves"), route=RouteSpec(length_m=200.0), start_speed_mps=5.0, cruise_mps=6.0, time_limit_s=3.5)
SPEED_MPS = 6.0


class RoutePlanner:
    """Each half second: the next three seconds along the waypoints from where the vehicle is, at one speed. Odometry may come before the waypoints."""

    def __init__(self, side: Any) -> None:
        self._side = side
        self._publisher = side.node.create_publisher(PathMsg, "/test/path", 10)
        self._waiting: list[Any] = []
        side.on["odometry"] = self._on_odometry
        side.on["waypoints"] = self._on_waypoints

    def _on_odometry(self, msg: Any) -> None:
        if (stamp_ns(msg.header) - START_NS) // TICK_NS % 10:
            return
        if not self._side.heard["waypoints"]:
            self._waiting.append(msg)
            return
        self._answer(msg)

    def _on_waypoints(self, _: Any) -> None:
        waiting, self._waiting = self._waiting, []
        for msg in waiting:
            self._answer(msg)

    def _answer(self, msg: Any) -> None:
        at_ns = stamp_ns(msg.header)
        route = self._side.last("waypoints")
        xy = np.array([(p.pose.position.x, p.pose.position.y) for p in route.poses])
        here = np.array([msg.pose.pose.position.x, msg.pose.pose.position.y])
        s = float(np.argmin(np.linalg.norm(xy - here, axis=1))) - 1.4  # the path is the rear axle's
        path = PathMsg(header=header_msg(at_ns, "map"))
        for i in range(31):
            pose = PoseStamped(header=header_msg(at_ns + i * TICK_NS * 2, "map"))
            along = s + SPEED_MPS * 0.1 * i
            pose.pose.position.x, pose.pose.position.y = (float(np.interp(along, range(len(xy)), xy[:, k])) for k in (0, 1))
            pose.pose.orientation = route.poses[int(along)].pose.orientation
            path.poses.append(pose)
        self._publisher.publish(path)


def test_follower_node_drives_along_the_route_the_same_way_twice(start_world: Any, make_side: Any, tmp_path: Path) -> None:
    side = make_side(kinds=("odometry", "waypoints"))
    RoutePlanner(side)
    topics = {"path": "/test/path", "followed": "/test/followed", "odometry": side.name("odometry"), "control": side.name("control")}
    remaps = [f"~/{name}:={topic}" for name, topic in {**topics, "vehicle_info": side.name("vehicle_info")}.items()]
    digests = []
    for run in ("a", "b"):
        command = [sys.executable, "-m", "vavam_ros.nodes.path_follower_node", "--ros-args", "-p", "use_sim_time:=true", "-p", "max_steer_rad:=0.61"]
        follower = subprocess.Popen([*command, *(x for r in remaps for x in ("-r", r))], env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            process = start_world(
                SCENARIO, mode="lock_step", settle_s=0.5, prime_s=0.5, followed_topic="/test/followed", answer_timeout_s=10.0,
                result_file=tmp_path / f"{run}.json",
            )  # fmt: skip
            assert process.wait(60.0) == 0, process.text
        finally:
            follower.terminate()
            follower.wait(10.0)
        result = json.loads((tmp_path / f"{run}.json").read_text())
        assert (result["finished"], result["timeouts"], result["collisions"]) == ("time", 0, [])
        digests.append(result["digest"])
    assert digests[0] == digests[1]
    trace = load_trace(tmp_path / "a.npz")
    assert len(trace.plans) == 8
    assert trace.states[-1].ego.speed_mps == pytest.approx(SPEED_MPS, abs=0.6)
    assert result["route_s_m"] > 20.0
    with np.load(tmp_path / "a.npz") as data:
        assert set(data["sources"][15:].tolist()) == {1}  # after priming, only what came over the topic
