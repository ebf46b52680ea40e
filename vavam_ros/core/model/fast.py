"""The fast path: the plans of network.py, which stays the readable truth, from the same weights, arranged for a planner that runs again and again.

Equal to network.py up to rounding; a test says how far. What is arranged otherwise:

* Keys and values are written once, into buffers that outlive the plan, in the layout that attention reads. Each waypoint token's own keys and values go
  behind the video's in the same buffer, so a layer is one product over [video; own] and nothing is concatenated. Extending writes behind, copies nothing.
* A whole context is attended causally without a mask; what is appended uses one additive mask for each length, kept.
* Of the last video layer only keys and values are made. (network.py does that too.)
* `mix` of the action encoder is linear: its time part is a table over the Euler steps, its command and waypoint part is computed once for a plan, and its
  action part is folded into a single (e, 2) matrix.
* K samples are rows of one batch. Residual sums are part of the matrix product before them, written in place like the activations.
* On a GPU each length of context and the whole Euler loop is a CUDA graph, recorded the first time it runs; inputs may lie on the host, where they are
  checked, and no step waits for the device.

Shape letters: B batch · S tokens a frame · N = T·S · n tokens held, m appended · d video width · e expert width · A heads · D head size · K samples ·
H waypoints · R = K·H rows of a batch item · C = N + R capacity of a buffer.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model.cuda_graph import Recording
from vavam_ros.core.model.flow import time_grid
from vavam_ros.core.model.network import ActionEncoder, Block, VaVAM, norm, time_embedding
from vavam_ros.core.spec import ModelSpec

HIDDEN_BYTES = 28 << 20  # of an MLP on a CPU: from 32 MiB on glibc gives memory back and maps it anew, a tenth of the layer's time for S


class InferenceModel(Protocol):
    """What a planner needs of a model. `network.VaVAM` and `FastVaVAM` both are one; a context is only understood by the model that made it."""

    spec: ModelSpec

    def context(self, tokens: Tensor) -> Any:
        """Keys and values of (B, t, h, w) tokens."""

    def extend(self, context: Any, tokens: Tensor) -> Any:
        """The same with further tokens; the given context stays valid."""

    def sample(self, context: Any, noise: Tensor, command: Tensor, steps: int | None = None) -> Tensor:
        """Trajectories in metres, in the shape of `noise`."""


# ----------------------------------------------------------------------------------------------------------------------------------- buffers


class _Buffer:
    """Keys and values of one batch of contexts, `kv` (layers, 2, B, A, C, D), and the graphs recorded over its addresses."""

    def __init__(self, shape: tuple[int, ...], *, device: torch.device, dtype: torch.dtype) -> None:
        self.kv = torch.empty(shape, device=device, dtype=dtype)
        self.layers = list(self.kv.unbind())
        self.recordings: dict[tuple[Any, ...], Recording] = {}
        self._lease: weakref.ref[_Lease] | None = None

    @property
    def is_free(self) -> bool:
        """No context lives in it."""
        return self._lease is None or self._lease() is None

    def lease(self) -> _Lease:
        """It is taken for as long as the lease is alive."""
        lease = _Lease(self)
        self._lease = weakref.ref(lease)
        return lease


class _Lease:
    """The right to a buffer, shared by a context and its continuations. `used`: tokens of the longest of them."""

    __slots__ = ("__weakref__", "buffer", "used")

    def __init__(self, buffer: _Buffer) -> None:
        self.buffer, self.used = buffer, 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FastContext:
    """The first `length` tokens of a buffer. Holding it keeps the buffer from being used again."""

    lease: _Lease
    length: int
    tokens_per_frame: int

    @property
    def frames(self) -> int:
        """Whole frames held."""
        return self.length // self.tokens_per_frame

    @property
    def batch(self) -> int:
        """B."""
        return self.lease.buffer.kv.shape[2]

    def layer(self, i: int) -> tuple[Tensor, Tensor]:
        """Keys and values of layer i, each (B, A, n, D): views, valid as long as the context."""
        k, v = self.lease.buffer.layers[i][..., : self.length, :]
        return k, v


# ----------------------------------------------------------------------------------------------------------------------------------- weights


def rows_at_once(x: Tensor, up: Tensor) -> int:
    """How many rows of x (rows, width) go through an MLP together: all on a GPU, on a CPU equal parts whose hidden layer has at most `HIDDEN_BYTES`."""
    hidden_bytes = x.shape[0] * up.shape[0] * up.element_size()
    return x.shape[0] if x.is_cuda or not hidden_bytes else math.ceil(x.shape[0] / math.ceil(hidden_bytes / HIDDEN_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """The matrices of one block: the model's own, not copies."""

    qkv: Tensor
    out: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, block: Block) -> _Layer:
        attention, mlp = block.attention, block.mlp
        return cls(qkv=attention.qkv.weight, out=attention.out.weight, up=mlp.up.weight, down=mlp.down.weight)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """`Block.finish` on rows: x (rows, width), attended (rows, A·D)."""
        x = torch.addmm(x, attended, self.out.T)
        for rows in torch.split(x, rows_at_once(x, self.up)):
            rows.addmm_(torch.ops.aten.gelu_(F.linear(norm(rows), self.up)), self.down.T)
        return x


