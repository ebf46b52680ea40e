"""Flow matching against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model.flow import euler, euler_states, interpolant, plan_noise, sample_time_beta, sample_time_uniform, target_velocity, time_grid

SIGMA = 0.001


def test_interpolant_runs_from_noise_to_data_and_target_is_its_slope() -> None:
    g = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 3, 5, 4, 2, generator=g, dtype=torch.float64).unbind(0)
    zero, one = torch.zeros(3, 5, dtype=torch.float64), torch.ones(3, 5, dtype=torch.float64)
    torch.testing.assert_close(interpolant(x0, x1, zero, SIGMA), x0)
    torch.testing.assert_close(interpolant(x0, x1, one, SIGMA), x1 + SIGMA * x0)
    t = torch.rand(3, 5, generator=g, dtype=torch.float64)
    slope = (interpolant(x0, x1, t + 1e-4, SIGMA) - interpolant(x0, x1, t - 1e-4, SIGMA)) / 2e-4
    torch.testing.assert_close(slope, target_velocity(x0, x1, SIGMA), atol=1e-9, rtol=0)


@pytest.mark.parametrize("steps", [1, 4, 10, 37])
def test_euler_has_the_closed_form_of_linear_decay(steps: int) -> None:
    """dx/dt = −3x: every explicit step multiplies by 1 − 3/steps. dx/dt = t: the sum of the left end points."""
    x = torch.tensor([[1.5, -2.0]])
    torch.testing.assert_close(euler(lambda x, t: -3 * x, x, steps), x * (1 - 3 / steps) ** steps)
    torch.testing.assert_close(euler(lambda x, t: t.expand_as(x), x, steps), x + (steps - 1) / (2 * steps))


def test_euler_states_end_in_the_result_and_see_the_exact_times() -> None:
    seen = []

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(float(t))
        return torch.cos(x)

    x = torch.zeros(2)
    states = list(euler_states(velocity, x, 10))
    assert len(states) == 10
    assert seen == pytest.approx([i / 10 for i in range(10)], abs=1e-7)
    assert torch.equal(states[-1], euler(velocity, x, 10))


def test_state_and_time_stay_fp32_for_a_half_precision_network() -> None:
    state = euler(lambda x, t: torch.full_like(x, 0.1, dtype=torch.bfloat16), torch.zeros(3), 10)
    assert state.dtype == torch.float32
    with pytest.raises(ConfigError, match=r"got torch\.bfloat16, expected torch\.float32"):
        euler(lambda x, t: x, torch.zeros(3, dtype=torch.bfloat16), 10)
    with pytest.raises(ConfigError, match="got 0"):
        euler(lambda x, t: x, torch.zeros(3), 0)


def test_time_grid_does_not_drift() -> None:
    """Accumulated in bf16 the tenth of ten steps would be at 0.9063."""
    assert time_grid(10, device="cpu").tolist() == pytest.approx([i / 10 for i in range(11)], abs=1e-7)


def test_beta_times_have_the_stated_distribution() -> None:
    """P(t ≤ x) = 1 − (1 − x/t_max)^1.5, by the largest distance of the empirical distribution (Kolmogorov)."""
    n = 20_000
    t = sample_time_beta((n // 4, 4), SIGMA, generator=torch.Generator().manual_seed(3), device="cpu")
    assert t.shape == (n // 4, 4)
    x = t.flatten().double().sort().values
    assert float(x[0]) >= 0
    assert float(x[-1]) <= 1 - SIGMA
    stated = 1 - (1 - x / (1 - SIGMA)) ** 1.5
    assert float((stated - torch.arange(n, dtype=torch.float64) / n).abs().max()) < 1.95 / math.sqrt(n)  # one in a thousand, and the seed is fixed


def test_uniform_times_cover_the_interval_evenly() -> None:
    t = sample_time_uniform((4, 8), generator=torch.Generator().manual_seed(3), device="cpu")
    gaps = t.flatten().sort().values.diff()
    torch.testing.assert_close(gaps, torch.full((31,), 1 / 32), atol=2e-5, rtol=0)


def test_plan_noise_depends_on_seed_and_stamp_alone() -> None:
    stamp = 1_700_000_000_123_456_789
    noise = plan_noise(7, stamp, (8, 6, 2), device="cpu")
    torch.manual_seed(99)
    assert torch.equal(noise, plan_noise(7, stamp, (8, 6, 2), device="cpu"))
    for other in (
        plan_noise(7, stamp + 1, (8, 6, 2), device="cpu"),
        plan_noise(8, stamp, (8, 6, 2), device="cpu"),
        plan_noise(-7, -stamp, (8, 6, 2), device="cpu"),
    ):
        assert not torch.equal(noise, other)
    many = plan_noise(0, 0, (20_000,), device="cpu")
    assert abs(float(many.mean())) < 0.03
    assert abs(float(many.std()) - 1) < 0.03
