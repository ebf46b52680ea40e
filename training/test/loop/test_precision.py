"""The precision is read off what the machine can multiply."""

from __future__ import annotations

from pathlib import Path

import pytest

from vavam_training.loop import precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", "bf16"), ("fpu amx_bf16 amx_tile", "bf16"), ("fpu avx2 avx512f", "fp32"), ("fpu not_amx_bf16_at_all", "fp32"), (None, "fp32")],
)
def test_bf16_only_where_it_is_multiplied(flags: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "GPU", tmp_path / "nvidia0")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert precision.fastest_precision() == expected
    (tmp_path / "nvidia0").touch()
    assert precision.fastest_precision() == "bf16"
