"""VQ-16: pictures to tokens and back, natively.

The tokenizer that VaVAM uses (LlamaGen VQ-16, arXiv 2406.06525): encoder and decoder of vq_network.py around a codebook searched by cosine.

Shape letters: B batch · H W picture in pixels · h w token grid = H/16 W/16 · Z latent · D code width · K codes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vavam_ros.core.contracts import TokenError
from vavam_ros.core.tokenizer.vq_network import VQ16_RELEASED, VQ16_SMALL, Decoder, Encoder, LayerFactory, TokenizerSpec

__all__ = ["VQ16", "VQ16_RELEASED", "VQ16_SMALL", "FrameTokenizer", "Quantizer", "TokenizerSpec", "check_codes", "tokenizer_identity"]

SEARCH_ROWS = 4096  # latents compared with the codebook at a time: 256 MiB of scores for 16384 codes
DROPPED_BUFFERS = ("quantize.codebook_used",)  # usage history of training; says nothing about the codes


class FrameTokenizer(Protocol):
    """What the pipeline needs of a tokenizer."""

    spec: TokenizerSpec
    tokenizer_id: str

    @property
    def codebook_size(self) -> int:
        """Codes run from 0 to codebook_size − 1."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → int64 (B, h, w)."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Integer (B, h, w) → (B, 3, H, W), about [-1, 1], not clamped."""
        ...


class Quantizer(nn.Module):
    """Nearest unit code by cosine. Codebook and search stay fp32 whatever the network runs in: in bf16 the scores tie (7 % of codes change)."""

    def __init__(self, spec: TokenizerSpec, device: torch.device | str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.codebook_size, spec.code_dim, device=device, dtype=torch.float32)
        self._unit: tuple[tuple[int, int], Tensor] | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> Quantizer:
        """Follow a move to another device, but not a cast of the network."""
        exact = self.embedding.weight.detach()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._unit = None
        if (weight := self.embedding.weight).dtype != torch.float32:
            weight.data = exact.to(device=weight.device)
        return self

    def unit_codebook(self) -> Tensor:
        """(K, D) fp32 rows of unit length; differentiable while the codebook trains, else normalised once per set of weights."""
        weight = self.embedding.weight
        if weight.requires_grad and torch.is_grad_enabled():
            return F.normalize(weight, dim=1)
        key = (weight.data_ptr() if weight.device.type != "meta" else 0, 0 if weight.is_inference() else weight._version)
        if self._unit is None or self._unit[0] != key:
            with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not enter a later training step
                self._unit = key, F.normalize(weight.detach(), dim=1)
        return self._unit[1]

    def search(self, pre_quant: Tensor) -> Tensor:
        """(B, D, h, w) latents of any length → int64 (B, h, w) codes."""
        with torch.no_grad(), _full_precision(pre_quant):
            z = F.normalize(rearrange(pre_quant.float(), "b d h w -> (b h w) d"), dim=1)
            book = self.unit_codebook().t()
            codes = torch.cat([(rows @ book).argmax(dim=1) for rows in torch.split(z, SEARCH_ROWS)])
        return codes.reshape(pre_quant.shape[0], *pre_quant.shape[2:])

    def lookup(self, codes: Tensor) -> Tensor:
        """Integer (B, h, w) → (B, D, h, w) unit code vectors, fp32."""
        return rearrange(self.unit_codebook()[codes.long()], "b h w d -> b d h w")

    def straight_through(self, pre_quant: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, h, w) → code vectors whose gradient goes to the unit latent, and int64 codes (B, h, w)."""
        codes = self.search(pre_quant)
        z = F.normalize(pre_quant.float(), dim=1)
        return z + (self.lookup(codes) - z).detach(), codes


def _full_precision(x: Tensor) -> torch.autocast | torch.no_grad:
    """Context without autocast on the device of x (`meta` has none to switch off)."""
    return torch.autocast(x.device.type, enabled=False) if x.device.type in ("cpu", "cuda") else torch.no_grad()


