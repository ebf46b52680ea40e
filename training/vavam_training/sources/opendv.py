"""OpenDV: folders of frames of driving videos, `VIDEO/*.jpg`, at a fixed rate. Video only: nothing is known of motion, camera or commands.

Stamps count from 0 by the numbers at the ends of the file names (`f_000123.jpg`), in their usual step, so that a frame that is missing leaves a gap in time;
where names have no such numbers, by their order. A list of videos may write an id with a leading `-`, whose folder begins with `@`.

Source: VideoActionModel vam/datalib; OpenDriveLab/DriveAGI opendv (10 Hz).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from vavam_ros.core.contracts import NS_PER_S
from vavam_training.contracts import DataError, Domain, DriveRef, Frame, Skipped
from vavam_training.sources.left_out import LeftOut
from vavam_training.sources.shots import Shot, as_name, frames_of, load_picture, names_from, usable

PICTURES = (".jpg", ".jpeg", ".png")
NUMBER = re.compile(r"(\d+)$")
MAX_STEP = 1_000_000  # between numbers; larger ones are no count of frames


class OpendvSource:
    """A folder with one folder a video."""

    name = "opendv"

    def __init__(
        self,
        path: Path,
        *,
        videos: Sequence[str] | str | Path | None = None,
        hz: float = 10.0,
        head_s: float = 0.0,
        tail_s: float = 0.0,
        rate_hz: float = 0.0,
        licence: str = "",
        domain: Domain = "real",
        skip_bad: bool = False,
    ) -> None:
        """`videos`: ids, or a JSON file with a list of them (train.json, val.json). `hz`: at which frames were extracted. `head_s`, `tail_s`: of each video,
        left out at its ends (titles, farewells). `rate_hz`: frames a second to keep.

        Raises DataError for a path that is no folder of such folders and for times that cannot be meant."""
        if not hz > 0.0 or head_s < 0.0 or tail_s < 0.0:
            raise DataError(f"opendv: got hz {hz}, head_s {head_s}, tail_s {tail_s}; expected a positive rate and times of 0 s or more")
        self.licence, self.domain, self.skipped = licence, domain, list[Skipped]()
        self._hz, self._head_s, self._tail_s, self._rate_hz, self._skip_bad = hz, head_s, tail_s, rate_hz, skip_bad
        self._folders = video_folders(path, names_from(videos, "videos"), self.skipped)
        self._drives: list[DriveRef] | None = None

    def drives(self) -> Sequence[DriveRef]:
        """All videos, by name. Raises DataError for one without frames."""
        if self._drives is None:
            self._drives = usable(sorted(self._folders), str, self._drive, self.skipped, skip_bad=self._skip_bad)
        return self._drives

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Frames of one video; what is left out is listed when the last frame was read."""
        left = LeftOut()
        shots = list(self._inside(numbered(self._folders[drive.name], PICTURES, self._hz), left))
        missing(shots, self._hz, left)
        yield from frames_of(shots, load_picture, self._rate_hz, left)
        self.skipped += left.entries(drive.name)

    def _drive(self, name: str) -> DriveRef:
        count = len(numbered(self._folders[name], PICTURES, self._hz))
        if not count:
            raise DataError(f"{self._folders[name]}: no frames (*.jpg, *.png); expected those of one video")
        return DriveRef(name=name, frames_expected=max(0, count - round((self._head_s + self._tail_s) * self._hz)), has_motion=False)

    def _inside(self, shots: Sequence[Shot], left: LeftOut) -> Iterator[Shot]:
        first_ns = shots[0].stamp_ns + round(self._head_s * NS_PER_S)
        last_ns = shots[-1].stamp_ns - round(self._tail_s * NS_PER_S)
        for shot in shots:
            if shot.stamp_ns < first_ns:
                left.add(f"in the first {self._head_s} s of the video", shot.stamp_ns)
            elif shot.stamp_ns > last_ns:
                left.add(f"in the last {self._tail_s} s of the video", shot.stamp_ns)
            else:
                yield shot


def video_folders(path: Path, only: list[str] | None, skipped: list[Skipped]) -> dict[str, Path]:
    """Drive names (`video_ID`: an id alone may begin with what no name may) → folders. Raises DataError where there is none."""
    folders = {_folder_name(p.name): p for p in sorted(path.iterdir()) if p.is_dir()} if path.is_dir() else {}
    if not folders:
        raise DataError(f"{path}: expected a folder with one folder of frames a video")
    if only is not None:
        ids = {_folder_name(i) for i in only}
        skipped += [Skipped(what=f"video_{i}", why=f"no folder of that name in {path}") for i in sorted(ids - set(folders))]
        folders = {i: p for i, p in folders.items() if i in ids}
    return {as_name(f"video_{i}"): p for i, p in folders.items()}


def _folder_name(video: str) -> str:
    return f"@{video[1:]}" if video.startswith("-") else video


def numbered(folder: Path, endings: tuple[str, ...], hz: float) -> list[Shot]:
    """Files of a folder in order of their names, `hz` a second, with room for those whose numbers are missing."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in endings)
    found = [m for p in files if (m := NUMBER.search(p.stem)) is not None]
    numbers = np.array([int(m[1]) for m in found], np.int64)
    steps = np.diff(numbers)
    usual = int(np.bincount(steps[steps > 0]).argmax()) if (steps > 0).any() and steps.max() < MAX_STEP else 1
    if len(numbers) < len(files) or (steps <= 0).any() or (steps % usual).any():
        numbers, usual = np.arange(len(files)), 1
    return [Shot(stamp_ns=round((int(n) - int(numbers[0])) // usual * NS_PER_S / hz), file=p) for n, p in zip(numbers, files, strict=True)]


def missing(shots: Sequence[Shot], hz: float, left: LeftOut) -> None:
    """Count the frames that the numbers say are missing."""
    for a, b in pairwise(shots):
        for k in range(1, round((b.stamp_ns - a.stamp_ns) * hz / NS_PER_S)):
            left.add("its file is missing: the numbers before and after it are there", a.stamp_ns + round(k * NS_PER_S / hz))
