"""The whole system as `vavam launch carla` starts it: a driver that looks is followed over live topics while a model plans beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vavam_world.contracts import WORLD_CAMERA, LookSpec, MapSpec, RouteSpec, Scenario, WorldError
from vavam_world.live.domain import own_domain
from vavam_world.live.practice_model import PRACTICE, PRACTICE_TOKENIZER
from vavam_world.live.run import LiveSystem, drive_live
from vavam_world.roads.route_tools import project
from vavam_world.sim.simulation import Simulation

from vavam_ros.core.artifact import random_artifact

pytestmark = [pytest.mark.ros, pytest.mark.slow]

CURVE = Scenario(
    name="curve", map=MapSpec(kind="curves", seed=3), look=LookSpec(weather="overcast"), route=RouteSpec(length_m=300.0), start_speed_mps=6.0, time_limit_s=9.0
)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "untrained"
    random_artifact(path, PRACTICE, tokenizer=PRACTICE_TOKENIZER, camera=WORLD_CAMERA.name)
    return path


def test_the_lane_follower_drives_over_live_topics_and_the_model_plans_beside(untrained: Path) -> None:
    said: list[str] = []
    trace = drive_live(CURVE, LiveSystem(model=untrained, driver="lane_follower", config="carla,cpu,untrained"), on_line=said.append)
    assert trace.finished == "time", said[-5:]
    assert len(trace.states) == 181
    assert any("ACTIVE" in line for line in said), "the gate let it through"
    sim = Simulation(CURVE)
    s_d = [project(sim.route, st.ego.x_m, st.ego.y_m) for st in trace.states]
    assert s_d[-1][0] > s_d[40][0] + 25.0, "it drove on after the expert had handed over"
    assert max(abs(d) for s, d in s_d[60:]) < 0.6, "it keeps its lane"
    assert len(trace.plans) > 60, "the follower took its paths in"
    assert len(trace.beside) > 5, "and the model planned"
    assert all(np.isfinite(p.xyz_m).all() for p in trace.beside)


def test_a_system_that_cannot_start_says_why(untrained: Path) -> None:
    with pytest.raises(WorldError, match="nowhere"):
        drive_live(CURVE, LiveSystem(model=untrained, arguments={"world_objects": "/nowhere.json"}))


def test_domains_are_held_by_one_run_each() -> None:
    with own_domain() as a, own_domain() as b, own_domain() as c:
        assert len({a, b, c}) == 3
