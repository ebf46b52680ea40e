"""A drive kept as a folder: pictures and a CSV of where the vehicle was → a rosbag2.

    drive/
      frames/000000.jpg …   JPEG or PNG, named by frame number; their bytes go into the bag unchanged
      ego.csv               one row per pose (any name that starts with `ego`)
      camera.json           optional: width, height, fx, fy, cx, cy [pixels]; distortion [k1 k2 p1 p2 k3]; height_above_ground_m; horizon_row
      meta.json             optional: pose_quality, t0_boot_s

Columns of the CSV, SI units and radians, x forward, y left, z up, counter-clockwise positive:

    column       meaning                                                          if it is missing
    frame        number of the picture taken at this row                          the row's index
    stamp_ns     the sensor's stamp, nanoseconds                                  another CSV of the folder that has frame and stamp_ns, else t
    t            seconds since the first row                                      stamp_ns is needed
    x, y         position in odom                                                 refused
    yaw          heading                                                          refused
    z            height                                                           0
    roll, pitch  attitude, pitch nose down positive (REP-103)                     0
    speed        along the heading, m/s                                           from the positions
    yaw_rate     rad/s                                                            from the headings

Empty cells count as missing. Other columns are ignored.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from transforms3d.euler import euler2mat

from vavam_ros.core.contracts import F64, NS_PER_S, InputError, OdometrySample

PICTURE_SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


class FolderError(InputError):
    """A drive folder that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EgoTable:
    """Rows of the CSV. `odometry[i]` was sampled when picture `frames[i]` was taken, if there is such a picture."""

    frames: tuple[int, ...]
    odometry: tuple[OdometrySample, ...]
    stamp_source: str
    notes: tuple[str, ...]  # what was filled in, to be printed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FolderCamera:
    """camera.json."""

    width: int
    height: int
    K: F64
    D: F64  # (5,) plumb_bob
    height_above_ground_m: float | None
    pitch_rad: float | None  # nose down positive, from the horizon row
    notes: tuple[str, ...]


def find_ego_csv(folder: Path) -> Path:
    """The ego CSV of a folder: ego.csv, else the only one that starts with `ego`. Raises FolderError."""
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such folder")
    if (folder / "ego.csv").is_file():
        return folder / "ego.csv"
    found = sorted(folder.glob("ego*.csv"))
    if len(found) != 1:
        raise FolderError(f"{folder}: found {[p.name for p in found] or 'no ego*.csv'}, expected one; name it with --ego")
    return found[0]


def find_pictures(folder: Path) -> dict[int, Path]:
    """Frame number → picture, from `folder/frames`."""
    pictures: dict[int, Path] = {}
    for p in sorted((folder / "frames").glob("*")):
        if p.suffix.lower() in PICTURE_SUFFIXES and p.stem.isdigit():
            if int(p.stem) in pictures:
                raise FolderError(f"{p}: frame {int(p.stem)} is there twice ({pictures[int(p.stem)].name})")
            pictures[int(p.stem)] = p
    return pictures


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or {} if the file is not there. Raises FolderError."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise FolderError(f"{path}: not JSON: {e}") from e
    if not isinstance(data, dict):
        raise FolderError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def read_camera(path: Path) -> FolderCamera | None:
    """camera.json, or None if there is none. Raises FolderError."""
    d = read_json(path)
    if not d:
        return None
    missing = [k for k in ("width", "height", "fx", "fy", "cx", "cy") if k not in d]
    if missing:
        raise FolderError(f"{path}: lacks {', '.join(missing)}")
    notes = []
    distortion = d.get("distortion")
    D = np.zeros(5)
    if isinstance(distortion, list):
        D[: len(distortion)] = distortion[:5]
    elif distortion is not None:
        notes.append(f"camera distortion is {distortion!r}: taken as none")
    K = np.array([[d["fx"], 0.0, d["cx"]], [0.0, d["fy"], d["cy"]], [0.0, 0.0, 1.0]], np.float64)
    pitch = None
    if "horizon_row" in d:
        pitch = float(np.arctan2(d["cy"] - d["horizon_row"], d["fy"]))
        notes.append(f"camera pitch {np.degrees(pitch):.2f}° (nose down) from the horizon in row {d['horizon_row']}")
    return FolderCamera(
        width=int(d["width"]),
        height=int(d["height"]),
        K=K,
        D=D,
        height_above_ground_m=d.get("height_above_ground_m"),
        pitch_rad=pitch,
        notes=tuple(notes),
    )


