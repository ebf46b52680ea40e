"""The precision is read off what the machine can multiply."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vavam_training.loop import precision


@pytest.mark.parametrize(
    ("flags", "transformers", "convolutions"),
    [
        ("fpu avx512f avx512_bf16", "bf16", "fp32"),
        ("fpu amx_bf16 amx_tile", "bf16", "bf16"),
        ("fpu avx2 avx512f", "fp32", "fp32"),
        ("fpu not_amx_bf16_at_all", "fp32", "fp32"),
        (None, "fp32", "fp32"),
    ],
)
def test_bf16_only_where_it_gains(flags: str | None, transformers: str, convolutions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert precision.fastest_precision() == transformers
    assert precision.fastest_precision(convolutions=True) == convolutions
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert precision.fastest_precision() == precision.fastest_precision(convolutions=True) == "bf16"
