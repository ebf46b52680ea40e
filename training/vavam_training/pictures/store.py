"""Pictures of drives through the canonical camera, as arrays that are mapped: one file a drive, renamed into place when it is whole.

    OUT/parts/NAME.npy   uint8 (n, H, W, 3); NAME.classes.npy beside it where the source has classes: uint8 (n, H, W)
    OUT/pictures.json    last: size, camera, source, licence, drives with counts and hashes, what was skipped
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from vavam_ros.core.camera import CanonicalCamera, ViewTransform
from vavam_ros.core.contracts import U8, CameraError
from vavam_training.contracts import DataError, DriveRef, Skipped, Source

MANIFEST, PARTS, CLASSES = "pictures.json", "parts", ".classes.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStore:
    """Kept pictures. `drives`: name → (pictures, sha256 of the file)."""

    folder: Path
    image_hw: tuple[int, int]
    canonical_camera: Mapping[str, Any]
    source: str
    licence: str
    domain: str
    drives: Mapping[str, tuple[int, str]]

    @classmethod
    def open(cls, folder: Path | str) -> PictureStore:
        """Raises DataError where pictures.json is missing or is of something else."""
        path = Path(folder) / MANIFEST
        try:
            d = json.loads(path.read_text(encoding="utf-8"))
            drives = {str(name): (int(n), str(digest)) for name, (n, digest) in d["drives"].items()}
            h, w = d["image_hw"]
            camera = d["canonical_camera"]
            texts = {k: str(d[k]) for k in ("source", "licence", "domain")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: {type(error).__name__}: {error}; expected pictures kept by `vavam-train data pictures`") from error
        return cls(folder=Path(folder), image_hw=(int(h), int(w)), canonical_camera=camera, drives=drives, **texts)

    @property
    def digest(self) -> str:
        """Identifies the pictures."""
        return hashlib.sha256(json.dumps([self.image_hw, sorted(self.drives.items())]).encode()).hexdigest()[:16]

    def array(self, drive: str) -> U8:
        """(n, H, W, 3), mapped. Raises DataError where the file is gone or is not whole."""
        path = self.folder / PARTS / f"{drive}.npy"
        try:
            found: U8 = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}; keep the pictures again") from error
        if found.shape != (self.drives[drive][0], *self.image_hw, 3) or found.dtype != np.uint8:
            raise DataError(f"{path}: got {found.shape} {found.dtype}, expected {(self.drives[drive][0], *self.image_hw, 3)} uint8; keep the pictures again")
        return found

    def classes(self, drive: str) -> U8:
        """(n, H, W) semantic class of each pixel, mapped. Raises DataError where they were not kept."""
        path = self.folder / PARTS / f"{drive}{CLASSES}"
        try:
            found: U8 = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}; keep the pictures again, from a source with classes (--option label_topic=TOPIC)") from error
        return found


def keep_pictures(source: Source, camera: CanonicalCamera, image_hw: tuple[int, int], out: Path, *, every: int = 1, skip_bad: bool = False) -> PictureStore:
    """Every `every`-th picture of all drives. Started again, it goes on.

    Raises DataError for a drive that cannot be used (with `skip_bad` it is listed), and where `out` holds other pictures."""
    if every < 1:
        raise DataError(f"every: got {every}, expected 1 or more")
    settings = {"image_hw": list(image_hw), "canonical_camera": camera.to_dict(), "source": source.name, "licence": source.licence, "domain": source.domain}
    _claim(out, settings | {"every": every})
    skipped: list[Skipped] = []
    drives: dict[str, tuple[int, str]] = {}
    for drive in tqdm(source.drives(), unit="drive", desc="pictures", disable=None):
        path = out / PARTS / f"{drive.name}.npy"
        if not path.exists():
            try:
                pictures, classes = _pictures(source, drive, camera, image_hw, every)
                if classes is not None:
                    _write(path.with_name(f"{drive.name}{CLASSES}"), classes)
                _write(path, pictures)
            except DataError as error:
                if not skip_bad:
                    raise
                skipped.append(Skipped(what=drive.name, why=str(error)))
                continue
        drives[drive.name] = len(np.load(path, mmap_mode="r", allow_pickle=False)), hashlib.sha256(path.read_bytes()).hexdigest()
    listed = [asdict(s) for s in (*source.skipped, *skipped)]
    part = out / f"{MANIFEST}.partial"
    part.write_text(json.dumps(settings | {"every": every, "drives": drives, "skipped": listed}, indent=1), encoding="utf-8")
    os.replace(part, out / MANIFEST)
    return PictureStore.open(out)


def _claim(out: Path, settings: dict[str, Any]) -> None:
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    text = json.dumps(settings, indent=1, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise DataError(f"{out} holds pictures kept with other settings ({path.name}): use the same, or another folder")
    path.write_text(text, encoding="utf-8")


def _pictures(source: Source, drive: DriveRef, camera: CanonicalCamera, image_hw: tuple[int, int], every: int) -> tuple[U8, U8 | None]:
    mode: Literal["warp", "resize"] = "warp" if drive.camera is not None else "resize"
    kept, classes = [], []
    try:
        view = ViewTransform(camera, image_hw, mode=mode, source=drive.camera)
        for i, frame in enumerate(source.frames(drive)):
            if i % every == 0:
                if frame.rgb is None:
                    raise DataError(f"drive {drive.name!r}: frame {i} has no picture; expected a source of pictures")
                kept.append(view(frame.rgb))
                if frame.classes is not None:
                    if not view.is_identity or frame.classes.shape != image_hw:
                        raise DataError(f"drive {drive.name!r}: its pictures are warped to {camera.name}, classes cannot be; take them through that camera")
                    classes.append(frame.classes)
    except CameraError as error:
        raise DataError(f"drive {drive.name!r}: {error}") from error
    if not kept:
        raise DataError(f"drive {drive.name!r}: no frame of it could be used")
    return np.stack(kept), np.stack(classes) if classes else None


def _write(path: Path, pictures: U8) -> None:
    part = path.with_name(f".{path.name}.partial")
    with part.open("wb") as file:
        np.save(file, pictures, allow_pickle=False)
    os.replace(part, path)
