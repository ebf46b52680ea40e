"""VaViM and VaVAM, all of it (arXiv 2502.15672; the key table to the published weights is key_table.py).

VaViM is a causal transformer over image tokens, frame by frame. VaVAM adds a narrow action expert with as many layers: its H waypoint tokens attend, in
each layer, to the video's keys and values and to each other. The video never sees an action, so its keys and values are computed once (`Context`) and
read by every Euler step of every sample. Widths follow muP: attention is scaled by 1/D instead of 1/sqrt(D), readouts are divided by width / base width.

Shape letters: B batch · T frames · h w token grid · S = h·w · N = T·S tokens · n tokens held, m appended · V vocabulary · d video width · e expert width
· A heads · D head size, A·D = d · K samples · H waypoints · G groups of H action tokens that see the same context (K samples, or one group per frame).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from vavam_ros.core.contracts import ConfigError, TokenError
from vavam_ros.core.model.flow import euler_states, interpolant, target_velocity
from vavam_ros.core.model.kv_context import Context, action_mask, appended_mask
from vavam_ros.core.model.random_init import init_weights
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec

__all__ = ["ActionExpert", "Context", "VaVAM", "VideoModel", "init_weights", "next_token_loss"]

LAYER_NORM_EPS = 1e-5


def norm(x: Tensor) -> Tensor:
    """Layer norm over the last axis, without learned scale or shift."""
    return F.layer_norm(x, (x.shape[-1],), eps=LAYER_NORM_EPS)


# --------------------------------------------------------------------------------------------------------------------------------- attention


def video_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """q (B, A, m, D) are the newest m of the tokens in k, v (B, A, n + m, D) → (B, m, A·D). `bias` (m, n + m) where both n > 0 and m > 1.

    `is_causal` aligns the triangle top-left, which is right only for n = 0; a single query sees everything.
    """
    m, total = q.shape[2], k.shape[2]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=m == total and m > 1, scale=scale)
    return rearrange(out, "b a m d -> b m (a d)")


def action_attention(q: Tensor, k: Tensor, v: Tensor, context_k: Tensor, context_v: Tensor, scale: float, sees_video: Tensor | None) -> Tensor:
    """q, k, v (B, G, A, H, D) over their own group and over context_k, context_v (B, A, n, D), in one softmax → (B, G, H, A·D).

    The groups are folded into the query rows: G·H rows read one copy of the context. `sees_video` (G·H, n), None = everything.
    """
    h, n = q.shape[3], context_k.shape[2]
    rows = rearrange(q * scale, "b g a h d -> b a (g h) d")
    to_video = rows @ context_k.mT  # (B, A, G·H, n)
    if sees_video is not None:
        to_video = to_video.masked_fill(~sees_video, -torch.inf)
    to_own = rearrange((q * scale) @ k.mT, "b g a h j -> b a (g h) j")
    scores = torch.cat([to_video, to_own], dim=-1)
    p = scores.softmax(dim=-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype)
    from_video = rearrange(p[..., :n] @ context_v, "b a (g h) d -> b g h (a d)", h=h)
    from_own = rearrange(p[..., n:], "b a (g h) j -> b g a h j", h=h) @ v
    return from_video + rearrange(from_own, "b g a h d -> b g h (a d)")


class Attention(nn.Module):
    """Projections around attention; the width of the stream and of the heads need not agree."""

    def __init__(self, width: int, heads: int, head_size: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads, self.inner = heads, heads * head_size
        self.qkv = nn.Linear(width, 3 * self.inner, bias=False, device=device, dtype=dtype)  # rows: q, k, v, each heads-major
        self.out = nn.Linear(self.inner, width, bias=False, device=device, dtype=dtype)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(…, n, width) → q, k, v, each (…, A, n, D)."""
        q, k, v = rearrange(self.qkv(x), "... n (three a d) -> three ... a n d", three=3, a=self.heads)
        return q, k, v

    def queries(self, x: Tensor) -> Tensor:
        """q alone."""
        return rearrange(F.linear(x, self.qkv.weight[: self.inner]), "... n (a d) -> ... a n d", a=self.heads)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """k and v alone."""
        k, v = rearrange(F.linear(x, self.qkv.weight[self.inner :]), "... n (two a d) -> two ... a n d", two=2, a=self.heads)
        return k, v


