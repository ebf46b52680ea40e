"""A model that was trained on short windows goes on with longer ones: what a picture shows is learned sooner where attention is short."""

from __future__ import annotations

from dataclasses import replace

import torch

from vavam_ros.core.model import VaVAM, VideoModel
from vavam_ros.core.spec import VideoSpec


@torch.no_grad()
def for_frames(model: VaVAM | VideoModel, frames: int) -> VaVAM | VideoModel:
    """The same weights in a model of `frames` frames, as many or more. Windows up to the old length give what they gave.

    New frames' embeddings begin as the last one's: the frame that plans were made from."""
    video = model.spec.video if isinstance(model, VaVAM) else model.spec
    if frames <= video.frames:
        return model
    longer: VideoSpec = replace(video, frames=frames)
    made = VaVAM(replace(model.spec, video=longer), device="cpu") if isinstance(model, VaVAM) else VideoModel(longer, device="cpu")
    weights = dict(model.state_dict())
    name = next(n for n in weights if n.endswith("frame_embedding.weight"))
    weights[name] = torch.cat([weights[name], weights[name][-1:].expand(frames - video.frames, -1)])
    made.load_state_dict(weights)
    return made
