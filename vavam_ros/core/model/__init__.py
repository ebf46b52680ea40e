"""VaViM and VaVAM: the network, readable (network), its keys and values (kv_context), flow matching (flow), frame generation (generate), random weights."""

from vavam_ros.core.model.network import ActionExpert, Context, VaVAM, VideoModel, init_weights, next_token_loss

__all__ = ["ActionExpert", "Context", "VaVAM", "VideoModel", "init_weights", "next_token_loss"]
