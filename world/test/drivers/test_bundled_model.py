"""The model in models/world: small, what it says it is, and it drives by what it sees."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from vavam_world.cli.demo import BUNDLED
from vavam_world.contracts import WORLD_CAMERA, Trace
from vavam_world.drivers import make
from vavam_world.drivers.loop import drive
from vavam_world.drivers.shown import image_filter
from vavam_world.report.run import close_studio, studio
from vavam_world.roads import build_map
from vavam_world.scenarios.suites import suite
from vavam_world.scoring.run_score import RunScore, score_run
from vavam_world.sim.simulation import Simulation

from vavam_ros.core.artifact import load_artifact

SECONDS = 12.0


def driven(name: str, shown: str) -> tuple[Trace, RunScore]:
    """The first seconds of a route of the test split."""
    scenario = next(s for s in suite(name, "test").scenarios)
    scenario = replace(scenario, time_limit_s=SECONDS)
    driver = make("vavam_direct", model=BUNDLED)
    renderer = studio(build_map(scenario.map), scenario.look, WORLD_CAMERA, "auto")
    rule = getattr(driver, "command_rule")  # noqa: B009  a driver need not have one
    trace = drive(scenario, driver, renderer=renderer, command_rule=rule, image_filter=image_filter(shown))  # type: ignore[arg-type]
    sim = Simulation(scenario)
    return trace, score_run(trace, sim.road_map, sim.route, sim.lanes, vehicle=sim.vehicle)


def test_it_is_small_and_gives_its_golden_plans() -> None:
    assert sum(f.stat().st_size for f in BUNDLED.iterdir()) <= 15_000_000
    card = load_artifact(BUNDLED, "cpu").card  # checks the golden plans
    assert card.trained
    assert card.domain == "synthetic_world"
    assert card.camera.name == WORLD_CAMERA.name
    assert card.command_rule == "lookahead"


def test_the_command_finds_it_from_anywhere(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("world")), "demo", "--help"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "(default model)" in " ".join(said.split())


def test_it_follows_a_bend_and_does_not_without_pictures() -> None:
    try:
        trace, seen = driven("curves", "as_taken")
        _, blind = driven("curves", "black")
    finally:
        close_studio()
    assert not trace.collisions
    assert seen.off_road_share == 0.0
    assert seen.wrong_lane_share == 0.0
    assert seen.distance_m > 50.0
    turned = np.unwrap([s.ego.yaw_rad for s in trace.states])
    assert abs(turned - turned[0]).max() > 0.3
    assert blind.completion < 0.7 * seen.completion or blind.off_road_share > 0.0
