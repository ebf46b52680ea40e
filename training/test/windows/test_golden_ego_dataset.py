"""The labels of the reference's own data set, reproduced from the poses: test/golden/vavam/ego_dataset.npz (what it holds: README there)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vavam_ros.core.contracts import Command
from vavam_training.contracts import DriveRows
from vavam_training.windows import WindowSpec, find_windows, future_rotations, labels, yaw_rates

GOLDEN = Path(__file__).resolve().parents[3] / "test" / "golden" / "vavam" / "ego_dataset.npz"


def drives(name: str) -> list[tuple[int, DriveRows]]:
    """Sorted by scene, then time; with the place of the first row in the whole sorted table."""
    d = np.load(GOLDEN)
    order = np.lexsort((d[f"{name}.in.timestamp"], d[f"{name}.in.scene"]))
    scenes = d[f"{name}.in.scene"][order]
    out = []
    for scene in np.unique(scenes):
        at = np.flatnonzero(scenes == scene)
        of = order[at]
        n = len(of)
        rows = DriveRows(
            name=str(scene), source=name, stamp_ns=d[f"{name}.in.timestamp"][of] * 1000, tokens=np.zeros((n, 1, 1), np.uint16),
            position_m=d[f"{name}.in.tran"][of], rotation_wxyz=d[f"{name}.in.rot"][of], speed_mps=np.full(n, np.nan, np.float32),
            command=np.full(n, -1, np.int8),
        )  # fmt: skip
        out.append((int(at[0]), rows))
    return out


@pytest.mark.parametrize(("name", "rule", "key"), [
    ("nuscenes", "reference", "command"), ("nuplan", "reference", "command"),
    ("nuscenes", "horizon_3s", "command_at_full_horizon"), ("nuplan", "horizon_3s", "command_at_full_horizon"),
])  # fmt: skip
def test_windows_positions_and_commands_are_the_references(name: str, rule: str, key: str) -> None:
    d = np.load(GOLDEN)
    spec = WindowSpec(command_rule=rule)
    index, positions, commands = [], [], []
    for first, rows in drives(name):
        found = find_windows(rows, spec).index
        p, c = labels(rows, found, spec)
        index.append(found + first)
        positions.append(p)
        commands.append(c)
    assert np.array_equal(np.concatenate(index), d[f"{name}.out.sequence_indices"])
    np.testing.assert_allclose(np.concatenate(positions), d[f"{name}.out.positions"], atol=1e-4, rtol=1e-5)
    assert np.array_equal(np.concatenate(commands), d[f"{name}.out.{key}"])
    stamps = np.concatenate([rows.stamp_ns for _, rows in drives(name)])[np.concatenate(index)]
    np.testing.assert_allclose((stamps - stamps[:, :1]) / 1e9, d[f"{name}.out.timestamps"] - d[f"{name}.out.timestamps"][:, :1], atol=1e-4)


@pytest.mark.parametrize("name", ["nuscenes", "nuplan"])
def test_turning_is_the_references(name: str) -> None:
    d, spec = np.load(GOLDEN), WindowSpec()
    rotations = np.concatenate([future_rotations(rows, find_windows(rows, spec).index, spec) for _, rows in drives(name)])
    expected = d[f"{name}.out.rotations"]
    np.testing.assert_allclose(rotations, expected * np.sign(expected[..., :1]), atol=1e-5)
    rates = yaw_rates(rotations, spec.waypoint_dt_s)
    command = d[f"{name}.out.command_at_full_horizon"]
    assert (command != Command.STRAIGHT).any()
    assert ((rates > 0.05) == (command == Command.LEFT)).all()
    assert ((rates < -0.05) == (command == Command.RIGHT)).all()
    np.testing.assert_allclose(np.abs(rates) * spec.waypoint_dt_s, d[f"{name}.out.yaw_rate"], atol=1e-5)
