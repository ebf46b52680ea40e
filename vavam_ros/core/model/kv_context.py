"""What a growing video leaves behind for those who attend to it: `Context`, and the masks that say who sees whom.

Shape letters: B batch · T frames · S tokens a frame · N = T·S · n tokens held, m appended · A heads · D head size · H waypoints · G groups of H action
tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vavam_ros.core.contracts import ConfigError


class Context:
    """Keys and values of the video, per layer (B, A, n, D): all that the action expert and further frames need of the frames so far.

    `capacity` (tokens) makes room ahead, so that tokens can be appended one by one in place; without it every `append` makes new tensors.
    """

    __slots__ = ("_keys", "_values", "capacity", "length", "tokens_per_frame")

    def __init__(self, layers: int, tokens_per_frame: int, capacity: int = 0) -> None:
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers
        self.tokens_per_frame, self.capacity = tokens_per_frame, capacity
        self.length = 0  # tokens that all layers hold

    @property
    def frames(self) -> int:
        """Whole frames held."""
        return self.length // self.tokens_per_frame

    @property
    def batch(self) -> int:
        """B."""
        return self.layer(0)[0].shape[0]

    def layer(self, i: int) -> tuple[Tensor, Tensor]:
        """Keys and values of layer i, each (B, A, n, D)."""
        k, v = self._keys[i], self._values[i]
        if k is None or v is None:
            raise ConfigError("the context is empty: make it with VideoModel.context")
        return k[:, :, : self.length], v[:, :, : self.length]

    def append(self, i: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, A, m, D) to layer i and return all n + m; `length` follows when every layer has them."""
        end = self.length + k.shape[2]
        keys, values = self._joined(self._keys[i], k), self._joined(self._values[i], v)
        self._keys[i], self._values[i] = keys, values
        return keys[:, :, :end], values[:, :, :end]

    def fork(self) -> Context:
        """A context that starts with the same tensors; appending to it leaves this one as it is."""
        other = Context(len(self._keys), self.tokens_per_frame)
        for i in range(len(self._keys)):
            other._keys[i], other._values[i] = self.layer(i)
        other.length = self.length
        return other

    def _joined(self, held: Tensor | None, new: Tensor) -> Tensor:
        if not self.capacity:  # `contiguous`: as a slice of q, k, v it would keep all three alive
            return new.contiguous() if held is None else torch.cat([held, new], dim=2)
        if held is None:
            b, a, _, d = new.shape
            held = new.new_empty(b, a, self.capacity, d)
        held[:, :, self.length : self.length + new.shape[2]] = new
        return held


# Who sees whom: True = may attend.


def appended_mask(held: int, appended: int, *, device: torch.device | str) -> Tensor:
    """(m, n + m): an appended token sees all that is held, and itself and its predecessors among the appended."""
    return torch.ones(appended, held + appended, dtype=torch.bool, device=device).tril(held)


def action_mask(frames: int, tokens_per_frame: int, horizon: int, *, device: torch.device | str) -> Tensor:
    """(T·H, T·S): in training there is one group of H action tokens per frame, which sees the video up to its own frame."""
    group = torch.arange(frames * horizon, device=device) // horizon
    frame = torch.arange(frames * tokens_per_frame, device=device) // tokens_per_frame
    return group[:, None] >= frame[None, :]


def joint_mask(sees_video: Tensor, horizon: int) -> Tensor:
    """(N + G·H)² mask of video and action tokens together. Never built at run time: it says what the attention functions below amount to.

    `sees_video` (G·H, N): which video tokens an action token sees. A group's tokens see each other and no other group's.
    """
    rows, n = sees_video.shape
    device = sees_video.device
    group = torch.arange(rows, device=device) // horizon
    video = torch.cat([appended_mask(0, n, device=device), torch.zeros(n, rows, dtype=torch.bool, device=device)], dim=1)
    return torch.cat([video, torch.cat([sees_video, group[:, None] == group[None, :]], dim=1)], dim=0)
