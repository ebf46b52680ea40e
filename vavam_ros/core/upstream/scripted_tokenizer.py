"""Upstream's TorchScript tokenizer as it is, for comparing the native one with it.

This runs the program inside the files. Parity tools use it when someone asks for it by name; nodes and `vavam convert` never do.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vavam_ros.core.contracts import ArtifactError
from vavam_ros.core.tokenizer.vq16 import TokenizerSpec, check_codes


class ScriptedTokenizer:
    """Encoder and decoder .jit as a FrameTokenizer. Executes what the files contain."""

    def __init__(self, encoder: Path | str, decoder: Path | str, spec: TokenizerSpec, *, device: torch.device | str) -> None:
        self.spec, self.tokenizer_id, self._device = spec, "torchscript", torch.device(device)
        try:
            self._encoder = torch.jit.load(str(encoder), map_location=self._device).eval()  # type: ignore[no-untyped-call]
            self._decoder = torch.jit.load(str(decoder), map_location=self._device).eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as e:
            raise ArtifactError(f"cannot run {encoder} and {decoder} as TorchScript ({str(e).splitlines()[0]})") from e

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.spec.codebook_size

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → int64 (B, h, w)."""
        codes: Tensor = self._encoder(images.to(self._device))
        return codes.long().reshape(images.shape[0], images.shape[2] // self.spec.stride, images.shape[3] // self.spec.stride)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Integer (B, h, w) → (B, 3, H, W)."""
        check_codes(codes, self.codebook_size)
        picture: Tensor = self._decoder(codes.to(self._device).long())
        return picture
