"""Which picture is the k-th, and which piece of it: a function of seed and k alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from vavam_ros.core.contracts import F32, U8, ConfigError
from vavam_training.contracts import I64, Batch, DataError
from vavam_training.mixing.mixture import split_drives
from vavam_training.pictures.store import PictureStore

STRIDE = 16


class PictureSamples:
    """Endless pictures in [-1, 1], each once an epoch.

    `crop_hw`: a piece of that size instead of the whole (multiples of 16, at places that are), for samples before `whole_from`: a network of convolutions
    learns more per second from several small pieces. `mirror`: half of them swapped left to right."""

    def __init__(
        self,
        stores: Sequence[PictureStore],
        seed: int,
        *,
        drives: Sequence[Sequence[str]] | None = None,
        crop_hw: tuple[int, int] | None = None,
        whole_from: int = 0,
        mirror: bool = False,
        class_weights: Sequence[float] = (),
    ) -> None:
        """`class_weights`: how much a pixel of each semantic class counts; none: all alike.
        `drives`: names of those to use, for each store; None: all. Raises DataError for pictures of several sizes, or none."""
        self._stores, self._seed, self._crop, self._whole_from, self._mirror = tuple(stores), seed, crop_hw, whole_from, mirror
        self._class_weights = np.array(class_weights, np.float32)
        sizes = {s.image_hw for s in stores}
        if len(sizes) != 1:
            raise DataError(f"pictures: got stores of the sizes {sorted(sizes)}, expected one size")
        [self.image_hw] = sizes
        if crop_hw is not None and not all(c % STRIDE == 0 and STRIDE <= c <= s for c, s in zip(crop_hw, self.image_hw, strict=True)):
            raise ConfigError(f"pictures: got pieces of {crop_hw}, expected multiples of {STRIDE} within {self.image_hw}")
        chosen = drives if drives is not None else [list(s.drives) for s in stores]
        self._files = [(i, name, store.drives[name][0]) for i, (store, names) in enumerate(zip(stores, chosen, strict=True)) for name in names]
        self._ends: I64 = np.cumsum([n for *_, n in self._files], dtype=np.int64)
        if not len(self):
            raise DataError("pictures: got none, expected stores with drives in them")
        self._order: tuple[int, I64] | None = None

    def __len__(self) -> int:
        """Pictures in all."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def digest(self) -> str:
        """Identifies pictures and order."""
        files = [(self._stores[i].digest, name) for i, name, _ in self._files]
        text = json.dumps([files, self._seed, self._crop, self._whole_from, self._mirror, self._class_weights.tolist()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def batch(self, ks: Sequence[int]) -> Batch:
        """The samples with these numbers. All whole, or all pieces."""
        whole = {self._crop is None or k >= self._whole_from for k in ks}
        if len(whole) != 1:
            raise ConfigError(f"pictures: whole_from {self._whole_from} lies within a batch; choose a multiple of the batch")
        found = [self._picture(k) for k in ks]
        images = torch.from_numpy(np.stack([picture for picture, _ in found])).permute(0, 3, 1, 2)
        classes = np.stack([c for _, c in found if c is not None]) if len(self._class_weights) else None
        return Batch(
            tokens=torch.zeros((len(ks), 0, 0, 0), dtype=torch.int64),
            source=torch.zeros(len(ks), dtype=torch.int64),
            images=images.float() / 127.5 - 1.0,
            weight=None if classes is None else torch.from_numpy(self._weight(classes))[:, None],
            classes=None if classes is None else torch.from_numpy(classes).long(),
        )

    def _picture(self, k: int) -> tuple[U8, U8 | None]:
        epoch, at = divmod(k, len(self))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self))
        number = int(self._order[1][at])
        file = int(np.searchsorted(self._ends, number, side="right"))
        store, name, count = self._files[file]
        row = number - (int(self._ends[file]) - count)
        picture: U8 = self._stores[store].array(name)[row]
        classes: U8 | None = self._stores[store].classes(name)[row] if len(self._class_weights) else None
        rng = np.random.default_rng([self._seed, epoch, at, 1])
        if self._crop is not None and k < self._whole_from:
            top, left = (STRIDE * int(rng.integers(0, (s - c) // STRIDE + 1)) for s, c in zip(self.image_hw, self._crop, strict=True))
            picture = picture[top : top + self._crop[0], left : left + self._crop[1]]
            classes = None if classes is None else classes[top : top + self._crop[0], left : left + self._crop[1]]
        if self._mirror and rng.random() < 0.5:
            picture, classes = picture[:, ::-1], None if classes is None else classes[:, ::-1]
        return np.ascontiguousarray(picture), classes

    def _weight(self, classes: U8) -> F32:
        if int(classes.max()) >= len(self._class_weights):
            raise DataError(f"class_weights: got {len(self._class_weights)} of them, but the pictures have class {int(classes.max())}")
        weight: F32 = self._class_weights[classes]
        return weight


def split_pictures(
    stores: Sequence[PictureStore],
    share: float,
    seed: int,
    *,
    crop_hw: tuple[int, int] | None = None,
    whole_from: int = 0,
    mirror: bool = False,
    class_weights: Sequence[float] = (),
) -> tuple[PictureSamples, PictureSamples | None]:
    """(to train on, held out: whole drives, or None)."""
    kept, held = [], []
    for store in stores:
        names = list(store.drives)
        a, b = split_drives(names, share, 0)
        kept.append([names[i] for i in a])
        held.append([names[i] for i in b])
    train = PictureSamples(stores, seed, drives=kept, crop_hw=crop_hw, whole_from=whole_from, mirror=mirror, class_weights=class_weights)
    return train, PictureSamples(stores, seed, drives=held, class_weights=class_weights) if any(held) else None
