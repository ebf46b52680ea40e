"""The token frames of the last seconds, and which of them make the model's context.

The context is a time grid: the frame to plan from and one every `frame_dt_s` before it. For each slot the frame nearest in time is taken, within a tolerance.

Nearest alone has a flaw. At a plan rate of 1 / frame_dt the frame planned from now should be the second newest of the next context, so that the context is
extended and not computed anew; but its stamp jitters, and the frame nearest to (next stamp − frame_dt) is often its neighbour. So the ring runs the plan
rate's own `RateGate` over the stamps: the frames it lets through are anchors, and a window that starts from an anchor prefers anchors wherever they lie within
the tolerance. That depends on the stamps alone: not on which plans were computed or skipped, hence the same live and in replay.

Not thread safe: its owner holds a lock.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from vavam_ros.core.contracts import NS_PER_S, U8, ConfigError, TokenError, TokenFrame, Waiting, WaitReason, Window
from vavam_ros.core.history.pacing import RateGate
from vavam_ros.core.spec import ModelSpec

_DIGEST_STEP = 509  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RingConfig:
    """How the context is put together."""

    tolerance_s: float = 0.1  # largest distance of a frame from its slot
    warmup: Literal["shrink", "wait", "repeat"] = "shrink"  # too few frames: a shorter context, none, or the oldest repeated
    anchor_rate_hz: float | None = None  # plan rate; None: 1 / frame_dt_s
    reset_jump_back_s: float = 1.0  # a frame older than the newest by more is time that jumped; by less, one that is late
    adopt_epoch_after: int = 5  # so many frames in a row of an older epoch, in order: its tokenizer was restarted, follow it

    def __post_init__(self) -> None:
        if self.warmup not in ("shrink", "wait", "repeat"):
            raise ConfigError(f"warmup: got {self.warmup!r}, expected 'shrink', 'wait' or 'repeat'")
        if not (self.tolerance_s > 0.0 and self.reset_jump_back_s > 0.0 and self.adopt_epoch_after > 0):
            raise ConfigError(f"token ring: tolerance_s {self.tolerance_s}, reset_jump_back_s {self.reset_jump_back_s} and adopt_epoch_after must be positive")


class RingOutcome(Enum):
    """What became of a frame. The value is the text of its counter."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate stamp, ignored"
    LATE = "late, inserted in order"
    EPOCH_RESET = "new epoch, ring reset"
    JUMPED_BACK = "time jumped back, ring reset"
    REFUSED_EPOCH = "older epoch, refused"
    REFUSED_NO_STAMP = "no header stamp, refused"

    @property
    def was_reset(self) -> bool:
        """The ring began anew with this frame."""
        return self in (RingOutcome.EPOCH_RESET, RingOutcome.JUMPED_BACK)


