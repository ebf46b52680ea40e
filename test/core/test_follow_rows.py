"""Rows of a path message, as the follower takes them in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vavam_ros.core.contracts import F64, NS_PER_S, InputError
from vavam_ros.core.follow import dense_path
from vavam_ros.core.geometry import planar_T

START_NS = 100 * NS_PER_S


def circle(radius: float, v: float, t: F64) -> F64:
    """(N, 2) from the origin along +x, turning left."""
    return np.column_stack([radius * np.sin(v * t / radius), radius * (1.0 - np.cos(v * t / radius))])


def test_rows_of_a_raw_plan_are_placed_densified_and_timed() -> None:
    """Six waypoints half a second apart in the ego frame, on a circle: within centimetres of it, with its speed, in the odometry frame."""
    T = planar_T(100.0, -50.0, 2.0)
    t = np.arange(1, 7) * 0.5
    stamps = START_NS + np.round(t * NS_PER_S).astype(np.int64)
    path = dense_path(START_NS, "map", stamps, np.column_stack([circle(30.0, 8.0, t), np.zeros(6)]), T_frame_ego=T, start_velocity_mps=np.array([8.0, 0.0]))
    assert path.frame_id == "map"
    assert path.stamps_ns[0] == START_NS
    assert path.stamps_ns[-1] == stamps[-1]
    assert len(path.stamps_ns) == 31
    truth = circle(30.0, 8.0, (path.stamps_ns - START_NS) / NS_PER_S) @ T[:2, :2].T + T[:2, 3]
    assert np.abs(path.xyz_m[:, :2] - truth).max() < 0.03
    assert np.abs(path.speed_mps - 8.0).max() < 0.15
    assert path.yaw_rad[0] == pytest.approx(2.0, abs=0.01)


def test_dense_rows_are_taken_as_they_are() -> None:
    t = np.arange(31) * 0.1
    stamps, xyz = START_NS + np.round(t * NS_PER_S).astype(np.int64), np.column_stack([circle(30.0, 8.0, t), np.zeros(31)])
    path = dense_path(START_NS, "map", stamps, xyz)
    assert np.array_equal(path.xyz_m, xyz)
    assert np.array_equal(path.stamps_ns, stamps)
    assert np.abs(path.speed_mps - 8.0).max() < 0.1
    assert np.abs(path.yaw_rad - 8.0 * t / 30.0).max() < 0.02


@pytest.mark.parametrize(
    ("stamps", "xy"),
    [([0], [[0, 0]]), ([0, 0], [[0, 0], [1, 0]]), ([0, 1], [[0, 0], [math.nan, 0]]), ([0, 1], [[0, 0], [500, 0]]), ([1, 0], [[0, 0], [1, 0]])],
)
def test_rows_that_cannot_be_meant_are_refused(stamps: list[int], xy: list[list[float]]) -> None:
    rows = np.column_stack([np.array(xy, dtype=np.float64), np.zeros(len(xy))])
    with pytest.raises(InputError, match="path:"):
        dense_path(START_NS, "map", START_NS + np.array(stamps, dtype=np.int64) * NS_PER_S, rows)


def test_rows_that_would_break_what_comes_after_are_refused() -> None:
    """A height that is not finite spreads when the rows are rotated; evenly spaced rows of two clocks would be filled with billions of others."""
    stamps, xyz = START_NS + np.arange(4) * NS_PER_S // 10, np.column_stack([np.arange(4.0), np.zeros(4), np.full(4, math.nan)])
    with pytest.raises(InputError, match="not finite"):
        dense_path(START_NS, "map", stamps, xyz, T_frame_ego=np.eye(4))
    with pytest.raises(InputError, match="of one clock"):
        dense_path(START_NS, "map", START_NS + np.arange(4) * 10**8 * NS_PER_S, np.nan_to_num(xyz))
