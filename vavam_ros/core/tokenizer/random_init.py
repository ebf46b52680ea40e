"""Random weights for a tokenizer whose tokens still depend on the picture.

With a framework's usual initialisation every picture falls on one or two codes, and nothing downstream would be exercised.
"""

from __future__ import annotations

import torch
from torch import nn

from vavam_ros.core.tokenizer.vq16 import VQ16


@torch.no_grad()
def init_tokenizer(tokenizer: VQ16, generator: torch.Generator) -> None:
    """Fill all weights from the (CPU) generator, then centre and scale the latents of a noise picture. Same generator, same weights."""
    for module in tokenizer.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator, device="cpu") * fan_in**-0.5)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.GroupNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator, device="cpu"))
    weight = tokenizer.quant_conv.weight
    noise = torch.rand(1, 3, *tokenizer.spec.image_hw, generator=generator, device="cpu") * 2 - 1
    latents = tokenizer.latents(noise.to(weight.device)).float()
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)).clamp_min(1e-6)
    bias = tokenizer.quant_conv.bias
    assert bias is not None  # every convolution of this network has one
    weight.div_(std[:, None, None, None])
    bias.sub_(mean).div_(std)
