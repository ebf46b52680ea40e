"""The counts behind the predictions, against figures worked out by hand from the paper's sizes (arXiv 2502.15672)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import cost
from vavam_ros.core.spec import PRESETS

H200 = cost.DEVICES[0]


@pytest.mark.parametrize(
    ("size", "context_tflop", "step_gflop", "kv_mb", "expert_mb", "floor_ms", "frame_ms"),
    [("S", 2.26, 2.30, 340, 42.7, 3.75, 90), ("B", 3.69, 3.18, 453, 75.9, 5.90, 140), ("L", 12.75, 7.26, 906, 303.6, 18.95, 442)],
)
def test_operations_bytes_and_floors_of_the_released_sizes(
    size: str, context_tflop: float, step_gflop: float, kv_mb: float, expert_mb: float, floor_ms: float, frame_ms: float
) -> None:
    spec = PRESETS[size]
    step = cost.euler_step(spec, 1, H200)
    assert cost.context(spec, H200).flops / 1e12 == pytest.approx(context_tflop, rel=0.01)
    assert step.flops / 1e9 == pytest.approx(step_gflop, rel=0.01)
    assert cost.kv_elements(spec) * 2 / 1e6 == pytest.approx(kv_mb, rel=0.01)
    assert cost.expert_elements(spec) * 2 / 1e6 == pytest.approx(expert_mb, rel=0.01)
    assert cost.plan_floor_s(spec, 1, H200) * 1e3 == pytest.approx(floor_ms, rel=0.02)
    assert cost.generated_frame_floor_s(spec, H200) * 1e3 == pytest.approx(frame_ms, rel=0.03)


def test_a_streaming_tick_is_less_work_than_the_whole_window_and_more_samples_are_nearly_free() -> None:
    spec = PRESETS["B"]
    assert cost.streaming_tick_floor_s(spec, 8, H200) < 0.6 * cost.plan_floor_s(spec, 8, H200)
    assert cost.plan_floor_s(spec, 32, H200) < 1.3 * cost.plan_floor_s(spec, 1, H200)
    assert cost.memory_gb(spec, 8, H200, streaming=True) > cost.memory_gb(spec, 8, H200)
    assert cost.plan_floor_s(cost.with_frames(spec, 1), 8, H200) < 0.3 * cost.plan_floor_s(spec, 8, H200)


def test_the_slower_of_both_counts() -> None:
    work = cost.Work(flops=2e12, read_bytes=1e9)
    device = cost.Device(name="", matrix_tflops=1.0, bandwidth_gbps=1.0, memory_gb=1.0)
    assert work.floor_s(device) == 2.0
    assert work.floor_s(replace(device, bandwidth_gbps=0.1)) == 10.0
