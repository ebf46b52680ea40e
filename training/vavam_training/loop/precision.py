"""Which precision trains fastest on this machine."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
GPU = Path("/dev/nvidia0")
BF16_FLAGS = ("amx_bf16", "avx512_bf16")  # instructions that multiply it; any other CPU imitates it, slowly


def fastest_precision() -> str:
    """`loop.precision` of recipes: bf16 with a GPU, or a CPU that multiplies it; else fp32. Without AMX it gains a fifth to a half (docs/decisions/0014)."""
    flags = CPUINFO.read_text(encoding="utf-8").split() if CPUINFO.exists() else []
    return "bf16" if GPU.exists() or any(flag in flags for flag in BF16_FLAGS) else "fp32"
