"""What the three parts of bench_precision.py share: pictures of a drive, plans to compare, and how a row says that it could not be measured.

Shape letters: W windows · T frames of a window · h w token grid · K samples · H waypoints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bench.page import ROOT
from vavam_ros.core.artifact import LoadedArtifact
from vavam_ros.core.camera import decode_compressed
from vavam_ros.core.contracts import NS_PER_S, U8, Command, VavamError
from vavam_ros.core.model.fast import InferenceModel
from vavam_ros.replay.folder import find_pictures
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

DRIVE, DRIVE_RATE_HZ = "udacity_ch2_hmb3", 10.0
SAMPLES = (1, 16)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How often and by which clock things are timed."""

    repeats: int = 3
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drive:
    """Pictures (height, width, 3) RGB uint8 of one drive, `count` of them at `rate_hz`. `source`: where they come from, in words."""

    source: str
    count: int
    rate_hz: float
    picture: Callable[[int], U8]

    def windows(self, windows: int, frames: int, dt_s: float) -> list[list[U8]]:
        """W windows of T pictures `dt_s` apart, spread evenly over the drive."""
        step = max(1, round(dt_s * self.rate_hz))
        last = self.count - 1 - (frames - 1) * step
        if last < 0:
            raise SystemExit(f"{self.source}: got {self.count} pictures, expected at least {(frames - 1) * step + 1} for a window of {frames} by {dt_s} s")
        starts = np.linspace(0, last, windows).round().astype(int) if windows > 1 else [last // 2]
        return [[self.picture(int(start) + i * step) for i in range(frames)] for start in starts]


def data_folder() -> Path:
    """Folder of the recordings: $VAVAM_DATA, or shared/data beside the checkout."""
    return Path(os.environ.get("VAVAM_DATA") or ROOT.parent / "shared" / "data")


def open_drive(data: Path) -> Drive:
    """The recorded drive; where it is not, a drawn one, which says so."""
    folder = data / DRIVE
    pictures = [path for _, path in sorted(find_pictures(folder).items())] if folder.is_dir() else []
    if pictures:
        return Drive(
            source=f"real frames of {DRIVE}, {len(pictures)} at {DRIVE_RATE_HZ:g} Hz",
            count=len(pictures),
            rate_hz=DRIVE_RATE_HZ,
            picture=lambda i: decode_compressed(pictures[i].read_bytes()),
        )
    clip = RoadClip(RoadClipConfig(duration_s=20.0))
    stamps = clip.image_stamps()
    rate = NS_PER_S / (stamps[1] - stamps[0])
    source = f"DRAWN frames, not real ones: no recording in {folder} (set VAVAM_DATA to the folder that holds {DRIVE})"
    return Drive(source=source, count=len(stamps), rate_hz=rate, picture=lambda i: clip.picture(stamps[i]))


def cut(rgb: U8, hw: tuple[int, int]) -> U8:
    """The middle of a picture in the proportions of `hw`, in that size."""
    h, w = rgb.shape[:2]
    height, width = min(h, w * hw[0] // hw[1]), min(w, h * hw[1] // hw[0])
    top, left = (h - height) // 2, (w - width) // 2
    shrinks = height > hw[0]
    middle = np.ascontiguousarray(rgb[top : top + height, left : left + width])
    return np.asarray(cv2.resize(middle, hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8)


def attempt(run: Callable[[], Any]) -> tuple[Any, str]:
    """The result and no reason; or None and the first line of the reason, where this machine, torch or library cannot."""
    try:
        return run(), ""
    except (RuntimeError, VavamError) as e:
        return None, f"does not run: {type(e).__name__}: {str(e).splitlines()[0][:100]}"


def noise_of(horizon: int, samples: int) -> Tensor:
    """The noise (K, H, 2) of every comparison: the first samples of a larger number are those of a smaller one."""
    return torch.randn(samples, horizon, 2, generator=torch.Generator("cpu").manual_seed(1))


def plans_m(model: InferenceModel, windows: Tensor, command: int) -> dict[int, Tensor]:
    """windows (W, T, h, w) of tokens → K → metres (W, K, H, 2) for each of SAMPLES, all from the same noise."""
    found: dict[int, list[Tensor]] = {k: [] for k in SAMPLES}
    for tokens in windows:
        context = model.context(tokens[None])
        for k in SAMPLES:
            found[k].append(model.sample(context, noise_of(model.spec.action.horizon, k), torch.full((k,), command, dtype=torch.int64)))
    return {k: torch.stack(drawn) for k, drawn in found.items()}


def difference_cm(a_m: Tensor, b_m: Tensor) -> tuple[float, float]:
    """Largest and median distance of waypoints, centimetres."""
    distance = (a_m - b_m).norm(dim=-1) * 100
    return float(distance.max()), float(distance.median())


def straight_on(artifact: LoadedArtifact) -> int:
    """The number of the command in this model's own numbering."""
    return int(artifact.card.command_ids[Command.STRAIGHT])


def installed(*packages: str) -> str:
    """Versions, for the heading of a table."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def relative(took: dict[str, float], reference: str) -> dict[str, float]:
    """Times as multiples of the reference's."""
    return {name: seconds / took[reference] for name, seconds in took.items()}


def columns(rows: Sequence[Row], shown: dict[str, tuple[str, str]], names: Sequence[str]) -> str:
    """A table. `names`: keys of the words in front; `shown`: key → heading and format of a figure. A row with a note has it in place of what it lacks."""
    widths = [max(len(name), *(len(str(r[name])) for r in rows)) for name in names]
    lines = ["  ".join([*(n.ljust(w) for n, w in zip(names, widths, strict=True)), *(heading.rjust(14) for heading, _ in shown.values())])]
    for r in rows:
        cells = [str(r[n]).ljust(w) for n, w in zip(names, widths, strict=True)]
        figures = [(format(r[key], form) if r.get(key) is not None else "–").rjust(14) for key, (_, form) in shown.items()]
        lines.append("  ".join([*cells, r["note"]] if r.get("note") else [*cells, *figures]))
    return "\n".join(line.rstrip() for line in lines)
