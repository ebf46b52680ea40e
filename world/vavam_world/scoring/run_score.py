"""The score of one run: pure functions over a Trace and the roads that it was driven on. Shape letters: T ticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import InputError
from vavam_world.contracts import F64, TICK_S, ActorState, Collision, RoadMap, Route, Trace, Vehicle, WorldState
from vavam_world.roads.lookup import LaneIndex
from vavam_world.roads.route_tools import project
from vavam_world.scoring.motion import Comfort, ComfortLimits, Motion, comfort_of, ideal_times_s, motion_of

STANDING_MPS = 0.3
REACHED_M = 3.0  # a turn counts as taken this far behind the junction, within this of the route


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One collision. At fault: the ego moved, and was not run into from behind."""

    t_s: float
    kind: str
    with_id: int
    impact_mps: float
    at_fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """What one run came to. Shares are of its ticks."""

    scenario: str
    driver: str
    finished: str
    detail: str
    duration_s: float
    distance_m: float
    completion: float  # share of the route, 1 where its end was reached
    contacts: tuple[Contact, ...]
    off_road_share: float  # a wheel beyond the kerb
    wrong_lane_share: float  # the vehicle's centre on a lane of the opposite direction
    comfort: Comfort
    time_lost_s: float  # against an empty road, over the distance that was driven
    turns_due: int  # junctions of the route that were entered
    turns_taken: int  # … and left on the route

    @property
    def collided(self) -> bool:
        """Any contact."""
        return bool(self.contacts)

    @property
    def at_fault(self) -> bool:
        """Any contact at fault."""
        return any(c.at_fault for c in self.contacts)

    @property
    def off_road(self) -> bool:
        """Ever, by a wheel."""
        return self.off_road_share > 0.0

    @property
    def first_impact_mps(self) -> float | None:
        """NeuroNCAP's v_i."""
        return self.contacts[0].impact_mps if self.contacts else None

    @property
    def success(self) -> bool:
        """The route's end reached, no contact at fault, never off the road."""
        return self.finished == "route" and not self.at_fault and not self.off_road

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunScore:
        """The inverse of `to_dict`. Raises InputError on other keys than its own."""
        try:
            return cls(**{**values, "contacts": tuple(Contact(**c) for c in values["contacts"]), "comfort": Comfort(**values["comfort"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"run score: {error}; expected what this version wrote: remove the file") from error


def score_run(
    trace: Trace, road_map: RoadMap, route: Route, lanes: LaneIndex, *, vehicle: Vehicle | None = None, limits: ComfortLimits | None = None
) -> RunScore:
    """Score a trace. `route` is the one that was to be driven, `lanes` is the road map's index."""
    vehicle = vehicle or Vehicle()
    if not trace.states:
        return failed(trace.scenario.name, trace.driver, trace.detail or "the run has no state")
    motion = motion_of(trace.states)
    s, d = along_route(motion, route)
    start, best = float(s[0]), float(s.max())
    completion = 1.0 if trace.finished == "route" else float(np.clip((best - start) / max(route.length_m - start, 1e-6), 0.0, 1.0))
    due, taken = _turns(route, s, d)
    return RunScore(
        scenario=trace.scenario.name,
        driver=trace.driver,
        finished=trace.finished,
        detail=trace.detail,
        duration_s=float(motion.t_s[-1]),
        distance_m=float(np.hypot(np.diff(motion.x_m), np.diff(motion.y_m)).sum()),
        completion=completion,
        contacts=tuple(_contact(c, trace, vehicle) for c in trace.collisions),
        off_road_share=float((~wheels_on_road(motion, lanes, vehicle)).mean()),
        wrong_lane_share=float(_wrong_lane(motion, road_map, lanes, vehicle).mean()),
        comfort=comfort_of(motion, limits),
        time_lost_s=_time_lost(trace, motion, route, start, best),
        turns_due=due,
        turns_taken=taken,
    )


def failed(scenario: str, driver: str, detail: str) -> RunScore:
    """The score of a run that came to nothing: its driver failed before the first state."""
    nothing = Comfort(**dict.fromkeys(Comfort.__dataclass_fields__, 0.0))
    return RunScore(
        scenario=scenario,
        driver=driver,
        finished="driver_error",
        detail=detail,
        duration_s=0.0,
        distance_m=0.0,
        completion=0.0,
        contacts=(),
        off_road_share=0.0,
        wrong_lane_share=0.0,
        comfort=nothing,
        time_lost_s=0.0,
        turns_due=0,
        turns_taken=0,
    )


def along_route(motion: Motion, route: Route) -> tuple[F64, F64]:
    """(T,) arc length and (T,) offset of the rear axle on the route."""
    found = np.zeros((len(motion.t_s), 2))
    hint: float | None = None
    for i, (x, y) in enumerate(zip(motion.x_m, motion.y_m, strict=True)):
        found[i] = project(route, float(x), float(y), hint)
        hint = float(found[i, 0])
    return found[:, 0], found[:, 1]


def _ahead(motion: Motion, x_m: float, y_m: float = 0.0) -> F64:
    """(T, 2) in map: a point of the ego frame at every tick."""
    c, s = np.cos(motion.yaw_rad), np.sin(motion.yaw_rad)
    return np.stack([motion.x_m + c * x_m - s * y_m, motion.y_m + s * x_m + c * y_m], axis=1)


def wheels_on_road(motion: Motion, lanes: LaneIndex, vehicle: Vehicle) -> npt.NDArray[np.bool_]:
    """(T,): all four wheels, at the vehicle's full width, on the road."""
    half = 0.5 * vehicle.width_m
    wheels = np.stack([_ahead(motion, x, y) for x in (0.0, vehicle.wheelbase_m) for y in (-half, half)])
    on = np.asarray(lanes.on_road(wheels.reshape(-1, 2)), bool)
    return np.asarray(on.reshape(4, -1).all(axis=0))


def _wrong_lane(motion: Motion, road_map: RoadMap, lanes: LaneIndex, vehicle: Vehicle) -> npt.NDArray[np.bool_]:
    """(T,): the vehicle's centre on a lane that runs against its heading. Lanes through a junction, which cross, do not count."""
    centre = _ahead(motion, 0.5 * vehicle.length_m - vehicle.rear_overhang_m)
    wrong = np.zeros(len(centre), bool)
    for i, ((x, y), yaw) in enumerate(zip(centre, motion.yaw_rad, strict=True)):
        lane_id, s, d = lanes.nearest(float(x), float(y))
        lane = road_map.lanes[lane_id]
        if lane.junction is None and abs(d) <= 0.5 * lane.width_m:
            wrong[i] = np.cos(float(np.interp(s, lane.s_m, lane.yaw_rad)) - yaw) < 0.0
    return wrong


def _turns(route: Route, s: F64, d: F64) -> tuple[int, int]:
    due = taken = 0
    for s_in, s_out, _ in route.turns:
        if s.max() <= s_in:
            continue
        due += 1
        taken += bool(np.any((s >= min(s_out + REACHED_M, route.length_m - 1.0)) & (np.abs(d) <= REACHED_M)))
    return due, taken


def _time_lost(trace: Trace, motion: Motion, route: Route, start: float, best: float) -> float:
    scenario = trace.scenario
    ideal = ideal_times_s(route, cruise_mps=scenario.cruise_mps, start_speed_mps=scenario.start_speed_mps, stop_at_end=scenario.stop_at_end)
    if scenario.stop_at_end and trace.finished == "route":
        best = route.length_m  # the halt before the end is part of the route
    wanted = float(np.interp(best, route.s_m, ideal) - np.interp(start, route.s_m, ideal))
    return max(0.0, float(motion.t_s[-1]) - wanted)


def _contact(collision: Collision, trace: Trace, vehicle: Vehicle) -> Contact:
    first = trace.states[0].tick
    before = trace.states[int(np.clip(collision.tick - first - 1, 0, len(trace.states) - 1))]
    other = next((a for a in before.actors if a.id == collision.with_id), None)
    return Contact(
        t_s=(collision.tick - first) * TICK_S,
        kind=collision.kind,
        with_id=collision.with_id,
        impact_mps=collision.impact_mps,
        at_fault=_at_fault(before, other, vehicle),
    )


def _at_fault(before: WorldState, other: ActorState | None, vehicle: Vehicle) -> bool:
    """By the state before the contact: the ego moved, and the other's centre was not behind the ego's rear bumper."""
    ego = before.ego
    if abs(ego.speed_mps) <= STANDING_MPS:
        return False
    if other is None:
        return True
    ahead_m = (other.x_m - ego.x_m) * np.cos(ego.yaw_rad) + (other.y_m - ego.y_m) * np.sin(ego.yaw_rad)
    return bool(ahead_m > -vehicle.rear_overhang_m)
