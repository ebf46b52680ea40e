"""Scaling laws: loss = E + A · x^−α of parameters, tokens seen or compute, with confidence bands.

Fitted to the logarithm of the loss by least squares from several starts (the form of Hoffmann et al. 2022, arXiv 2203.15556). E, A and α are positive.
Bands: resampled residuals, made larger by the degrees of freedom that the fit took.

Shape letters: P points · G places of a curve · R resamples.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from tqdm import tqdm

from vavam_ros.core.contracts import F64, ConfigError
from vavam_training.contracts import DataError
from vavam_training.loop.checkpoints import WEIGHTS, latest, read_meta
from vavam_training.loop.watch import read_metrics

AXES = {"parameters": "parameters", "tokens": "tokens seen in training", "compute": "compute, 6 · parameters · tokens [FLOP]"}
FREE = 3  # E, A, α
STARTS = [(share, power) for share in (0.0, 0.5, 0.9) for power in (0.1, 0.3, 0.7)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trained model. NaN: not known."""

    name: str
    loss: float
    parameters: float = math.nan
    tokens: float = math.nan
    compute: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Law:
    """E + A · (x / x0)^−α, with x0 the geometric mean of what it was fitted to."""

    floor: float
    scale: float
    power: float
    x0: float

    def at(self, x: F64) -> F64:
        """Loss at (…) places."""
        return np.asarray(self.floor + self.scale * (x / self.x0) ** -self.power)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A law and how sure it is: (low, high) each."""

    axis: str
    law: Law
    floor: tuple[float, float]
    power: tuple[float, float]
    band_x: F64  # (G,)
    band_low: F64  # (G,)
    band_high: F64  # (G,)
    points: tuple[Point, ...]
    rms_log: float  # of the residuals of log loss

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        scale = self.law.scale * self.law.x0**self.law.power
        band = [{"x": x, "low": a, "high": b} for x, a, b in zip(self.band_x.tolist(), self.band_low.tolist(), self.band_high.tolist(), strict=True)]
        fitted = self.law.at(np.array([getattr(p, self.axis) for p in self.points])).tolist()
        return {
            "axis": self.axis, "law": "E + A * x^-alpha", "E": self.law.floor, "A": scale if math.isfinite(scale) else None, "alpha": self.law.power,
            "E_interval": list(self.floor), "alpha_interval": list(self.power), "rms_log_residual": self.rms_log, "band": band,
            "points": [{"name": p.name, "x": getattr(p, self.axis), "loss": p.loss, "fitted": f} for p, f in zip(self.points, fitted, strict=True)],
        }  # fmt: skip


def read_points(path: Path) -> list[Point]:
    """A CSV with columns name (may be absent), loss and some of parameters, tokens, compute. Where two of these are known, compute is 6 · N · D.

    Raises DataError that names the line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = set(reader.fieldnames or ())
            if "loss" not in columns or not columns & set(AXES) or columns - {"name", "loss", *AXES}:
                raise DataError(f"{path}: got the columns {sorted(columns)}, expected loss, some of {', '.join(AXES)}, and perhaps name")
            return [_point(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {error}; expected a table in CSV") from error


def _point(row: dict[str, Any], where: str) -> Point:
    try:
        numbers = {k: float(row[k]) for k in ("loss", *AXES) if (row.get(k) or "").strip()}
    except ValueError as error:
        raise DataError(f"{where}: {error}; expected numbers") from error
    if not numbers.get("loss", 0.0) > 0.0 or not all(0.0 < v < math.inf for v in numbers.values()):
        raise DataError(f"{where}: got {numbers}, expected positive numbers and a loss")
    return _with_compute(Point(name=str(row.get("name") or where), **numbers))


def _with_compute(p: Point) -> Point:
    known = p.compute if math.isfinite(p.compute) else 6.0 * p.parameters * p.tokens
    return Point(name=p.name, loss=p.loss, parameters=p.parameters, tokens=p.tokens, compute=known)


def point_of_run(run: Path) -> Point:
    """The newest checkpoint of a run and its last held-out loss (training loss where nothing was held out). Raises DataError, ResumeError."""
    from safetensors import safe_open

    checkpoint = latest(run)
    metrics = read_metrics(run)
    losses = [m[k] for k in ("held_out/loss", "loss") for m in reversed(metrics) if k in m]
    if checkpoint is None or not losses:
        raise DataError(f"{run}: got no checkpoint or no loss there, expected a run of pretrain, finetune or action")
    with safe_open(str(checkpoint / WEIGHTS), "pt") as file:
        count = sum(math.prod(file.get_slice(name).get_shape()) for name in list(file.keys()))
    tokens = float(read_meta(checkpoint).get("tokens") or math.nan)
    return _with_compute(Point(name=run.name, loss=float(losses[0]), parameters=float(count), tokens=tokens))


def fit_law(axis: str, points: Sequence[Point], *, resamples: int = 500, level: float = 0.95, seed: int = 0, reach: float = 10.0) -> Fit:
    """Fit to the points that know `axis`; the band goes `reach` times beyond the largest. Raises ConfigError for fewer than four places."""
    if axis not in AXES:
        raise ConfigError(f"scaling: got axis {axis!r}, expected one of {', '.join(AXES)}")
    used = tuple(sorted((p for p in points if math.isfinite(getattr(p, axis))), key=lambda p: float(getattr(p, axis))))
    x, loss = np.array([getattr(p, axis) for p in used]), np.array([p.loss for p in used])
    if len(np.unique(x)) <= FREE:
        raise ConfigError(f"scaling over {axis}: got {len(np.unique(x))} different values, expected more than {FREE}: a law of {FREE} numbers fits them anyhow")
    x0 = float(np.exp(np.log(x).mean()))
    law = _fitted(x / x0, loss, x0, STARTS)
    residuals = np.log(loss) - np.log(law.at(x))
    wide = (residuals - residuals.mean()) * math.sqrt(len(x) / (len(x) - FREE))
    rng, band_x = np.random.default_rng(seed), np.geomspace(x[0], x[-1] * reach, 60)
    found = []
    for _ in tqdm(range(resamples), desc=f"scaling over {axis}", unit="fit", disable=None):
        again = np.exp(np.log(law.at(x)) + rng.choice(wide, len(x)))
        found.append(_fitted(x / x0, again, x0, [(law.floor / float(loss.min()), law.power)]))
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile([f.at(band_x) for f in found], tails, axis=0)
    floor, power = (tuple(np.quantile([getattr(f, name) for f in found], tails).tolist()) for name in ("floor", "power"))
    return Fit(
        axis=axis, law=law, floor=floor, power=power, band_x=band_x, band_low=low, band_high=high, points=used,
        rms_log=float(np.sqrt(np.square(residuals).mean())),
    )  # fmt: skip


def _fitted(x: F64, loss: F64, x0: float, starts: Sequence[tuple[float, float]]) -> Law:
    """`x` over x0. The best of several starts, (floor as share of the smallest loss, power) each. Logarithms of E, A and α are free, so all stay positive."""

    def off(v: F64) -> F64:
        e, a, p = np.exp(np.clip(v, [-60.0, -60.0, -12.0], [60.0, 60.0, 3.0]))
        return np.asarray(np.log(e + a * x**-p) - np.log(loss))

    best: Any = None
    for share, power in starts:
        floor = min(max(share, 1e-6), 0.999) * float(loss.min())
        fit = least_squares(off, np.log([floor, max(float(loss.mean()) - floor, 1e-9), max(power, 1e-4)]), method="lm", xtol=1e-10, ftol=1e-10, gtol=1e-10)
        if best is None or fit.cost < best.cost:
            best = fit
    e, a, p = np.exp(best.x).tolist()
    return Law(floor=e, scale=a, power=p, x0=x0)
