"""Scores and intervals of comparisons are those that their tables say."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_training.evaluation.comparisons import bootstrap, closed_numbers, open_numbers, run_score, said, student

CRASH = {"finished": "collision", "contacts": [{"impact_mps": 5.0}, {"impact_mps": 9.0}]}


def test_score_of_a_run() -> None:
    assert run_score(CRASH, 10.0) == pytest.approx(2.0)
    assert run_score(CRASH, 4.0) == 0.0
    assert run_score({"finished": "route", "contacts": []}, 10.0) == 5.0
    assert run_score({"finished": "driver_error", "contacts": []}, 10.0) == 0.0


def test_routes_and_safety_scenarios_are_told_apart_by_the_reference() -> None:
    runs = [CRASH | {"scenario": "side/a", "completion": 0.3}, {"scenario": "curves/b", "completion": None, "finished": "driver_error", "contacts": []}]
    found = closed_numbers({"runs": runs, "do_nothing_impact_mps": {"side/a": 10.0}})
    assert found == {"completion": {"curves/b": 0.0}, "score": {"side/a": 2.0}, "failed": {"side/a": 0.0, "curves/b": 1.0}}


def test_the_open_loop_is_read_after_one_second() -> None:
    rows = [{"axis": a, "time_s": t, "planner": {"value": v}} for a, t, v in (("side", 0.5, 9.0), ("side", 1.0, 0.4), ("ahead", 1.0, 1.5))]
    found = open_numbers({"overall": {"medoid_ade_m": {"value": 2.0}}, "by_axis": rows})
    assert found == {"medoid_ade_m": 2.0, "side_1s_m": 0.4, "ahead_1s_m": 1.5}


def test_intervals() -> None:
    assert student(np.array([1.0, 2.0, 3.0])) == pytest.approx([2.0, 2.0 - 4.302653 / np.sqrt(3), 2.0 + 4.302653 / np.sqrt(3)])
    values = np.random.default_rng(0).normal(1.0, 1.0, (3, 400))
    mean, low, high = bootstrap(values)
    assert low < mean < high
    assert mean == pytest.approx(float(values.mean()))
    assert bootstrap(np.full((3, 4), 2.0)) == [2.0, 2.0, 2.0]
    assert said([1.0, -0.5, 2.25]) == "1.00 (-0.50 to 2.25)"