class MLP(nn.Module):
    """Widen, exact GELU, narrow."""

    def __init__(self, width: int, ratio: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__()
        self.up = nn.Linear(width, ratio * width, bias=False, device=device, dtype=dtype)
        self.down = nn.Linear(ratio * width, width, bias=False, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        y: Tensor = self.down(F.gelu(self.up(x)))
        return y


class Block(nn.Module):
    """One pre-norm layer. Who attends to what is the caller's business: `attention.project(norm(x))`, an attention function, then `finish`."""

    def __init__(self, width: int, heads: int, head_size: int, mlp_ratio: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__()
        self.attention = Attention(width, heads, head_size, device=device, dtype=dtype)
        self.mlp = MLP(width, mlp_ratio, device=device, dtype=dtype)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual stream after the layer. `attended` (…, A·D)."""
        x = x + self.attention.out(attended)
        y: Tensor = x + self.mlp(norm(x))
        return y


def blocks_of(blocks: nn.ModuleList) -> list[Block]:
    """The same, typed."""
    return [block for block in blocks if isinstance(block, Block)]


# ------------------------------------------------------------------------------------------------------------------------------------- VaViM


class VideoModel(nn.Module):
    """VaViM: tokens of T frames → logits of the next token at every position."""

    def __init__(self, spec: VideoSpec, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.scale = spec.attention_scale / spec.head_size  # muP: not 1/sqrt(D)
        self.token_embedding = nn.Embedding(spec.vocabulary, spec.width, device=device, dtype=dtype)
        self.space_embedding = nn.Embedding(spec.tokens_per_frame, spec.width, device=device, dtype=dtype)
        self.frame_embedding = nn.Embedding(spec.frames, spec.width, device=device, dtype=dtype)
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads, spec.head_size, spec.mlp_ratio, device=device, dtype=dtype) for _ in range(spec.layers))

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        """(B, m) tokens at positions start, start + 1 … → (B, m, d). Frames count from the first one given."""
        return self.embed_at(tokens, torch.arange(start, start + tokens.shape[1], device=tokens.device))

    def embed_at(self, tokens: Tensor, position: Tensor) -> Tensor:
        """(B, m) tokens at positions (m,) → (B, m, d)."""
        s = self.spec.tokens_per_frame
        x: Tensor = self.token_embedding(tokens) + self.space_embedding(position % s) + self.frame_embedding(position // s)
        return x

    def readout(self, x: Tensor) -> Tensor:
        """Residual stream (…, d) → logits (…, V), through the token embedding."""
        return F.linear(norm(x), self.token_embedding.weight) * (self.spec.output_scale / self.spec.readout_divisor)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, t, h, w) tokens → (B, t·S, V) logits. Raises TokenError on another grid, ConfigError on too many frames."""
        for x in self.hidden(tokens):  # noqa: B007 (only the last is wanted)
            pass
        return self.readout(x)

    def hidden(self, tokens: Tensor) -> Iterator[Tensor]:
        """The residual stream (B, t·S, d): the embeddings, then after each layer. Errors as `forward`."""
        self.check(tokens)
        x = self.embed(rearrange(tokens, "b t h w -> b (t h w)"))
        yield x
        for i in range(self.spec.layers):
            x = self.layer(i, x)
            yield x

    def layer(self, i: int, x: Tensor) -> Tensor:
        """The residual stream (B, N, d) of whole windows, after layer i from before it."""
        return self.layer_with_keys(i, x)[0]

    def layer_with_keys(self, i: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`layer`, and the layer's keys and values."""
        block = blocks_of(self.blocks)[i]
        q, k, v = block.attention.project(norm(x))
        return block.finish(x, video_attention(q, k, v, self.scale, None)), k, v

    def features(self, tokens: Tensor, layer: int) -> Tensor:
        """(B, t, h, w, d) after `layer` (0-based, negative from the end); the last layer's come normalised."""
        layer = range(self.spec.layers)[layer]
        x = next(islice(self.hidden(tokens), layer + 1, None))
        x = norm(x) if layer == self.spec.layers - 1 else x
        return rearrange(x, "b (t h w) d -> b t h w d", h=self.spec.grid_h, w=self.spec.grid_w)

    def context(self, tokens: Tensor) -> Context:
        """Keys and values of (B, t, h, w) tokens. Raises TokenError on another grid or a code out of range, ConfigError on too many frames."""
        self.check(tokens, values=True)
        context = self.empty_context()
        self.advance(context, rearrange(tokens, "b t h w -> b (t h w)"))
        return context

    def context_and_logits(self, tokens: Tensor) -> tuple[Context, Tensor]:
        """`context` and `forward` of the same (B, t, h, w) tokens in one pass: to train on what is read and on what comes next. Errors as `context`."""
        self.check(tokens, values=True)
        context = self.empty_context()
        x = self.embed(rearrange(tokens, "b t h w -> b (t h w)"))
        for i in range(self.spec.layers):
            x, k, v = self.layer_with_keys(i, x)
            context.append(i, k, v)
        context.length = x.shape[1]
        return context, self.readout(x)

    def extend(self, context: Context, tokens: Tensor) -> Context:
        """A new context with (B, t, h, w) tokens appended, equal to one computed whole; the given one stays valid. Errors as `context`."""
        self.check(tokens, held=context.frames, values=True)
        context = context.fork()
        for frame in rearrange(tokens, "b t h w -> t b (h w)"):  # frame by frame: the mask stays at S × (n + S)
            self.advance(context, frame)
        return context

    def empty_context(self, capacity: int = 0) -> Context:
        """No tokens yet."""
        return Context(self.spec.layers, self.spec.tokens_per_frame, capacity)

    def advance(self, context: Context, tokens: Tensor, *, last_state: bool = False) -> Tensor | None:
        """Append (B, m) tokens to `context` itself. Returns the last token's residual stream (B, 1, d) if it is wanted.

        Of the last layer only keys and values are computed, and what the last token needs.
        """
        n, m = context.length, tokens.shape[1]
        x = self.embed(tokens, start=n)
        bias = None
        if n and m > 1:
            bias = x.new_zeros(m, n + m).masked_fill(~appended_mask(n, m, device=x.device), -torch.inf)
        *blocks, last = blocks_of(self.blocks)
        for i, block in enumerate(blocks):
            q, k, v = block.attention.project(norm(x))
            k, v = context.append(i, k, v)
            x = block.finish(x, video_attention(q, k, v, self.scale, bias))
        k, v = context.append(self.spec.layers - 1, *last.attention.keys_values(norm(x)))
        context.length = n + m
        if not last_state:
            return None
        x = x[:, -1:]
        return last.finish(x, video_attention(last.attention.queries(norm(x)), k, v, self.scale, None))

    def check(self, tokens: Tensor, *, held: int = 0, values: bool = False) -> None:
        """Shapes, and on request values: on a GPU an index out of range would take the process down."""
        s = self.spec
        if tokens.ndim != 4 or tuple(tokens.shape[2:]) != (s.grid_h, s.grid_w):
            raise TokenError(f"tokens: got shape {tuple(tokens.shape)}, expected (batch, frames, {s.grid_h}, {s.grid_w})")
        if not 1 <= tokens.shape[1] <= s.frames - held:
            raise ConfigError(f"frames: got {tokens.shape[1]} after {held}, expected 1 to {s.frames - held} (the model holds {s.frames})")
        if values and tokens.device.type != "meta" and tokens.numel():
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or high >= s.vocabulary:
                raise TokenError(f"tokens: got values {low} to {high}, expected 0 to {s.vocabulary - 1}; were they made by this model's tokenizer?")


def next_token_loss(logits: Tensor, tokens: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of logits (B, N, V) for tokens (B, t, h, w): each position predicts the next, so N − 1 terms. "none" → (B, N − 1)."""
    target = rearrange(tokens, "b t h w -> b (t h w)")[:, 1:]
    return F.cross_entropy(rearrange(logits[:, :-1], "b n v -> b v n"), target, reduction=reduction)


# ------------------------------------------------------------------------------------------------------------------------------------- VaVAM


def time_embedding(time: Tensor, width: int, max_period: float) -> Tensor:
    """(…) flow times in [0, 1] → (…, width): width/2 sines, then as many cosines, of periods 2π to 2π·max_period."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=time.device, dtype=time.dtype) * (-math.log(max_period) / max(half - 1, 1)))
    angle = time[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class ActionEncoder(nn.Module):
    """Noisy waypoints, flow time and command → action tokens."""

    def __init__(self, spec: ActionSpec, *, device: torch.device | str, dtype: torch.dtype) -> None:
        super().__init__()
        e = spec.width
        self.max_period = spec.max_period
        self.action_in = nn.Linear(spec.action_dim, e, bias=False, device=device, dtype=dtype)
        self.command_embedding = nn.Embedding(spec.commands, e, device=device, dtype=dtype)
        self.waypoint_embedding = nn.Embedding(spec.horizon, e, device=device, dtype=dtype)
        self.mix = nn.Linear(2 * e, e, bias=False, device=device, dtype=dtype)  # columns: time, action
        self.out = nn.Linear(e, e, bias=False, device=device, dtype=dtype)

    def forward(self, action: Tensor, time: Tensor, command: Tensor) -> Tensor:
        """action (B, G, H, 2), time (B, G) fp32, command (B, G) → (B, G, H, e)."""
        dtype = self.action_in.weight.dtype
        x = self.action_in(action.to(dtype)) + self.command_embedding(command)[..., None, :] + self.waypoint_embedding.weight
        t = time_embedding(time, x.shape[-1], self.max_period).to(dtype)
        z = torch.cat([repeat(t, "b g e -> b g h e", h=x.shape[2]), x], dim=-1)
        tokens: Tensor = self.out(F.silu(self.mix(z)))
        return tokens


class ActionExpert(nn.Module):
    """Action tokens beside a video context → velocity of the flow."""

    def __init__(self, spec: ActionSpec, video: VideoSpec, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.scale = video.attention_scale / video.head_size
        self.encoder = ActionEncoder(spec, device=device, dtype=dtype)
        self.blocks = nn.ModuleList(Block(spec.width, video.heads, video.head_size, spec.mlp_ratio, device=device, dtype=dtype) for _ in range(video.layers))
        self.readout = nn.Linear(spec.width, spec.action_dim, bias=False, device=device, dtype=dtype)

    def hidden(self, context: Context, x: Tensor, sees_video: Tensor | None = None) -> Iterator[Tensor]:
        """The residual stream (B, G, H, e) of encoded actions x: as it enters, then after each layer. `sees_video` (G·H, n), None = everything."""
        yield x
        for i, block in enumerate(blocks_of(self.blocks)):
            q, k, v = block.attention.project(norm(x))
            x = block.finish(x, action_attention(q, k, v, *context.layer(i), self.scale, sees_video))
            yield x

    def forward(self, context: Context, action: Tensor, time: Tensor, command: Tensor, sees_video: Tensor | None = None) -> Tensor:
        """action (B, G, H, 2), time (B, G), command (B, G) → velocity (B, G, H, 2) in the dtype of `action`."""
        for x in self.hidden(context, self.encoder(action, time, command), sees_video):  # noqa: B007 (only the last is wanted)
            pass
        velocity: Tensor = self.readout(norm(x)) / self.spec.readout_divisor
        return velocity.to(action.dtype)


class VaVAM(nn.Module):
    """The driving model: `context` once per image, then `sample` K trajectories from it."""

    def __init__(self, spec: ModelSpec, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.video = VideoModel(spec.video, device=device, dtype=dtype)
        self.action = ActionExpert(spec.action, spec.video, device=device, dtype=dtype)

    def context(self, tokens: Tensor) -> Context:
        """See `VideoModel.context`."""
        return self.video.context(tokens)

    def extend(self, context: Context, tokens: Tensor) -> Context:
        """See `VideoModel.extend`."""
        return self.video.extend(context, tokens)

    def velocity(self, context: Context, action: Tensor, time: Tensor | float, command: Tensor) -> Tensor:
        """Velocity of the flow, in the shape and dtype of `action`.

        action (K, H, 2) with a context of B = 1, which all share, or of B = K; or (B, K, H, 2). time and command: (K,) or (B, K), or one for all.
        """
        grouped = self._grouped(context, action)
        lead = grouped.shape[:2]
        t = torch.as_tensor(time, device=action.device, dtype=action.dtype)
        expert: Tensor = self.action(context, grouped, _spread(t, lead, "time"), _spread(command, lead, "command"))
        return expert.reshape(action.shape)

    def sample(self, context: Context, noise: Tensor, command: Tensor, steps: int | None = None, trace: bool = False) -> Tensor:
        """Trajectories in metres (ego frame of the newest frame, waypoint i at (i + 1)·waypoint_dt_s), in the shape of `noise`, fp32.

        noise (K, H, 2) or (B, K, H, 2), standard normal fp32; command as in `velocity`. `steps`: Euler steps, None = the model's own.
        `trace`: every Euler state instead of the last, (steps, …). Same inputs, same result.
        """
        flow = self.spec.flow
        grouped = self._grouped(context, noise)
        lead = grouped.shape[:2]
        codes = _spread(command, lead, "command")
        states = euler_states(lambda x, t: self.action(context, x, t.expand(lead), codes), grouped, flow.steps if steps is None else steps)
        metres: list[Tensor] = []
        for state in states:
            bounded = state if flow.clip is None else state.clamp(-flow.clip, flow.clip)
            metres = [*(metres if trace else ()), (bounded * flow.action_scale_m).reshape(noise.shape)]
        return torch.stack(metres) if trace else metres[0]

    def training_velocity(self, tokens: Tensor, noisy: Tensor, time: Tensor, command: Tensor, detach_video: bool = True) -> Tensor:
        """tokens (B, T, h, w), noisy (B, T, H, 2), time (B, T), command (B, T) → velocity (B, T, H, 2): one plan per frame, each from its past.

        With n·T plans (the axis that goes through the frames n times over) each frame gets n of them.

        # vs upstream: the video is detached by default. It is frozen there too, but stays in the autograd graph: same gradients at twice the work.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_video):
            context = self.video.context(tokens)
        return self.velocity_of_frames(context, noisy, time, command)

    def velocity_of_frames(self, context: Context, noisy: Tensor, time: Tensor, command: Tensor) -> Tensor:
        """`training_velocity` beside a context of whole windows."""
        v, a = self.spec.video, self.spec.action
        sees_video = action_mask(context.frames, v.tokens_per_frame, a.horizon, device=noisy.device)
        sees_video = sees_video.repeat(noisy.shape[1] // context.frames, 1)
        velocity: Tensor = self.action(context, noisy, time, command, sees_video)
        return velocity

    def action_loss(self, tokens: Tensor, positions_m: Tensor, noise: Tensor, time: Tensor, command: Tensor, detach_video: bool = True) -> Tensor:
        """Mean squared error of the velocity. positions_m, noise (B, T, H, 2); the rest as `training_velocity`."""
        flow = self.spec.flow
        data = positions_m / flow.action_scale_m
        velocity = self.training_velocity(tokens, interpolant(noise, data, time, flow.sigma_min), time, command, detach_video)
        return F.mse_loss(velocity, target_velocity(noise, data, flow.sigma_min))

    def _grouped(self, context: Context, action: Tensor) -> Tensor:
        """(K, H, 2) → (1, K, H, 2) or (K, 1, H, 2), after the context's batch; (B, K, H, 2) as it is."""
        b, tail = context.batch, (self.spec.action.horizon, self.spec.action.action_dim)
        grouped = action
        if action.ndim == 3:
            grouped = action.unsqueeze(0 if b == 1 else 1)
        if grouped.ndim != 4 or grouped.shape[0] != b or grouped.shape[2:] != tail:
            raise ConfigError(f"actions: got shape {tuple(action.shape)} for a context of {b}, expected (K, *{tail}) or ({b}, K, *{tail})")
        return grouped


def _spread(x: Tensor, lead: torch.Size, what: str) -> Tensor:
    """One value, or one per group, as (B, G)."""
    if x.numel() not in (1, lead.numel()):
        raise ConfigError(f"{what}: got shape {tuple(x.shape)}, expected one value or one for each of {lead.numel()} trajectories")
    return x.reshape(lead) if x.numel() == lead.numel() else x.reshape(1, 1).expand(lead)
