"""Slopes of made series: the known slope is found, and the error is as large as it says, also where neighbouring samples are alike."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.measure.processes import Sample, Usage
from vavam_ros.measure.trend import S_PER_H, after_warm_up, slope

T_S = np.arange(0.0, 1440.0)


def correlated(rng: np.random.Generator, trials: int, length: float) -> np.ndarray:
    """(trials, len(T_S)): Gaussian noise of size 1 whose correlation falls to 1/e in `length` samples."""
    a = np.exp(-1.0 / length)
    out = rng.normal(size=(trials, len(T_S)))
    for i in range(1, len(T_S)):
        out[:, i] = a * out[:, i - 1] + np.sqrt(1.0 - a * a) * out[:, i]
    return out


def test_a_line_is_found_exactly() -> None:
    found = slope(T_S, 500.0 + 3.0 * T_S / S_PER_H)
    assert found is not None
    assert found.per_h == pytest.approx(3.0)
    assert found.se == pytest.approx(0.0, abs=1e-6)
    assert found.blocks == 12
    assert found.text("MB") == "+3.00 ± 0.00 MB/h"


def test_the_error_covers_the_truth_as_often_as_it_says_though_samples_are_alike() -> None:
    rng = np.random.default_rng(0)
    truth, inside, naive_inside, trials = 2.0, 0, 0, 300
    for noise in correlated(rng, trials, 20.0):
        y = 400.0 + truth * T_S / S_PER_H + noise
        found = slope(T_S, y)
        assert found is not None
        inside += found.low <= truth <= found.high
        t = T_S - T_S.mean()
        line = t @ y / (t @ t)
        se = np.sqrt(np.sum((y - y.mean() - line * t) ** 2) / (len(t) - 2) / (t @ t)) * S_PER_H
        naive_inside += abs(line * S_PER_H - truth) <= 1.96 * se
    assert inside / trials > 0.91  # 0.95, less three standard errors of 300 trials
    assert inside / trials < 1.0, "an error that always covers says nothing"
    assert naive_inside / trials < 0.6, "what the blocks are for"


def test_blocks_of_unequal_filling_and_series_that_are_too_short() -> None:
    t = np.concatenate([np.arange(0.0, 100.0), np.arange(600.0, 1200.0)])  # nobody looked for a while
    found = slope(t, 7.0 * t / S_PER_H)
    assert found is not None
    assert found.blocks < 12
    assert found.per_h == pytest.approx(7.0)
    assert slope([], []) is None
    assert slope([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert slope([5.0] * 9, [1.0] * 9) is None
    with pytest.raises(ValueError, match="got 2 times and 1 values"):
        slope([0.0, 1.0], [0.0])


def test_the_warm_up_does_not_count() -> None:
    usage = Usage(name="n", pid=0)
    for t in T_S:
        settled = 300.0 + min(t, 200.0)  # grows for 200 s, then stands
        usage.samples.append(Sample(t_s=50.0 + t, cpu_s=0.5 * t, rss_mb=settled, own_mb=settled + 10.0 * t / S_PER_H))
    assert after_warm_up(T_S) == 288
    rss, own = usage.slope(), usage.slope(own=True)
    assert rss is not None
    assert own is not None
    assert rss.per_h == pytest.approx(0.0, abs=1e-6)
    assert own.per_h == pytest.approx(10.0)
    whole = usage.slope(warm_up=0.0)
    assert whole is not None
    assert whole.per_h > 100.0
    assert usage.cores == pytest.approx(0.5)
