"""What the frames are worth that a video model goes on with: half of a window given, the rest generated greedily, held against what came.

# vs upstream: the Fréchet distance compares with the TRUE FUTURE frames; there with those that were given. Both sides are decoded from tokens here, so that
what the tokenizer loses does not count.

Shape letters: B windows at a time · G generated frames · h w token grid · H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vavam_ros.core.contracts import NS_PER_S, U8, ConfigError
from vavam_ros.core.model import VideoModel
from vavam_ros.core.model.generate import generate_frames
from vavam_ros.core.model.token_steps import TokenSteps, token_steps
from vavam_ros.core.tokenizer import VQ16
from vavam_training.checking.contact import evenly
from vavam_training.evaluation.frechet import FeatureExtractor, Moments, frechet_distance
from vavam_training.evaluation.held_out import DriveWindows, HeldOut

KINDS = ("true", "generated", "copied")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strip:
    """Frames of one window for people: (H, W, 3) each."""

    name: str
    given: tuple[U8, ...]
    true: tuple[U8, ...]
    generated: tuple[U8, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Generated:
    """Generation from half windows. By generated frame, in order."""

    windows: int
    given: int
    frame_dt_s: float
    same_tokens: tuple[float, ...]  # share of tokens that are those that came
    copied_tokens: tuple[float, ...]  # the same, of repeating the newest given frame
    frechet: Mapping[str, tuple[float, ...]]  # features → distance of generated from true frames
    frechet_copied: Mapping[str, tuple[float, ...]]  # of the repeated newest given frame from true frames
    strips: tuple[Strip, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        frames = range(len(self.same_tokens))
        return {
            "windows": self.windows, "given_frames": self.given, "sampling": "greedy", "reference": "true future frames, decoded from their tokens",
            "frames": [
                {
                    "frame": i + 1, "ahead_s": (i + 1) * self.frame_dt_s, "same_tokens": self.same_tokens[i], "copied_same_tokens": self.copied_tokens[i],
                    "frechet": {k: v[i] for k, v in self.frechet.items()}, "frechet_copied": {k: v[i] for k, v in self.frechet_copied.items()},
                }
                for i in frames
            ],
        }  # fmt: skip


def evenly_chosen(held_out: HeldOut, wanted: int) -> list[tuple[int, int]]:
    """Up to `wanted` windows of all, (drive, window of it) each: evenly spread over them."""
    places = [(d, w) for d, drive in enumerate(held_out.drives) for w in range(len(drive.index))]
    return [places[i] for i in evenly(len(places), wanted)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """`windows`: of how many, evenly chosen; `shown`: of these, for people. `codebook_size`: ids from there on are never generated."""

    windows: int = 64
    shown: int = 4
    batch: int = 8
    codebook_size: int

    def __post_init__(self) -> None:
        if self.windows < 2 or self.shown < 0 or self.batch < 1:
            raise ConfigError(f"generation: got {self.windows} windows, {self.shown} shown, batches of {self.batch}, expected 2, 0, 1 or more")


class _Distances:
    """Moments of the features of true, generated and copied frames, by generated frame."""

    def __init__(self, features: Sequence[FeatureExtractor], frames: int) -> None:
        self._features, self._frames = features, frames
        self._moments = {(kind, f.name, g): Moments() for kind in KINDS for f in features for g in range(frames)}

    def add(self, true: Tensor, generated: Tensor, newest: Tensor) -> None:
        """Pictures (B, G, 3, H, W), likewise, and the newest given (B, 3, H, W)."""
        for f in self._features:
            of_copy = f(newest)
            for g in range(self._frames):
                for kind, found in zip(KINDS, (f(true[:, g]), f(generated[:, g]), of_copy), strict=True):
                    self._moments[kind, f.name, g].add(found)

    def from_true(self, kind: str) -> dict[str, tuple[float, ...]]:
        """Features → distance at each generated frame."""
        return {f.name: tuple(self._distance(kind, f.name, g) for g in range(self._frames)) for f in self._features}

    def _distance(self, kind: str, name: str, g: int) -> float:
        return frechet_distance(self._moments[kind, name, g].gaussian(), self._moments["true", name, g].gaussian())


@torch.inference_mode()
def generate(
    video: VideoModel,
    held_out: HeldOut,
    tokenizer: VQ16 | None,
    features: Sequence[FeatureExtractor],
    config: GenerationConfig,
    device: torch.device,
    progress: Callable[[int], object],
) -> Generated:
    """Generate the second half of windows. Without a tokenizer: tokens only, no pictures, no distances. `progress` is told how many were done."""
    given = held_out.spec.frames // 2
    ahead = held_out.spec.frames - given
    chosen = evenly_chosen(held_out, config.windows)
    pictured = {chosen[i] for i in evenly(len(chosen), config.shown)}
    same, copied = np.zeros(ahead), np.zeros(ahead)
    distances, strips = _Distances(features, ahead), list[Strip]()
    kept: dict[int, TokenSteps] = {}  # by the windows at once
    for at in range(0, len(chosen), config.batch):
        places = chosen[at : at + config.batch]
        tokens = torch.from_numpy(np.stack([held_out.drives[d].rows.tokens[held_out.drives[d].index[w]] for d, w in places]).astype(np.int64)).to(device)
        true, newest = tokens[:, given:], tokens[:, given - 1 : given]
        if (steps := kept.get(len(places))) is None:
            steps = kept[len(places)] = token_steps(video, len(places))
        found = generate_frames(video, tokens[:, :given], ahead, codebook_size=config.codebook_size, steps=steps)
        same += (found == true).double().mean(dim=(2, 3)).sum(dim=0).cpu().numpy()
        copied += (newest == true).double().mean(dim=(2, 3)).sum(dim=0).cpu().numpy()
        if tokenizer is not None:
            seen, expected = _decoded(tokenizer, true), _decoded(tokenizer, found)
            distances.add(seen, expected, _decoded(tokenizer, newest)[:, 0])
            for i, (d, w) in enumerate(places):
                if (d, w) in pictured:
                    before = _decoded(tokenizer, tokens[i : i + 1, :given])[0]
                    strips.append(_strip(held_out.drives[d], w, before, seen[i], expected[i]))
        progress(len(places))
    n = len(chosen)
    return Generated(
        windows=n, given=given, frame_dt_s=held_out.spec.frame_dt_s, same_tokens=tuple((same / n).tolist()), copied_tokens=tuple((copied / n).tolist()),
        frechet=distances.from_true("generated"), frechet_copied=distances.from_true("copied"), strips=tuple(strips),
    )  # fmt: skip


def _strip(drive: DriveWindows, window: int, given: Tensor, true: Tensor, generated: Tensor) -> Strip:
    newest = drive.rows.stamp_ns[drive.index[window][len(given) - 1]]
    name = f"{drive.part}, {drive.rows.name}, {(newest - drive.rows.stamp_ns[0]) / NS_PER_S:.1f} s after its start"
    return Strip(name=name, given=_for_people(given), true=_for_people(true), generated=_for_people(generated))


def _decoded(tokenizer: VQ16, tokens: Tensor) -> Tensor:
    """(B, t, h, w) → (B, t, 3, H, W) in [-1, 1]."""
    images = tokenizer.decode(tokens.flatten(0, 1)).float().clamp(-1.0, 1.0)
    return images.reshape(*tokens.shape[:2], *images.shape[1:])


def _for_people(images: Tensor) -> tuple[U8, ...]:
    """(t, 3, H, W) → t pictures."""
    return tuple(((images.permute(0, 2, 3, 1) + 1.0) * 127.5).round().to(torch.uint8).cpu().numpy())
