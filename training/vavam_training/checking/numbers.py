"""The numbers of a token set: each drive, and sums over all of them that do not grow with the set.

Shape letters: n frames of a drive · M windows · H waypoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from vavam_ros.core.contracts import F64, NS_PER_S
from vavam_training.checking.motion import MOVING_MPS, Motion, seen_from_above, steps_of
from vavam_training.checking.tokens import CodeUse
from vavam_training.contracts import I64, NO_COMMAND, DriveRows
from vavam_training.windows import RULES, WindowSpec, find_windows, labels, positions

GAP = 1.75  # usual steps between two frames from which on something is missing
FUTURE_M = 90.0, 25.0  # what is shown of where vehicles go: ahead, to each side


class DriveSet(Protocol):
    """What is needed of a TokenDataset."""

    drive_names: tuple[str, ...]

    def rows(self, i: int) -> DriveRows:
        """Drive i."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DriveNumbers:
    """One drive."""

    number: int
    name: str
    camera_id: str
    frames: int
    duration_s: float
    step_s: float  # usual time between two frames
    gaps: tuple[tuple[float, float], ...]  # (since the start, length), seconds
    motion: bool
    length_m: float
    video_windows: int
    windows: int  # with labels
    advised: int | None  # of them: those whose newest frame has advice; None: nobody was asked
    left_out: dict[str, int]  # first frames that give no window with labels, by reason
    left_out_video: dict[str, int]
    commands: dict[str, I64]  # rule → (4,) windows: right, left, straight, unknown; of advised drives the recorded ones alone
    frozen: int  # frames that repeat the one before although the vehicle moves
    path_m: F64 | None  # seen from above, from the start

    @property
    def mean_mps(self) -> float:
        """Mean speed."""
        return self.length_m / self.duration_s if self.duration_s else 0.0


@dataclass(slots=True, eq=False)
class SetNumbers:
    """Sums over the drives that were looked at."""

    spec: WindowSpec
    codes: CodeUse
    all_drives: int
    drives: list[DriveNumbers] = field(default_factory=list)
    motion: Motion = field(default_factory=Motion)
    futures: F64 = field(default_factory=lambda: np.zeros((int(FUTURE_M[0]) + 5, int(2 * FUTURE_M[1]))))  # waypoints by square metre, from 5 m behind
    frames: int = 0

    def total(self, name: str) -> int:
        """Of a count that every drive has."""
        return int(sum(getattr(d, name) for d in self.drives))

    def reasons(self, name: str) -> Counter[str]:
        """`left_out` or `left_out_video`, over all drives."""
        out: Counter[str] = Counter()
        for d in self.drives:
            out.update(getattr(d, name))
        return out

    def commands(self, rule: str) -> I64:
        """(4,) windows by command: right, left, straight, unknown."""
        return np.asarray(sum((d.commands[rule] for d in self.drives), np.zeros(4, np.int64)), np.int64)

    @property
    def rules(self) -> tuple[str, ...]:
        """By which commands were made: all; of advised drives `recorded` alone, as what was driven is not what was advised."""
        return tuple(self.drives[0].commands) if self.drives else tuple(RULES)

    @property
    def rule(self) -> str:
        """The default one of them."""
        return "horizon_3s" if "horizon_3s" in self.rules else "recorded"

    def gaps(self) -> list[tuple[str, float, float]]:
        """(drive, since its start, length) in seconds, the longest first."""
        return sorted(((d.name, at, length) for d in self.drives for at, length in d.gaps), key=lambda g: -g[2])


def look_at(
    dataset: DriveSet,
    spec: WindowSpec,
    *,
    codebook_size: int,
    grid_hw: tuple[int, int],
    drives: Sequence[int] | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> SetNumbers:
    """Read the drives (default: all) once. `progress` is told of frames."""
    found = SetNumbers(spec=replace(spec, labelled=True), codes=CodeUse(codebook_size, grid_hw), all_drives=len(dataset.drive_names))
    for i in range(found.all_drives) if drives is None else drives:
        rows = dataset.rows(i)
        found.drives.append(_drive(i, rows, found))
        found.codes.add(rows.tokens)
        found.frames += len(rows.stamp_ns)
        progress(len(rows.stamp_ns))
    return found


def _drive(number: int, rows: DriveRows, found: SetNumbers) -> DriveNumbers:
    dt_s = np.diff(rows.stamp_ns) / NS_PER_S
    usual = float(np.median(dt_s)) if len(dt_s) else 0.0
    gaps = tuple((float((rows.stamp_ns[i] - rows.stamp_ns[0]) / NS_PER_S), float(dt_s[i])) for i in np.flatnonzero(dt_s > GAP * usual))
    labelled = find_windows(rows, found.spec)
    video = find_windows(rows, replace(found.spec, labelled=False))
    frozen, length_m = 0, 0.0
    if rows.has_motion:
        steps = steps_of(rows)
        found.motion.add(steps)
        same = (rows.tokens[steps.row] == rows.tokens[steps.row + 1]).all(axis=(1, 2))
        frozen = int((same & (np.abs(steps.forward_mps) > MOVING_MPS)).sum())
        length_m = float(np.sum(np.hypot(steps.forward_mps, steps.left_mps) * steps.dt_s))
    newest = labelled.index[:, -1:]
    learned = positions(rows, newest, found.spec)[:, 0]  # (M, H, 2)
    known = np.isfinite(learned).all(axis=(1, 2))
    _add_futures(found.futures, learned[known].reshape(-1, 2).astype(np.float64))
    rules = [rule for rule, how in RULES.items() if how.recorded or rows.advice_m is None]
    return DriveNumbers(
        number=number,
        name=rows.name,
        camera_id=rows.camera_id,
        frames=len(rows.stamp_ns),
        duration_s=float((rows.stamp_ns[-1] - rows.stamp_ns[0]) / NS_PER_S),
        step_s=usual,
        gaps=gaps,
        motion=rows.has_motion,
        length_m=length_m,
        video_windows=len(video.index),
        windows=len(newest),
        advised=None if rows.advice_m is None else int(known.sum()),
        left_out=labelled.left_out,
        left_out_video=video.left_out,
        commands={rule: _commands(rows, newest, rule, found.spec) for rule in rules},
        frozen=frozen,
        path_m=seen_from_above(rows) if rows.has_motion else None,
    )


def _commands(rows: DriveRows, newest: I64, rule: str, spec: WindowSpec) -> I64:
    """Commands of the newest frames of the windows, by a rule of `windows.labels`."""
    if not len(newest):
        return np.zeros(4, np.int64)
    recorded = RULES[rule].recorded
    command = rows.command[newest[:, 0]].astype(np.int64) if recorded else labels(rows, newest, replace(spec, command_rule=rule))[1][:, 0]
    return np.bincount(np.where(command == NO_COMMAND, 3, command), minlength=4)


def _add_futures(grid: F64, xy_m: F64) -> None:
    ahead, left = np.floor(xy_m[:, 0] + 5.0).astype(np.int64), np.floor(xy_m[:, 1] + FUTURE_M[1]).astype(np.int64)
    inside = (ahead >= 0) & (ahead < grid.shape[0]) & (left >= 0) & (left < grid.shape[1])
    np.add.at(grid, (ahead[inside], left[inside]), 1.0)
