"""Means, intervals and the NeuroNCAP score against answers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from vavam_world.scoring.ncap import ncap_score, ncap_table
from vavam_world.scoring.routes import route_table
from vavam_world.scoring.run_score import Contact, RunScore, failed
from vavam_world.scoring.statistics import bootstrap

from vavam_ros.core.contracts import InputError


def run(name: str, impact_mps: float | None = None, *, finished: str = "route") -> RunScore:
    contacts = () if impact_mps is None else (Contact(t_s=1.0, kind="car", with_id=1, impact_mps=impact_mps, at_fault=True),)
    return replace(failed(name, "d", ""), finished=finished, contacts=contacts, completion=1.0)


def test_the_score_is_neuroncaps() -> None:
    assert ncap_score(None, 10.0) == 5.0
    assert ncap_score(2.5, 10.0) == pytest.approx(3.0)
    assert ncap_score(10.0, 10.0) == 0.0
    assert ncap_score(12.0, 10.0) == 0.0
    assert ncap_score(5.0, None) == 0.0


def test_types_count_equally_however_many_scenarios_they_have() -> None:
    runs = [run("stationary/straight/0"), run("stationary/straight/1"), run("stationary/curve/0", 10.0), run("side/straight/0", 5.0)]
    rows = {r.name: r for r in ncap_table(runs, {r.scenario: 10.0 for r in runs})}
    assert rows["stationary/straight"].score.mean == 5.0
    assert rows["stationary"].score.mean == pytest.approx(2.5)  # of two scenarios, not of three runs
    assert rows["side"].score.mean == pytest.approx(2.0)
    assert rows["mean"].score.mean == pytest.approx(2.25)
    assert rows["mean"].collision_rate.mean == pytest.approx(0.75)


def test_a_driver_that_fails_does_not_score() -> None:
    rows = ncap_table([run("side/straight/0", finished="driver_error")], {"side/straight/0": 9.0})
    assert [(r.score.mean, r.collision_rate.mean) for r in rows] == [(0.0, 1.0), (0.0, 1.0)]


def test_a_scenario_without_its_do_nothing_run_is_refused() -> None:
    with pytest.raises(InputError, match="no do-nothing run of side/straight/0"):
        ncap_table([run("side/straight/0")], {})


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(200):
        found = bootstrap([rng.normal(3.0, 2.0, 40)], resamples=400, seed=i)
        hits += found.low <= 3.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99  # 95 % nominal; the percentile bootstrap covers a little less at n = 40


def test_the_same_values_give_the_same_interval() -> None:
    values = [[0.0, 1.0, 1.0, 0.0, 1.0], [0.0, 1.0]]
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, seed=1)
    assert bootstrap([[2.0, 2.0]]).low == bootstrap([[2.0, 2.0]]).high == 2.0
    with pytest.raises(InputError, match="one or more finite values"):
        bootstrap([[]])


def test_the_mean_row_of_routes_is_over_suites() -> None:
    rows = route_table([run("curves/0"), run("curves/1"), run("turns/0", 3.0)])
    assert [r.name for r in rows] == ["curves", "turns", "mean"]
    assert rows[-1].measures["success"].mean == pytest.approx(0.5)
    assert rows[0].measures["collision"].mean == 0.0
