"""Sampled trajectories → numbers: over all windows, by command, by speed, by set, by horizon, and how well the spread is calibrated.

Shape letters: N windows · K samples · H waypoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from vavam_ros.core.contracts import F64, Command
from vavam_training.evaluation.calibration import Ranks, axis_ranks, distance_ranks, energy_score_m, spread_and_error_m
from vavam_training.evaluation.open_loop import Predictions, errors
from vavam_training.evaluation.statistics import DriveBootstrap, Interval, Mask

SPEED_EDGES_MPS = (0.5, 5.0, 10.0, 15.0)
AXES = ("ahead", "side")
NOMINAL = (0.5, 0.8, 0.9)  # coverage that tables show
CURVE = tuple(round(float(p), 2) for p in np.linspace(0.05, 0.95, 19))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The METRICS of one group of windows."""

    name: str
    metrics: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"name": self.name, **{name: interval.to_dict() for name, interval in self.metrics.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonScores:
    """The METRICS up to a waypoint: ADE until then, FDE there."""

    horizon_s: float
    metrics: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"horizon_s": self.horizon_s, **{name: interval.to_dict() for name, interval in self.metrics.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisErrors:
    """Root mean squares [m] at one time, ahead or to the side (ego frame of the newest frame): what a steering wheel feels is the second.

    `planner`: of the sample that the planner follows; `mean`: of the samples' mean; `ctrv`: constant turn rate; `truth`: of what was driven, about its mean
    over the windows: the error of a driver that always drives that mean."""

    time_s: float
    axis: str  # "ahead" or "side"
    errors: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"time_s": self.time_s, "axis": self.axis, **{name: interval.to_dict() for name, interval in self.errors.items()}}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """At one time ahead. Rank histograms (K + 1,) of the truth among the samples; 1 / (K + 1) throughout is right."""

    time_s: float
    ranks: Mapping[str, tuple[Interval, ...]]  # "distance", "x", "y" → interval of the share of each rank
    coverage: Mapping[float, Interval]  # nominal → observed share of the truth within the samples' radius
    spread_m: float  # root mean square over windows
    error_m: float  # of the samples' mean, likewise
    energy_m: Interval

    @property
    def ratio(self) -> float:
        """Spread over error: 1 is right, less is too sure."""
        return self.spread_m / self.error_m if self.error_m > 0.0 else float("nan")

    @property
    def coverage_error(self) -> float:
        """Mean distance of observed from nominal coverage."""
        return float(np.mean([abs(c.value - p) for p, c in self.coverage.items()]))

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "time_s": self.time_s, "spread_m": self.spread_m, "error_of_mean_m": self.error_m, "spread_over_error": self.ratio,
            "coverage_error": self.coverage_error, "energy_score_m": self.energy_m.to_dict(),
            "coverage": [{"nominal": p, **c.to_dict()} for p, c in self.coverage.items()],
            "ranks": {name: [r.to_dict() for r in histogram] for name, histogram in self.ranks.items()},
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenLoopScores:
    """All tables."""

    overall: Scores
    by_part: tuple[Scores, ...]
    by_command: tuple[Scores, ...]
    by_speed: tuple[Scores, ...]
    by_horizon: tuple[HorizonScores, ...]
    by_axis: tuple[AxisErrors, ...]
    calibration: tuple[Calibration, ...]  # empty with one sample, which has no spread

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        groups = {name: [s.to_dict() for s in getattr(self, name)] for name in ("by_part", "by_command", "by_speed", "by_horizon", "by_axis", "calibration")}
        return {"overall": self.overall.to_dict(), **groups}


def score(p: Predictions, part_names: tuple[str, ...], bootstrap: DriveBootstrap) -> OpenLoopScores:
    """All tables of an evaluation."""
    whole = errors(p)
    commands = [(c.name.lower(), p.command == int(c)) for c in Command]
    parts = [(name, p.part == i) for i, name in enumerate(part_names)]
    return OpenLoopScores(
        overall=_scores("all", whole, np.ones(len(p.drive), bool), bootstrap),
        by_part=tuple(_scores(name, whole, where, bootstrap) for name, where in parts),
        by_command=tuple(_scores(name, whole, where, bootstrap) for name, where in commands),
        by_speed=tuple(_scores(name, whole, where, bootstrap) for name, where in speed_bins(p.speed_mps)),
        by_horizon=tuple(
            HorizonScores(horizon_s=(h + 1) * p.dt_s, metrics=_scores("", errors(p, h + 1), np.ones(len(p.drive), bool), bootstrap).metrics)
            for h in range(p.horizon)
        ),
        by_axis=tuple(axis_errors(p, h, i, bootstrap) for i in range(len(AXES)) for h in range(p.horizon)),
        calibration=tuple(calibration_at(p, h, bootstrap) for h in whole_seconds(p)) if p.samples_m.shape[1] > 1 else (),
    )


def _scores(name: str, metrics: Mapping[str, F64], where: Mask, bootstrap: DriveBootstrap) -> Scores:
    """Baselines count where there are poses to carry on; a model's value that is not finite makes its mean so."""
    found = {}
    for metric, values in metrics.items():
        known = where & np.isfinite(values) if "cv_" in metric or "ctrv_" in metric else where
        found[metric] = bootstrap.mean(values, known)
    return Scores(name=name, metrics=found)


def speed_bins(speed_mps: F64) -> list[tuple[str, Mask]]:
    """Names of the speed bins and who is in them; speeds that are not known make a bin of their own where there are any."""
    edges = (-np.inf, *SPEED_EDGES_MPS, np.inf)
    names = [f"below {edges[1]:g} m/s", *(f"{a:g} to {b:g} m/s" for a, b in pairwise(edges[1:-1])), f"from {edges[-2]:g} m/s"]
    speed = np.abs(speed_mps)
    found = [(name, (speed >= a) & (speed < b)) for name, (a, b) in zip(names, pairwise(edges), strict=True)]
    unknown = ~np.isfinite(speed)
    return [*found, ("unknown", unknown)] if unknown.any() else found


def whole_seconds(p: Predictions) -> list[int]:
    """Waypoints at 1, 2, 3 … s; the last one where there is none."""
    times = (np.arange(p.horizon) + 1) * p.dt_s
    found = [i for i, t in enumerate(times.tolist()) if abs(t - round(t)) < 1e-6]
    return found or [p.horizon - 1]


def axis_errors(p: Predictions, waypoint: int, axis: int, bootstrap: DriveBootstrap) -> AxisErrors:
    """At one waypoint, ahead (0) or to the side (1)."""
    samples, truth = p.samples_m[:, :, waypoint, axis].astype(np.float64), p.truth_m[:, waypoint, axis].astype(np.float64)
    ctrv = p.ctrv_m[:, waypoint, axis]
    found = {
        "planner": samples[np.arange(len(samples)), p.medoid] - truth,
        "mean": samples.mean(axis=1) - truth,
        "ctrv": ctrv - truth,
        "truth": truth - (truth.mean() if len(truth) else 0.0),
    }
    errors = {name: _root(bootstrap.mean(np.square(e), np.isfinite(e) if name == "ctrv" else None)) for name, e in found.items()}
    return AxisErrors(time_s=(waypoint + 1) * p.dt_s, axis=AXES[axis], errors=errors)


def _root(i: Interval) -> Interval:
    """Of a mean of squares."""
    return replace(i, value=math.sqrt(i.value), low=math.sqrt(i.low), high=math.sqrt(i.high))


def calibration_at(p: Predictions, waypoint: int, bootstrap: DriveBootstrap) -> Calibration:
    """Ranks, coverage, spread and energy score at one waypoint. K ≥ 2."""
    samples, truth = p.samples_m[:, :, waypoint], p.truth_m[:, waypoint]
    by_distance = distance_ranks(samples, truth)
    ranks = {"distance": by_distance, "x": axis_ranks(samples, truth, 0), "y": axis_ranks(samples, truth, 1)}
    spread, error = spread_and_error_m(samples, truth)
    return Calibration(
        time_s=(waypoint + 1) * p.dt_s,
        ranks={name: _histogram(r, bootstrap) for name, r in ranks.items()},
        coverage={nominal: bootstrap.mean(by_distance.within(nominal)) for nominal in CURVE},
        spread_m=float(np.sqrt(spread.mean())),
        error_m=float(np.sqrt(error.mean())),
        energy_m=bootstrap.mean(energy_score_m(samples[:, :, None], truth[:, None])[:, 0]),
    )


def _histogram(ranks: Ranks, bootstrap: DriveBootstrap) -> tuple[Interval, ...]:
    return tuple(bootstrap.mean(column) for column in ranks.histogram().T)
