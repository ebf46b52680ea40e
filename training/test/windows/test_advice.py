"""What an adviser would have driven is learned instead of what was driven."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vavam_ros.core.contracts import InputError
from vavam_training.contracts import DriveRows
from vavam_training.windows import WindowSpec, find_windows, labels
from vavam_training.windows.emphasis import strays_m

SPEC = WindowSpec(frames=2, horizon=6, command_rule="recorded", max_sideways_m=0.15)
LEFT_TURN = np.array([np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)])


def northwards(n: int = 5) -> DriveRows:
    """North at 10 m/s at 2 Hz, from x = 3; advised to keep left: 1 m further to the west with each waypoint. None after row 1. Row 2 is pushed aside."""
    position = np.stack([np.full(n, 3.0), 5.0 * np.arange(n), np.full(n, 0.7)], axis=-1)
    position[2, 0] += 0.5
    advice = position[:, None, :2] + np.stack([-np.arange(1, 7), 5.0 * np.arange(1, 7)], axis=-1)
    advice[1] = np.nan
    return DriveRows(
        name="north", source="test", stamp_ns=(np.arange(n) * 500_000_000).astype(np.int64), tokens=np.zeros((n, 1, 1), np.uint16), position_m=position,
        rotation_wxyz=np.tile(LEFT_TURN, (n, 1)), speed_mps=np.full(n, 10, np.float32), command=np.array([0, 1, 2, 0, 1], np.int8)[:n], advice_m=advice,
    )  # fmt: skip


def test_the_adviser_is_learned_to_the_last_frame() -> None:
    rows = northwards()
    found = find_windows(rows, SPEC)
    assert found.index.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]  # nothing has to be driven after the newest frame
    positions, command = labels(rows, found.index, SPEC)
    ahead_and_left = np.stack([5.0 * np.arange(1, 7), np.arange(1, 7)], axis=-1)
    for window, frame in ((0, 0), (1, 1), (2, 0), (2, 1), (3, 1)):
        np.testing.assert_allclose(positions[window, frame], ahead_and_left, atol=1e-6)
    assert np.isnan(positions[0, 1]).all()  # it gave none
    assert np.isnan(positions[1, 0]).all()
    assert command.tolist() == [[0, 1], [1, 2], [2, 0], [0, 1]]
    assert strays_m(rows, found.index, SPEC)[2] > 0.5
    driven, _ = labels(replace(rows, advice_m=None), np.array([[0, 1]]), replace(SPEC, max_sideways_m=None, horizon=2))
    assert abs(driven[0, 0, 0, 1]) < 1e-6


def test_fewer_waypoints_are_the_first_ones() -> None:
    rows = northwards()
    short = replace(SPEC, horizon=2)
    index = find_windows(rows, short).index
    np.testing.assert_array_equal(labels(rows, index, short)[0], labels(rows, index, SPEC)[0][:, :, :2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"horizon": 7}, "got 7 waypoints 0.5 s apart, but advice is kept at 6 times 0.5 s apart"),
        ({"waypoint_dt_s": 0.25}, "got 6 waypoints 0.25 s apart"),
        ({"command_rule": "horizon_3s"}, "got command rule horizon_3s, expected recorded"),
    ],
)
def test_what_advice_cannot_give_is_named(change: dict[str, object], said: str) -> None:
    rows = northwards()
    with pytest.raises(InputError, match=said):
        labels(rows, np.array([[0, 1]]), replace(SPEC, **change))  # type: ignore[arg-type]
