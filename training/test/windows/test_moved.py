"""Trajectories on which the vehicle was moved by hand are no examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import DriveRows
from vavam_training.windows import WindowSpec, find_windows, labels
from vavam_training.windows.labels import sideways_m

SPEC = WindowSpec(frames=4, horizon=6, max_sideways_m=0.15)


def circle(radius_m: float, speed_mps: float, n: int = 40, pushed_at: int | None = None, lateral_m: float = 0.0, yaw_rad: float = 0.0) -> DriveRows:
    """A turn at constant speed at 2 Hz; before row `pushed_at` the vehicle is shifted to its left and turned, and drives on from there."""
    turn = 0.5 * speed_mps / radius_m
    position, yaw = np.zeros((n, 3)), np.zeros(n)
    for i in range(1, n):
        chord = 2.0 * radius_m * np.sin(turn / 2)
        position[i, :2] = position[i - 1, :2] + chord * np.array([np.cos(yaw[i - 1] + turn / 2), np.sin(yaw[i - 1] + turn / 2)])
        yaw[i] = yaw[i - 1] + turn
        if i == pushed_at:
            position[i, :2] += lateral_m * np.array([-np.sin(yaw[i]), np.cos(yaw[i])])
            yaw[i] += yaw_rad
    rotation = np.stack([np.cos(yaw / 2), np.zeros(n), np.zeros(n), np.sin(yaw / 2)], axis=-1)
    return DriveRows(
        name="circle", source="test", stamp_ns=(np.arange(n) * 500_000_000).astype(np.int64), tokens=np.zeros((n, 1, 1), np.uint16), position_m=position,
        rotation_wxyz=rotation, speed_mps=np.full(n, speed_mps, np.float32), command=np.full(n, 2, np.int8),
    )  # fmt: skip


@pytest.mark.parametrize(("radius_m", "speed_mps"), [(7.0, 4.0), (30.0, 10.0), (1e6, 15.0)])
def test_no_turn_looks_like_a_push(radius_m: float, speed_mps: float) -> None:
    rows = circle(radius_m, speed_mps)
    assert sideways_m(rows).max() < 1e-6
    positions, _ = labels(rows, find_windows(rows, SPEC).index, SPEC)
    assert np.isfinite(positions).all()


@pytest.mark.parametrize("push", [{"lateral_m": 0.3}, {"lateral_m": -0.9, "yaw_rad": 0.1}])
def test_plans_across_a_push_are_unknown_and_no_others(push: dict[str, float]) -> None:
    rows = circle(40.0, 8.0, pushed_at=20, **push)
    index = find_windows(rows, SPEC).index
    positions, _ = labels(rows, index, SPEC)
    unknown = np.isnan(positions).any(axis=(-1, -2))
    assert np.array_equal(unknown, (index < 20) & (index + 6 >= 20))
    assert np.isnan(positions[unknown]).all()
    as_recorded, _ = labels(rows, index, replace(SPEC, max_sideways_m=None))
    assert np.array_equal(as_recorded[~unknown], positions[~unknown])


def test_a_limit_is_positive() -> None:
    with pytest.raises(ConfigError, match="max_sideways_m"):
        WindowSpec(max_sideways_m=0.0)
