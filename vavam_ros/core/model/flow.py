"""Flow matching from noise (t = 0) to scaled positions (t = 1): interpolant, target, training times, fp32 Euler. arXiv 2502.15672, section on VaVAM.

Shape letters: K samples · H waypoints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from vavam_ros.core.contracts import ConfigError

BETA_A = 1.5  # z ~ Beta(1.5, 1): training times t = t_max (1 - z) gather near the noise
UNIFORM_EPS = 1e-5

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(state, time as a 0-d tensor of the state's dtype) → velocity, of the state's shape."""


def interpolant(x0: Tensor, x1: Tensor, time: Tensor, sigma_min: float) -> Tensor:
    """State at `time` on the straight line from noise x0 to data x1. `time` broadcasts over the leading axes of x0, x1."""
    t = _align(time, x0)
    return (1 - (1 - sigma_min) * t) * x0 + t * x1


def target_velocity(x0: Tensor, x1: Tensor, sigma_min: float) -> Tensor:
    """d/dt of `interpolant`: what the network learns."""
    return x1 - (1 - sigma_min) * x0


def sample_time_beta(shape: Sequence[int], sigma_min: float, *, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """fp32 training times t = (1 - sigma_min)(1 - z), z ~ Beta(1.5, 1), drawn on the generator's device.

    z = u^(1/1.5) has that distribution for a uniform u: the distribution function of Beta(a, 1) is z^a.
    """
    u = torch.rand(tuple(shape), generator=generator, device=generator.device, dtype=torch.float32)
    return ((1 - sigma_min) * (1 - u ** (1 / BETA_A))).to(device)


def sample_time_uniform(shape: Sequence[int], *, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """fp32 training times that cover [0, 1) evenly: n equidistant values behind one random offset, in order."""
    n = 1
    for size in shape:
        n *= size
    offset = torch.rand(1, generator=generator, device=generator.device, dtype=torch.float32)
    t = (offset + torch.arange(n, device=generator.device, dtype=torch.float32) / n) % (1 - UNIFORM_EPS)
    return t.reshape(tuple(shape)).to(device)


def time_grid(steps: int, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Tensor:
    """(steps + 1,) flow times from 0 to 1.

    # vs upstream: not accumulated in the network's dtype, which in bf16 is 0.6 % off at the last of ten steps.
    """
    if steps < 1:
        raise ConfigError(f"Euler steps: got {steps}, expected at least 1")
    return torch.arange(steps + 1, device=device, dtype=dtype) / steps


def euler_states(velocity: Velocity, noise: Tensor, steps: int) -> Iterator[Tensor]:
    """The state after each of `steps` equal explicit Euler steps from `noise` at t = 0 to t = 1. Raises ConfigError for less than fp32."""
    if noise.dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"sampler state: got {noise.dtype}, expected torch.float32 (bf16 resolves a waypoint 50 m ahead to 0.27 m)")
    times = time_grid(steps, device=noise.device, dtype=noise.dtype)
    x = noise
    for t in times[:-1]:
        x = x + velocity(x, t).to(x.dtype) / steps
        yield x


def euler(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """The last of `euler_states`."""
    x = noise
    for x in euler_states(velocity, noise, steps):  # noqa: B007 (only the last is wanted)
        pass
    return x


def plan_noise(seed: int, stamp_ns: int, shape: Sequence[int], *, device: torch.device | str) -> Tensor:
    """Standard normal fp32 noise that depends on (seed, stamp, shape) alone. Drawn on the CPU, so that it is the same for every device."""
    digest = hashlib.blake2b(f"{seed}:{stamp_ns}".encode(), digest_size=8).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.randn(tuple(shape), generator=generator, device="cpu", dtype=torch.float32).to(device)


def _align(time: Tensor, x: Tensor) -> Tensor:
    """Trailing axes of length one on `time`, so that it broadcasts against x."""
    return time.reshape(*time.shape, *([1] * (x.ndim - time.ndim)))
