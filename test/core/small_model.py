"""What the tests of the model share: its sizes, commands, and what counts as close."""

from __future__ import annotations

import torch
from torch import Tensor

from vavam_ros.core.spec import ActionSpec, FlowSpec, ModelSpec, VideoSpec

SPEC = ModelSpec(
    name="tiny",
    video=VideoSpec(width=48, layers=3, head_size=16, vocabulary=37, frames=5, grid_h=2, grid_w=3, mup_base_width=16),
    action=ActionSpec(width=20, horizon=4, mup_base_width=10),
    flow=FlowSpec(steps=6),
)
K, H = 8, SPEC.action.horizon


def command_of(*shape: int) -> Tensor:
    return torch.randint(SPEC.action.commands, shape, generator=torch.Generator().manual_seed(3))


def assert_close(got: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    """Within a share of the largest magnitude."""
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= share * float(expected.abs().max())
