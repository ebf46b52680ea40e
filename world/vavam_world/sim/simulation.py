"""READ FIRST. One scenario, stepped tick by tick: controls in, world states out.

    sim = Simulation(scenario)
    while (reason := sim.finished()) is None:
        state = sim.step(control)

The same scenario and the same controls give the same states bit for bit, in any process. `step` moves, in this order: the ego (with the
control that came in `Vehicle.delay_ticks` steps ago), traffic, pedestrians, the intruder; then a due perturbation shifts the ego, and
collisions, progress and the reasons to stop are looked at.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from vavam_world.contracts import F64, START_NS, TICK_NS, TICK_S, ActorState, Collision, Control, EgoState, RoadMap, Route, Scenario, Vehicle, WorldState
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.lookup import LaneIndex
from vavam_world.roads.route_tools import pose_at, project
from vavam_world.sim.collision import Box, CollisionCheck, actor_box, corners, ego_box
from vavam_world.sim.dynamics import bounded, step_ego
from vavam_world.sim.ego_on_route import EgoOnRoute
from vavam_world.sim.intruder import ScriptedIntruder
from vavam_world.sim.pedestrians import Pedestrians
from vavam_world.sim.placing import parked_cars, start_cars
from vavam_world.sim.tracks import Tracks
from vavam_world.sim.traffic import Traffic

Reason: TypeAlias = Literal["collision", "off_road", "route", "stuck", "time"]

START_S_M = 5.0  # the ego's rear axle at tick 0, so that its whole body stands on the first lane
END_M = 5.0  # so near to its end the route counts as done
STANDING_MPS = 0.3
STUCK_S, STUCK_M = 30.0, 1.0
YIELD_REACH_M = 25.0
OFF_ROAD_S = 2.0


class Simulation:
    """State and step of one scenario.

    `state` is the latest; `collisions` the ego's first contact with each partner so far; `route_s` how far the ego's rear axle has come along
    the route (never falls), `route_d` its present offset to the left of it; `off_road` whether any of its wheels is off the road. Actors are in
    the order of their ids: the intruder 1, vehicles from 100, pedestrians from 1000, parked cars from 2000.
    """

    def __init__(self, scenario: Scenario, *, vehicle: Vehicle | None = None, road_map: RoadMap | None = None, route: Route | None = None) -> None:
        """`vehicle`, `road_map` and `route` replace what the scenario implies. Raises ConfigError on a scenario that cannot be set up."""
        self.scenario = scenario
        self.vehicle = Vehicle() if vehicle is None else vehicle
        self.road_map = build_map(scenario.map) if road_map is None else road_map
        self.route = plan_route(self.road_map, scenario.route) if route is None else route
        self.lanes = LaneIndex(self.road_map)
        self.collisions: list[Collision] = []
        self._waiting = deque([Control()] * self.vehicle.delay_ticks)
        self._check = CollisionCheck(self.road_map.props, self.vehicle)
        self._intruder = None
        if scenario.intruder is not None:
            self._intruder = ScriptedIntruder(
                scenario.intruder, self.route, self.vehicle, start_s_m=START_S_M, cruise_mps=scenario.cruise_mps, variant=scenario.look.seed, lanes=self.lanes
            )
        x, y, yaw = pose_at(self.route, START_S_M, scenario.start_offset_m)
        self._ego = EgoState(
            x_m=x,
            y_m=y,
            yaw_rad=yaw + scenario.start_yaw_rad,
            speed_mps=scenario.start_speed_mps,
            accel_mps2=0.0,
            yaw_rate_radps=0.0,
            steer_rad=0.0,
            control=Control(),
        )
        tracks, here = Tracks(self.road_map), ego_box(self._ego, self.vehicle)
        self._parked = parked_cars(self.road_map, scenario.traffic)
        cars = start_cars(tracks, scenario.traffic, self.route, here, self._parked)
        self.traffic = Traffic(tracks, cars, [actor_box(a) for a in self._parked])
        self.pedestrians = Pedestrians(self.road_map, scenario.traffic, near=here[:2])
        self._on_route = EgoOnRoute(self.road_map, self.route, self.vehicle)
        self._perturbations = {round(p.at_s / TICK_S): p for p in reversed(scenario.perturbations)}
        self.route_s, self.route_d = START_S_M, scenario.start_offset_m
        self._hint_s = START_S_M
        self._progress = (START_S_M, 0)  # where the ego last got on, and the ticks without progress since
        self._off_road_ticks = 0
        self._settle(0)

    def step(self, control: Control) -> WorldState:
        """One tick (`TICK_S`). Values of `control` beyond their range are cut to it. Raises WorldError on values that are not finite."""
        self._waiting.append(bounded(control))
        self._ego = step_ego(self._ego, self._waiting.popleft(), self.vehicle)
        self._move_others()
        self._settle(self.state.tick + 1)
        return self.state

    def ego_polygon(self) -> F64:
        """(4, 2) corners of the ego's body in map, counter-clockwise from front left."""
        return corners(ego_box(self.state.ego, self.vehicle))

    def finished(self) -> Reason | None:
        """Why the run is over, or None. The first that holds of:

        collision  the ego touched an actor or a solid prop
        off_road   all four wheels have been off the road for 2 s
        route      the route's end is within 5 m of the rear axle, and, where the scenario ends with a halt, the ego stands or has passed it
        stuck      for 30 s no progress of 1 m; time in which something that moves by itself is near and ahead (see `_yielding`) is not counted
        time       the scenario's time limit
        """
        if self.collisions:
            return "collision"
        if self._off_road_ticks * TICK_S >= OFF_ROAD_S:
            return "off_road"
        left = self.route.length_m - self.route_s
        if left <= END_M and (not self.scenario.stop_at_end or left <= 0.1 or abs(self.state.ego.speed_mps) < STANDING_MPS):
            return "route"
        if self._progress[1] * TICK_S >= STUCK_S:
            return "stuck"
        return "time" if self.state.tick * TICK_S >= self.scenario.time_limit_s else None

    def _move_others(self) -> None:
        """Traffic and pedestrians see the ego where it is now, the intruder where it was."""
        moving: list[tuple[Box, float]] = [(ego_box(self._ego, self.vehicle), self._ego.speed_mps)]
        if self._intruder is not None:
            seen = self._intruder.at(self.state.tick)
            moving.append((actor_box(seen), seen.speed_mps))
        self._on_route.move(self._hint_s, self.route_d, self._ego.speed_mps)
        self.traffic.step(self._on_route, moving, self.pedestrians)
        if self.pedestrians.walkers:
            approaching = self.traffic.approaching
            for crosswalk, distance, speed in self._on_route.approaching():
                approaching.setdefault(crosswalk, []).append((distance, speed))
            self.pedestrians.step(approaching)

    def _settle(self, tick: int) -> None:
        """Everything after the motion: perturbation, the state to show, and what is derived from it."""
        if (push := self._perturbations.get(tick)) is not None:
            ego = self._ego
            dx, dy = -math.sin(ego.yaw_rad) * push.lateral_m, math.cos(ego.yaw_rad) * push.lateral_m
            self._ego = replace(ego, x_m=ego.x_m + dx, y_m=ego.y_m + dy, yaw_rad=ego.yaw_rad + push.yaw_rad)
        ego = self._ego
        actors: list[ActorState] = []
        if self._intruder is not None:
            actors.append(self._intruder.at(tick))
        actors += self.traffic.states()
        actors += self.pedestrians.states()
        actors += self._parked
        self.state = WorldState(tick=tick, stamp_ns=START_NS + tick * TICK_NS, ego=ego, actors=tuple(actors))
        self.collisions += self._check.new(tick, ego, actors)
        self._hint_s, self.route_d = project(self.route, ego.x_m, ego.y_m, self._hint_s)
        self.route_s = max(self.route_s, self._hint_s)
        self._look_at_progress()
        self._look_at_wheels()

    def _look_at_progress(self) -> None:
        reached, ticks = self._progress
        if self.route_s >= reached + STUCK_M:
            self._progress = (self.route_s, 0)
        elif not self._yielding():
            self._progress = (reached, ticks + 1)

    def _yielding(self) -> bool:
        """Whether the ego may be waiting for someone: traffic or a pedestrian in front of it, moving within 25 m or standing within 8 m."""
        x, y, c, s = ego_box(self._ego, self.vehicle)[:4]
        for actor in self.state.actors:
            if actor.kind == "parked" or (self._intruder is not None and actor.id == self._intruder.id):
                continue
            dx, dy = actor.x_m - x, actor.y_m - y
            if dx * c + dy * s > 0.0 and math.hypot(dx, dy) < (YIELD_REACH_M if actor.speed_mps > STANDING_MPS else 8.0):
                return True
        return False

    def _look_at_wheels(self) -> None:
        ego, half = self._ego, 0.5 * self.vehicle.width_m
        c, s = math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)
        wheels = np.array([[ego.x_m + a * c - b * s, ego.y_m + a * s + b * c] for a in (0.0, self.vehicle.wheelbase_m) for b in (half, -half)])
        on = self.lanes.on_road(wheels)
        self.off_road = not bool(on.all())
        self._off_road_ticks = 0 if bool(on.any()) else self._off_road_ticks + 1
