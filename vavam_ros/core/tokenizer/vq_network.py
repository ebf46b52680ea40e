"""Encoder and decoder of the VQ-16 tokenizer, and their sizes.

Network of LlamaGen (arXiv 2406.06525; FoundationVision/LlamaGen, VQ-16). Module names are those of its state_dict, so that its files load
without renaming. Sizes come from `TokenizerSpec`, never from constants.

Shape letters: B batch · H W picture in pixels · h w token grid = H/16 W/16 · C channels · Z latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vavam_ros.core.contracts import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSpec:
    """Sizes of a VQ tokenizer. Multipliers are listed from full resolution to the token grid, for the decoder too."""

    channels: int = 128
    encoder_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    decoder_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    res_blocks: int = 2  # per level of the encoder; the decoder has one more
    latent: int = 256
    codebook_size: int = 16384
    code_dim: int = 8
    groups: int = 32
    eps: float = 1e-6
    image_hw: tuple[int, int] = (288, 512)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not all(v > 0 for v in (value if isinstance(value, tuple) else (value,))):
                raise ConfigError(f"tokenizer.{f.name}: got {value}, expected positive numbers")
        if len(self.encoder_multipliers) != len(self.decoder_multipliers):
            raise ConfigError(
                f"tokenizer: {len(self.encoder_multipliers)} encoder levels but {len(self.decoder_multipliers)} decoder levels; they must be equal"
            )
        if self.codebook_size > 65536:
            raise ConfigError(f"tokenizer.codebook_size: got {self.codebook_size}, expected at most 65536 (tokens travel as uint16)")
        if self.channels % self.groups:
            raise ConfigError(f"tokenizer.channels {self.channels} is not a multiple of tokenizer.groups {self.groups}")
        if len(tuple(self.image_hw)) != 2 or any(n % self.stride for n in self.image_hw):
            raise ConfigError(f"tokenizer.image_hw: got {self.image_hw}, expected (height, width) in multiples of {self.stride}")

    @property
    def stride(self) -> int:
        """Pixels per token along each axis; 16 for five levels."""
        return int(2 ** (len(self.encoder_multipliers) - 1))

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(h, w) of a picture of the nominal size."""
        return self.image_hw[0] // self.stride, self.image_hw[1] // self.stride

    def to_dict(self) -> dict[str, Any]:
        """Plain types for YAML and JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TokenizerSpec:
        """Inverse of `to_dict`. Raises ConfigError on a missing or unknown key."""
        names = {f.name for f in fields(cls)}
        if set(d) != names:
            raise ConfigError(f"tokenizer specification: missing {sorted(names - set(d))}, unknown {sorted(set(d) - names)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
        return cls(**values)


VQ16_RELEASED = TokenizerSpec()
# The size that fits a control loop on one CPU core; goes with spec.SMALL.
VQ16_SMALL = TokenizerSpec(
    channels=16,
    encoder_multipliers=(1, 2, 2, 4, 4),
    decoder_multipliers=(1, 2, 2, 4, 4),
    res_blocks=1,
    latent=64,
    codebook_size=1024,
    groups=8,
    image_hw=(144, 256),
)


class LayerFactory:
    """Makes layers with an explicit device and dtype."""

    def __init__(self, spec: TokenizerSpec, device: torch.device | str, dtype: torch.dtype) -> None:
        self.spec, self.device, self.dtype = spec, device, dtype

    def conv(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
        """A convolution that keeps the size unless told otherwise."""
        pad = kernel // 2 if padding is None else padding
        return nn.Conv2d(c_in, c_out, kernel, stride, pad, device=self.device, dtype=self.dtype)

    def norm(self, channels: int) -> nn.GroupNorm:
        """Group norm with an affine map per channel."""
        return nn.GroupNorm(self.spec.groups, channels, eps=self.spec.eps, device=self.device, dtype=self.dtype)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1×1 convolution on the short cut where the width changes."""

    def __init__(self, make: LayerFactory, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = make.norm(c_in), make.conv(c_in, c_out)
        self.norm2, self.conv2 = make.norm(c_out), make.conv(c_out, c_out)
        if c_in != c_out:
            self.nin_shortcut = make.conv(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) → (B, c_out, H, W)."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        short: Tensor = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        out: Tensor = short + y
        return out


class AttnBlock(nn.Module):
    """x + one head of self-attention, as wide as the channels, over all positions."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.norm = make.norm(channels)
        self.q, self.k, self.v, self.proj_out = (make.conv(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        y = self.norm(x)
        q, k, v = (rearrange(f(y), "b c h w -> b 1 (h w) c") for f in (self.q, self.k, self.v))
        y = rearrange(F.scaled_dot_product_attention(q, k, v), "b 1 (h w) c -> b c h w", h=x.shape[2])
        out: Tensor = x + self.proj_out(y)
        return out


class Downsample(nn.Module):
    """Halves the picture. Pads on the right and at the bottom only, unlike a padded convolution."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.conv = make.conv(channels, channels, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H/2, W/2)."""
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return y


class Upsample(nn.Module):
    """Doubles the picture: nearest neighbour, then a convolution."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.conv = make.conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, 2H, 2W)."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class Level(nn.Module):
    """Residual blocks of one resolution, attention where the grid is smallest, then the change of resolution."""

    def __init__(self, make: LayerFactory, c_in: int, c_out: int, blocks: int, *, attend: bool, resample: str | None) -> None:
        super().__init__()
        self.res = nn.ModuleList(ResBlock(make, c_in if i == 0 else c_out, c_out) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(make, c_out) for _ in range(blocks if attend else 0))
        if resample == "down":
            self.downsample = Downsample(make, c_out)
        elif resample == "up":
            self.upsample = Upsample(make, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) → (B, c_out, H', W')."""
        for i, res in enumerate(self.res):
            x = res(x)
            if i < len(self.attn):
                x = self.attn[i](x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


def _middle(make: LayerFactory, channels: int) -> nn.ModuleList:
    return nn.ModuleList([ResBlock(make, channels, channels), AttnBlock(make, channels), ResBlock(make, channels, channels)])


class Encoder(nn.Module):
    """Picture → latent, from full resolution down to the token grid."""

    def __init__(self, make: LayerFactory) -> None:
        super().__init__()
        s = make.spec
        widths = [s.channels * m for m in s.encoder_multipliers]
        last = len(widths) - 1
        self.conv_in = make.conv(3, s.channels)
        self.conv_blocks = nn.ModuleList(
            Level(make, widths[i - 1] if i else s.channels, c, s.res_blocks, attend=i == last, resample="down" if i < last else None)
            for i, c in enumerate(widths)
        )
        self.mid = _middle(make, widths[-1])
        self.norm_out, self.conv_out = make.norm(widths[-1]), make.conv(widths[-1], s.latent)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, Z, h, w)."""
        x = self.conv_in(x)
        for block in (*self.conv_blocks, *self.mid):
            x = block(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class Decoder(nn.Module):
    """Latent → picture; block 0 is the lowest resolution."""

    def __init__(self, make: LayerFactory) -> None:
        super().__init__()
        s = make.spec
        widths = [s.channels * m for m in reversed(s.decoder_multipliers)]
        last = len(widths) - 1
        self.conv_in = make.conv(s.latent, widths[0])
        self.mid = _middle(make, widths[0])
        self.conv_blocks = nn.ModuleList(
            Level(make, widths[max(i - 1, 0)], c, s.res_blocks + 1, attend=i == 0, resample="up" if i < last else None) for i, c in enumerate(widths)
        )
        self.norm_out, self.conv_out = make.norm(widths[-1]), make.conv(widths[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Z, h, w) → (B, 3, H, W)."""
        x = self.conv_in(x)
        for block in (*self.mid, *self.conv_blocks):
            x = block(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y
