"""Raw drives, each kind brought to the same frames: `open_source(kind, path, …)`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vavam_training.contracts import DataError, DriveRef, Frame, Skipped, Source

CameraMode = Literal["warp", "resize"]

KINDS = {
    "rosbag": ("vavam_training.sources.rosbag", "RosbagSource"),
    "nuscenes": ("vavam_training.sources.nuscenes", "NuscenesSource"),
    "nuplan": ("vavam_training.sources.nuplan", "NuplanSource"),
    "opendv": ("vavam_training.sources.opendv", "OpendvSource"),
    "upstream": ("vavam_training.sources.upstream", "UpstreamSource"),
}


def open_source(kind: str, path: Path | str, *, camera_mode: CameraMode = "warp", **options: Any) -> Source:
    """A source of one kind (a key of KINDS) at a path. `camera_mode`: resize forgets how the cameras are calibrated, so that pictures are only resized, as the
    reference does with all of its data.

    Raises DataError for an unknown kind or option, and for a path that is not of that kind."""
    if kind not in KINDS:
        raise DataError(f"source: got {kind!r}, expected one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    factory = getattr(importlib.import_module(module), name)
    known = [p for p in inspect.signature(factory).parameters if p != "path"]
    if unknown := sorted(set(options) - set(known)):
        raise DataError(f"source {kind}: got the options {', '.join(unknown)}, expected some of {', '.join(known) or 'none'}")
    source: Source = factory(Path(path), **options)
    return source if camera_mode == "warp" else _Uncalibrated(source)


class _Uncalibrated:
    """Another source whose cameras are not known."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.licence, self.domain = source.name, source.licence, source.domain
        self.skipped: list[Skipped] = source.skipped

    def drives(self) -> Sequence[DriveRef]:
        """Those of the source, without cameras."""
        return [replace(d, camera=None) for d in self._source.drives()]

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Those of the source."""
        return self._source.frames(drive)
