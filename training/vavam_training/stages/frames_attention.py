"""Attention of many plans a frame to one video context, for training on a CPU.

The core's `action_attention` holds the scores of all plans against all frames and masks those that a plan must not see: most of a training step's time
where each frame has many plans. Here each frame's plans read the frames up to theirs by torch's fused attention, which holds no scores. Its softmax knows
only the video's keys; the plan's own waypoints are joined to it by the sum of exponentials (log-sum-exp) of both, and with the joined sum the fused backward
pass gives the joined softmax's gradients (the step that makes attention over pieces exact; Liu et al., Ring Attention, arXiv 2310.01889).

Shape letters as in vavam_ros.core.model.network; P plans a frame, R = P·H rows a frame.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from vavam_ros.core.model import Context, VaVAM
from vavam_ros.core.model.network import blocks_of, norm

_FUSED: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def available(device: torch.device) -> bool:
    """On a CPU in full precision, with a torch that has the fused attention (which also gives the sum of exponentials) under this name."""
    return device.type == "cpu" and _FUSED is not None and not torch.is_autocast_enabled("cpu")


class _FramesAttention(torch.autograd.Function):
    """q, k, v (B, T, P, A, H, D) of the plans, context_k, context_v (B, A, T·S, D) → (B, T, P, A, H, D)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, context_k: Tensor, context_v: Tensor, scale: float) -> Tensor:
        frames, plans = q.shape[1:3]
        s = context_k.shape[2] // frames
        from_video, video_lse = torch.empty_like(q), q.new_empty(q.shape[:-1])
        for f in range(frames):
            rows = rearrange(q[:, f], "b p a h d -> b a (p h) d")
            out, lse = _FUSED(rows, context_k[:, :, : (f + 1) * s], context_v[:, :, : (f + 1) * s], 0.0, False, scale=scale)
            from_video[:, f] = rearrange(out, "b a (p h) d -> b p a h d", p=plans)
            video_lse[:, f] = rearrange(lse, "b a (p h) -> b p a h", p=plans)
        own = (q @ k.mT) * scale
        lse = torch.logaddexp(video_lse, own.logsumexp(dim=-1))
        out = from_video * (video_lse - lse).exp()[..., None] + (own - lse[..., None]).exp() @ v
        ctx.save_for_backward(q, k, v, context_k, context_v, out, lse)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, context_k, context_v, out, lse = ctx.saved_tensors
        scale, frames, plans = ctx.scale, q.shape[1], q.shape[2]
        s = context_k.shape[2] // frames
        p = ((q @ k.mT) * scale - lse[..., None]).exp()
        scores = p * (grad @ v.mT - (grad * out).sum(dim=-1, keepdim=True)) * scale
        grad_q, grad_k, grad_v = scores @ k, scores.mT @ q, p.mT @ grad
        to_k, to_v = torch.zeros_like(context_k), torch.zeros_like(context_v)
        flat_k, flat_v, add_k, add_v = (rearrange(x, "b a n d -> (b a) n d") for x in (context_k, context_v, to_k, to_v))
        for f in range(frames):
            rows, rows_out, rows_grad = (rearrange(x[:, f], "b p a h d -> (b a) (p h) d") for x in (q, out, grad))
            rows_lse = rearrange(lse[:, f], "b p a h -> (b a) (p h) 1")
            n = (f + 1) * s
            k_f, v_f = flat_k[:, :n], flat_v[:, :n]
            p = torch.baddbmm(rows_lse, rows, k_f.mT, beta=-1.0, alpha=scale).exp_()
            add_v[:, :n].baddbmm_(p.mT, rows_grad)
            scores = torch.baddbmm((rows_grad * rows_out).sum(dim=-1, keepdim=True), rows_grad, v_f.mT, beta=-1.0).mul_(p)
            grad_q[:, f] += rearrange(torch.bmm(scores, k_f), "(b a) (p h) d -> b p a h d", p=plans, a=q.shape[3]).mul_(scale)
            add_k[:, :n].baddbmm_(scores.mT, rows, alpha=scale)
        return grad_q, grad_k, grad_v, to_k, to_v, None


def velocity_of_frames(model: VaVAM, context: Context, noisy: Tensor, time: Tensor, command: Tensor) -> Tensor:
    """As `VaVAM.velocity_of_frames` (equal up to rounding), on a CPU where `available`. noisy (B, P·T, H, 2), frames fastest; time, command (B, P·T)."""
    expert, t = model.action, context.frames
    x = rearrange(expert.encoder(noisy, time, command), "b (p t) h e -> b t p h e", t=t)
    for i, block in enumerate(blocks_of(expert.blocks)):
        q, k, v = block.attention.project(norm(x))  # (B, T, P, A, H, D)
        attended: Tensor = _FramesAttention.apply(q, k, v, *context.layer(i), expert.scale)  # type: ignore[no-untyped-call]
        x = block.finish(x, rearrange(attended, "b t p a h d -> b t p h (a d)"))
    velocity: Tensor = expert.readout(norm(x)) / expert.spec.readout_divisor
    return rearrange(velocity, "b t p h two -> b (p t) h two").to(noisy.dtype)
