"""READ FIRST of the privileged driver. It knows the route, the road network and where everybody is, and drives as one would wish to.

Each plan: the route's speed profile (longitudinal.py) → junction priority (junctions.py) → the others as leads, stops or head-on
(prediction.py, obstacles.py) → the ordinary plan, back to the lane centre on a smooth curve (frenet.py). Where that plan still meets
somebody, a way round is looked for (evasion.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vavam_ros.core.contracts import NS_PER_S, ConfigError, DensePath
from vavam_world.contracts import F64, CameraSpec, View, WorldError
from vavam_world.drivers.evasion import BERTH_M, LOOK_T_S, Evader, Motion, Start, Surroundings, distance
from vavam_world.drivers.frenet import RouteFrame, quintic, quintic_at
from vavam_world.drivers.junctions import RightOfWay
from vavam_world.drivers.longitudinal import DT_S, Manners, Rollout, SpeedProfile, roll_out
from vavam_world.drivers.obstacles import hindrances
from vavam_world.drivers.paths import ROW_T_S, ROWS, timed_path
from vavam_world.drivers.prediction import Predictor
from vavam_world.drivers.sight import Sight
from vavam_world.sim.simulation import Simulation

RETURN_S = 2.5  # time in which an offset from the lane centre is made good
MIN_RETURN_M, MAX_RETURN_M = 8.0, 32.0
STOP_SHORT_M = 2.5  # of the route's end, which counts as reached 5 m before
CONTACT_M = 0.15  # clearance below which the ordinary plan counts as meeting somebody
STEPS = 50
MAX_ACCEL_MISMATCH_MPS = 0.7


@dataclass(slots=True, kw_only=True, eq=False)
class _Scene:
    """What is worked out once per scenario."""

    sim: Simulation
    frame: RouteFrame
    profile: SpeedProfile
    predictor: Predictor
    right_of_way: RightOfWay
    evader: Evader


class Expert:
    """Follows the route; state within a scenario: where it is on the route, its last speeds, its last evasion, who stands since when."""

    name = "expert"
    needs_image = False
    plan_every_ticks = 2

    def __init__(self, manners: Manners | None = None, sight_m: float = math.inf, camera: CameraSpec | None = None, berth_m: float = BERTH_M) -> None:
        """`sight_m`: others are there for it only within so many metres of its rear axle; `camera`: only once they were in its picture. Who is to learn from
        a camera cannot learn to react to what the camera does not show. `berth_m`: clearance wished for beside whoever is passed. Raises ConfigError where a
        distance is not positive."""
        self.manners = Manners() if manners is None else manners
        if not 0.0 < berth_m < math.inf:
            raise ConfigError(f"expert: got berth_m {berth_m}, expected a distance above 0")
        self._berth_m = berth_m
        self._sight = Sight(sight_m, camera)
        self.reset()

    def reset(self) -> None:
        """Before a new scenario."""
        self._sight.reset()
        self._scene: _Scene | None = None
        self._hint_s = 0.0
        self._last: tuple[int, Rollout] | None = None
        self.evading = False  # whether the last plan was a way round somebody

    def plan(self, view: View) -> DensePath:
        """3 s from `view.stamp_ns` on. Raises WorldError without `view.world`: this driver is privileged."""
        scene = self._prepared(view)
        sim, frame, manners = scene.sim, scene.frame, self.manners
        start = self._start(view, scene)
        actors = self._sight.known(view.stamp_ns, sim.state.ego, sim.state.actors)
        stops = list(scene.right_of_way.stops(actors, view.stamp_ns / NS_PER_S, start.s_m, start.speed_mps, scene.profile))
        if sim.scenario.stop_at_end:
            stops.append(frame.length_m - STOP_SHORT_M)
        length = float(np.clip(start.speed_mps * RETURN_S, MIN_RETURN_M, MAX_RETURN_M))
        curve = quintic(np.float64(start.d_m), np.float64(start.slope), np.float64(start.bend), np.float64(0.0), np.float64(length))

        def offset_at(s_m: F64) -> F64:
            return quintic_at(curve, s_m - start.s_m, np.float64(length))[0]

        predicted = scene.predictor.predict(actors, frame, (sim.state.ego.x_m, sim.state.ego.y_m), start.s_m)
        state = start.s_m, start.speed_mps, start.accel_mps2
        rollout = roll_out(scene.profile, manners, *state, stops_m=stops, steps=STEPS)
        found = hindrances(predicted, rollout, offset_at, sim.vehicle, sim.lanes.on_road, stops)
        predicted.counts[list(found.waiting)] = False
        if found.leads or found.stops_m:
            rollout = roll_out(scene.profile, manners, *state, stops_m=[*stops, *found.stops_m], leads=found.leads, steps=STEPS)
        look = rollout.s_m[: 2 * len(LOOK_T_S) : 2]
        d, slope, _ = quintic_at(curve, look - start.s_m, np.float64(length))
        gap, _ = scene.evader.clearance(look[None], d[None], slope[None], predicted)
        blocked = (*found.oncoming, *found.standing)
        self.evading = bool(blocked) or bool((gap < CONTACT_M).any())
        if not self.evading:
            scene.evader.last = None
            self._last = view.stamp_ns, rollout
            return self._path(view, frame, start, Motion(offset_m=0.0, length_m=length, accel_mps2=None), rollout.s_m[:ROWS], rollout.speed_mps[:ROWS])
        self._last = None
        motion = scene.evader.choose(start, Motion(offset_m=0.0, length_m=length, accel_mps2=None), look, predicted, blocked)
        if motion.accel_mps2 is None:
            return self._path(view, frame, start, motion, rollout.s_m[:ROWS], rollout.speed_mps[:ROWS])
        s = start.s_m + distance(start, motion.accel_mps2, ROW_T_S)
        return self._path(view, frame, start, motion, s, np.maximum(start.speed_mps + motion.accel_mps2 * ROW_T_S, 0.0))

    def _prepared(self, view: View) -> _Scene:
        sim = view.world
        if sim is None:
            raise WorldError("expert: got a view without the world, expected view.world: it is privileged and cannot drive from pictures")
        if self._scene is None or self._scene.sim is not sim:
            self.reset()
            frame = RouteFrame(sim.route)
            self._scene = _Scene(
                sim=sim,
                frame=frame,
                profile=SpeedProfile(frame, view.cruise_mps, self.manners),
                predictor=Predictor(sim.road_map.lanes, sim.route.lane_ids),
                right_of_way=RightOfWay(sim.road_map.lanes, sim.route, sim.vehicle),
                evader=Evader(frame, Surroundings(frame, sim.lanes.on_road, sim.road_map.props), sim.vehicle, self._berth_m),
            )
            self._hint_s = sim.route_s
        return self._scene

    def _start(self, view: View, scene: _Scene) -> Start:
        ego, frame = scene.sim.state.ego, scene.frame
        s, d = frame.project(ego.x_m, ego.y_m, self._hint_s)
        self._hint_s = s
        turn = math.remainder(ego.yaw_rad - frame.yaw_at(s), 2.0 * math.pi)
        stretch = 1.0 - frame.curvature_at(s) * d
        bend = math.tan(ego.steer_rad) / scene.sim.vehicle.wheelbase_m - frame.curvature_at(s)
        accel = ego.accel_mps2
        if self._last is not None:  # the plan's own acceleration goes on: the measured one lags
            at_s = (view.stamp_ns - self._last[0]) / NS_PER_S
            times = DT_S * np.arange(len(self._last[1].s_m))
            if abs(float(np.interp(at_s, times, self._last[1].speed_mps)) - ego.speed_mps) < MAX_ACCEL_MISMATCH_MPS:
                accel = float(np.interp(at_s, times, self._last[1].accel_mps2))
        return Start(
            s_m=s,
            d_m=d,
            slope=float(np.clip(math.tan(float(np.clip(turn, -1.2, 1.2))) * stretch, -1.5, 1.5)),
            bend=float(np.clip(bend, -0.15, 0.15)),
            speed_mps=max(ego.speed_mps, 0.0),
            accel_mps2=accel,
        )

    def _path(self, view: View, frame: RouteFrame, start: Start, motion: Motion, s: F64, speed: F64) -> DensePath:
        length = np.float64(motion.length_m)
        curve = quintic(np.float64(start.d_m), np.float64(start.slope), np.float64(start.bend), np.float64(motion.offset_m), length)
        d, slope, _ = quintic_at(curve, s - start.s_m, length)
        x, y, yaw = frame.place(s, d)
        stretch = 1.0 - np.interp(s, frame.s_m, frame.curvature_1pm) * d
        return timed_path(view.stamp_ns, x, y, yaw + np.arctan2(slope, stretch), speed * np.hypot(stretch, slope))
