"""The seams of the pipeline: what passes between its parts, why a part has nothing to give, and what can go wrong.

Shape letters: K samples · H waypoints · T frames · h w token grid.

Frames and units. ``odom`` is the frame of the odometry message (``header.frame_id``; CARLA calls it ``map``), ``base`` its
``child_frame_id``, ``ego`` the point whose motion the model predicts (centre of the rear axle, x forward, y left, z up).
``T_a_b`` is a 4×4 fp64 matrix that takes points given in b to a. Stamps are the sensor's own, integer nanoseconds.

Errors::

    VavamError
    ├── ConfigError            a parameter or a specification value that cannot be meant
    ├── InputError             data from outside that cannot be used: one message is lost, the process goes on
    │   ├── EncodingError      an image encoding that is not supported, or bytes that do not fit their header
    │   ├── TokenError         a token outside the codebook, another grid, another tokenizer's tokens
    │   ├── FrameError         coordinate frames that do not connect
    │   └── BagError           a bag that cannot be read, or lacks a topic
    ├── CameraError            a camera that the model cannot look through
    │   └── CoverageError      it sees too little of the canonical view
    └── ArtifactError          a model directory or checkpoint that cannot be used
        ├── DivisorError       its muP readout divisors cannot be established, or contradict its widths
        ├── ForeignPickleError it asks the unpickler for something that is not on the allow-list
        ├── GoldenMismatchError it does not reproduce its own recorded output
        └── DomainError        it is not meant for this use (synthetic or untrained, on a vehicle)

Expected conditions (no odometry yet, a gap) are not errors: they are `Waiting` values with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

F64: TypeAlias = npt.NDArray[np.float64]
F32: TypeAlias = npt.NDArray[np.float32]
U8: TypeAlias = npt.NDArray[np.uint8]
U16: TypeAlias = npt.NDArray[np.uint16]

NS_PER_S = 1_000_000_000


class VavamError(Exception):
    """Root of every error this package raises for a reason outside its own code."""


class ConfigError(VavamError):
    """A parameter or specification value that cannot be meant."""


class InputError(VavamError):
    """Data from outside that cannot be used."""


class EncodingError(InputError):
    """An unsupported image encoding, or image bytes that do not fit their header."""


class TokenError(InputError):
    """A token outside the codebook, another grid, or another tokenizer's tokens."""


class FrameError(InputError):
    """Coordinate frames that do not connect."""


class BagError(InputError):
    """A bag that cannot be read, or lacks a topic."""


class CameraError(VavamError):
    """A camera that the model cannot look through."""


class CoverageError(CameraError):
    """The camera sees too little of the canonical view."""


class ArtifactError(VavamError):
    """A model directory or checkpoint that cannot be used."""


class DivisorError(ArtifactError):
    """muP readout divisors that cannot be established, or contradict the widths."""


class ForeignPickleError(ArtifactError):
    """A checkpoint that asks the unpickler for something outside the allow-list."""


class GoldenMismatchError(ArtifactError):
    """The artifact does not reproduce its own recorded output."""


class DomainError(ArtifactError):
    """The artifact is not meant for this use."""


class Command(IntEnum):
    """High-level driving command, with the reference's numbers."""

    RIGHT = 0
    LEFT = 1
    STRAIGHT = 2


class PoseQuality(IntEnum):
    """Where a pose comes from; the numbers are those of FrameTokens.msg."""

    UNKNOWN = 0
    MEASURED = 1  # interpolated between odometry messages
    EXTRAPOLATED = 2  # carried on by the twist for a bounded time
    ESTIMATED = 3  # the odometry itself is an estimate (a bag that says so)


