"""Displacement errors and baselines against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.planning.metrics import ade_m, constant_turn_rate, constant_velocity, fde_m, min_ade_m, min_fde_m

TRUTH = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])


def test_ade_and_fde():
    off = TRUTH + np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    assert ade_m(off, TRUTH) == pytest.approx((5 + 1 + 0) / 3)
    assert fde_m(off, TRUTH) == 0.0
    assert ade_m(np.stack([off, TRUTH]), TRUTH).shape == (2,)


def test_the_smallest_may_be_another_sample_for_each():
    samples = TRUTH + np.array([[[0, 9], [0, 9], [0, 9]], [[0, 2], [0, 2], [0, 2]], [[0, 5], [0, 5], [0, 1]]])
    assert min_ade_m(samples, TRUTH) == (2.0, 1)
    assert min_fde_m(samples, TRUTH) == (1.0, 2)
    assert min_ade_m(np.stack([TRUTH, TRUTH]), TRUTH) == (0.0, 0)


def test_shapes_are_checked():
    with pytest.raises(ConfigError, match="same waypoints"):
        ade_m(TRUTH[:2], TRUTH)
    with pytest.raises(ConfigError, match="K"):
        min_ade_m(TRUTH, TRUTH)


def test_constant_velocity():
    assert np.allclose(constant_velocity(4.0, 3, 0.5), [[2, 0], [4, 0], [6, 0]])


def test_constant_turn_rate_is_a_circle_to_the_left_for_positive_rates():
    xy = constant_turn_rate(5.0, 0.5, 6, 0.5)
    t = 0.5 * np.arange(1, 7)
    assert np.allclose(xy, np.stack([10 * np.sin(0.5 * t), 10 * (1 - np.cos(0.5 * t))], axis=1))
    assert np.allclose(constant_turn_rate(5.0, -0.5, 6, 0.5), xy * [1, -1])
    assert np.allclose(constant_turn_rate(5.0, 1e-13, 6, 0.5), constant_velocity(5.0, 6, 0.5))
