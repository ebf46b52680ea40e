"""Metrics of the reference, reproduced: test/golden/vavam/misc.safetensors (what it holds: README there)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from vavam_ros.core.model.flow import time_grid
from vavam_training.evaluation.dense_metrics import DepthMeter, class_iou, confusion_matrix, mean_iou
from vavam_training.evaluation.open_loop import Predictions, best_sample, errors

GOLDEN = Path(__file__).resolve().parents[3] / "test" / "golden" / "vavam" / "misc.safetensors"
MISC = load_file(GOLDEN)


def test_smallest_average_displacement() -> None:
    samples, truth = MISC["ade.pred"].numpy(), MISC["ade.gt"].numpy()
    n = len(samples)
    nothing = np.zeros(n, np.int64)
    p = Predictions(
        samples_m=samples, truth_m=truth, medoid=nothing, cv_m=truth, ctrv_m=truth, speed_mps=np.zeros(n), yaw_rate_radps=np.zeros(n),
        command=nothing, stamp_ns=nothing, drive=nothing, part=nothing, dt_s=0.5,
    )  # fmt: skip
    values, index = best_sample(p)
    np.testing.assert_allclose(values, MISC["ade.value"], rtol=1e-6)
    assert index.tolist() == MISC["ade.index"].tolist()
    np.testing.assert_allclose(errors(p)["min_ade_m"], values)
    assert values.mean() == pytest.approx(float(MISC["ade.mean"]), rel=1e-6)
    assert values.sum() == pytest.approx(float(MISC["ade.sum"]), rel=1e-6)


def test_depth_in_batches_of_two_and_one() -> None:
    meter = DepthMeter()
    meter.add(MISC["depth.gt"][:2].numpy(), MISC["depth.pred"][:2].numpy())
    meter.add(MISC["depth.gt"][2:].numpy(), MISC["depth.pred"][2:].numpy())
    found = meter.result()
    for name in ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse"):
        assert getattr(found, name) == pytest.approx(float(MISC[f"depth.{name}"]), rel=1e-6), name


def test_intersection_over_union() -> None:
    confusion = confusion_matrix(MISC["iou.true"].numpy(), MISC["iou.pred"].numpy(), 6)
    assert np.array_equal(confusion, MISC["iou.confusion"][0].numpy())
    np.testing.assert_allclose(class_iou(confusion), MISC["iou.per_class"], rtol=1e-6)  # NaN where the record has NaN
    assert mean_iou(class_iou(confusion)) == pytest.approx(float(MISC["iou.mean"]), rel=1e-6)


def test_flow_times() -> None:
    """The sampler's grid is the reference's in float32. In bfloat16 the reference adds up rounded steps; ours does not, the record shows how far they go."""
    np.testing.assert_allclose(time_grid(10, device="cpu").numpy(), MISC["timegrid.fp32"], atol=2e-7)
    t, accumulated = torch.zeros((), dtype=torch.bfloat16), [0.0]
    for _ in range(10):
        t = t + torch.tensor(0.1, dtype=torch.bfloat16)
        accumulated.append(float(t))
    np.testing.assert_array_equal(np.array(accumulated, np.float32), MISC["timegrid.bf16"])


def test_nothing_of_the_record_is_left_over() -> None:
    with safe_open(str(GOLDEN), "pt") as file:
        kinds = {name.split(".")[0] for name in list(file.keys())}
    assert kinds == {"ade", "depth", "iou", "timegrid", "lr"}  # lr: test/loop/test_golden_optimiser.py
