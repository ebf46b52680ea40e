"""nuPlan: one SQLite log (`.db`) is a drive; its pictures lie below `sensor_blobs`. Read with sqlite3.

Poses are of the centre of the rear axle (the devkit builds its ego states from it), on the log's whole ego_pose table, interpolated at the stamps of the
pictures: the row that table image names may be of a slightly other moment. Speed is the recorded vx, interpolated likewise.

The camera's calibration is stored as pickles. They are read by a list of allowed names (plain_pickle.py); where a log has others, give the calibration as a
file (`camera_yaml`). Pictures are distorted as recorded: plumb_bob, k1 k2 p1 p2 k3.

Source: nuplan-devkit, docs/nuplan_schema.md and docs/dataset_setup.md.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.core.camera import CameraModel
from vavam_ros.core.contracts import F64, NS_PER_S, ForeignPickleError, InputError
from vavam_ros.core.geometry import interpolate_pose, pose_matrix, to_xyz_quat_xyzw
from vavam_training.contracts import DataError, Domain, DriveRef, Frame, Skipped
from vavam_training.sources.left_out import LeftOut
from vavam_training.sources.plain_pickle import load_plain
from vavam_training.sources.shots import Shot, as_name, checked_pose, frames_of, load_picture, names_from, usable

MAX_POSE_GAP_NS = NS_PER_S // 4  # between the poses around a picture
_PICTURES = "FROM image AS i JOIN camera AS c ON i.camera_token = c.token WHERE c.channel = ?"


class NuplanSource:
    """A log, or all logs below a folder."""

    name = "nuplan"

    def __init__(
        self,
        path: Path,
        *,
        images: str | Path | None = None,
        channel: str = "CAM_F0",
        logs: Sequence[str] | str | Path | None = None,
        camera_yaml: str | Path | None = None,
        rate_hz: float = 0.0,
        licence: str = "CC BY-NC-SA 4.0 (nuPlan)",
        domain: Domain = "real",
        skip_bad: bool = False,
    ) -> None:
        """`images`: the folder `sensor_blobs`; looked for beside and above the logs unless given. `logs`: names, or a JSON file with a list of them.
        `camera_yaml`: calibration with mount, in place of the recorded one.

        Raises DataError where there is no log, no folder of pictures, or one log twice."""
        self.licence, self.domain, self.skipped = licence, domain, list[Skipped]()
        self._channel, self._rate_hz, self._skip_bad = channel, rate_hz, skip_bad
        self._camera_yaml = CameraModel.from_yaml(camera_yaml) if camera_yaml is not None else None
        if self._camera_yaml is not None and self._camera_yaml.T_ego_camera is None:
            raise DataError(f"{camera_yaml}: says nothing of where the camera is mounted; expected a `mount:` block, seen from the rear axle")
        self._logs = self._find_logs(path, names_from(logs, "logs"))
        self._images = Path(images) if images is not None else _find_images(path)
        if not self._images.is_dir():
            raise DataError(f"{self._images}: no such folder; expected nuPlan's sensor_blobs")
        self._drives: list[DriveRef] | None = None

    def drives(self) -> Sequence[DriveRef]:
        """All logs, by name. Reads their cameras the first time. Raises DataError for a log that cannot be used."""
        if self._drives is None:
            self._drives = usable(sorted(self._logs), str, self._drive, self.skipped, skip_bad=self._skip_bad)
        return self._drives

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Frames of one log; what is left out is listed when the last frame was read. Raises DataError for a log that turns out damaged."""
        left = LeftOut()
        log = self._logs[drive.name]
        poses = _Poses(_query(log, "SELECT timestamp, x, y, z, qw, qx, qy, qz, vx FROM ego_pose ORDER BY timestamp"), left)
        pictures = _query(log, f"SELECT i.timestamp, i.filename_jpg {_PICTURES} ORDER BY i.timestamp", self._channel)
        yield from frames_of(self._shots(pictures, poses, left), load_picture, self._rate_hz, left)
        self.skipped += left.entries(drive.name)

    def _find_logs(self, path: Path, only: list[str] | None) -> dict[str, Path]:
        files = [path] if path.is_file() else sorted(path.rglob("*.db"))
        if not files:
            raise DataError(f"{path}: no logs (*.db) there; expected one, or a folder of nuPlan's splits")
        found: dict[str, Path] = {}
        for file in files:
            if only is not None and file.stem not in only:
                continue
            name = as_name(file.stem)
            if name in found:
                raise DataError(f"log {name!r} lies at {found[name]} and at {file}: give the folder of one split")
            found[name] = file
        self.skipped += [Skipped(what=n, why=f"no log of that name below {path}") for n in sorted(set(only or ()) - {f.stem for f in files})]
        return found

    def _drive(self, name: str) -> DriveRef:
        log = self._logs[name]
        (count,) = _query(log, f"SELECT COUNT(*) {_PICTURES}", self._channel)[0]
        cameras = _query(log, "SELECT translation, rotation, intrinsic, distortion, width, height FROM camera WHERE channel = ?", self._channel)
        if not count or len(cameras) != 1:
            raise DataError(f"{log}: {count} pictures and {len(cameras)} calibrations of {self._channel!r}, expected pictures of one: --option channel=NAME")
        return DriveRef(name=name, frames_expected=int(count), camera=self._camera_yaml or self._recorded_camera(log, *cameras[0]))

    def _recorded_camera(self, log: Path, translation: bytes, rotation: bytes, intrinsic: bytes, distortion: bytes, width: int, height: int) -> CameraModel:
        try:
            xyz, wxyz = checked_pose(*(load_plain(blob, "its calibration") for blob in (translation, rotation)))
            K, D = (np.asarray(load_plain(blob, "its calibration"), np.float64) for blob in (intrinsic, distortion))
        except (InputError, DataError, ForeignPickleError, TypeError, ValueError) as error:
            raise DataError(f"{log}: camera {self._channel}: {error}; expected its calibration: give it as a file (--option camera_yaml=FILE)") from error
        mount = pose_matrix(xyz, wxyz[[1, 2, 3, 0]])
        return CameraModel(name=f"nuplan {self._channel}", width=int(width), height=int(height), K=K, distortion_model="plumb_bob", D=D, T_ego_camera=mount)

    def _shots(self, pictures: Sequence[Any], poses: _Poses, left: LeftOut) -> Iterator[Shot]:
        for stamp_us, file in pictures:
            stamp_ns = int(stamp_us) * 1000
            found = poses.at(stamp_ns)
            if isinstance(found, str):
                left.add(found, stamp_ns)
            else:
                xyz, xyzw = to_xyz_quat_xyzw(found[0])
                yield Shot(stamp_ns=stamp_ns, file=self._images / str(file), position_m=xyz, rotation_wxyz=xyzw[[3, 0, 1, 2]], speed_mps=found[1])


