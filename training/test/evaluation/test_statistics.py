"""Intervals cover as often as they say; calibration tells a right spread from a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_training.evaluation.calibration import axis_ranks, distance_ranks, energy_score_m, spread_and_error_m
from vavam_training.evaluation.statistics import DriveBootstrap


def test_intervals_cover_the_truth_where_windows_of_a_drive_are_alike() -> None:
    """40 drives with an offset each: the interval of drives covers as it says; one that takes windows for independent would be far too narrow."""
    rng, hits, naive = np.random.default_rng(0), 0, 0
    drive = np.repeat(np.arange(40), 25)
    for trial in range(120):
        values = rng.normal(size=40)[drive] + 0.3 * rng.normal(size=len(drive))
        found = DriveBootstrap(drive, seed=trial, resamples=400).mean(values)
        hits += found.low <= 0.0 <= found.high
        each = DriveBootstrap(np.arange(len(drive)), seed=trial, resamples=100).mean(values)
        naive += each.low <= 0.0 <= each.high
    assert 0.88 <= hits / 120 <= 0.99
    assert naive / 120 < 0.5


def test_value_is_the_mean_over_windows_and_one_drive_has_no_interval() -> None:
    drive = np.array([0, 0, 0, 1])
    found = DriveBootstrap(drive, seed=0).mean(np.array([1.0, 1.0, 1.0, 5.0]))
    assert (found.value, found.windows, found.drives) == (2.0, 4, 2)
    alone = DriveBootstrap(drive, seed=0).mean(np.array([1.0, 1.0, 1.0, 5.0]), drive == 1)
    assert alone.to_dict() == {"value": 5.0, "low": None, "high": None, "windows": 1, "drives": 1}
    assert DriveBootstrap(drive, seed=0).mean(np.array([np.inf, 1.0, 1.0, 5.0])).to_dict()["value"] is None  # JSON has no infinity


def test_bootstrap_refuses_what_cannot_be_meant() -> None:
    with pytest.raises(ConfigError, match="level 95"):
        DriveBootstrap(np.array([0]), seed=0, level=95)


@pytest.mark.parametrize(("width", "verdict"), [(1.0, "right"), (0.4, "too sure"), (2.5, "too wide")])
def test_ranks_tell_whether_the_spread_is_right(width: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    samples, truth = width * rng.normal(size=(4000, 9, 2)), rng.normal(size=(4000, 2))
    ranks = distance_ranks(samples, truth)
    histogram = ranks.histogram().mean(axis=0)
    assert histogram.sum() == pytest.approx(1.0)
    spread, error = spread_and_error_m(samples, truth)
    ratio = float(np.sqrt(spread.mean() / error.mean()))
    coverage = float(ranks.within(0.8).mean())
    if verdict == "right":
        np.testing.assert_allclose(histogram, 0.1, atol=0.02)
        np.testing.assert_allclose(axis_ranks(samples, truth, 1).histogram().mean(axis=0), 0.1, atol=0.02)
        assert ratio == pytest.approx(1.0, abs=0.03)
        assert coverage == pytest.approx(0.8, abs=0.02)
    elif verdict == "too sure":
        assert histogram[-1] > 0.4
        assert ratio < 0.5
        assert coverage < 0.5
    else:
        assert histogram[0] > 0.2
        assert ratio > 2.0
        assert coverage > 0.95


def test_ties_share_their_ranks() -> None:
    same = np.zeros((1, 4, 2))
    np.testing.assert_allclose(axis_ranks(same, np.zeros((1, 2)), 0).histogram(), 0.2)


def test_energy_score_in_closed_form() -> None:
    truth = np.zeros((1, 1, 2))
    assert energy_score_m(np.array([[[[3.0, 4.0]]]]), truth)[0, 0] == pytest.approx(5.0)  # one sample: its distance
    two = np.array([[[[3.0, 4.0]], [[-3.0, -4.0]]]])
    assert energy_score_m(two, truth)[0, 0] == pytest.approx(5.0 - 0.5 * 10.0)
