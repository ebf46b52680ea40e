"""The two halves of a plan by core/model/network.py as functions of tensors, which compilers can see through."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vavam_ros.core.model.network import VaVAM


class _Held:
    """What the expert asks of a context."""

    def __init__(self, flat: Sequence[Tensor]) -> None:
        self._flat = flat

    def layer(self, i: int) -> tuple[Tensor, Tensor]:
        """Keys and values of layer i."""
        return self._flat[2 * i], self._flat[2 * i + 1]


class ContextPart(nn.Module):
    """tokens (1, T, h, w) → keys and values of each layer in turn, without checks, which a compiler could not see through."""

    def __init__(self, model: VaVAM) -> None:
        super().__init__()
        self.video = model.video

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        context = self.video.empty_context()
        self.video.advance(context, tokens.flatten(1))
        return tuple(x for i in range(self.video.spec.layers) for x in context.layer(i))


class VelocityPart(nn.Module):
    """state (1, K, H, 2), time (1, K), command (1, K), keys and values → velocity (1, K, H, 2)."""

    def __init__(self, model: VaVAM) -> None:
        super().__init__()
        self.action = model.action

    def forward(self, state: Tensor, time: Tensor, command: Tensor, *kv: Tensor) -> Tensor:
        """See the class."""
        velocity: Tensor = self.action(_Held(kv), state, time, command)
        return velocity
