"""What passes between the parts of the workspace, and what can go wrong.

Shape letters: n frames of a drive · B batch · T frames of a window · H waypoints · P steps of advice · h w token grid.

Frames and units as in `vavam_ros.core.contracts`: stamps are integer nanoseconds, positions metres, `ego` is the centre of the rear axle (x forward, y left,
z up), `world` any frame that is fixed during one drive. Rotations are quaternions w x y z.

Errors (all under `vavam_ros.core.contracts.VavamError`)::

    TrainingError
    ├── DataError        raw drives or a data set that cannot be used; names file, drive, frame
    ├── ResumeError      a checkpoint that does not belong to this run
    └── RankError        another process of the job has failed; names rank and reason
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vavam_ros.core.camera import CameraModel
from vavam_ros.core.contracts import F32, F64, U8, U16, VavamError

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Domain = Literal["real", "synthetic_world"]
NO_COMMAND = -1
ADVICE_STEPS, ADVICE_DT_S = 6, 0.5  # what an adviser would have driven is kept at these times after a frame


class TrainingError(VavamError):
    """Root of the workspace's errors."""


class DataError(TrainingError):
    """Raw drives or a data set that cannot be used."""


class ResumeError(TrainingError):
    """A checkpoint that does not belong to this run."""


class RankError(TrainingError):
    """Another process of the job has failed."""


# ── raw drives ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One moment of a drive, as a source gives it: a picture, or tokens that were recorded."""

    stamp_ns: int
    rgb: U8 | None = None  # (H, W, 3) as recorded; the transform to the canonical view is core's and comes later
    tokens: U16 | None = None  # (h, w)
    position_m: F64 | None = None  # (3,) of ego in world; None: video only
    rotation_wxyz: F64 | None = None  # (4,)
    speed_mps: float | None = None
    command: int = NO_COMMAND  # as recorded (vavam_ros.core.contracts.Command), not a label
    classes: U8 | None = None  # (H, W) semantic class of each pixel, as recorded
    advice_m: F64 | None = None  # (P, 2) where an adviser would have been in world, every ADVICE_DT_S after this frame; None: it gave none


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveRef:
    """One continuous drive of a source, before its frames are read."""

    name: str  # unique in its source, usable as a file name
    frames_expected: int  # 0: unknown before reading
    has_motion: bool = True
    camera: CameraModel | None = None  # None: pictures are resized, not warped
    tokenizer_id: str = ""  # of recorded tokens
    codebook_size: int = 0  # likewise; 0: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something that is not in the data set, and why. Nothing is left out without one of these."""

    what: str  # drive, or drive and frame
    why: str


class Source(Protocol):
    """Raw drives. Reading is lazy; what cannot be used is either a DataError or listed in `skipped`."""

    name: str
    licence: str
    domain: Domain
    skipped: list[Skipped]  # grows while frames are read

    def drives(self) -> Sequence[DriveRef]:
        """All drives, in a fixed order."""
        ...

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Frames of one drive in the order of their stamps, which strictly grow."""
        ...


# ── the data set ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DriveRows:
    """All frames of one drive, as arrays (views of memory-mapped files where they come from a data set)."""

    name: str
    source: str
    stamp_ns: I64  # (n,) strictly growing
    tokens: U16  # (n, h, w)
    position_m: F64  # (n, 3) of ego in world; NaN: video only
    rotation_wxyz: F64  # (n, 4)
    speed_mps: F32  # (n,); NaN: unknown
    command: I8  # (n,) as recorded; NO_COMMAND: unknown
    camera_id: str = ""
    advice_m: F64 | None = None  # (n, P, 2) of ego in world, what an adviser would have driven after each frame; NaN: it gave none. None: nobody was asked

    @property
    def has_motion(self) -> bool:
        """Poses are known."""
        return len(self.stamp_ns) > 0 and bool(np.isfinite(self.position_m[0, 0]))


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Windows, collated. Video-only windows have no labels; a batch of stage 3 always has."""

    tokens: Tensor  # int64 (B, T, h, w)
    source: Tensor  # int64 (B,) index into the mixture's sources
    positions_m: Tensor | None = None  # float32 (B, T, H, 2): future of each frame in its own ego frame
    command: Tensor | None = None  # int64 (B, T)
    images: Tensor | None = None  # float32 (B, 3, H, W) in [-1, 1]: stage 0 only, tokens are then empty (B, 0, 0, 0)
    weight: Tensor | None = None  # float32 (B, 1, H, W): how much a pixel counts; None: all alike
    classes: Tensor | None = None  # int64 (B, H, W): semantic class of each pixel, where the pictures were kept with them and somebody asks

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device, copied without waiting where it can."""
        names = ("tokens", "source", "positions_m", "command", "images", "weight", "classes")
        return Batch(**{name: value.to(device, non_blocking=True) for name in names if (value := getattr(self, name)) is not None})


class Samples(Protocol):
    """Endless samples; the k-th is a pure function of k (and of what `digest` identifies)."""

    @property
    def digest(self) -> str:
        """Identifies data and order."""
        ...

    def batch(self, ks: Sequence[int]) -> Batch:
        """The samples with these numbers, in their order."""
        ...


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamGroup:
    """Parameters that share a learning rate. `lr_scale` multiplies the schedule's rate (muP: 1 / divisor for matrices with two width dimensions)."""

    name: str
    parameters: Sequence[nn.Parameter]
    lr_scale: float = 1.0
    weight_decay: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """`total` is what is differentiated; `parts` are for people (detached scalars)."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture for people, made while training or evaluating."""

    name: str  # usable as a file name
    rgb: U8  # (H, W, 3)
    caption: str = ""


class Stage(Protocol):
    """What the loop trains. One player trains at a time, in this order, each with an optimiser of its own (a GAN has two; all others one, "model")."""

    name: str
    players: tuple[str, ...]

    def build(self, device: torch.device) -> nn.Module:
        """The module with its initial weights: the same on every rank, for the same seed."""
        ...

    def groups(self, module: nn.Module, player: str) -> list[ParamGroup]:
        """Parameters that this player trains."""
        ...

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator, player: str, step: int) -> LossTerms:
        """Mean loss over the batch. All randomness comes from `generator` (on the batch's device), which the loop seeds per step and micro-batch."""
        ...

    def tokens(self, batch: Batch) -> int:
        """Tokens that count for tokens/s."""
        ...

    def flops(self, batch: Batch) -> float:
        """Floating point operations of forward and backward, for MFU (0: unknown)."""
        ...

    def pictures(self, module: nn.Module, batch: Batch, seed: int) -> list[Picture]:
        """What to show of the present weights; empty: nothing to show."""
        ...

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the module's state, what is written as weights.safetensors, by its final names."""
        ...

    def describe(self) -> dict[str, Any]:
        """For a checkpoint's meta.json: `spec` and `tokenizer_spec` (None where there is none), and what else belongs to the weights."""
        ...
