"""What a model is worth on the held-out drives, window by window, so that before and after can be paired; kept in a file until then.

Shape letters: N windows with trajectories · M windows of tokens · K samples · H waypoints.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vavam_ros.core.contracts import F64
from vavam_training.contracts import I64, ResumeError
from vavam_training.evaluation.open_loop import Predictions, errors
from vavam_training.evaluation.results import LEVEL, Evaluation
from vavam_training.evaluation.statistics import DriveBootstrap, Interval

SHOWN = {  # name → what people read, smaller is better
    "medoid_ade_m": "planner's ADE [m]",
    "medoid_fde_m": "planner's FDE [m]",
    "min_ade_m": "minADE, best of {k} [m]",
    "min_fde_m": "minFDE, best of {k} [m]",
    "energy_m": "energy score [m]",
}
LOSS = "next-token loss [nats]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """`loss`, `loss_drive` (M,): next token. `predictions`: trajectories, None for a video model or drives without poses."""

    loss: F64
    loss_drive: I64
    predictions: Predictions | None

    @classmethod
    def of(cls, e: Evaluation) -> Judged:
        """From an evaluation."""
        assert e.token_losses is not None
        predictions = e.open_loop.predictions if e.open_loop is not None else None
        return cls(loss=e.token_losses.loss, loss_drive=e.token_losses.drive, predictions=predictions)

    def save(self, path: Path) -> None:
        """Arrays only; the file appears under its name when it is whole."""
        arrays: dict[str, Any] = {"loss": self.loss, "loss_drive": self.loss_drive}
        if self.predictions is not None:
            arrays |= {f"p_{f.name}": getattr(self.predictions, f.name) for f in fields(Predictions)}
        part = path.with_suffix(".partial.npz")
        np.savez_compressed(part, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Judged:
        """Inverse of `save`. Raises ResumeError for another file."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
            found = {f.name: arrays[f"p_{f.name}"] for f in fields(Predictions) if f"p_{f.name}" in arrays}
            predictions = Predictions(**(found | {"dt_s": float(found["dt_s"])})) if found else None
            return cls(loss=arrays["loss"], loss_drive=arrays["loss_drive"], predictions=predictions)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(f"{path}: {error}; expected what an evaluation left there: delete the file, and it is made again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One number before and after, and the paired difference (after − before) with its interval over drives."""

    name: str
    before: Interval
    after: Interval
    difference: Interval

    @property
    def verdict(self) -> str:
        """In a word. The interval is that of the differences; smaller is better."""
        d = self.difference
        if d.value == d.low == d.high == 0.0:
            return "the same"
        if not np.isfinite([d.low, d.high]).all():
            return "one drive: no interval"
        return "better" if d.high < 0.0 else "worse" if d.low > 0.0 else "cannot be told apart"

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"name": self.name, "verdict": self.verdict, **{k: getattr(self, k).to_dict() for k in ("before", "after", "difference")}}


def changes(before: Judged, after: Judged, *, seed: int, resamples: int = 2000) -> list[Change]:
    """The numbers that count, trajectories first. Raises ResumeError where the two are not of the same windows."""
    b, a = before.predictions, after.predictions
    same = np.array_equal(before.loss_drive, after.loss_drive) and (a is None) == (b is None)
    if not same or (a is not None and b is not None and not np.array_equal(a.stamp_ns, b.stamp_ns)):
        raise ResumeError("before and after: got other windows; expected the same: delete the folders `before` and `after`, and they are made again")
    found = []
    if a is not None and b is not None:
        bootstrap = DriveBootstrap(a.drive, seed=seed, resamples=resamples, level=LEVEL)
        old, new, k = errors(b), errors(a), a.samples_m.shape[1]
        found += [_change(text.format(k=k), old[name], new[name], bootstrap) for name, text in SHOWN.items()]
    bootstrap = DriveBootstrap(before.loss_drive, seed=seed, resamples=resamples, level=LEVEL)
    return [*found, _change(LOSS, before.loss, after.loss, bootstrap)]


def _change(name: str, old: F64, new: F64, bootstrap: DriveBootstrap) -> Change:
    return Change(name=name, before=bootstrap.mean(old), after=bootstrap.mean(new), difference=bootstrap.mean(new - old))
