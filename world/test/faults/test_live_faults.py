"""Faults on a whole system that drives. Three of them in every test run, all of them in all ways of running the nodes in `make test-all`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from vavam_world.faults.cases import BY_NAME, CASES
from vavam_world.faults.harness import Config, Drive, driving
from vavam_world.faults.matrix import CONFIGS, run_matrix
from vavam_world.live.domain import own_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture(scope="module")
def drive(practice_model: Path) -> Iterator[Drive]:
    """One system for all: after each fault it drives on."""
    with tempfile.TemporaryDirectory() as folder, own_domain() as domain, driving(practice_model, Config(), Path(folder), domain) as found:
        yield found


@pytest.mark.parametrize("name", ["image_freeze", "odometry_nan", "follower_flood"])
def test_the_system_reacts_as_documented_and_drives_on(drive: Drive, name: str) -> None:
    outcome = drive.play(BY_NAME[name])
    assert outcome.problems == []
    assert outcome.ticks is not None  # the gate left ACTIVE …
    assert outcome.resumed == "by a new enable"  # … and is back
    assert drive.eyes.publishers() == ("watchdog_node",)


@pytest.mark.faults_all
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_every_fault_in_every_way_of_running(practice_model: Path, tmp_path: Path, config: Config) -> None:
    result = run_matrix(practice_model, CASES, [config], tmp_path, lambda outcome: None)
    assert {o["case"]: o["problems"] for o in result["outcomes"] if o["problems"]} == {}
    transport = "compressed" if config.compressed else "raw"
    assert [o["case"] for o in result["outcomes"]] == [c.name for c in CASES if transport in c.transports]
