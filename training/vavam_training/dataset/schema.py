"""The columns of a token set, and rows of a drive ↔ one Arrow record batch.

Shape letters: n frames of a drive · P steps of advice · h w token grid.

One batch is one drive. Lists have a fixed size and nothing is null, so that every numeric column is one buffer which NumPy views as it lies in the mapped
file. What is constant over a drive (its name, source, tokenizer, camera) is a dictionary column: four bytes a frame, and each file explains itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vavam_training.contracts import NO_COMMAND, DataError, DriveRows

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}")
CONSTANT = ("drive", "source", "tokenizer_id", "camera_id")
NUMERIC = ("stamp_ns", "tokens", "position_m", "rotation_wxyz", "speed_mps", "command")
_TEXT = pa.dictionary(pa.int32(), pa.utf8())


def schema(grid_hw: tuple[int, int], metadata: Mapping[str, str] | None = None, *, advice_steps: int = 0) -> Any:
    """The Arrow schema of a token grid, with a column of advice where there is any."""
    numeric = [
        pa.field("stamp_ns", pa.int64(), nullable=False),
        pa.field("tokens", pa.list_(pa.field("item", pa.uint16(), nullable=False), grid_hw[0] * grid_hw[1]), nullable=False),
        pa.field("position_m", pa.list_(pa.field("item", pa.float64(), nullable=False), 3), nullable=False),
        pa.field("rotation_wxyz", pa.list_(pa.field("item", pa.float64(), nullable=False), 4), nullable=False),
        pa.field("speed_mps", pa.float32(), nullable=False),
        pa.field("command", pa.int8(), nullable=False),
    ]
    if advice_steps:
        numeric.append(pa.field("advice_m", pa.list_(pa.field("item", pa.float64(), nullable=False), 2 * advice_steps), nullable=False))
    return pa.schema([*numeric, *(pa.field(name, _TEXT, nullable=False) for name in CONSTANT)], metadata=dict(metadata or {}))


def to_batch(rows: DriveRows, tokenizer_id: str, batch_schema: Any) -> Any:
    """Checked rows → one record batch."""
    n = len(rows.stamp_ns)
    values = {"drive": rows.name, "source": rows.source, "tokenizer_id": tokenizer_id, "camera_id": rows.camera_id}
    constant = [pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([values[name]], pa.utf8())) for name in CONSTANT]
    numeric = []
    for name in (*NUMERIC, *(("advice_m",) if rows.advice_m is not None else ())):
        flat = pa.array(np.ascontiguousarray(getattr(rows, name)).reshape(-1))
        kind = batch_schema.field(name).type
        numeric.append(pa.FixedSizeListArray.from_arrays(flat, type=kind) if pa.types.is_fixed_size_list(kind) else flat)
    return pa.record_batch([*numeric, *constant], schema=batch_schema)


def from_batch(batch: Any, grid_hw: tuple[int, int]) -> DriveRows:
    """One record batch → rows, all of them views of the batch's memory."""
    n = batch.num_rows
    return DriveRows(
        name=_constant(batch, "drive"),
        source=_constant(batch, "source"),
        camera_id=_constant(batch, "camera_id"),
        stamp_ns=_view(batch, "stamp_ns"),
        tokens=_view(batch, "tokens").reshape(n, *grid_hw),
        position_m=_view(batch, "position_m").reshape(n, 3),
        rotation_wxyz=_view(batch, "rotation_wxyz").reshape(n, 4),
        speed_mps=_view(batch, "speed_mps"),
        command=_view(batch, "command"),
        advice_m=_view(batch, "advice_m").reshape(n, -1, 2) if "advice_m" in batch.schema.names else None,
    )


def _view(batch: Any, name: str) -> npt.NDArray[Any]:
    column = batch.column(name)
    flat: npt.NDArray[Any] = (column.flatten() if pa.types.is_fixed_size_list(column.type) else column).to_numpy(zero_copy_only=True)
    return flat


def _constant(batch: Any, name: str) -> str:
    return str(batch.column(name)[0].as_py())


