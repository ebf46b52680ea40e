"""In which number format each network runs."""

from __future__ import annotations

from typing import NamedTuple

import torch

from vavam_ros.core.contracts import ConfigError

AUTO = "auto"
NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class NumberFormat(NamedTuple):
    """Of the driving model and of the tokenizer."""

    model: torch.dtype
    tokenizer: torch.dtype

    @property
    def text(self) -> str:
        """For logs and reports: one word where both are the same."""
        model, tokenizer = (str(of).removeprefix("torch.") for of in self)
        return model if model == tokenizer else f"{model}, tokenizer {tokenizer}"


def number_format(asked: str, device: torch.device) -> NumberFormat:
    """`asked` for both; auto: bfloat16 for the driving model on a GPU that computes it, float32 for all else. Raises ConfigError for another word.

    The tokenizer stays float32: in bfloat16 a few tokens of a hundred are others, which moves a plan further than the model's own rounding does
    (docs/results/precision.md). What that costs on a GPU has not been measured.
    """
    if asked == AUTO:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return NumberFormat(model=torch.bfloat16 if fast else torch.float32, tokenizer=torch.float32)
    if asked not in NUMBER_FORMATS:
        raise ConfigError(f"dtype: got {asked!r}, expected {AUTO}, {', '.join(NUMBER_FORMATS)}")
    return NumberFormat(model=NUMBER_FORMATS[asked], tokenizer=NUMBER_FORMATS[asked])
