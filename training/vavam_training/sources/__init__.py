"""Raw drives, each kind brought to the same frames: `open_source(kind, path, …)`."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from vavam_training.contracts import DataError, Source

KINDS = {
    "rosbag": ("vavam_training.sources.rosbag", "RosbagSource"),
    "nuscenes": ("vavam_training.sources.nuscenes", "NuscenesSource"),
    "nuplan": ("vavam_training.sources.nuplan", "NuplanSource"),
    "opendv": ("vavam_training.sources.opendv", "OpendvSource"),
    "upstream": ("vavam_training.sources.upstream", "UpstreamSource"),
}


def open_source(kind: str, path: Path | str, **options: Any) -> Source:
    """A source of one kind (a key of KINDS) at a path. Raises DataError for an unknown kind or option, and for a path that is not of that kind."""
    if kind not in KINDS:
        raise DataError(f"source: got {kind!r}, expected one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    factory = getattr(importlib.import_module(module), name)
    known = [p for p in inspect.signature(factory).parameters if p != "path"]
    if unknown := sorted(set(options) - set(known)):
        raise DataError(f"source {kind}: got the options {', '.join(unknown)}, expected some of {', '.join(known) or 'none'}")
    source: Source = factory(Path(path), **options)
    return source