def rows_digest(rows: DriveRows, tokenizer_id: str) -> str:
    """SHA-256 of a drive's values, column by column, in little-endian order."""
    digest = hashlib.sha256(f"{rows.name}\0{rows.source}\0{rows.camera_id}\0{tokenizer_id}\0{list(rows.tokens.shape)}".encode())
    kinds = (("stamp_ns", "<i8"), ("tokens", "<u2"), ("position_m", "<f8"), ("rotation_wxyz", "<f8"), ("speed_mps", "<f4"), ("command", "<i1"))
    for name, kind in kinds:
        digest.update(np.ascontiguousarray(getattr(rows, name), kind).tobytes())
    if rows.advice_m is not None:
        digest.update(b"advice_m" + np.ascontiguousarray(rows.advice_m, "<f8").tobytes())
    return digest.hexdigest()


def check_rows(rows: DriveRows, grid_hw: tuple[int, int], codebook_size: int, advice_steps: int = 0) -> None:
    """Raise DataError, with drive and frame, unless the rows can be stored: types, shapes, order of stamps, range of tokens, poses and advice whole or
    absent."""
    n, who = len(rows.stamp_ns), f"drive {rows.name!r}"
    if not NAME.fullmatch(rows.name):
        raise DataError(f"{who}: expected a name of letters, digits and . _ + = @ -, at most 200, usable as a file name: rename the drive")
    expected = {
        "stamp_ns": ((n,), np.int64),
        "tokens": ((n, *grid_hw), np.uint16),
        "position_m": ((n, 3), np.float64),
        "rotation_wxyz": ((n, 4), np.float64),
        "speed_mps": ((n,), np.float32),
        "command": ((n,), np.int8),
    }
    if rows.advice_m is not None:
        expected["advice_m"] = ((n, advice_steps or rows.advice_m.shape[1], 2), np.float64)
    for name, (shape, kind) in expected.items():
        got = getattr(rows, name)
        if got.shape != shape or got.dtype != kind:
            raise DataError(f"{who}: {name}: got {got.dtype} {got.shape}, expected {np.dtype(kind)} {shape}")
    if (rows.advice_m is not None) != bool(advice_steps):
        raise DataError(f"{who}: {'with' if rows.advice_m is not None else 'without'} advice; expected all drives of a set alike")
    if not n:
        raise DataError(f"{who}: no frames; expected at least one, or an entry of what was skipped")
    back = np.flatnonzero(np.diff(rows.stamp_ns) <= 0)
    if back.size:
        i = int(back[0])
        got = f"stamp {rows.stamp_ns[i + 1]} does not exceed the one before, {rows.stamp_ns[i]}"
        raise DataError(f"{who}: frame {i + 1}: {got}: sort the frames, or split the drive")
    if int(rows.tokens.max()) >= codebook_size:
        i = int(np.argmax(rows.tokens.reshape(n, -1).max(axis=1) >= codebook_size))
        raise DataError(f"{who}: frame {i}: token {rows.tokens[i].max()}, expected less than {codebook_size}: the tokens come from another tokenizer")
    known = np.isfinite(rows.position_m).all(axis=1) & np.isfinite(rows.rotation_wxyz).all(axis=1)
    absent = np.isnan(rows.position_m).all(axis=1) & np.isnan(rows.rotation_wxyz).all(axis=1)
    if not (known.all() or absent.all()):
        i = int(np.argmax(~known))
        raise DataError(f"{who}: frame {i}: no finite pose, but other frames have one; expected all or none: leave these frames out and list them as skipped")
    off = np.abs(np.linalg.norm(rows.rotation_wxyz, axis=1) - 1.0) > 1e-3
    if known.all() and off.any():
        raise DataError(f"{who}: frame {int(np.argmax(off))}: rotation {rows.rotation_wxyz[int(np.argmax(off))]} is no unit quaternion (w x y z)")
    if rows.command.min() < NO_COMMAND or rows.command.max() > 2:
        raise DataError(f"{who}: commands from {rows.command.min()} to {rows.command.max()}, expected {NO_COMMAND} (unknown) to 2")
    if rows.advice_m is not None:
        part = ~np.isfinite(rows.advice_m).all(axis=(1, 2)) & ~np.isnan(rows.advice_m).all(axis=(1, 2))
        if part.any():
            raise DataError(f"{who}: frame {int(np.argmax(part))}: advice that is known in part; expected all {advice_steps} positions or none")
