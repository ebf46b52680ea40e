"""Floating point operations of training, counted from the specification."""

from __future__ import annotations

from vavam_ros.core.spec import ModelSpec, VideoSpec


def video_forward_flops(spec: VideoSpec, frames: int, *, readout: bool = True) -> float:
    """Forward of one window: matrices, causal attention (half of the square), and the readout."""
    n, d = frames * spec.tokens_per_frame, spec.width
    per_layer = n * 2.0 * d * d * (4 + 2 * spec.mlp_ratio) + 2.0 * n * n * d
    return spec.layers * per_layer + (2.0 * n * d * spec.vocabulary if readout else 0.0)


def video_context_flops(spec: VideoSpec, frames: int) -> float:
    """Forward of one window as far as the expert reads it: of the last layer only keys and values, no readout."""
    n, d = frames * spec.tokens_per_frame, spec.width
    return video_forward_flops(spec, frames, readout=False) * (spec.layers - 1) / spec.layers + n * 2.0 * d * d * 2


def action_forward_flops(spec: ModelSpec, frames: int) -> float:
    """Forward of the expert over all frames of one window: `frames` groups of H tokens that attend to the frames up to theirs."""
    a, v = spec.action, spec.video
    rows, d, e = frames * a.horizon, v.width, a.width
    matrices = rows * 2.0 * (4 * d * e + 2 * a.mlp_ratio * e * e)
    attention = 4.0 * rows * (frames * v.tokens_per_frame + a.horizon) * d
    return v.layers * (matrices + attention)
