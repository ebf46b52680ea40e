"""Every intruder is met by an ego that drives on along its route at the cruise speed, and the impact is that of the two speeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from vavam_world.contracts import Control, Intruder, MapKind, MapSpec, RouteSpec, Scenario, TrafficSpec
from vavam_world.sim.simulation import Simulation

from vavam_ros.core.contracts import ConfigError

Blind = Callable[[Simulation, float], Control]


def scenario(kind: str, map_kind: MapKind, seed: int) -> Scenario:
    rng = np.random.default_rng(seed)
    speed = 0.0 if kind == "stationary" else float(rng.uniform(3.0, 10.0))
    intruder = Intruder(
        kind=kind,  # type: ignore[arg-type]
        meet_s_m=float(rng.uniform(35.0, 75.0)),
        speed_mps=speed,
        offset_m=float(rng.uniform(-0.8, 0.8)),
        angle_rad=float(rng.uniform(-0.15, 0.15)),
        from_left=bool(rng.random() < 0.5),
    )
    cruise = float(rng.uniform(6.0, 12.0))
    spec = MapSpec(kind=map_kind, lanes=1 + seed % 2, seed=seed)
    return Scenario(
        name=kind,
        map=spec,
        route=RouteSpec(length_m=160.0, seed=seed),
        traffic=TrafficSpec(parked=0.0),
        intruder=intruder,
        start_speed_mps=cruise,
        cruise_mps=cruise,
    )


@pytest.mark.parametrize("map_kind", ["straight", "curves"])
@pytest.mark.parametrize("kind", ["stationary", "frontal", "side"])
def test_an_ego_that_does_nothing_collides(kind: str, map_kind: MapKind, blind: Blind) -> None:
    for seed in range(10):
        sim = Simulation(scenario(kind, map_kind, seed))
        while sim.finished() is None:
            sim.step(blind(sim, sim.scenario.cruise_mps))
        assert sim.finished() == "collision", (seed, sim.finished())
        assert [c.with_id for c in sim.collisions] == [1]
        ego, other = sim.scenario.cruise_mps, sim.scenario.intruder.speed_mps  # type: ignore[union-attr]
        expected = {"stationary": ego, "frontal": ego + other, "side": math.hypot(ego, other)}[kind]
        assert sim.collisions[0].impact_mps == pytest.approx(expected, rel=0.25)


def test_it_moves_in_a_straight_line_at_constant_speed() -> None:
    sim = Simulation(scenario("side", "straight", 3))
    seen = [sim.state.actors[0]] + [sim.step(Control(brake=1.0)).actors[0] for _ in range(40)]
    ways = np.diff([[a.x_m, a.y_m] for a in seen], axis=0)
    np.testing.assert_allclose(ways, ways[:1].repeat(len(ways), axis=0), atol=1e-9)
    assert np.hypot(*ways[0]) == pytest.approx(seen[0].speed_mps * 0.05)
    assert math.remainder(math.atan2(ways[0, 1], ways[0, 0]) - seen[0].yaw_rad, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("changes", [{"meet_s_m": 3.0}, {"meet_s_m": 1e4}, {"speed_mps": 0.0}, {"kind": "stationary"}])
def test_one_that_cannot_be_met_is_refused(changes: dict[str, object]) -> None:
    values = {"kind": "frontal", "meet_s_m": 50.0, "speed_mps": 5.0} | changes
    with pytest.raises(ConfigError, match=r"intruder: got .*expected"):
        Simulation(Scenario(name="x", map=MapSpec(kind="straight"), intruder=Intruder(**values)))  # type: ignore[arg-type]
