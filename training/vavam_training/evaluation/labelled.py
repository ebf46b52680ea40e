"""Pictures with a class for each pixel: picture stores with classes, or folders of images and labels.

    FOLDER/images/…/NAME.png|jpg    FOLDER/labels/…/NAME.png   one channel, class numbers; 255: does not count

Shape letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vavam_ros.core.contracts import U8, ConfigError
from vavam_training.checking.contact import evenly
from vavam_training.contracts import DataError
from vavam_training.evaluation.dense_metrics import IGNORE
from vavam_training.pictures.store import MANIFEST, PictureStore

IMAGES, LABELS = "images", "labels"
SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """One picture of a drive of a store, or two files."""

    group: str  # drive, or sub-folder: pictures of one are alike
    store: PictureStore | None = None
    row: int = 0
    image: Path | None = None
    label: Path | None = None

    def read(self, image_hw: tuple[int, int]) -> tuple[U8, U8]:
        """(H, W, 3) at that size, (H, W) classes likewise. Raises DataError where a file cannot be read or its label has another shape."""
        if self.store is not None:
            rgb, classes = self.store.array(self.group)[self.row], self.store.classes(self.group)[self.row]
        else:
            rgb, classes = _file(self.image, cv2.IMREAD_COLOR)[..., ::-1], _file(self.label, cv2.IMREAD_UNCHANGED)
        if classes.ndim != 2 or classes.dtype != np.uint8 or classes.shape != rgb.shape[:2]:
            raise DataError(f"{self.label or self.group}: got labels {classes.shape} {classes.dtype}, expected one channel of 8 bits, {rgb.shape[:2]}")
        if classes.shape == image_hw:
            return np.ascontiguousarray(rgb), np.ascontiguousarray(classes)
        size = image_hw[::-1]
        small = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8), np.asarray(cv2.resize(np.ascontiguousarray(classes), size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _file(path: Path | None, how: int) -> Any:
    assert path is not None
    found = cv2.imread(str(path), how)
    if found is None:
        raise DataError(f"{path}: cannot be read as a picture; expected PNG or JPEG")
    return found


def find_labelled(path: Path | str) -> list[Place]:
    """All pictures with labels of a picture store or folder, in a fixed order. Raises DataError where there is none, or one has no label."""
    path = Path(path)
    if (path / MANIFEST).is_file():
        store = PictureStore.open(path)
        for name in store.drives:
            store.classes(name)
        return [Place(group=name, store=store, row=row) for name, (count, _) in store.drives.items() for row in range(count)]
    images = sorted(p for p in (path / IMAGES).rglob("*") if p.suffix.lower() in SUFFIXES) if (path / IMAGES).is_dir() else []
    if not images:
        raise DataError(f"{path}: got neither {MANIFEST} nor pictures in {IMAGES}/, expected pictures with classes (data pictures), or {IMAGES}/ and {LABELS}/")
    found = []
    for image in images:
        relative = image.relative_to(path / IMAGES)
        label = (path / LABELS / relative).with_suffix(".png")
        if not label.is_file():
            raise DataError(f"{image}: no label {label}; expected one of the same name for each picture")
        found.append(Place(group=str(relative.parent), image=image, label=label))
    return found


def memory_and_queries(paths: Sequence[Path], *, most: int) -> tuple[list[Place], list[Place]]:
    """(what is remembered, what is asked for), up to `most` pictures each, evenly chosen. Two paths: one each. One path: every other drive (or sub-folder).

    Raises ConfigError for other numbers of paths, DataError for one that has a single drive."""
    if len(paths) not in (1, 2) or most < 1:
        raise ConfigError(f"labelled pictures: got {len(paths)} paths, up to {most} of each, expected one or two (memory, queries) and one or more")
    if len(paths) == 2:
        memory, queries = find_labelled(paths[0]), find_labelled(paths[1])
    else:
        places = find_labelled(paths[0])
        groups = list(dict.fromkeys(p.group for p in places))
        if len(groups) < 2:
            raise DataError(f"{paths[0]}: got one drive only, whose pictures are nearly the same; expected two drives (sub-folders) or more, or two paths")
        kept = set(groups[::2])
        memory, queries = [p for p in places if p.group in kept], [p for p in places if p.group not in kept]
    return [memory[i] for i in evenly(len(memory), most)], [queries[i] for i in evenly(len(queries), most)]


def class_count(places: Sequence[Place], image_hw: tuple[int, int]) -> int:
    """One more than the largest class number that occurs, 255 apart."""
    largest = [int(c.max()) for _, classes in read_all(places, image_hw) if (c := classes[classes != IGNORE]).size]
    if not largest:
        raise DataError(f"labelled pictures: got only {IGNORE} (does not count) in {len(places)} pictures, expected classes")
    return max(largest) + 1


def read_all(places: Sequence[Place], image_hw: tuple[int, int]) -> Iterator[tuple[U8, U8]]:
    """Pictures and classes, one after the other."""
    for place in places:
        yield place.read(image_hw)
