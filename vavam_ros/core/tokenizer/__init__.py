"""Picture → tokens: LlamaGen's VQ-16, natively (vq16), its layers (vq_network), random weights for demos and tests (random_init)."""

from vavam_ros.core.tokenizer.vq16 import VQ16, VQ16_RELEASED, VQ16_SMALL, FrameTokenizer, check_codes, tokenizer_identity
from vavam_ros.core.tokenizer.vq_network import TokenizerSpec

__all__ = ["VQ16", "VQ16_RELEASED", "VQ16_SMALL", "FrameTokenizer", "TokenizerSpec", "check_codes", "tokenizer_identity"]
