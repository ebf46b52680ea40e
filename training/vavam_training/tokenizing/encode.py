"""Frames of a drive → rows of a token set: core's view transform, then the tokenizer, in batches.

Shape letters: B batch · h w token grid · H W picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch

from vavam_ros.core.camera import CanonicalCamera, ViewTransform
from vavam_ros.core.camera.view import to_model_input
from vavam_ros.core.contracts import U16, CameraError, TokenError
from vavam_ros.core.tokenizer.vq16 import VQ16
from vavam_training.contracts import ADVICE_STEPS, DataError, DriveRef, DriveRows, Frame
from vavam_training.tokenizing.looks import look_of


class DriveEncoder:
    """Turns drives into rows. Without a tokenizer only recorded tokens can be taken.

    Pictures of a calibrated camera are warped to the canonical one; others are resized, and their rows say so in `camera_id`."""

    def __init__(
        self,
        tokenizer: VQ16 | None,
        canonical: CanonicalCamera | None,
        *,
        tokenizer_id: str,
        device: torch.device,
        batch: int = 32,
        advised: bool = False,
        looks_seed: int | None = None,
    ) -> None:
        """`advised`: the frames come with what an adviser would have driven, or with none of it. `looks_seed`: pictures in another look (looks.py), one of
        this seed for each drive; None: as they were taken."""
        if batch < 1:
            raise DataError(f"batch: got {batch}, expected at least 1")
        self._tokenizer, self._canonical, self._tokenizer_id, self._device, self._batch = tokenizer, canonical, tokenizer_id, device, batch
        self._advised, self._looks_seed = advised, looks_seed

    def rows(self, drive: DriveRef, frames: Iterable[Frame], source: str, progress: Callable[[int], object] = lambda n: None) -> DriveRows:
        """All frames of a drive, encoded. Raises DataError, with drive and frame, for what cannot be encoded and for a drive without frames."""
        self._check_recorded(drive)
        views: dict[str, ViewTransform] = {}
        kept: list[Frame] = []
        tokens: list[U16] = []
        cameras: set[str] = set()
        for group in _grouped(frames, self._batch):
            tokens += self._tokens_of(drive, group, views, cameras, len(kept))
            kept += [_without_picture(f) for f in group]
            progress(len(group))
        if not kept:
            raise DataError(f"drive {drive.name!r}: no frame of it could be used")
        camera_id = sorted(cameras)[0] if cameras else self._recorded_camera(drive)
        return _assemble(drive, source, kept, np.stack(tokens), camera_id, self._advised)

    def _check_recorded(self, drive: DriveRef) -> None:
        if drive.tokenizer_id and drive.tokenizer_id != self._tokenizer_id:
            raise DataError(
                f"drive {drive.name!r}: its recorded tokens are of {drive.tokenizer_id}, this set is of {self._tokenizer_id or 'no tokenizer'}: "
                "import it with that tokenizer, or take its pictures (--tokens pictures)"
            )

    def _recorded_camera(self, drive: DriveRef) -> str:
        return self._canonical.name if self._canonical is not None else (drive.camera.name if drive.camera is not None else "")

    def _tokens_of(self, drive: DriveRef, group: list[Frame], views: dict[str, ViewTransform], cameras: set[str], first: int) -> list[U16]:
        recorded = [f.tokens for f in group if f.tokens is not None]
        if recorded and self._looks_seed is not None:
            raise DataError(f"drive {drive.name!r}: its tokens were recorded, other looks need pictures: import it with --tokens pictures, or without --looks")
        if len(recorded) == len(group):
            return recorded
        if recorded:
            raise DataError(f"drive {drive.name!r}: frames {first} to {first + len(group) - 1}: some are pictures and some tokens; expected one or the other")
        if self._tokenizer is None:
            raise DataError(f"drive {drive.name!r} has pictures: give the tokenizer that is to encode them (--tokenizer DIR)")
        pictures = []
        look = None if self._looks_seed is None else look_of(self._looks_seed, drive.name)
        for i, frame in enumerate(group, start=first):
            if frame.rgb is None:
                raise DataError(f"drive {drive.name!r}: frame {i} has neither a picture nor tokens")
            try:
                view = self._view(drive, views)
                seen = view(frame.rgb) if look is None else look(view(frame.rgb))
                pictures.append(to_model_input(seen, self._device, self._tokenizer.dtype))
                cameras.add(view.camera_id_of(frame.rgb))
            except CameraError as error:
                raise DataError(f"drive {drive.name!r}: frame {i}: {error}") from error
        if len(cameras) > 1:
            raise DataError(f"drive {drive.name!r}: pictures of several sizes: {', '.join(sorted(cameras))}; expected one camera a drive")
        with torch.inference_mode():
            try:
                codes = self._tokenizer.encode(torch.cat(pictures))  # int64 (B, h, w)
            except TokenError as error:
                raise DataError(f"drive {drive.name!r}: frames {first} to {first + len(group) - 1}: {error}") from error
        return list(codes.cpu().numpy().astype(np.uint16))

    def _view(self, drive: DriveRef, views: dict[str, ViewTransform]) -> ViewTransform:
        if "view" not in views:
            assert self._tokenizer is not None
            if self._canonical is None:
                raise CameraError("no canonical camera is chosen: give one (--camera NAME)")
            mode: Literal["warp", "resize"] = "warp" if drive.camera is not None else "resize"
            views["view"] = ViewTransform(self._canonical, self._tokenizer.spec.image_hw, mode=mode, source=drive.camera)
        return views["view"]


def _grouped(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    iterator = iter(frames)
    while group := list(islice(iterator, size)):
        yield group


def _without_picture(frame: Frame) -> Frame:
    """What has to be kept of a frame until the drive is whole."""
    return Frame(
        stamp_ns=frame.stamp_ns, position_m=frame.position_m, rotation_wxyz=frame.rotation_wxyz, speed_mps=frame.speed_mps, command=frame.command,
        advice_m=frame.advice_m,
    )  # fmt: skip


def _assemble(drive: DriveRef, source: str, frames: list[Frame], tokens: U16, camera_id: str, advised: bool) -> DriveRows:
    nowhere, unknown, none = np.full(3, np.nan), np.full(4, np.nan), np.full((ADVICE_STEPS, 2), np.nan)
    return DriveRows(
        name=drive.name,
        source=source,
        stamp_ns=np.array([f.stamp_ns for f in frames], np.int64),
        tokens=tokens,
        position_m=np.stack([nowhere if f.position_m is None else f.position_m for f in frames]).astype(np.float64),
        rotation_wxyz=np.stack([unknown if f.rotation_wxyz is None else f.rotation_wxyz for f in frames]).astype(np.float64),
        speed_mps=np.array([np.nan if f.speed_mps is None else f.speed_mps for f in frames], np.float32),
        command=np.array([f.command for f in frames], np.int8),
        camera_id=camera_id,
        advice_m=np.stack([none if f.advice_m is None else f.advice_m for f in frames]).astype(np.float64) if advised else None,
    )