def _read_columns(path: Path) -> dict[str, F64]:
    """The numeric columns of a CSV that have no empty cell."""
    try:
        with path.open(newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
    except OSError as e:
        raise FolderError(f"{path}: {e.strerror}") from e
    if not rows:
        raise FolderError(f"{path}: no rows")
    columns: dict[str, F64] = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        if any(cell is None or cell.strip() == "" for cell in cells):
            continue
        try:
            # 64-bit stamps do not fit a float: keep them as integers
            columns[name] = np.array([int(c) for c in cells], object) if name in ("stamp_ns", "frame") else np.array(cells, np.float64)
        except ValueError as e:
            raise FolderError(f"{path}: column {name}: {e}") from e
    return columns


def _stamps(columns: dict[str, F64], frames: list[int], path: Path, start_ns: int) -> tuple[list[int], str]:
    """Stamps of the rows and where they come from: the CSV itself, another one beside it, or t."""
    if "stamp_ns" in columns:
        return [int(s) for s in columns["stamp_ns"]], f"{path.name}:stamp_ns"
    for other in sorted(path.parent.glob("*.csv")):
        if other == path:
            continue
        others = _read_columns(other)
        if "stamp_ns" in others and "frame" in others:
            by_frame = {int(f): int(s) for f, s in zip(others["frame"], others["stamp_ns"], strict=True)}
            if all(f in by_frame for f in frames):
                return [by_frame[f] for f in frames], f"{other.name}:stamp_ns"
    if "t" not in columns:
        raise FolderError(f"{path}: neither stamp_ns nor t in {sorted(columns)}")
    return [start_ns + round(float(t) * NS_PER_S) for t in columns["t"]], f"{path.name}:t, from {start_ns} ns on"


def read_ego_csv(path: Path, *, start_ns: int = NS_PER_S, odom_frame_id: str = "odom", base_frame_id: str = "base_link", planar: bool = False) -> EgoTable:
    """The rows as odometry. `planar` drops z, roll and pitch. Raises FolderError."""
    columns = _read_columns(path)
    missing = [c for c in ("x", "y", "yaw") if c not in columns]
    if missing:
        raise FolderError(f"{path}: column {', '.join(missing)} is missing or has empty cells; the file has {sorted(columns)}")
    n = len(columns["x"])
    frames = [int(f) for f in columns["frame"]] if "frame" in columns else list(range(n))
    stamps, source = _stamps(columns, frames, path, start_ns)
    if any(b <= a for a, b in pairwise(stamps)):
        raise FolderError(f"{path}: stamps ({source}) are not increasing")
    notes = []
    if planar:
        columns = {k: v for k, v in columns.items() if k not in ("z", "roll", "pitch")}
    zero = np.zeros(n)
    z, roll, pitch = (columns.get(c, zero) for c in ("z", "roll", "pitch"))
    t = np.array([(s - stamps[0]) / NS_PER_S for s in stamps])
    yaw, x, y = columns["yaw"], columns["x"], columns["y"]
    speed, yaw_rate = columns.get("speed"), columns.get("yaw_rate")
    if n < 2 and (speed is None or yaw_rate is None):
        raise FolderError(f"{path}: one row only; speed and yaw_rate are needed with it")
    if speed is None:
        speed = np.gradient(x, t) * np.cos(yaw) + np.gradient(y, t) * np.sin(yaw)
        notes.append("speed computed from the positions")
    if yaw_rate is None:
        yaw_rate = np.gradient(np.unwrap(yaw), t)
        notes.append("yaw_rate computed from the headings")
    odometry = []
    for i in range(n):
        T = np.eye(4)
        T[:3, :3] = np.asarray(euler2mat(roll[i], pitch[i], yaw[i], "sxyz"))
        T[:3, 3] = (x[i], y[i], z[i])
        odometry.append(
            OdometrySample(
                stamp_ns=stamps[i],
                odom_frame_id=odom_frame_id,
                base_frame_id=base_frame_id,
                T_odom_base=T,
                linear_mps=np.array([speed[i], 0.0, 0.0]),
                angular_radps=np.array([0.0, 0.0, yaw_rate[i]]),
            )
        )
    return EgoTable(frames=tuple(frames), odometry=tuple(odometry), stamp_source=source, notes=tuple(notes))
