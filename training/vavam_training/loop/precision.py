"""Which precision trains fastest on this machine."""

from __future__ import annotations

from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
UNITS, INSTRUCTIONS = "amx_bf16", "avx512_bf16"  # CPUs without either imitate it, slowly


def fastest_precision(*, convolutions: bool = False, cpu: bool = False) -> str:
    """`loop.precision` of recipes: bf16 with a GPU (unless it is the `cpu` that trains) or AMX;
    for transformers also with the mere instructions (a fifth to a half faster, decision 0014).

    With those, convolutions gained nothing: 980 to 1,031 tokens/s in bf16 and 924 to 1,045 in fp32, recipe tokenizer.yaml in crops, one EPYC thread.
    """
    flags = CPUINFO.read_text(encoding="utf-8").split() if CPUINFO.exists() else []
    fast = (torch.cuda.is_available() and not cpu) or UNITS in flags or (INSTRUCTIONS in flags and not convolutions)
    return "bf16" if fast else "fp32"
