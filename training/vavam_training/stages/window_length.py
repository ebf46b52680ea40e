"""A model that was trained on windows of one length goes on with others: what a picture shows is learned sooner where attention is short."""

from __future__ import annotations

from dataclasses import replace

import torch

from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.spec import VideoSpec


@torch.no_grad()
def for_frames(model: VaVAM | VideoModel, frames: int) -> VaVAM | VideoModel:
    """The same weights in a model of `frames` frames. Windows up to the shorter of both lengths give what they gave.

    New frames' embeddings begin as the last one's: the frame that plans were made from. Those of frames that are gone are dropped: they come last."""
    video = model.spec.video if isinstance(model, VaVAM) else model.spec
    if frames == video.frames:
        return model
    other: VideoSpec = replace(video, frames=frames)
    made = VaVAM(replace(model.spec, video=other), device="cpu") if isinstance(model, VaVAM) else VideoModel(other, device="cpu")
    weights = dict(model.state_dict())
    name = next(n for n in weights if n.endswith("frame_embedding.weight"))
    held = weights[name][:frames]
    weights[name] = torch.cat([held, held[-1:].expand(frames - len(held), -1)])
    made.load_state_dict(weights)
    return made
