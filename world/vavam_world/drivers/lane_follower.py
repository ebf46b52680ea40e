"""READ FIRST of the driver that looks: it keeps between the lines it sees, at a speed that suits the bend and how well it sees.

Per plan: picture → paint on the ground (lane_picture.py) → the lane (lane_tracker.py) → a curve back to its centre. Odometry only carries
the lane from one picture to the next. It knows no route, no map and nobody else; a picture that shows no lines makes it stop.
"""

from __future__ import annotations

import math

import numpy as np

from vavam_ros.core.contracts import Command, DensePath
from vavam_ros.core.geometry import invert, yaw_of
from vavam_world.contracts import F64, CameraSpec, View, WorldError
from vavam_world.drivers.frenet import quintic, quintic_at
from vavam_world.drivers.lane_picture import GroundPicture
from vavam_world.drivers.lane_tracker import LaneShape, Sighting, find_lane
from vavam_world.drivers.paths import ROW_T_S, STEP_S, timed_path

SEEN = 0.22  # support from which on a picture counts
LOST_AFTER = 6  # pictures without a lane: look for it anew
LAT_ACCEL_MPS2 = 1.6
ACCEL_MPS2, DECEL_MPS2 = 1.3, 2.0
TURN_1PM = 1.0 / 11.0  # where the lines end and the command says so
WHEELBASE_M = 2.9


class LaneFollower:
    """State: the lane as last seen, the pose then, how many pictures in a row showed none."""

    name = "lane_follower"
    needs_image = True
    plan_every_ticks = 2

    def __init__(self) -> None:
        self._ground: GroundPicture | None = None
        self.reset()

    def reset(self) -> None:
        """Before a new scenario: nothing has been seen."""
        self.lane = LaneShape()
        self.sighting: Sighting | None = None  # of the last picture
        self._T_last: F64 | None = None
        self._missed = LOST_AFTER  # pictures in a row without a lane
        self._trust = 0.0  # 0..1, a running mean of being able to see

    def plan(self, view: View) -> DensePath:
        """3 s along the lane. Raises WorldError without a picture."""
        if view.image is None:
            raise WorldError("lane_follower: got a view without a picture, expected one: give the loop a renderer")
        ground = self._looking_through(view.camera)
        T = view.pose.T_odom_ego
        expected = self.lane
        if self._T_last is not None:
            D = invert(self._T_last) @ T
            expected = expected.moved(float(D[0, 3]), float(D[1, 3]), yaw_of(D))
        self._T_last = T
        lost = self._missed >= LOST_AFTER
        sighting = find_lane(ground, ground.paint(view.image), LaneShape() if lost else expected, tracked=not lost)
        self.sighting = sighting
        if sighting.support >= SEEN:
            self.lane, self._missed = sighting.shape, 0
        else:
            self.lane, self._missed = self._unseen(expected, view.command), self._missed + 1
        self._trust += 0.25 * (min(1.0, sighting.support / (1.4 * SEEN)) - self._trust) if sighting.support >= SEEN else -0.12 * self._trust - 0.02
        self._trust = min(max(self._trust, 0.0), 1.0)
        return self._path(view)

    def _looking_through(self, camera: CameraSpec) -> GroundPicture:
        if self._ground is None or self._ground.camera != camera:
            self._ground = GroundPicture(camera)
        return self._ground

    @staticmethod
    def _unseen(expected: LaneShape, command: Command) -> LaneShape:
        """The lane as it may go on where no lines show: in a junction, the way the command says."""
        bend = {Command.LEFT: TURN_1PM, Command.RIGHT: -TURN_1PM, Command.STRAIGHT: expected.curvature_1pm}[command]
        towards = expected.curvature_1pm + 0.3 * (bend - expected.curvature_1pm)
        return LaneShape(
            offset_m=0.8 * expected.offset_m,
            heading_rad=0.8 * expected.heading_rad,
            curvature_1pm=0.95 * towards,
            slope_1pm2=0.0,
            width_m=expected.width_m,
        )

    def _path(self, view: View) -> DensePath:
        v = max(float(view.pose.linear_mps[0]), 0.0)
        speed = self._speeds(v, view.cruise_mps)
        s = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * STEP_S)])
        length = float(np.clip(2.2 * v, 7.0, 24.0))
        bend = float(view.pose.angular_radps[2]) / v if v > 1.0 else self.lane.curvature_1pm
        lane = self.lane
        start = (np.float64(-lane.offset_m), np.float64(-math.tan(lane.heading_rad)), np.float64(np.clip(bend - lane.curvature_1pm, -0.1, 0.1)))
        d, slope, _ = quintic_at(quintic(*start, np.float64(0.0), np.float64(length)), s, np.float64(length))
        grid = 0.25 * np.arange(1, 200, dtype=np.float64)
        x, y, yaw = lane.at(grid)
        grid, x, y = np.append(0.0, grid), np.append(0.0, x), np.append(lane.offset_m, y)
        yaw = np.interp(s, grid, np.append(lane.heading_rad, yaw))
        px = np.interp(s, grid, x) - d * np.sin(yaw)
        py = np.interp(s, grid, y) + d * np.cos(yaw)
        T = view.pose.T_odom_ego
        xy = np.stack([px, py], axis=1) @ T[:2, :2].T + T[:2, 3]
        return timed_path(view.stamp_ns, xy[:, 0], xy[:, 1], yaw + np.arctan(slope) + yaw_of(T), speed)

    def _speeds(self, v: float, cruise_mps: float) -> F64:
        """(31,) speeds: towards what bend and sight allow, with bounded acceleration; to a halt where nothing is seen."""
        ahead = self.lane.curvature_1pm + self.lane.slope_1pm2 * np.array([0.0, 8.0, 16.0])
        bend = float(np.abs(ahead).max())
        target = min(cruise_mps, math.sqrt(LAT_ACCEL_MPS2 / max(bend, 1e-4)))
        if self._missed > 0:
            target *= max(0.0, 1.4 * self._trust - 0.2)
        if self._missed >= 2 * LOST_AFTER:
            target = 0.0
        change = np.clip(target - v, -DECEL_MPS2 * ROW_T_S, ACCEL_MPS2 * ROW_T_S)
        return np.asarray(np.maximum(v + change, 0.0))
