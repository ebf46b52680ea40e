"""PatchGAN (pix2pix, arXiv 1611.07004): true or made, patch by patch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """(B, 3, H, W) → (B, 1, H/8 − 2, W/8 − 2) logits. Parameter names as in LlamaGen's checkpoints (`main.<i>`)."""

    def __init__(self, width: int = 64, layers: int = 3, *, device: torch.device | str) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, device=device), nn.LeakyReLU(0.2)]
        before = width
        for i in range(1, layers + 1):
            after = width * min(2**i, 8)
            stride = 2 if i < layers else 1
            parts += [nn.Conv2d(before, after, 4, stride, 1, bias=False, device=device), nn.BatchNorm2d(after, device=device), nn.LeakyReLU(0.2)]
            before = after
        parts.append(nn.Conv2d(before, 1, 4, 1, 1, device=device))
        self.main = nn.Sequential(*parts)

    def forward(self, images: Tensor) -> Tensor:
        """Logits; positive: true."""
        y: Tensor = self.main(images)
        return y


@torch.no_grad()
def init_discriminator(net: PatchDiscriminator, generator: torch.Generator) -> None:
    """Convolutions N(0, 0.02), scales of the batch norms N(1, 0.02), biases as they are made by zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.copy_(0.02 * torch.randn(module.weight.shape, generator=generator, device=generator.device))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.copy_(1.0 + 0.02 * torch.randn(module.weight.shape, generator=generator, device=generator.device))
            module.bias.zero_()
