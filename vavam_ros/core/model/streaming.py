"""How a sliding window is kept up at a bounded work per tick, as arithmetic: which tokens go to which context when, and how many operations that is.

Frame embeddings are absolute: a window's frames are at positions 0…n−1, so nothing of a full context can be used by its successor. But a window may grow
exactly. So two contexts take turns. The one planned from grows by a frame per tick, from keep + 1 to T frames. Meanwhile the next one is built from the
newest `keep` frames of the coming full window, in equal chunks, one per tick; when the first is full, the next takes its place and grows on.

Every plan is that of the exact model on the keep + 1 … T newest frames; what is given up is that there are always T of them.

    T = 4, keep = 2          tick    1    2    3    4    5    6    7     (frame 1 … 7)
      planned from, frames           1    12   123 1234  345 3456  567
      next, after the tick           ·    ·    3    34   5    56   7     (here a chunk is a frame: keep = T − keep)

Shape letters: T frames · S tokens a frame · d width.
"""

from __future__ import annotations

from dataclasses import dataclass

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.spec import VideoSpec


def append_flops(spec: VideoSpec, held: int, added: int) -> int:
    """Floating-point operations (a multiply-add is two) of appending tokens to a context: matrix products and causal attention.

    Of the last layer only keys and values. Norms, activations and the masked half of a product count nothing.
    """
    d, whole = spec.width, spec.layers - 1
    linear = 2 * added * d * d * ((4 + 2 * spec.mlp_ratio) * whole + 2)
    pairs = added * held + added * (added + 1) // 2
    return linear + 4 * d * pairs * whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """`added` tokens behind the `held` that a context has."""

    held: int
    added: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The work for one new frame."""

    frames: int  # of the window to plan from, the new one included
    swapped: bool  # the next context took the place of the full one
    append: Chunk  # to the context planned from: before the plan
    build: Chunk | None  # to the next one: at any time before the next tick

    def flops(self, spec: VideoSpec) -> int:
        """Of both chunks; the denoising, about the same in each tick, not counted."""
        return sum(append_flops(spec, chunk.held, chunk.added) for chunk in (self.append, self.build) if chunk is not None)


class StreamSchedule:
    """Counts frames and says what to do for each. State: the length of both contexts; `begin` and `reset` start anew."""

    def __init__(self, spec: VideoSpec, keep_frames: int | None = None) -> None:
        """`keep_frames`: how many of the newest frames the next window starts with, T/2 to T − 1, None = T/2 rounded up.

        More of them: longer windows and more work. With T − 1 every window is full and a plan waits for one frame only, at the whole work of recomputing.
        Fewer than half would have to be built from frames that have not come yet when there is time for it.
        """
        least = (spec.frames + 1) // 2
        self.keep_frames = least if keep_frames is None else keep_frames
        if not least <= self.keep_frames < spec.frames:
            raise ConfigError(f"streaming: got {self.keep_frames} frames kept, expected {least} to {spec.frames - 1} (the model holds {spec.frames})")
        self._spec = spec
        self.reset()

    def reset(self) -> None:
        """No frames yet."""
        self._frames = self._built = 0

    def begin(self, available: int) -> Tick:
        """A window that continues nothing, of `available` frames: the newest of them, at most keep + 1, in one go."""
        self.reset()
        return self._tick(0, min(available, self.keep_frames + 1), swapped=False)

    def tick(self) -> Tick:
        """One more frame."""
        swapped = self._frames == self._spec.frames
        if swapped:
            self._built = 0
        return self._tick(self.keep_frames if swapped else self._frames, 1, swapped=swapped)

    def _tick(self, held: int, added: int, *, swapped: bool) -> Tick:
        s, keep = self._spec.tokens_per_frame, self.keep_frames
        self._frames = held + added
        ticks = self._spec.frames - keep  # in which `keep` frames are built
        due = -(-max(0, self._frames - keep) * keep * s // ticks)
        build = Chunk(held=self._built, added=due - self._built) if due > self._built else None
        self._built = due
        return Tick(frames=self._frames, swapped=swapped, append=Chunk(held=held * s, added=added * s), build=build)