class TokenRing:
    """Frames by stamp, as many as a full context needs.

    `tokenizer_id` None takes the first frame's. Memory is bounded by the time a context spans."""

    def __init__(self, spec: ModelSpec, config: RingConfig | None = None, tokenizer_id: str | None = None, codebook_size: int | None = None) -> None:
        self.config = config if config is not None else RingConfig()
        if self.config.tolerance_s >= spec.frame_dt_s / 2:
            raise ConfigError(f"tolerance_s {self.config.tolerance_s} must be below half of frame_dt_s {spec.frame_dt_s}: two slots could take the same frame")
        self._grid = (spec.video.grid_h, spec.video.grid_w)
        self._slots = spec.video.frames
        self._dt_ns = _ns(spec.frame_dt_s)
        self._tolerance_ns = _ns(self.config.tolerance_s)
        self._keep_ns = max((self._slots - 1) * self._dt_ns + self._tolerance_ns, _ns(self.config.reset_jump_back_s))
        self._tokenizer_id = tokenizer_id
        self._codebook_size = codebook_size
        rate_hz = self.config.anchor_rate_hz
        self._gate = RateGate(1.0 / spec.frame_dt_s if rate_hz is None else rate_hz, jump_back_s=self.config.reset_jump_back_s)
        self._outcomes: Counter[RingOutcome] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget all frames, also the epoch. The counters go on."""
        self._frames: list[TokenFrame] = []
        self._stamps_ns: list[int] = []
        self._anchors_ns: list[int] = []
        self._gate.reset()
        self._outlived: list[TokenFrame] = []  # run of frames of one older epoch

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> TokenFrame | None:
        """The newest frame, None before the first."""
        return self._frames[-1] if self._frames else None

    @property
    def epoch(self) -> int | None:
        """Epoch of the frames held, None before the first."""
        return self._frames[-1].epoch if self._frames else None

    @property
    def counters(self) -> dict[RingOutcome, int]:
        """How often each outcome came about since construction."""
        return {outcome: self._outcomes[outcome] for outcome in RingOutcome}

    def is_anchor(self, stamp_ns: int) -> bool:
        """Did the gate at the plan rate let this frame through? Planning from anchors only keeps contexts extendable."""
        i = bisect_left(self._anchors_ns, stamp_ns)
        return i < len(self._anchors_ns) and self._anchors_ns[i] == stamp_ns

    def push(self, frame: TokenFrame) -> RingOutcome:
        """Take in one frame, in whatever order it arrives. Raises TokenError on tokens that are not this model's; the ring is then unchanged."""
        self._check(frame)
        outcome = self._classify(frame)
        self._outcomes[outcome] += 1
        if outcome in (RingOutcome.REFUSED_NO_STAMP, RingOutcome.REFUSED_EPOCH, RingOutcome.DUPLICATE):
            return outcome
        if outcome.was_reset:
            self.reset()
        self._outlived = []
        if self._tokenizer_id is None:
            self._tokenizer_id = frame.tokenizer_id
        i = bisect_left(self._stamps_ns, frame.stamp_ns)
        self._stamps_ns.insert(i, frame.stamp_ns)
        self._frames.insert(i, frame)
        if self._gate.due(frame.stamp_ns):  # never of a late frame: anchors stay in order
            self._anchors_ns.append(frame.stamp_ns)
        oldest_ns = self._stamps_ns[-1] - self._keep_ns
        n = bisect_left(self._stamps_ns, oldest_ns)
        del self._stamps_ns[:n], self._frames[:n], self._anchors_ns[: bisect_left(self._anchors_ns, oldest_ns)]
        return outcome

    def _check(self, frame: TokenFrame) -> None:
        if self._tokenizer_id is not None and frame.tokenizer_id != self._tokenizer_id:
            raise TokenError(f"tokenizer: got {frame.tokenizer_id!r}, expected {self._tokenizer_id!r}; both nodes must load the same model directory")
        if frame.tokens.shape != self._grid:
            raise TokenError(f"token grid: got {frame.tokens.shape}, expected {self._grid} (height, width)")
        size = self._codebook_size if self._codebook_size is not None else frame.codebook_size
        if frame.codebook_size != size:
            raise TokenError(f"codebook: got {frame.codebook_size} codes, expected {size}")
        low, high = int(frame.tokens.min()), int(frame.tokens.max())
        if low < 0 or high >= size:
            raise TokenError(f"tokens: got values {low}…{high}, expected 0…{size - 1}")

    def _classify(self, frame: TokenFrame) -> RingOutcome:
        if frame.stamp_ns <= 0:
            return RingOutcome.REFUSED_NO_STAMP
        if not self._frames:
            return RingOutcome.ACCEPTED
        newest = self._frames[-1]
        if frame.epoch > newest.epoch:
            return RingOutcome.EPOCH_RESET
        if frame.epoch < newest.epoch:
            return self._older_epoch(frame)
        if frame.stamp_ns < newest.stamp_ns - _ns(self.config.reset_jump_back_s):
            return RingOutcome.JUMPED_BACK
        i = bisect_left(self._stamps_ns, frame.stamp_ns)
        if i < len(self._stamps_ns) and self._stamps_ns[i] == frame.stamp_ns:
            return RingOutcome.DUPLICATE
        return RingOutcome.LATE if frame.stamp_ns < newest.stamp_ns else RingOutcome.ACCEPTED

    def _older_epoch(self, frame: TokenFrame) -> RingOutcome:
        """A frame still under way from before a reset is refused; a steady run of them is a restarted tokenizer, which counts from 0 again."""
        run = self._outlived
        if run and (frame.epoch != run[-1].epoch or frame.stamp_ns <= run[-1].stamp_ns):
            run.clear()
        run.append(frame)
        return RingOutcome.EPOCH_RESET if len(run) >= self.config.adopt_epoch_after else RingOutcome.REFUSED_EPOCH

    def window(self, newest_stamp_ns: int | None = None) -> Window | Waiting:
        """The context that ends with the newest frame, or with the frame of the given stamp.

        A slot without a frame ends the context: `shrunk_by` is CONTEXT_GAP where older frames are there that it cuts off, CONTEXT_SHORT where the
        ring has none. Then, by `warmup`: the frames after the hole; Waiting with that reason; or those frames with the oldest repeated in front."""
        if not self._frames:
            return Waiting(reason=WaitReason.NO_TOKENS)
        newest_ns = self._stamps_ns[-1] if newest_stamp_ns is None else newest_stamp_ns
        if self._nearest(self._stamps_ns, newest_ns, 0) is None:
            return Waiting(reason=WaitReason.NO_TOKENS, detail=f"none with stamp {newest_ns}")
        picked = self._pick(newest_ns)
        missing = self._slots - len(picked)
        reason: WaitReason | None = None
        if missing:
            hole_ns = newest_ns - len(picked) * self._dt_ns - self._tolerance_ns
            reason = WaitReason.CONTEXT_GAP if self._stamps_ns[0] < hole_ns else WaitReason.CONTEXT_SHORT
            if self.config.warmup == "wait":
                return Waiting(reason=reason, detail=f"{len(picked)} of {self._slots}")
        if self.config.warmup == "repeat":
            picked += [picked[-1]] * missing
        errors = [(stamp - (newest_ns - k * self._dt_ns)) / NS_PER_S for k, stamp in enumerate(picked)]
        frames = [self._frames[bisect_left(self._stamps_ns, stamp)] for stamp in picked]
        return Window(frames=tuple(reversed(frames)), slot_error_s=tuple(reversed(errors)), shrunk_by=reason)

    def _pick(self, newest_ns: int) -> list[int]:
        """Stamps of the frames on the grid, newest first, up to the first slot without one."""
        anchored = self.is_anchor(newest_ns)
        picked = [newest_ns]
        while len(picked) < self._slots:
            slot_ns = newest_ns - len(picked) * self._dt_ns
            found = self._nearest(self._anchors_ns, slot_ns, self._tolerance_ns) if anchored else None
            if found is None:
                found = self._nearest(self._stamps_ns, slot_ns, self._tolerance_ns)
            if found is None:
                break
            picked.append(found)
        return picked

    @staticmethod
    def _nearest(stamps_ns: Sequence[int], target_ns: int, tolerance_ns: int) -> int | None:
        """The stamp nearest to the target within the tolerance, the older of equals."""
        i = bisect_left(stamps_ns, target_ns)
        near = min(stamps_ns[max(0, i - 1) : i + 1], key=lambda stamp: abs(stamp - target_ns), default=None)
        return near if near is not None and abs(near - target_ns) <= tolerance_ns else None


