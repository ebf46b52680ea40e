"""Metrics of dense predictions: intersection over union of classes, and the usual errors of depth.

Shape letters: C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import F32, F64, InputError
from vavam_training.contracts import I64

IGNORE = 255  # label of pixels that do not count


def confusion_matrix(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int, ignore: int = IGNORE) -> I64:
    """Class numbers of one shape → (C, C) counts, rows the truth, columns the prediction. Pixels whose truth is `ignore` do not count.

    Raises InputError for other shapes, and for classes out of range."""
    if truth.shape != predicted.shape:
        raise InputError(f"confusion: got predictions {predicted.shape} for labels {truth.shape}, expected the same shape")
    counted = truth != ignore
    t, p = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for what, values in (("labels", t), ("predictions", p)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise InputError(f"confusion: {what} from {values.min()} to {values.max()}, expected 0 to {classes - 1} (or {ignore}: does not count)")
    counts: I64 = np.bincount(classes * t + p, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    return counts


def class_iou(confusion: I64) -> F64:
    """(C,) intersection over union; NaN for a class that neither occurs nor is predicted."""
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    iou: F64 = np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)
    return iou


def mean_iou(iou: F64) -> float:
    """Mean over the classes that occur; NaN where none does."""
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthErrors:
    """Means over all pixels: shares within a factor of 1.25, 1.25², 1.25³; relative errors; root mean square."""

    d1: float
    d2: float
    d3: float
    abs_rel: float
    sq_rel: float
    rmse: float


class DepthMeter:
    """Adds up errors over images. Pixels whose true depth is not positive do not count."""

    def __init__(self) -> None:
        self._sums, self._pixels = np.zeros(6), 0

    def add(self, truth: F32 | F64, predicted: F32 | F64) -> None:
        """Positive depths of one shape and unit. Raises InputError for other shapes and for predictions that are not positive."""
        if truth.shape != predicted.shape:
            raise InputError(f"depth: got predictions {predicted.shape} for {truth.shape}, expected the same shape")
        t, p = truth[truth > 0].astype(np.float64), predicted[truth > 0].astype(np.float64)
        if not (p > 0).all():
            raise InputError("depth: got predictions that are not positive, expected positive depths (clamp them first)")
        ratio = np.maximum(t / p, p / t)
        terms = [ratio < 1.25, ratio < 1.25**2, ratio < 1.25**3, np.abs(t - p) / t, (t - p) ** 2 / t, (t - p) ** 2]
        self._sums += [float(term.sum()) for term in terms]
        self._pixels += t.size

    def result(self) -> DepthErrors:
        """Of all that was added. Raises InputError where nothing counted."""
        if not self._pixels:
            raise InputError("depth: no pixel with a known depth was added; expected some")
        d1, d2, d3, abs_rel, sq_rel, square = (self._sums / self._pixels).tolist()
        return DepthErrors(d1=d1, d2=d2, d3=d3, abs_rel=abs_rel, sq_rel=sq_rel, rmse=math.sqrt(square))
