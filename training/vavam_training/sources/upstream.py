"""The data of the reference (VideoActionModel): tokens as `.npy` files, with the trajectories of nuPlan and nuScenes in a pickle, or OpenDV's without any.

A trajectory pickle is a list of {"scene": {"name"}, CAMERA: {"timestamp" (µs), "file_path", "ego_to_world_tran", "ego_to_world_rot" (w x y z)}}, or a dict of
such lists by split; tokens of a frame lie at its file_path, ending in .npy. It is read by a list of allowed names (plain_pickle.py), arrays without
unpickling. A scene is a drive. There is no speed; it comes from differences of the poses. Tokens are taken as they are, so somebody has to say of which
tokenizer they are.

A folder in place of the pickle is one of `VIDEO/*.npy`, as OpenDV's flat tokens: video only, stamps by the numbers in the names.

Source: VideoActionModel vam/datalib/ego_trajectory_dataset.py, opendv_tokens_dataset.py, scripts/gen_nuscenes_pickle.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vavam_ros.core.contracts import InputError
from vavam_training.contracts import DataError, Domain, DriveRef, Frame, Skipped
from vavam_training.sources.left_out import LeftOut
from vavam_training.sources.opendv import missing, numbered, video_folders
from vavam_training.sources.plain_pickle import load_plain
from vavam_training.sources.shots import Shot, as_name, checked_pose, forward_speeds, frames_of, names_from

CAMERAS = ("CAM_FRONT", "CAM_F0")  # nuScenes, nuPlan


class UpstreamSource:
    """A trajectory pickle with its folder of tokens, or a folder with one folder of tokens a video."""

    name = "upstream"

    def __init__(
        self,
        path: Path,
        *,
        token_root: str | Path | None = None,
        tokenizer_id: str = "",
        codebook_size: int = 16384,
        grid_hw: Sequence[int] = (18, 32),
        camera: str = "",
        split: str = "",
        videos: Sequence[str] | str | Path | None = None,
        hz: float = 10.0,
        rate_hz: float = 0.0,
        licence: str = "",
        domain: Domain = "real",
        skip_bad: bool = False,
    ) -> None:
        """`token_root`: what the pickle's file paths are relative to. `tokenizer_id`: of the tokens. `camera`: key of the pickle's rows (CAM_FRONT or CAM_F0
        unless given). `split`: of a pickle that has several. `videos`, `hz`: of a folder of videos, as for OpenDV. `skip_bad`: accepted, nothing here is read
        before its frames.

        Raises DataError where something of this is missing or not there, ForeignPickleError for a pickle that asks for more than plain values."""
        self.licence, self.domain, self.skipped = licence, domain, list[Skipped]()
        if not tokenizer_id:
            raise DataError(f"{path}: of which tokenizer are the tokens? Give --tokenizer DIR, or its id: --option tokenizer_id=ID")
        if len(grid_hw) != 2 or min(grid_hw) < 1 or not 1 <= codebook_size <= 65536:
            raise DataError(f"upstream: got grid_hw {grid_hw} and codebook_size {codebook_size}, expected two positive numbers, and 1 to 65536")
        self._tokenizer_id, self._codebook_size, self._grid_hw = tokenizer_id, int(codebook_size), (int(grid_hw[0]), int(grid_hw[1]))
        self._hz, self._rate_hz = hz, rate_hz
        self._scenes: dict[str, list[_Row]] = {}
        self._folders: dict[str, Path] = {}
        if path.is_dir():
            self._folders = video_folders(path, names_from(videos, "videos"), self.skipped)
            return
        if token_root is None or not Path(token_root).is_dir():
            raise DataError(f"{path}: got token_root {token_root}, expected the folder that the pickle's file paths begin in (--option token_root=DIR)")
        self._root = Path(token_root)
        self._read(path, camera, split)

    def drives(self) -> Sequence[DriveRef]:
        """Scenes or videos, by name."""
        recorded = {"tokenizer_id": self._tokenizer_id, "codebook_size": self._codebook_size}
        scenes = [DriveRef(name=n, frames_expected=len(rows), **recorded) for n, rows in sorted(self._scenes.items())]  # type: ignore[arg-type]
        videos = [
            DriveRef(name=n, frames_expected=len(numbered(f, (".npy",), self._hz)), has_motion=False, **recorded)  # type: ignore[arg-type]
            for n, f in sorted(self._folders.items())
        ]
        return scenes + videos

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Frames of one drive; what is left out is listed when the last frame was read."""
        left = LeftOut()
        if drive.name in self._folders:
            shots = numbered(self._folders[drive.name], (".npy",), self._hz)
            missing(shots, self._hz, left)
        else:
            shots = self._posed(self._scenes[drive.name], left)
        yield from frames_of(shots, self._tokens, self._rate_hz, left)
        self.skipped += left.entries(drive.name)

    def _read(self, path: Path, camera: str, split: str) -> None:
        try:
            with path.open("rb") as file:
                content = load_plain(file, str(path))
        except OSError as error:
            raise DataError(f"{path}: {error}; expected a trajectory pickle or a folder of tokens") from error
        if isinstance(content, Mapping):
            if split not in content:
                raise DataError(f"{path}: got split {split!r}, expected one of {', '.join(map(str, content))}: --option split=NAME")
            content = content[split]
        if not isinstance(content, list) or not content or not isinstance(content[0], Mapping):
            raise DataError(f"{path}: got {type(content).__name__}, expected a list of rows with scene and camera")
        key = camera or next((c for c in CAMERAS if c in content[0]), "")
        if key not in content[0]:
            raise DataError(f"{path}: rows have {', '.join(map(str, content[0]))}, expected a camera {key or ' or '.join(CAMERAS)}: --option camera=KEY")
        bad, names = LeftOut(), dict[str, str]()
        for number, row in enumerate(content):
            try:
                scene, taken = str(row["scene"]["name"]), _Row(row[key])
            except (KeyError, TypeError, ValueError) as error:
                bad.add(f"{type(error).__name__}: {error}", number)
                continue
            if names.setdefault(as_name(scene), scene) != scene:
                raise DataError(f"{path}: scenes {names[as_name(scene)]!r} and {scene!r} would get one name; rename one of them")
            self._scenes.setdefault(as_name(scene), []).append(taken)
        self.skipped += [Skipped(what=f"{path.name}: {n} rows from row {first} on", why=why) for why, (n, first) in sorted(bad.counts.items())]
        for rows in self._scenes.values():
            rows.sort(key=lambda r: r.stamp_ns)

    def _posed(self, rows: Sequence[_Row], left: LeftOut) -> list[Shot]:
        usable = []
        for row in rows:
            try:
                usable.append((row, self._file(row), *checked_pose(row.position, row.rotation)))
            except InputError as error:
                left.add(str(error), row.stamp_ns)
        if not usable:
            return []
        stamps = np.array([row.stamp_ns for row, *_ in usable], np.int64)
        speeds = forward_speeds(stamps, np.stack([xyz for _, _, xyz, _ in usable]), np.stack([q for *_, q in usable]))
        return [
            Shot(stamp_ns=row.stamp_ns, file=file, position_m=xyz, rotation_wxyz=wxyz, speed_mps=float(speed))
            for (row, file, xyz, wxyz), speed in zip(usable, speeds, strict=True)
        ]

    def _file(self, row: _Row) -> Path:
        relative = PurePosixPath(row.file)
        if relative.is_absolute() or ".." in relative.parts:
            raise InputError(f"its file path {row.file!r} leads out of the folder of tokens")
        return (self._root / relative).with_suffix(".npy")

    def _tokens(self, file: Path) -> dict[str, Any]:
        try:
            tokens = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"its file is no array of numbers: {error}") from error
        if not isinstance(tokens, np.ndarray) or tokens.shape != self._grid_hw or tokens.dtype.kind not in "iu":
            got = f"{tokens.dtype} {tokens.shape}" if isinstance(tokens, np.ndarray) else type(tokens).__name__
            raise InputError(f"got {got}, expected whole numbers {self._grid_hw}")
        if tokens.min() < 0 or tokens.max() >= self._codebook_size:
            raise InputError(f"tokens outside the codebook of {self._codebook_size} codes")
        return {"tokens": tokens.astype(np.uint16)}


class _Row:
    """What is kept of a row of the pickle: the rest of it is large."""

    __slots__ = ("file", "position", "rotation", "stamp_ns")

    def __init__(self, camera: Mapping[str, Any]) -> None:
        self.stamp_ns = int(camera["timestamp"]) * 1000
        self.file = str(camera["file_path"])
        self.position, self.rotation = camera["ego_to_world_tran"], camera["ego_to_world_rot"]