class FrozenDetector:
    """Notices a camera that repeats its picture while the vehicle moves. Fed at camera rate.

    Frozen from the `after`-th repetition on (fresh stamps, the same digest, speed at or above `min_speed_mps` at each), until the first new picture.
    Standing still proves nothing: repetitions then count neither way. Without a known speed (None) nothing is claimed."""

    def __init__(self, after: int = 5, min_speed_mps: float = 0.5) -> None:
        if after < 1 or not min_speed_mps >= 0.0:
            raise ConfigError(f"frozen image: got after {after}, min_speed_mps {min_speed_mps}, expected at least 1 and 0")
        self._after, self._min_speed_mps = after, min_speed_mps
        self.reset()

    def reset(self) -> None:
        """Forget the last picture."""
        self._digest: int | None = None
        self._stamp_ns: int | None = None
        self._repeats = 0

    def update(self, image_digest: int, stamp_ns: int, speed_mps: float | None) -> bool:
        """Take in one picture: is the camera frozen? A stamp that was there already is the same message again and changes nothing."""
        if stamp_ns != self._stamp_ns:
            if image_digest != self._digest:
                self._repeats = 0
            elif speed_mps is not None and abs(speed_mps) >= self._min_speed_mps:
                self._repeats += 1
            self._digest, self._stamp_ns = image_digest, stamp_ns
        return self._repeats >= self._after


def image_digest(data: U8, *, compressed: bool) -> int:
    """Cheap fingerprint of a picture's bytes (any shape) as they were sent, without decoding: live and in replay the same.

    Compressed bytes are taken whole: a small change in the picture changes them in few places. Of raw ones a sample is enough, because sensor noise is
    everywhere; its step is prime, so that it walks through the columns and the channels."""
    flat = data.reshape(-1)
    return zlib.crc32((flat if compressed else flat[::_DIGEST_STEP]).tobytes())


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
