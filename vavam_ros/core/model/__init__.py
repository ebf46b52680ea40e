"""VaViM and VaVAM: the network, readable (network), its keys and values (kv_context), flow matching (flow), frame generation (generate), random weights;
the same network for a planner that runs again and again (fast), which contexts it keeps (contexts), on how many CPU threads
(cpu_threads), and how a sliding window is kept up (streaming)."""

from vavam_ros.core.model.network import ActionExpert, Context, VaVAM, VideoModel, init_weights, next_token_loss

__all__ = ["ActionExpert", "Context", "VaVAM", "VideoModel", "init_weights", "next_token_loss"]
