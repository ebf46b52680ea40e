"""Displacement errors of trajectories, and the two baselines that need no model.

Shape letters: K samples · H waypoints. Waypoint i is at (i + 1)·dt after the image stamp, x forward and y left in the ego frame there.

ADE and FDE as in the usual forecasting benchmarks; minADE_k as the reference's evaluation (vam/evaluation/ego_trajectory_forecasting.py): the smallest ADE of
k samples, averaged over the data by the caller. k is part of the name of the number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import F32, F64, ConfigError


def displacement_m(prediction_m: F32 | F64, truth_m: F32 | F64) -> F64:
    """Distance at each waypoint: (..., H, 2) against (H, 2) or (..., H, 2) → (..., H)."""
    prediction, truth = np.asarray(prediction_m, dtype=np.float64), np.asarray(truth_m, dtype=np.float64)
    if prediction.shape[-2:] != truth.shape[-2:]:
        raise ConfigError(f"trajectories: got {prediction.shape} against {truth.shape}, expected the same waypoints (…, H, 2)")
    return np.asarray(np.linalg.norm(prediction - truth, axis=-1), dtype=np.float64)


def ade_m(prediction_m: F32 | F64, truth_m: F32 | F64) -> F64:
    """Average displacement error: mean over the H waypoints of the distance. (..., H, 2) → (...)."""
    return np.asarray(displacement_m(prediction_m, truth_m).mean(axis=-1))


def fde_m(prediction_m: F32 | F64, truth_m: F32 | F64) -> F64:
    """Final displacement error: the distance at the last waypoint. (..., H, 2) → (...)."""
    return np.asarray(displacement_m(prediction_m, truth_m)[..., -1])


def min_ade_m(samples_m: F32 | F64, truth_m: F32 | F64) -> tuple[float, int]:
    """minADE_k over k = K samples (K, H, 2): the smallest ADE, and whose it is (the first of equals)."""
    return _smallest(ade_m(samples_m, truth_m))


def min_fde_m(samples_m: F32 | F64, truth_m: F32 | F64) -> tuple[float, int]:
    """minFDE_k: the smallest FDE and whose it is; not necessarily the sample of minADE_k."""
    return _smallest(fde_m(samples_m, truth_m))


def _smallest(errors_m: F64) -> tuple[float, int]:
    if errors_m.ndim != 1 or not len(errors_m):
        raise ConfigError(f"samples: got errors of shape {errors_m.shape}, expected (K,) with K ≥ 1: pass (K, H, 2)")
    i = int(np.argmin(errors_m))
    return float(errors_m[i]), i


def constant_velocity(speed_mps: float, horizon: int, dt_s: float) -> F64:
    """(H, 2): straight on at the present speed."""
    return constant_turn_rate(speed_mps, 0.0, horizon, dt_s)


def constant_turn_rate(speed_mps: float, yaw_rate_radps: float, horizon: int, dt_s: float) -> F64:
    """(H, 2): on at the present speed and yaw rate, a circle (CTRV)."""
    t: npt.NDArray[np.float64] = dt_s * np.arange(1, horizon + 1, dtype=np.float64)
    half = 0.5 * yaw_rate_radps * t
    chord = speed_mps * t * np.sinc(half / np.pi)  # np.sinc(x) = sin(πx)/(πx): exact at zero yaw rate
    return np.stack([chord * np.cos(half), chord * np.sin(half)], axis=-1)
