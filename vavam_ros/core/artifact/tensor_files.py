"""Strict reading and atomic writing of safetensors files: what is missing, unexpected, misshapen or not finite is named, never skipped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vavam_ros.core.contracts import ArtifactError

HALVES = (torch.float16, torch.bfloat16)
_SHOWN = 6  # names listed in a message before "and n more"


def listed(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    first = ", ".join(sorted(names)[:_SHOWN])
    return first if len(names) <= _SHOWN else f"{first} and {len(names) - _SHOWN} more"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write CPU copies of the tensors under a temporary name, then rename: a reader never sees half a file. Same tensors, same bytes."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(save({name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path, *, drop: Collection[str] = ()) -> dict[str, Tensor]:
    """Every tensor of a file, on the CPU. Raises ArtifactError on a missing or truncated file."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the model directory is incomplete, copy or convert it again")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as f:
            return {name: f.get_tensor(name) for name in f.keys() if name not in drop}  # noqa: SIM118 (f is no mapping)
    except (SafetensorError, OSError) as e:
        raise ArtifactError(f"{path} ({path.stat().st_size} bytes) is truncated or not a safetensors file ({e}): copy or convert it again") from e


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes, without reading the values. Raises ArtifactError."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the model directory is incomplete, copy or convert it again")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as f:
            return {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}  # noqa: SIM118 (f is no mapping)
    except (SafetensorError, OSError) as e:
        raise ArtifactError(f"{path} is truncated or not a safetensors file ({e}): copy or convert it again") from e


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal. Raises ArtifactError if it is missing."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the model directory is incomplete, copy or convert it again")
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest_by_blocks(path)


def _digest_by_blocks(path: Path) -> str:
    """The same for Python 3.10, which lacks hashlib.file_digest."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise ArtifactError unless names and shapes are those expected and every value is a finite float32."""
    missing, unexpected = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or unexpected:
        raise ArtifactError(
            f"{source}: {len(missing)} tensors missing ({listed(missing)}), {len(unexpected)} unexpected ({listed(unexpected)}): "
            "these weights belong to another architecture than the one described beside them"
        )
    shapes = [f"{n}: got {tuple(t.shape)}, expected {tuple(expected[n].shape)}" for n, t in tensors.items() if t.shape != expected[n].shape]
    if shapes:
        raise ArtifactError(f"{source}: {len(shapes)} tensors have another shape ({'; '.join(shapes[:_SHOWN])})")
    kinds = [f"{n}: got {t.dtype}" for n, t in tensors.items() if t.dtype != torch.float32]
    if kinds:
        raise ArtifactError(
            f"{source}: expected float32 in every tensor, {len(kinds)} differ ({'; '.join(kinds[:_SHOWN])}); convert it again, the run-time casts by itself"
        )
    bad = [n for n, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise ArtifactError(
            f"{source}: NaN or infinity in {len(bad)} tensors ({listed(bad)}): training diverged or the file is damaged, take an earlier checkpoint"
        )


class Unfilled(TorchFunctionMode):
    """Context for building modules on `meta` whose weights come from a file: skips their random initialisation.

    There it changes nothing, but the first call makes torch import its compiler, which takes seconds.
    """

    _SKIPPED = frozenset({"normal_", "uniform_", "kaiming_uniform_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._SKIPPED:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str, device: torch.device | str) -> None:
    """Check weights, put them into a module built on `meta`, move it. What is stored in half precision becomes float32. Raises as `check_tensors`."""
    tensors = {name: t.float() if t.dtype in HALVES else t for name, t in tensors.items()}
    check_tensors(tensors, module.state_dict(), source)
    put(module, tensors, device)


def put(module: nn.Module, tensors: Mapping[str, Tensor], device: torch.device | str) -> None:
    """The same for weights that are already checked."""
    module.load_state_dict(tensors, strict=True, assign=True)
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.device.type == "meta"]
    assert not left, f"buffers that no file fills: {left}"
    module.requires_grad_(False).eval().to(device)
