"""Contexts (keys and values of the video) from plan to plan: which kept one a window continues, and what is computed for it.

`ExactContexts` gives the whole window's context. `StreamingContexts` gives that of its newest frames, at a bounded work per tick (streaming.py).

Shape letters: T frames · h w token grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vavam_ros.core.contracts import TokenFrame, Window
from vavam_ros.core.model.fast import FastContext, FastVaVAM, InferenceModel
from vavam_ros.core.model.streaming import Chunk, StreamSchedule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A context and the frames it was made of, oldest first."""

    context: Any
    frames: tuple[TokenFrame, ...]


class ContextKeeper(Protocol):
    """Windows in, contexts out."""

    def of(self, window: Window) -> Held:
        """The context to plan from for this window."""

    def prepare(self) -> bool:
        """Do now what the next window will need. False: there is nothing to do."""

    def reset(self) -> None:
        """Forget all contexts."""


def stacked_tokens(frames: Sequence[TokenFrame], device: torch.device) -> Tensor:
    """(1, T, h, w) int64."""
    stacked = np.stack([f.tokens.astype(np.int64) for f in frames])
    return rearrange(torch.from_numpy(stacked).to(device), "t h w -> 1 t h w")


class ExactContexts:
    """The longest kept context that a window continues, extended by the missing frames, else one computed whole. State: contexts that can still grow."""

    def __init__(self, model: InferenceModel, max_contexts: int, device: torch.device) -> None:
        """`device`: where the model wants its tokens."""
        self._model, self._max, self._device = model, max_contexts, device
        self._kept: list[tuple[_ContextKey, Held]] = []  # oldest first

    def reset(self) -> None:
        """Forget all contexts."""
        self._kept.clear()

    def prepare(self) -> bool:
        """Nothing is done ahead."""
        return False

    def of(self, window: Window) -> Held:
        """The whole window's context."""
        key = _ContextKey.of(window)
        best = max((item for item in self._kept if key.continues(item[0])), key=lambda item: len(item[0].stamps_ns), default=None)
        have = 0 if best is None else len(best[0].stamps_ns)
        if best is not None and have == len(window.frames):
            return best[1]
        # a full context cannot grow: drop it before the next one is made, not after, so that two never exist at once
        self._kept = [item for item in self._kept if len(item[0].stamps_ns) < self._model.spec.video.frames]
        tokens = stacked_tokens(window.frames[have:], self._device)
        context = self._model.context(tokens) if best is None else self._model.extend(best[1].context, tokens)
        if best is not None:
            self._kept = [item for item in self._kept if item is not best]
        held = Held(context=context, frames=window.frames)
        self._kept = [*self._kept, (key, held)][-self._max :]
        return held


class StreamingContexts:
    """Two contexts that take turns, for each phase of the plan rate. State: those, and the work left over from the last tick."""

    def __init__(self, model: FastVaVAM, max_contexts: int, keep_frames: int | None = None) -> None:
        """`max_contexts`: phases, when planning faster than the frame grid; each holds two contexts. `keep_frames`: see `StreamSchedule`."""
        self._model, self._max, self._keep_frames = model, max_contexts, keep_frames
        self.keep_frames = self._new_schedule().keep_frames
        self._phases: list[_Phase] = []  # the least recently used first
        self.begun = 0  # windows that continued nothing: more work than a tick

    def _new_schedule(self) -> StreamSchedule:
        return StreamSchedule(self._model.spec.video, self._keep_frames)

    def reset(self) -> None:
        """Forget all contexts."""
        self._phases.clear()

    def of(self, window: Window) -> Held:
        """The context of the window's newest frames."""
        phase = next((p for p in self._phases if p.holds(window)), None)
        if phase is not None:
            return phase.held
        phase = next((p for p in self._phases if p.continued_by(window)), None)
        if phase is None:
            self.begun += 1
            self._phases = self._phases[len(self._phases) - self._max + 1 :] if len(self._phases) >= self._max else self._phases
            phase = _Phase(self._model, self._new_schedule(), window)
        else:
            phase.tick(window.newest)
        self._phases = [*(p for p in self._phases if p is not phase), phase]
        return phase.held

    def prepare(self) -> bool:
        """Build the chunk of the next context that is due. Left undone, it is done with the next frame."""
        return sum(phase.build() for phase in self._phases) > 0


class _Phase:
    """The context planned from, and the next one."""

    def __init__(self, model: FastVaVAM, schedule: StreamSchedule, window: Window) -> None:
        self._model, self._schedule = model, schedule
        tick = schedule.begin(len(window.frames))
        frames = window.frames[-tick.frames :]
        self.held = Held(context=model.context(stacked_tokens(frames, _HOST)), frames=frames)
        self._next: FastContext | None = None
        self._due: Chunk | None = tick.build

    def holds(self, window: Window) -> bool:
        """It is this window that was planned from last."""
        frames = self.held.frames
        return len(window.frames) >= len(frames) and _same(window.frames[-len(frames) :], frames)

    def continued_by(self, window: Window) -> bool:
        """The frames that go on being used are those before the window's newest."""
        full = len(self.held.frames) == self._model.spec.video.frames
        frames = self.held.frames[-self._schedule.keep_frames :] if full else self.held.frames
        return len(window.frames) > len(frames) and _same(window.frames[-1 - len(frames) : -1], frames)

    def tick(self, frame: TokenFrame) -> None:
        """Take in the next frame."""
        self.build()
        tick = self._schedule.tick()
        held = self.held
        if tick.swapped:
            assert self._next is not None
            held = Held(context=self._next, frames=held.frames[-self._schedule.keep_frames :])
            self.held, self._next = held, None  # the full one's buffer is free before it is needed
        context = self._model.extend(held.context, stacked_tokens((frame,), _HOST))
        self.held = Held(context=context, frames=(*held.frames, frame))
        self._due = tick.build

    def build(self) -> bool:
        """The chunk that is due. False: none is."""
        chunk, self._due = self._due, None
        if chunk is None:
            return False
        first = self._model.spec.video.frames - self._schedule.keep_frames  # of the full window, the next one's oldest frame
        tokens = stacked_tokens(self.held.frames[first:], _HOST).flatten(1)
        if self._next is None:
            self._next = self._model.empty_context()
        self._next = self._model.advance(self._next, tokens[:, chunk.held : chunk.held + chunk.added])
        return True


_HOST = torch.device("cpu")


def _same(a: Sequence[TokenFrame], b: Sequence[TokenFrame]) -> bool:
    return all(x.epoch == y.epoch and x.stamp_ns == y.stamp_ns for x, y in zip(a, b, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContextKey:
    """Which frames a context was made from."""

    epoch: int
    stamps_ns: tuple[int, ...]

    @classmethod
    def of(cls, window: Window) -> _ContextKey:
        return cls(epoch=window.newest.epoch, stamps_ns=tuple(f.stamp_ns for f in window.frames))

    def continues(self, other: _ContextKey) -> bool:
        """This window begins with all of the other's frames."""
        return self.epoch == other.epoch and self.stamps_ns[: len(other.stamps_ns)] == other.stamps_ns