class _Poses:
    """The poses of a log, in order of time."""

    def __init__(self, rows: Sequence[Any], left: LeftOut) -> None:
        self._stamps: list[int] = []
        self._poses: list[F64] = []
        self._speeds: list[float] = []
        for stamp_us, x, y, z, qw, qx, qy, qz, vx in rows:
            stamp_ns = int(stamp_us) * 1000
            if self._stamps and stamp_ns == self._stamps[-1]:
                continue  # the same moment again, for another sensor
            try:
                T = pose_matrix(np.array([x, y, z], np.float64), np.array([qx, qy, qz, qw], np.float64))
            except (InputError, TypeError, ValueError) as error:
                left.add(f"ego_pose refused: {error}", stamp_ns)
                continue
            self._stamps.append(stamp_ns)
            self._poses.append(T)
            self._speeds.append(np.nan if vx is None else float(vx))

    def at(self, stamp_ns: int) -> tuple[F64, float] | str:
        """T_world_ego (4, 4) and speed in m/s at a stamp; never carried on past the first or last pose: then why not."""
        i = bisect_left(self._stamps, stamp_ns)
        if i < len(self._stamps) and self._stamps[i] == stamp_ns:
            return self._poses[i], self._speeds[i]
        if i in (0, len(self._stamps)):
            return "no pose before and after it"
        step_ns = self._stamps[i] - self._stamps[i - 1]
        if step_ns > MAX_POSE_GAP_NS:
            return f"poses around it are more than {MAX_POSE_GAP_NS / NS_PER_S} s apart"
        share = (stamp_ns - self._stamps[i - 1]) / step_ns
        return interpolate_pose(self._poses[i - 1], self._poses[i], share), (1.0 - share) * self._speeds[i - 1] + share * self._speeds[i]


def _find_images(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    for above in (folder, *folder.absolute().parents[:3]):
        if (above / "sensor_blobs").is_dir():
            return above / "sensor_blobs"
    raise DataError(f"{path}: no folder sensor_blobs in it or in the three above; say where the pictures are (--option images=DIR)")


def _query(log: Path, sql: str, *values: Any) -> list[Any]:
    """All rows; the log is opened for reading only."""
    try:
        with closing(sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{log}: {error}; expected a log of nuPlan: copy it again") from error