class VQ16(nn.Module):
    """The tokenizer. `tokenizer_id` is set by whoever loads weights; while it is empty its tokens belong to no tokenizer."""

    def __init__(self, spec: TokenizerSpec, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        make = LayerFactory(spec, device, dtype)
        self.spec, self.tokenizer_id = spec, ""
        self.encoder, self.decoder, self.quantize = Encoder(make), Decoder(make), Quantizer(spec, device)
        self.quant_conv, self.post_quant_conv = make.conv(spec.latent, spec.code_dim, 1), make.conv(spec.code_dim, spec.latent, 1)

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.spec.codebook_size

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the network; codebook and search are fp32 in any case."""
        return self.quant_conv.weight.dtype

    @property
    def memory_format(self) -> torch.memory_format:
        """Order of the axes in memory: channels last in half precision, up to 2.5 × faster on a CPU.

        Not in fp32, where it gains little and torch's group norm of that order sums naively: ten times the rounding error at full size.
        """
        return torch.contiguous_format if self.dtype.itemsize >= 4 else torch.channels_last

    def cast(self, dtype: torch.dtype) -> VQ16:
        """Cast the network (not the codebook) in place, and lay it out for that number format."""
        self.to(dtype)
        return self.to(memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]

    def latents(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → (B, D, h, w), before normalisation. Raises TokenError on another layout."""
        stride = self.spec.stride
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or min(images.shape) < 1:
            raise TokenError(f"got a picture {tuple(images.shape)} {images.dtype}, expected floating point (B, 3, H, W) in [-1, 1]")
        if images.shape[2] % stride or images.shape[3] % stride:
            raise TokenError(f"got a picture of {images.shape[2]}x{images.shape[3]} pixels, expected multiples of {stride}: resize or warp it first")
        x = images.to(self.dtype).contiguous(memory_format=self.memory_format)
        y: Tensor = self.quant_conv(self.encoder(x))
        return y

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → int64 (B, h, w). Raises TokenError on another layout or latents that are not finite."""
        pre_quant = self.latents(images)
        if pre_quant.device.type != "meta" and not bool(torch.isfinite(pre_quant).all()):
            raise TokenError(f"the latents are not finite in {self.dtype}: the picture has NaN, or the weights overflow; use float32 or bfloat16")
        return self.quantize.search(pre_quant)

    def decode(self, codes: Tensor) -> Tensor:
        """Integer (B, h, w), any grid → (B, 3, H, W), about [-1, 1], not clamped. Raises TokenError on a code outside the codebook."""
        check_codes(codes, self.codebook_size)
        return self.expand(self.quantize.lookup(codes))

    def expand(self, quantized: Tensor) -> Tensor:
        """(B, D, h, w) code vectors → (B, 3, H, W)."""
        x = self.post_quant_conv(quantized.to(self.dtype).contiguous(memory_format=self.memory_format))
        y: Tensor = self.decoder(x)
        return y

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruction (B, 3, H, W), differentiable straight through the quantiser."""
        quantized, _ = self.quantize.straight_through(self.latents(images))
        return self.expand(quantized)


def check_codes(codes: Tensor, codebook_size: int, grid_hw: tuple[int, int] | None = None) -> None:
    """Raise TokenError unless codes are integers (B, h, w) in [0, codebook_size), on the grid if one is given."""
    if codes.ndim != 3 or codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool or not codes.numel():
        raise TokenError(f"got tokens {tuple(codes.shape)} {codes.dtype}, expected integers (B, h, w)")
    if grid_hw is not None and tuple(codes.shape[1:]) != grid_hw:
        raise TokenError(f"got a token grid {tuple(codes.shape[1:])}, expected {grid_hw}: the tokens come from another picture size")
    if codes.device.type == "meta":
        return
    low, high = codes.aminmax()
    if int(low) < 0 or int(high) >= codebook_size:
        raise TokenError(f"got tokens from {int(low)} to {int(high)}, expected 0 to {codebook_size - 1}: they come from another tokenizer")


def tokenizer_identity(state_dict: Mapping[str, Tensor], spec: TokenizerSpec) -> str:
    """Name of what the codes mean: a hash over sizes (not the picture size) and fp32 weights, independent of key order and device."""
    sizes = {k: v for k, v in spec.to_dict().items() if k != "image_hw"}
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    for name in sorted(set(state_dict) - set(DROPPED_BUFFERS)):
        tensor = state_dict[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"vq16-{digest.hexdigest()[:16]}"
