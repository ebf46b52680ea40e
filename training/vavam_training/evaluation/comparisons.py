"""What is compared between runs, and how sure the differences are: numbers of an open-loop and a closed-loop evaluation, paired by seed and scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from vavam_ros.core.contracts import F64

RESAMPLES = 10_000
QUANTILES = 0.025, 0.975  # of the 95 % interval


def open_numbers(loop: Mapping[str, Any]) -> dict[str, float]:
    """`open_loop` of an evaluation.json → metres: ADE of the planner's choice, and its root mean square errors after 1 s."""
    at_1s = {row["axis"]: float(row["planner"]["value"]) for row in loop["by_axis"] if row["time_s"] == 1.0}
    return {"medoid_ade_m": float(loop["overall"]["medoid_ade_m"]["value"]), "side_1s_m": at_1s["side"], "ahead_1s_m": at_1s["ahead"]}


def closed_numbers(evaluation: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The world's evaluation.json → completion of each route, NeuroNCAP score of each safety scenario, and whether the driver failed, by name."""
    runs, reference = evaluation["runs"], evaluation["do_nothing_impact_mps"]
    completion = {r["scenario"]: float(r["completion"] or 0.0) for r in runs if r["scenario"] not in reference}
    score = {r["scenario"]: run_score(r, reference[r["scenario"]]) for r in runs if r["scenario"] in reference}
    return {"completion": completion, "score": score, "failed": {r["scenario"]: float(r["finished"] == "driver_error") for r in runs}}


def run_score(run: Mapping[str, Any], reference_mps: float) -> float:
    """5 without a collision, else 4 · max(0, 1 − impact / impact of who does nothing) (NeuroNCAP, arXiv 2404.07762); a driver that fails earns nothing."""
    if run["finished"] == "driver_error":
        return 0.0
    return 4.0 * max(0.0, 1.0 - float(run["contacts"][0]["impact_mps"]) / reference_mps) if run["contacts"] else 5.0


def student(differences: F64) -> list[float]:
    """(seeds,) → mean and its 95 % interval (Student's t)."""
    mean, error = float(differences.mean()), float(stats.sem(differences))
    half = error * float(stats.t.ppf(QUANTILES[1], len(differences) - 1))
    return [mean, mean - half, mean + half]


def bootstrap(differences: F64) -> list[float]:
    """(seeds, scenarios) → mean and 95 % interval; seeds and scenarios are drawn again, both."""
    rng = np.random.default_rng(0)
    seeds, scenarios = differences.shape
    means = [differences[np.ix_(rng.integers(seeds, size=seeds), rng.integers(scenarios, size=scenarios))].mean() for _ in range(RESAMPLES)]
    return [float(differences.mean()), *(float(q) for q in np.quantile(means, QUANTILES))]


def said(values: Sequence[float]) -> str:
    """Mean and interval for a table."""
    return f"{values[0]:.2f} ({values[1]:.2f} to {values[2]:.2f})"
