"""The pipeline at the sizes that are meant to run: the small one on a CPU, the released S on a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vavam_ros.core.artifact import tokenizer_for
from vavam_ros.core.camera import CANONICAL_CAMERAS, CameraModel, ViewTransform
from vavam_ros.core.contracts import NS_PER_S, CameraImage, Command, EgoPose, Plan, Window
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.model import VaVAM, init_weights
from vavam_ros.core.pipeline import FrameEncoder, Planner, PlannerConfig, PlanScheduler
from vavam_ros.core.spec import SMALL, VAVAM_S, ModelSpec
from vavam_ros.core.tokenizer import VQ16
from vavam_ros.core.tokenizer.random_init import init_tokenizer


def drive(spec: ModelSpec, device: torch.device, dtype: torch.dtype, frames: int) -> list[Plan]:
    """Plans of a drive with random weights and random pictures, one frame every half second, the camera a little off the canonical one."""
    generator = torch.Generator("cpu").manual_seed(0)
    model = VaVAM(spec, device=device, dtype=dtype)
    init_weights(model, generator, zero_query=False, readout_std=0.02)
    tokenizer = VQ16(tokenizer_for(spec), device="cpu")
    init_tokenizer(tokenizer, generator)
    tokenizer.tokenizer_id = "random"
    tokenizer = tokenizer.to(device).cast(dtype)
    canonical = CANONICAL_CAMERAS["nuscenes_cam_front"]
    K = np.array([[1200.0, 0.0, 800.0], [0.0, 1200.0, 450.0], [0.0, 0.0, 1.0]])
    mount = replace(canonical.mount, yaw_rad=0.01)
    camera = CameraModel(name="front", width=1600, height=900, K=K, T_ego_camera=mount.T_ego_camera)
    view = ViewTransform(canonical, tokenizer.spec.image_hw, "warp", camera)
    encoder = FrameEncoder(tokenizer, view, device=device, dtype=dtype)
    planner = Planner(model, model_id="random", command_ids={c: int(c) for c in Command}, config=PlannerConfig(samples=8), device=device)
    scheduler = PlanScheduler.for_model(spec, tokenizer_id="random", codebook_size=tokenizer.codebook_size, plan_rate_hz=2.0)
    rng = np.random.default_rng(0)
    plans = []
    for i in range(frames):
        stamp_ns = 100 * NS_PER_S + i * NS_PER_S // 2
        pose = EgoPose(
            stamp_ns=stamp_ns, odom_frame_id="odom", T_odom_ego=planar_T(4.0 * i, 0.0, 0.0), linear_mps=np.array([8.0, 0.0, 0.0]), angular_radps=np.zeros(3)
        )
        rgb = rng.integers(0, 256, (900, 1600, 3), dtype=np.uint8)
        window = scheduler.push(encoder.step(CameraImage(stamp_ns=stamp_ns, frame_id="front", rgb=rgb), pose))
        assert isinstance(window, Window)
        plans.append(planner.step(window, Command.STRAIGHT))
    return plans


def check(plans: list[Plan], spec: ModelSpec) -> None:
    assert [len(p.context_stamps_ns) for p in plans] == [min(i + 1, spec.video.frames) for i in range(len(plans))]
    for plan in plans:
        assert plan.canonical
        assert plan.xy_ego_m.shape == (8, spec.action.horizon, 2)
        assert np.isfinite(plan.xy_ego_m).all()
        assert np.ptp(plan.xy_ego_m, axis=0).min() > 0.0  # no two samples are the same


def test_small_on_a_cpu() -> None:
    check(drive(SMALL, torch.device("cpu"), torch.float32, 9), SMALL)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the released size is meant for one")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_released_size_on_a_gpu(dtype: torch.dtype) -> None:
    torch.cuda.reset_peak_memory_stats()
    check(drive(VAVAM_S, torch.device("cuda"), dtype, 9), VAVAM_S)
    assert torch.cuda.max_memory_allocated() < 12 * 2**30
