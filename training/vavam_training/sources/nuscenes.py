"""nuScenes: the JSON tables of a `v1.0-…` folder and the pictures of one camera. A scene (20 s) is a drive.

The tables are read as they lie, object by object: of the two large ones (sample_data, ego_pose: gigabytes in trainval) a few per cent concern one camera,
which is all that is kept. The devkit holds everything, several times over in several processes, and brings a plotting stack with it.

Poses are those of the camera's own rows of ego_pose: the centre of the rear axle, on the ground (so heights of cameras count from there). The data set has no
speed; it comes from differences of the poses of this camera's pictures (12 Hz, key frames or not). Pictures are undistorted as published.

Source: nuscenes.org/nuscenes, "Data format".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.core.camera import CameraModel
from vavam_ros.core.contracts import NS_PER_S, InputError
from vavam_ros.core.geometry import pose_matrix
from vavam_training.contracts import DataError, Domain, DriveRef, Frame, Skipped
from vavam_training.sources.left_out import LeftOut
from vavam_training.sources.shots import Shot, checked_pose, forward_speeds, frames_of, load_picture, names_from, usable

CHUNK, MAX_RECORD = 1 << 20, 1 << 24  # characters
MAX_POSE_AGE_NS = NS_PER_S // 1000  # the pose of a picture is of the same moment


@dataclass(frozen=True, slots=True)
class _Picture:
    """A row of sample_data."""

    stamp_us: int
    file: str
    pose: str  # token
    calibration: str  # token
    width: int
    height: int
    is_key: bool


class NuscenesSource:
    """The folder with `v1.0-…`, `samples` and `sweeps`."""

    name = "nuscenes"

    def __init__(
        self,
        path: Path,
        *,
        version: str = "",
        channel: str = "CAM_FRONT",
        sweeps: bool = False,
        scenes: Sequence[str] | str | Path | None = None,
        rate_hz: float = 0.0,
        licence: str = "CC BY-NC-SA 4.0 (nuScenes)",
        domain: Domain = "real",
        skip_bad: bool = False,
    ) -> None:
        """`version`: name of the folder of tables, needed where there are several. `sweeps`: all pictures (12 Hz), not the key frames alone (2 Hz).
        `scenes`: names, or a JSON file with a list of them (an official split).

        Raises DataError where there are no tables."""
        self.path, self.licence, self.domain, self.skipped = path, licence, domain, list[Skipped]()
        self._tables, self._channel, self._sweeps, self._rate_hz, self._skip_bad = _tables(path, version), channel, sweeps, rate_hz, skip_bad
        self._scenes = names_from(scenes, "scenes")
        self._drives: list[DriveRef] | None = None
        self._pictures: dict[str, list[_Picture]] = {}  # by scene, in order of time
        self._poses: dict[str, tuple[int, Any, Any]] = {}  # stamp in µs, translation, rotation

    def drives(self) -> Sequence[DriveRef]:
        """All scenes that were asked for, by name. Reads the tables the first time. Raises DataError for tables that are damaged or do not fit together."""
        if self._drives is None:
            names = {r["token"]: str(r["name"]) for r in self._rows("scene", "token", "name")}
            wanted = set(names.values() if self._scenes is None else self._scenes)
            self.skipped += [Skipped(what=n, why=f"no such scene in {self._tables}") for n in sorted(wanted - set(names.values()))]
            scene_of = {r["token"]: names.get(r["scene_token"], "") for r in self._rows("sample", "token", "scene_token")}
            sensors = {r["token"] for r in self._rows("sensor", "token", "channel") if r["channel"] == self._channel}
            calibrations = {r["token"]: r for r in self._rows("calibrated_sensor", "token", "sensor_token") if r["sensor_token"] in sensors}
            if not calibrations:
                raise DataError(f"{self._tables}: no calibration of a camera {self._channel!r}: choose another (--option channel=NAME)")
            self._read_pictures(scene_of, calibrations.keys(), wanted)
            needed = {p.pose for pictures in self._pictures.values() for p in pictures}
            poses = (r for r in self._rows("ego_pose", "token", "timestamp", "translation", "rotation") if r["token"] in needed)
            self._poses = {r["token"]: (int(r["timestamp"]), r["translation"], r["rotation"]) for r in poses}
            bare = sorted((wanted & set(names.values())) - set(self._pictures))
            self.skipped += [Skipped(what=n, why=f"no pictures of {self._channel} in {self._tables}") for n in bare]
            self._drives = usable(sorted(self._pictures), str, lambda s: self._drive(s, calibrations), self.skipped, skip_bad=self._skip_bad)
        return self._drives

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Frames of one scene; what is left out is listed when the last frame was read."""
        left = LeftOut()
        yield from frames_of(self._shots(self._pictures[drive.name], left), load_picture, self._rate_hz, left)
        self.skipped += left.entries(drive.name)

    def _rows(self, table: str, *keys: str) -> Iterator[dict[str, Any]]:
        path = self._tables / f"{table}.json"
        for row in records(path):
            if any(k not in row for k in keys):
                raise DataError(f"{path}: a row {row.get('token', row)!r} without {[k for k in keys if k not in row]}; expected the tables of nuScenes")
            yield row

    def _read_pictures(self, scene_of: Mapping[str, str], calibrations: Iterable[str], wanted: set[str]) -> None:
        calibrations = set(calibrations)
        keys = ("sample_token", "timestamp", "filename", "ego_pose_token", "calibrated_sensor_token", "width", "height", "is_key_frame")
        for r in self._rows("sample_data", *keys):
            if r["calibrated_sensor_token"] not in calibrations:
                continue
            if r["sample_token"] not in scene_of:
                raise DataError(f"{self._tables}: {r['filename']} is of sample {r['sample_token']!r}, which table sample does not have: copy the tables again")
            scene = scene_of[r["sample_token"]]
            if scene in wanted:
                self._pictures.setdefault(scene, []).append(
                    _Picture(
                        stamp_us=int(r["timestamp"]),
                        file=str(r["filename"]),
                        pose=str(r["ego_pose_token"]),
                        calibration=str(r["calibrated_sensor_token"]),
                        width=int(r["width"]),
                        height=int(r["height"]),
                        is_key=bool(r["is_key_frame"]),
                    )
                )
        for pictures in self._pictures.values():
            pictures.sort(key=lambda p: p.stamp_us)

    def _drive(self, scene: str, calibrations: Mapping[str, dict[str, Any]]) -> DriveRef:
        pictures = self._pictures[scene]
        used = {(p.calibration, p.width, p.height) for p in pictures}
        if len(used) > 1:
            raise DataError(f"scene {scene!r}: {self._channel} has {len(used)} calibrations or sizes, expected one a scene")
        token, width, height = next(iter(used))
        row = calibrations[token]
        try:
            xyz, wxyz = checked_pose(row["translation"], row["rotation"])
            K = np.asarray(row["camera_intrinsic"], np.float64)
        except (InputError, KeyError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            raise DataError(f"scene {scene!r}: calibration {token!r}: {why}; expected translation, rotation and camera_intrinsic") from error
        camera = CameraModel(name=f"nuscenes {self._channel}", width=width, height=height, K=K, T_ego_camera=pose_matrix(xyz, wxyz[[1, 2, 3, 0]]))
        return DriveRef(name=scene, frames_expected=sum(p.is_key or self._sweeps for p in pictures), camera=camera)

    def _shots(self, pictures: Sequence[_Picture], left: LeftOut) -> Iterator[Shot]:
        """In order of time. Speeds are of all pictures with a pose, whichever are taken."""
        posed = []
        for p in pictures:
            try:
                stamp_us, translation, rotation = self._poses[p.pose]
                if abs(stamp_us - p.stamp_us) * 1000 > MAX_POSE_AGE_NS:
                    raise InputError("its pose is of another moment")
                posed.append((p, *checked_pose(translation, rotation)))
            except (KeyError, InputError) as error:
                if p.is_key or self._sweeps:
                    left.add("its pose is missing from ego_pose" if isinstance(error, KeyError) else str(error), p.stamp_us * 1000)
        if not posed:
            return
        stamps = np.array([p.stamp_us * 1000 for p, _, _ in posed], np.int64)
        speeds = forward_speeds(stamps, np.stack([xyz for _, xyz, _ in posed]), np.stack([q for _, _, q in posed]))
        for (p, xyz, wxyz), stamp, speed in zip(posed, stamps, speeds, strict=True):
            if p.is_key or self._sweeps:
                yield Shot(stamp_ns=int(stamp), file=self.path / p.file, position_m=xyz, rotation_wxyz=wxyz, speed_mps=float(speed))


def _tables(path: Path, version: str) -> Path:
    found = sorted(p.parent for p in path.glob(f"{version or 'v1.0-*'}/sample_data.json"))
    if len(found) != 1:
        got = ", ".join(p.name for p in found) or "none"
        raise DataError(f"{path}: folders of tables (v1.0-…/sample_data.json): {got}; expected one: give the folder above it, or --option version=NAME")
    return found[0]


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, one after the other, in memory for a few. Raises DataError for a file that is none, or is cut short."""
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            text, at = file.read(CHUNK).lstrip(), 1
            if not text.startswith("["):
                raise DataError(f"{path}: starts with {text[:20]!r}, expected a JSON list of rows")
            while True:
                while at < len(text) and text[at] in " \r\n\t,":
                    at += 1
                if at < len(text) and text[at] == "]":
                    return
                try:
                    row, at = decoder.raw_decode(text, at)
                except json.JSONDecodeError as error:
                    more = file.read(CHUNK) if len(text) - at < MAX_RECORD else ""
                    if not more:
                        raise DataError(f"{path}: cut short or damaged ({error.msg} after {text[max(at - 60, 0) : at]!r}): copy it again") from error
                    text, at = text[at:] + more, 0
                    continue
                if not isinstance(row, dict):
                    raise DataError(f"{path}: got a row {row!r:.80}, expected objects")
                yield row
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; expected a table of nuScenes") from error
