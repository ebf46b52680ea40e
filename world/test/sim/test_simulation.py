"""The simulation's own duties: delay, determinism, progress, perturbations, reasons to stop, the order of actors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import shapely
from vavam_world.contracts import (
    START_NS,
    TICK_NS,
    TICK_S,
    Control,
    Lane,
    MapSpec,
    Perturbation,
    Prop,
    RoadMap,
    Route,
    RouteSpec,
    Scenario,
    TrafficSpec,
    Vehicle,
    WorldError,
)
from vavam_world.sim.pedestrians import Pedestrians
from vavam_world.sim.simulation import START_S_M, Simulation

Maps = Callable[..., RoadMap]
Routes = Callable[[Lane], Route]
Blind = Callable[[Simulation, float], Control]
EMPTY = TrafficSpec(parked=0.0)
BUSY = Scenario(name="busy", map=MapSpec(kind="town", seed=4), route=RouteSpec(seed=2), traffic=TrafficSpec(vehicles=10, pedestrians=5, seed=3))


def plain(straight_map: Maps, route_of: Routes, *, props: tuple[Prop, ...] = (), vehicle: Vehicle | None = None, **changes: object) -> Simulation:
    road_map = straight_map(200.0, props)
    scenario = Scenario(name="x", traffic=EMPTY, **changes)  # type: ignore[arg-type]
    return Simulation(scenario, vehicle=vehicle, road_map=road_map, route=route_of(road_map.lanes[0]))


def run_digest(scenario: Scenario, ticks: int) -> str:
    sim = Simulation(scenario)
    rng = np.random.default_rng(0)
    states = [sim.state]
    for _ in range(ticks):
        states.append(sim.step(Control(throttle=float(rng.uniform(0.0, 0.5)), steer=float(rng.uniform(-0.1, 0.1)))))
    return hashlib.sha256("\n".join(map(repr, states)).encode()).hexdigest()


def test_same_scenario_and_controls_give_the_same_states_in_another_process() -> None:
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('t', sys.argv[1]); t = importlib.util.module_from_spec(spec);"
        "spec.loader.exec_module(t); print(t.run_digest(t.BUSY, 100))"
    )
    here = run_digest(BUSY, 100)
    env = os.environ | {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True, env=env)
    assert there.stdout.strip() == here
    assert run_digest(BUSY, 100) == here
    other = Scenario(name="busy", map=BUSY.map, route=BUSY.route, traffic=TrafficSpec(vehicles=10, pedestrians=5, seed=4))
    assert run_digest(other, 100) != here


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_control_takes_effect_as_many_ticks_late_as_the_vehicle_says(straight_map: Maps, route_of: Routes, delay: int) -> None:
    sim = plain(straight_map, route_of, vehicle=Vehicle(delay_ticks=delay))
    speeds = [sim.step(Control(throttle=1.0)).ego.speed_mps for _ in range(delay + 2)]
    assert [v > 0.0 for v in speeds] == [False] * delay + [True, True]


def test_the_ego_starts_as_the_scenario_says(straight_map: Maps, route_of: Routes) -> None:
    sim = plain(straight_map, route_of, start_speed_mps=7.0, start_offset_m=0.4, start_yaw_rad=-0.1)
    ego = sim.state.ego
    assert (ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps) == pytest.approx((START_S_M, 0.4, -0.1, 7.0))
    assert (sim.state.tick, sim.state.stamp_ns) == (0, START_NS)
    assert (sim.route_s, sim.route_d) == pytest.approx((START_S_M, 0.4))
    assert shapely.Polygon(sim.ego_polygon()).area == pytest.approx(sim.vehicle.length_m * sim.vehicle.width_m)
    state = sim.step(Control())
    assert (state.tick, state.stamp_ns) == (1, START_NS + TICK_NS)


def test_a_perturbation_shifts_the_ego_once(straight_map: Maps, route_of: Routes) -> None:
    sim = plain(straight_map, route_of, start_speed_mps=5.0, perturbations=(Perturbation(at_s=0.5, lateral_m=0.6), Perturbation(at_s=1.0, yaw_rad=-0.2)))
    seen = [(s.ego.y_m, s.ego.yaw_rad) for s in (sim.step(Control()) for _ in range(20))]
    assert seen[8] == (0.0, 0.0)
    assert seen[9] == pytest.approx((0.6, 0.0))  # tick 10
    assert seen[18] == pytest.approx((0.6, 0.0))
    assert seen[19] == pytest.approx((0.6, -0.2))
    assert sim.route_d == pytest.approx(0.6)


def test_progress_never_falls(straight_map: Maps, route_of: Routes) -> None:
    sim = plain(straight_map, route_of, start_speed_mps=3.0)
    furthest = max(sim.route_s for _ in range(20) if sim.step(Control()))
    for _ in range(100):
        sim.step(Control(throttle=1.0, reverse=True))
    assert sim.state.ego.x_m < furthest - 3.0
    assert sim.route_s >= furthest


@pytest.mark.parametrize(("halts", "end"), [(True, "halt"), (True, "pass"), (False, "pass")])
def test_the_route_ends(straight_map: Maps, route_of: Routes, blind: Blind, halts: bool, end: str) -> None:
    sim = plain(straight_map, route_of, start_speed_mps=8.0, stop_at_end=halts)
    while sim.finished() is None:
        braking = 0.5 * sim.state.ego.speed_mps**2 / 3.0 + 3.0 > 200.0 - sim.route_s
        sim.step(Control(brake=3.0 / 8.0) if end == "halt" and braking else blind(sim, 8.0))
    assert sim.finished() == "route"
    if end == "halt":
        assert sim.state.ego.speed_mps < 0.5
        assert sim.route_s < 199.5
    else:
        assert sim.route_s == pytest.approx(200.0 if halts else 195.0, abs=0.5)


def test_off_road_once_a_wheel_is_and_over_when_all_are_for_two_seconds(straight_map: Maps, route_of: Routes) -> None:
    sim = plain(straight_map, route_of, start_speed_mps=5.0, start_offset_m=1.0)
    assert not sim.off_road
    sim = plain(straight_map, route_of, start_speed_mps=5.0, start_offset_m=1.2)
    assert sim.off_road
    sim.step(Control())
    assert sim.finished() is None
    sim = plain(straight_map, route_of, start_speed_mps=5.0, start_offset_m=3.2)
    ticks = 0
    while sim.finished() is None:
        sim.step(Control())
        ticks += 1
    assert sim.finished() == "off_road"
    assert ticks == round(2.0 / TICK_S) - 1  # the first state counts


def test_stuck_and_out_of_time(straight_map: Maps, route_of: Routes) -> None:
    sim = plain(straight_map, route_of, time_limit_s=100.0)
    while sim.finished() is None:
        sim.step(Control())
    assert sim.finished() == "stuck"
    assert sim.state.tick * TICK_S == pytest.approx(30.0, abs=0.1)
    sim = plain(straight_map, route_of, time_limit_s=2.0)
    while sim.finished() is None:
        sim.step(Control())
    assert (sim.finished(), sim.state.tick) == ("time", 40)


def test_a_prop_in_the_way_is_a_collision(straight_map: Maps, route_of: Routes, blind: Blind) -> None:
    tree = Prop(kind="tree", x_m=60.0, y_m=0.3, yaw_rad=0.0, length_m=0.5, width_m=0.5, height_m=6.0, variant=0)
    sim = plain(straight_map, route_of, start_speed_mps=6.0, props=(tree,))
    while sim.finished() is None:
        sim.step(blind(sim, 6.0))
    assert sim.finished() == "collision"
    assert [(c.with_id, c.kind) for c in sim.collisions] == [(-1, "tree")]
    assert sim.collisions[0].impact_mps == pytest.approx(6.0, abs=0.1)


def test_actors_come_in_id_order_and_keep_their_ids() -> None:
    sim = Simulation(BUSY)
    first = [(a.id, a.kind) for a in sim.state.actors]
    assert [i for i, _ in first] == sorted({i for i, _ in first})
    assert {k for _, k in first} >= {"pedestrian", "parked"}
    for _ in range(50):
        sim.step(Control(brake=1.0))
    assert [(a.id, a.kind) for a in sim.state.actors] == first


def test_the_share_of_parking_places_taken_is_the_one_asked_for() -> None:
    def parked(share: float) -> int:
        return len(Simulation(Scenario(name="x", map=MapSpec(kind="straight", seed=2), traffic=TrafficSpec(parked=share))).state.actors)

    assert parked(0.0) == 0
    assert 0 < parked(0.4) < parked(1.0)


def test_a_pedestrian_waits_for_what_cannot_stop_and_goes_before_what_can() -> None:
    for approaching, goes in (((10.0, 8.0), False), ((40.0, 8.0), True), ((0.0, 0.0), False), ((1.0, 0.0), True)):
        sim = Simulation(BUSY)
        walkers = Pedestrians(sim.road_map, TrafficSpec(pedestrians=6, seed=1), near=(0.0, 0.0))
        walker = next(w for w in walkers.walkers if w.crosswalk is not None)
        walker.u, walker.pause = walker.kerbs[0] - 0.5, 0
        for _ in range(60):
            walkers.step({walker.crosswalk: [approaching]})  # type: ignore[dict-item]
        assert walker.crossing == goes, approaching


def test_a_control_that_is_not_finite_is_refused(straight_map: Maps, route_of: Routes) -> None:
    with pytest.raises(WorldError, match="finite"):
        plain(straight_map, route_of).step(Control(throttle=float("nan")))