class _Encoder:
    """The action encoder with its linear parts taken apart, in fp32 up to the activation."""

    def __init__(self, encoder: ActionEncoder) -> None:
        e = encoder.out.weight.shape[0]
        mix = encoder.mix.weight.detach().float()
        self._time, mix_action = mix[:, :e], mix[:, e:]
        self._action = mix_action @ encoder.action_in.weight.detach().float()  # (e, 2)
        self._fixed = mix_action
        self._command, self._waypoint = encoder.command_embedding.weight.detach().float(), encoder.waypoint_embedding.weight.detach().float()
        self._out, self._max_period = encoder.out.weight, encoder.max_period

    def times(self, steps: int) -> Tensor:
        """(steps, e) of the times at which the velocity is asked for."""
        device, e = self._time.device, self._time.shape[0]
        return F.linear(time_embedding(time_grid(steps, device=device)[:-1], e, self._max_period), self._time)

    def fixed(self, command: Tensor) -> Tensor:
        """command (B, K) → (B·K·H, e): what does not change during a plan."""
        x = F.embedding(command, self._command).unsqueeze(2) + self._waypoint
        return F.linear(x.flatten(0, 2), self._fixed)

    def __call__(self, state: Tensor, fixed_and_time: Tensor) -> Tensor:
        """fp32 state (B·K·H, 2) → action tokens (B·K·H, e) in the dtype of the weights."""
        return F.linear(F.silu(torch.addmm(fixed_and_time, state, self._action.T)).to(self._out.dtype), self._out)


# ------------------------------------------------------------------------------------------------------------------------------------- model