class WaitReason(Enum):
    """Why there is no result. The value is the text that diagnostics show."""

    NO_IMAGE = "no image received yet"
    NO_ODOMETRY = "no odometry received yet"
    ODOMETRY_BEHIND = "odometry has not reached the image stamp"
    ODOMETRY_GAP = "odometry has a gap around the stamp"
    ODOMETRY_STALE = "newest odometry is too old to carry on"
    STAMP_BEFORE_HISTORY = "stamp lies before the odometry kept"
    NO_CAMERA = "no camera_info received and no camera given"
    NO_TOKENS = "no token frame received yet"
    CONTEXT_SHORT = "too few frames on the time grid"
    CONTEXT_GAP = "a gap in the token frames"
    IMAGE_FROZEN = "the image does not change while the vehicle moves"
    IMAGE_STALE = "newest image is too old"
    PLAN_EXPIRED = "last plan is too old, or not yet due"
    PLAN_INVALID = "the plan failed validation"
    NO_PATH = "no path received yet"
    PATH_UNUSABLE = "the path cannot be followed"
    PATH_ELSEWHERE = "the vehicle is not where the path is"
    PATH_OVER = "the path lies in the past, or is not yet due"
    POSE_UNUSABLE = "the pose cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """No result now, and why. Not an error: ask again later."""

    reason: WaitReason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraImage:
    """One decoded picture. `rgb` is (height, width, 3) uint8, R first."""

    stamp_ns: int
    frame_id: str
    rgb: U8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OdometrySample:
    """One odometry message: pose of base in odom, twist in base (REP-103, m/s and rad/s)."""

    stamp_ns: int
    odom_frame_id: str
    base_frame_id: str
    T_odom_base: F64  # (4, 4)
    linear_mps: F64  # (3,)
    angular_radps: F64  # (3,)
    quality: PoseQuality = PoseQuality.MEASURED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EgoPose:
    """Pose and twist of the ego point (rear axle) at a stamp; twist in the ego frame."""

    stamp_ns: int
    odom_frame_id: str
    T_odom_ego: F64  # (4, 4)
    linear_mps: F64  # (3,)
    angular_radps: F64  # (3,)
    quality: PoseQuality = PoseQuality.MEASURED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenFrame:
    """One picture as tokens, with where the vehicle was: all that planning and training need of a frame."""

    stamp_ns: int
    epoch: int  # grows on every reset; frames of different epochs never share a context
    camera_frame_id: str
    tokens: U16  # (h, w)
    codebook_size: int
    tokenizer_id: str
    camera_id: str  # canonical camera the picture was brought to, or "resize:<source size>"
    canonical: bool  # False: the picture was only resized, its geometry is not the model's
    coverage: float  # share of the canonical view that the source camera sees, 0..1
    pose: EgoPose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Frames on the model's time grid, oldest first, newest = the frame to plan from."""

    frames: tuple[TokenFrame, ...]
    slot_error_s: tuple[float, ...]  # stamp minus its grid time, per frame
    shrunk_by: WaitReason | None = None  # why there are fewer frames than the model holds

    @property
    def newest(self) -> TokenFrame:
        """The frame the plan starts from."""
        return self.frames[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One limit that a trajectory breaks: name, value found, limit, unit."""

    check: str
    value: float
    limit: float
    unit: str

    def __str__(self) -> str:
        return f"{self.check}: {self.value:.3g} {self.unit} (limit {self.limit:.3g})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Which of the K samples is followed, why, and how far they disagree."""

    index: int
    reason: str  # "medoid", "continuity", "cautious", "first", or what it fell back to
    spread_m: F32  # (seconds,) mean distance to the selected sample at 1, 2, 3 … s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """K trajectories in the ego frame at `stamp_ns`, one of them selected. Waypoint i is at stamp + (i + 1)·dt_s."""

    stamp_ns: int
    epoch: int
    model_id: str
    command: Command
    xy_ego_m: F32  # (K, H, 2)
    dt_s: float
    selection: Selection
    violations: tuple[Violation, ...]  # of the selected sample; empty = drivable
    context_stamps_ns: tuple[int, ...]
    pose: EgoPose  # at stamp_ns
    canonical: bool
    stage_ms: tuple[tuple[str, float], ...] = field(default=())

    @property
    def selected_xy_ego_m(self) -> F32:
        """(H, 2) waypoints of the selected sample."""
        xy: F32 = self.xy_ego_m[self.selection.index]
        return xy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DensePath:
    """A path with a time and a heading per pose. Row i is at `stamps_ns[i]`, in `frame_id`."""

    stamp_ns: int  # when it was placed: header stamp
    frame_id: str
    stamps_ns: npt.NDArray[np.int64]  # (N,)
    xyz_m: F64  # (N, 3)
    yaw_rad: F64  # (N,)
    speed_mps: F64  # (N,)
    age_s: float  # stamp_ns − the image stamp of the plan
