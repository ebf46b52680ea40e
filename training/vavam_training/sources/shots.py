"""What sources of files share: one file a frame, with its stamp and perhaps a pose; names, and lists of names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vavam_ros.core.camera import decode_compressed
from vavam_ros.core.contracts import F32, F64, NS_PER_S, InputError, VavamError
from vavam_ros.core.geometry import pose_matrix
from vavam_ros.core.history.pacing import RateGate
from vavam_training.contracts import I64, DataError, DriveRef, Frame, Skipped
from vavam_training.sources.left_out import LeftOut
from vavam_training.windows.labels import rotation_matrices

MAX_STEP_S = 1.0  # poses further apart say nothing about the speed between them
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """One frame before its file is read."""

    stamp_ns: int
    file: Path
    position_m: F64 | None = None  # (3,) of ego in world
    rotation_wxyz: F64 | None = None  # (4,)
    speed_mps: float | None = None


def frames_of(shots: Iterable[Shot], load: Callable[[Path], Mapping[str, Any]], rate_hz: float, left: LeftOut) -> Iterator[Frame]:
    """Frames in order, thinned to a rate (0: all). `load`: file → `rgb` or `tokens`; raises InputError. What has no usable file is left out and counted."""
    gate, newest_ns = RateGate(rate_hz), -1
    for shot in shots:
        if shot.stamp_ns <= newest_ns:
            left.add("its stamp does not exceed the one before", shot.stamp_ns)
        elif not shot.file.is_file():
            left.add("its file is missing", shot.stamp_ns)
        else:
            newest_ns = shot.stamp_ns
            if not gate.due(shot.stamp_ns):
                continue
            try:
                content = load(shot.file)
            except InputError as error:
                left.add(str(error), shot.stamp_ns)
                continue
            yield Frame(
                stamp_ns=shot.stamp_ns,
                rgb=content.get("rgb"),
                tokens=content.get("tokens"),
                position_m=shot.position_m,
                rotation_wxyz=shot.rotation_wxyz,
                speed_mps=shot.speed_mps,
            )


def load_picture(file: Path) -> dict[str, Any]:
    """`rgb` (H, W, 3) of a JPEG or PNG file. Raises InputError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error}") from error
    return {"rgb": decode_compressed(data, file.suffix.removeprefix(".").lower())}


def checked_pose(position_m: Any, rotation_wxyz: Any) -> tuple[F64, F64]:
    """Position (3,) and unit quaternion (4,) w x y z, from whatever a file holds. Raises InputError."""
    try:
        xyz, wxyz = np.asarray(position_m, np.float64), np.asarray(rotation_wxyz, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"a pose that is no numbers: {error}") from error
    if xyz.shape != (3,) or wxyz.shape != (4,):
        raise InputError(f"a pose of {xyz.shape} and {wxyz.shape} numbers, expected a position of three and a quaternion of four")
    pose_matrix(xyz, wxyz[[1, 2, 3, 0]])
    return xyz, wxyz / np.linalg.norm(wxyz)


def forward_speeds(stamp_ns: I64, position_m: F64, rotation_wxyz: F64) -> F32:
    """(n,) m/s along the vehicle, by the difference between the poses before and after each one; NaN where none of them is within `MAX_STEP_S`."""
    n = len(stamp_ns)
    at = np.arange(n)
    far = np.diff(stamp_ns) > MAX_STEP_S * NS_PER_S  # far[i]: between i and i + 1
    before = np.where(np.concatenate([[True], far]), at, at - 1)
    after = np.where(np.concatenate([far, [True]]), at, at + 1)
    dt_s = (stamp_ns[after] - stamp_ns[before]) / NS_PER_S
    with np.errstate(invalid="ignore"):
        velocity = (position_m[after] - position_m[before]) / np.where(dt_s > 0, dt_s, np.nan)[:, None]
    return np.asarray(np.einsum("ni,ni->n", rotation_matrices(rotation_wxyz)[:, :, 0], velocity), np.float32)


def as_name(text: str) -> str:
    """A drive's name that can be a file's."""
    return re.sub(r"[^A-Za-z0-9._=@-]", "_", text).lstrip("._=@-") or "drive"


def names_from(only: Sequence[str] | str | Path | None, option: str) -> list[str] | None:
    """Names, or a JSON file that holds a list of them → the names; None: all. Raises DataError."""
    if only is None:
        return None
    if isinstance(only, str | Path):
        try:
            only = json.loads(Path(only).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"option {option}: {only}: {error}; expected a JSON file with a list of names, or the list itself") from error
    if isinstance(only, str) or not isinstance(only, Sequence) or not all(isinstance(n, str) for n in only):
        raise DataError(f"option {option}: got {only!r}, expected a list of names")
    return list(only)


def usable(items: Iterable[_T], name_of: Callable[[_T], str], make: Callable[[_T], DriveRef], skipped: list[Skipped], *, skip_bad: bool) -> list[DriveRef]:
    """`make` of each item. What cannot be used is a DataError, or with `skip_bad` an entry of `skipped`."""
    refs = []
    for item in items:
        try:
            refs.append(make(item))
        except VavamError as error:
            if not skip_bad:
                raise DataError(f"{error} (--skip-bad lists such drives in the manifest and goes on)") from error
            skipped.append(Skipped(what=name_of(item), why=str(error)))
    return refs