class FastVaVAM:
    """`network.VaVAM` for inference. State: buffers, masks, tables and graphs; no result depends on what ran before.

    Tokens, noise and commands may lie on the host or on the model's device. On the host they are checked without waiting for the device.
    """

    def __init__(self, model: VaVAM, *, samples: int = 16, graphs: bool | None = None) -> None:
        """`samples`: trajectories in one batch; more are drawn in turns. `graphs`: CUDA graphs, None = on a GPU. The weights must not change afterwards."""
        if samples < 1:
            raise ConfigError(f"samples: got {samples}, expected at least 1")
        weight = model.video.token_embedding.weight
        self.spec, self.device, self._dtype, self._samples = model.spec, weight.device, weight.dtype, samples
        # In bf16 a CPU's bmm first copies the keys of a buffer that is not full: for k @ q.mT as they lie, for q @ k.mT transposed, which takes far longer.
        self._keys_first = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
        self._graphs = weight.is_cuda if graphs is None else graphs
        self._pool: Any = torch.cuda.graph_pool_handle() if self._graphs else None
        self._check = model.video.check
        self._token_embedding = weight
        self._video = [_Layer.of(b) for b in model.video.blocks if isinstance(b, Block)]
        self._action = [_Layer.of(b) for b in model.action.blocks if isinstance(b, Block)]
        self._video_scale, self._action_scale = model.video.scale, model.action.scale
        self._readout = model.action.readout.weight
        self._buffers: list[_Buffer] = []
        self._masks: dict[tuple[str, int, int], Tensor] = {}
        self._times: dict[int, Tensor] = {}
        with torch.inference_mode():
            space, frame = model.video.space_embedding.weight, model.video.frame_embedding.weight
            self._positions = rearrange(frame[:, None] + space, "t s d -> (t s) d")
            self._encoder = _Encoder(model.action.encoder)

    @property
    def buffer_bytes(self) -> int:
        """Memory of all key-value buffers: as many as contexts were ever held at once."""
        return sum(b.kv.numel() * b.kv.element_size() for b in self._buffers)

    @property
    def buffers(self) -> int:
        """How many there are."""
        return len(self._buffers)

    # --- context

    @torch.inference_mode()
    def context(self, tokens: Tensor) -> FastContext:
        """Keys and values of (B, t, h, w) tokens. Raises TokenError on another grid or a code out of range, ConfigError on too many frames."""
        self._check(tokens, values=True)
        return self._appended(self.empty_context(tokens.shape[0]), rearrange(tokens, "b t h w -> b (t h w)"))

    @torch.inference_mode()
    def extend(self, context: FastContext, tokens: Tensor) -> FastContext:
        """A context with (B, t, h, w) tokens appended, equal to one computed whole; the given one stays valid. Errors as `context`."""
        self._check(tokens, held=context.frames, values=True)
        return self.advance(context, rearrange(tokens, "b t h w -> b (t h w)"))

    def empty_context(self, batch: int = 1) -> FastContext:
        """No tokens yet."""
        return FastContext(lease=self._free_buffer(batch).lease(), length=0, tokens_per_frame=self.spec.video.tokens_per_frame)

    @torch.inference_mode()
    def advance(self, context: FastContext, tokens: Tensor) -> FastContext:
        """`extend` by any number of checked tokens (B, m), whole frames or not."""
        first = tokens.shape[1] if context.length == 0 else self.spec.video.tokens_per_frame
        for part in torch.split(tokens, first, dim=1):  # the mask stays at S × (n + S)
            context = self._appended(context, part)
        return context

    def _appended(self, context: FastContext, tokens: Tensor) -> FastContext:
        context = self._sole(context)
        buffer, n, m = context.lease.buffer, context.length, tokens.shape[1]
        if n and m > 1:
            self._appended_mask(n, m)  # before anything is recorded
        self._run(buffer, ("append", n, m), lambda t: self._append(buffer, n, t), tokens)
        context.lease.used = n + m
        return FastContext(lease=context.lease, length=n + m, tokens_per_frame=context.tokens_per_frame)

    def _append(self, buffer: _Buffer, n: int, tokens: Tensor) -> None:
        """Write keys and values of tokens (B, m) behind the n that are there."""
        v, m = self.spec.video, tokens.shape[1]
        mask = self._masks["append", n, m] if n and m > 1 else None
        x = (F.embedding(tokens, self._token_embedding) + self._positions[n : n + m]).flatten(0, 1)  # (B·m, d)
        for layer, kv in zip(self._video[:-1], buffer.layers, strict=False):
            q, *new = rearrange(F.linear(norm(x), layer.qkv), "(b m) (three a d) -> three b a m d", m=m, three=3, a=v.heads)
            for held, added in zip(kv, new, strict=True):
                held[:, :, n : n + m].copy_(added)
            k, values = kv[..., : n + m, :]
            out = F.scaled_dot_product_attention(q, k, values, attn_mask=mask, is_causal=n == 0 and m > 1, scale=self._video_scale)
            x = layer.finish(x, rearrange(out, "b a m d -> (b m) (a d)"))
        last = F.linear(norm(x), self._video[-1].qkv[v.width :])
        buffer.layers[-1][..., n : n + m, :].copy_(rearrange(last, "(b m) (two a d) -> two b a m d", m=m, two=2, a=v.heads))

    # --- samples

    @torch.inference_mode()
    def sample(self, context: FastContext, noise: Tensor, command: Tensor, steps: int | None = None) -> Tensor:
        """As `VaVAM.sample`: fp32 metres in the shape of `noise`, (K, H, 2) or (B, K, H, 2)."""
        grouped, commands = self._grouped(context, noise, command)
        steps = self.spec.flow.steps if steps is None else steps
        if steps not in self._times:
            self._times[steps] = self._encoder.times(steps)
        context = self._sole(context)
        buffer, n = context.lease.buffer, context.length
        drawn = []
        for x, c in zip(torch.split(grouped, self._samples, dim=1), torch.split(commands, self._samples, dim=1), strict=True):
            k = x.shape[1]
            self._own_mask(k)
            metres = self._run(buffer, ("denoise", n, k, steps), lambda x, c: self._denoise(buffer, n, steps, x, c), x, c)
            assert metres is not None
            drawn.append(metres)
        return (drawn[0] if len(drawn) == 1 else torch.cat(drawn, dim=1)).reshape(noise.shape)

    def _denoise(self, buffer: _Buffer, n: int, steps: int, noise: Tensor, command: Tensor) -> Tensor:
        """noise (B, K, H, 2), command (B, K) → metres (B, K, H, 2)."""
        b, k = command.shape
        fixed, times, state = self._encoder.fixed(command), self._times[steps], noise.flatten(0, 2)
        own_mask = self._masks["own", k, self.spec.action.horizon] if k > 1 else None
        for i in range(steps):
            x = self._expert(buffer, n, b, self._encoder(state, fixed + times[i]), own_mask)
            velocity = F.linear(norm(x), self._readout).to(state.dtype)
            state = state + velocity / (self.spec.action.readout_divisor * steps)
        flow = self.spec.flow
        bounded = state if flow.clip is None else state.clamp(-flow.clip, flow.clip)
        return (bounded * flow.action_scale_m).view(noise.shape)

    def _expert(self, buffer: _Buffer, n: int, b: int, x: Tensor, own_mask: Tensor | None) -> Tensor:
        """Residual stream (B·R, e) after all layers: rows of one batch item see its n video tokens and their own sample's H tokens."""
        heads, r = self.spec.video.heads, x.shape[0] // b
        for layer, kv in zip(self._action, buffer.layers, strict=True):
            qkv = rearrange(F.linear(norm(x), layer.qkv), "(b r) (three a d) -> three b a r d", b=b, three=3, a=heads)
            kv[..., n : n + r, :].copy_(qkv[1:])
            q = rearrange(qkv[0], "b a r d -> (b a) r d") * self._action_scale
            k, v = (side.flatten(0, 1)[:, : n + r] for side in kv)  # (B·A, n + R, D)
            scores = torch.bmm(k, q.mT).mT if self._keys_first else torch.bmm(q, k.mT)
            if own_mask is not None:
                scores[..., n:] += own_mask
            attended = torch.bmm(scores.softmax(dim=-1), v)
            x = layer.finish(x, rearrange(attended, "(b a) r d -> (b r) (a d)", a=heads))
        return x

    def _grouped(self, context: FastContext, noise: Tensor, command: Tensor) -> tuple[Tensor, Tensor]:
        """noise (B, K, H, 2) and command (B, K) from the shapes that `VaVAM.sample` takes."""
        b, tail = context.batch, (self.spec.action.horizon, self.spec.action.action_dim)
        if context.length == 0:
            raise ConfigError("the context is empty: make it with FastVaVAM.context")
        if noise.dtype != torch.float32:
            raise ConfigError(f"sampler state: got {noise.dtype}, expected torch.float32 (bf16 resolves a waypoint 50 m ahead to 0.27 m)")
        grouped = noise.unsqueeze(0 if b == 1 else 1) if noise.ndim == 3 else noise
        if grouped.ndim != 4 or grouped.shape[0] != b or grouped.shape[2:] != tail:
            raise ConfigError(f"actions: got shape {tuple(noise.shape)} for a context of {b}, expected (K, *{tail}) or ({b}, K, *{tail})")
        lead = grouped.shape[:2]
        if command.numel() not in (1, lead.numel()):
            raise ConfigError(f"command: got shape {tuple(command.shape)}, expected one value or one for each of {lead.numel()} trajectories")
        return grouped, command.reshape(lead) if command.numel() == lead.numel() else command.reshape(1, 1).expand(lead)

    # --- buffers, masks, graphs

    def _free_buffer(self, batch: int) -> _Buffer:
        free = next((b for b in self._buffers if b.is_free and b.kv.shape[2] == batch), None)
        if free is None:
            self._buffers = [b for b in self._buffers if not b.is_free]  # of other batches
            v = self.spec.video
            capacity = v.frames * v.tokens_per_frame + self._samples * self.spec.action.horizon
            free = _Buffer((v.layers, 2, batch, v.heads, capacity, v.head_size), device=self.device, dtype=self._dtype)
            self._buffers.append(free)
        return free

    def _sole(self, context: FastContext) -> FastContext:
        """The context, in a buffer of its own if a longer one lives behind it in the same: what is written behind it must not fall on that one."""
        if context.lease.used <= context.length:
            return context
        lease = self._free_buffer(context.batch).lease()
        lease.buffer.kv[..., : context.length, :].copy_(context.lease.buffer.kv[..., : context.length, :])
        lease.used = context.length
        return FastContext(lease=lease, length=context.length, tokens_per_frame=context.tokens_per_frame)

    def _appended_mask(self, n: int, m: int) -> None:
        """(m, n + m) additive: an appended token sees all that is held, itself and its predecessors. A whole number of 8 per row, as GPU kernels want it."""
        if ("append", n, m) not in self._masks:
            mask = torch.full((m, -(-(n + m) // 8) * 8), -torch.inf, device=self.device, dtype=self._dtype).triu(n + 1)
            self._masks["append", n, m] = mask[:, : n + m]

    def _own_mask(self, k: int) -> None:
        """(R, R) additive: a sample's tokens see each other and no other sample's."""
        h = self.spec.action.horizon
        if k > 1 and ("own", k, h) not in self._masks:
            group = torch.arange(k * h, device=self.device) // h
            mask = torch.zeros(k * h, k * h, device=self.device, dtype=self._dtype)
            self._masks["own", k, h] = mask.masked_fill_(group[:, None] != group, -torch.inf)

    def _run(self, buffer: _Buffer, key: tuple[Any, ...], body: Callable[..., Tensor | None], *inputs: Tensor) -> Tensor | None:
        """body(*inputs) on the device; for single contexts on a GPU as a graph, recorded the first time."""
        if not self._graphs or buffer.kv.shape[2] > 1:
            return body(*(x.to(self.device, non_blocking=True) for x in inputs))
        if key not in buffer.recordings:
            buffer.recordings[key] = Recording(body, inputs, self.device, self._pool)
        return buffer.recordings[key](*inputs)


def for_inference(model: VaVAM, kind: str, *, samples: int) -> InferenceModel:
    """The model that a planner runs: `fast`, or `plain`, which is network.py itself."""
    if kind not in ("fast", "plain"):
        raise ConfigError(f"inference: got {kind!r}, expected 'fast' or 'plain'")
    return FastVaVAM(model, samples=samples) if kind == "fast" else model
