"""enable_autopilot: the expert drives, from inside the world. No ROS."""

from __future__ import annotations

from vavam_ros.core.contracts import DensePath, Waiting
from vavam_ros.core.follow import CarlaActuation, DriveCommand, FollowConfig, carla_control, follow
from vavam_ros.core.planning.command import CommandSource
from vavam_world.contracts import MAP_FRAME, WORLD_CAMERA, Control, View
from vavam_world.drivers import make
from vavam_world.sim.simulation import Simulation

WAITING_BRAKE = 0.3


class Autopilot:
    """The expert, its plans followed as the follower node would. Deterministic: what it does depends on the simulation alone, and since when it drives."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._driver = make("expert")
        self._driver.reset()
        self._commands = CommandSource("route", rule="reference")
        self._commands.set_route(sim.route.xy_m, MAP_FRAME)
        self._config, self._actuation = FollowConfig(), CarlaActuation()
        self._path: DensePath | None = None
        self._previous: DriveCommand | None = None
        self._next_plan_tick = 0

    def plan(self) -> DensePath:
        """The expert's path from the present tick on."""
        state = self._sim.state
        pose = state.ego.pose(state.stamp_ns)
        command = self._commands.at(state.stamp_ns, pose)[0]
        cruise = self._sim.scenario.cruise_mps
        view = View(stamp_ns=state.stamp_ns, pose=pose, image=None, camera=WORLD_CAMERA, command=command, cruise_mps=cruise, world=self._sim)
        return self._driver.plan(view)

    def control(self) -> Control:
        """The control of the present tick."""
        state = self._sim.state
        pose = state.ego.pose(state.stamp_ns)
        if state.tick >= self._next_plan_tick:
            self._next_plan_tick = state.tick + self._driver.plan_every_ticks
            self._path = self.plan()
        if self._path is None:
            return Control(brake=WAITING_BRAKE)
        command_now = follow(self._path, pose, self._previous, self._config)
        if isinstance(command_now, Waiting):
            self._previous = None
            return Control(brake=WAITING_BRAKE)
        self._previous = command_now
        throttle, brake, steer = carla_control(command_now, state.ego.speed_mps, self._actuation)
        return Control(throttle=throttle, brake=brake, steer=steer)
