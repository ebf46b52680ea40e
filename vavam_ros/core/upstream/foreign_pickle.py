"""Reads torch.save and TorchScript files without importing or running anything that they name.

A pickle is a program: its GLOBAL opcodes import whatever they like. Here each of them is looked up in a table of inert stand-ins; a name that is
not in the table stops the reading. Tensors stay in the file until someone asks for their values.

Source: the zip layouts of torch.serialization and torch.jit (`data.pkl`, `data/N`, `byteorder`).
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vavam_ros.core.contracts import ArtifactError, ForeignPickleError


@dataclass(frozen=True, slots=True)
class _Storage:
    """Raw bytes in the zip, and how to read them."""

    archive: Archive
    entry: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor still in its file: where it lies and how it is laid out."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Number format in the file."""
        return self.storage.dtype

    def same_place(self, other: LazyTensor) -> bool:
        """Both names stand for the same bytes."""
        return self == other

    def load(self) -> Tensor:
        """The values, contiguous, on the CPU. Raises ArtifactError if they reach beyond the storage or the zip is damaged."""
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        empty = 0 in self.shape
        if self.offset < 0 or min(self.stride, default=0) < 0 or (not empty and last >= self.storage.numel):
            raise ArtifactError(f"{self.storage.archive.path}: a tensor {self.shape} reaches beyond its storage {self.storage.entry}: the file is damaged")
        raw = bytearray(self.storage.archive.read(self.storage.entry))
        size = self.storage.dtype.itemsize
        if len(raw) < self.storage.numel * size:
            raise ArtifactError(f"{self.storage.archive.path}: storage {self.storage.entry} has {len(raw)} bytes, expected {self.storage.numel * size}")
        if empty:
            return torch.empty(self.shape, dtype=self.storage.dtype, device="cpu")
        flat = torch.frombuffer(raw, dtype=self.storage.dtype, count=self.storage.numel)
        return flat.as_strided(self.shape, self.stride, self.offset).contiguous()


class Archive:
    """The zip behind a .pt or a TorchScript file."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ArtifactError(f"{self.path}: no such file")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as e:
            raise ArtifactError(f"{self.path} is not a zip archive ({e}): truncated, or in torch's format from before 1.6; download or save it again") from e
        pickles = [n for n in self._zip.namelist() if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(pickles) != 1:
            raise ArtifactError(f"{self.path} holds {len(pickles)} top-level data.pkl, expected 1: not a file of torch.save or torch.jit.save")
        self._root = pickles[0].removesuffix("data.pkl")
        order = self.read("byteorder") if self.has("byteorder") else b"little"
        if order.strip() != b"little":
            raise ArtifactError(f"{self.path} is {order.decode(errors='replace')}-endian, expected little: save it again on such a machine")

    def has(self, entry: str) -> bool:
        """Whether the zip has this entry, named below its root."""
        return self._root + entry in self._zip.NameToInfo

    @property
    def is_torchscript(self) -> bool:
        """The zip holds a program beside the data."""
        return self.has("constants.pkl") or any(n.startswith(self._root + "code/") for n in self._zip.namelist())

    def read(self, entry: str) -> bytes:
        """The bytes of an entry, checksum verified. Raises ArtifactError."""
        try:
            return self._zip.read(self._root + entry)
        except (KeyError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as e:
            raise ArtifactError(f"{self.path}: cannot read {entry} ({e}): the file is damaged, download or copy it again") from e

    def load(self) -> Any:
        """The content of data.pkl. Foreign objects are `Inert`, tensors `LazyTensor`. Raises ForeignPickleError or ArtifactError."""
        with self._zip.open(self._root + "data.pkl") as f:
            try:
                return _Unpickler(f, self).load()
            except (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError, ValueError, AttributeError, zipfile.BadZipFile, OverflowError) as e:
                raise ArtifactError(f"{self.path}: data.pkl cannot be read ({type(e).__name__}: {e}): the file is damaged or uses something unknown") from e


class Inert:
    """Stands for an object of a class that is not imported: keeps the constructor's arguments and the state, does nothing with them."""

    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **_: Any) -> Inert:
        """Keep the arguments."""
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        raise ArtifactError(f"a {type(self).__name__} in the file is filled like a dict, which no known version of it is")


def _stand_in(qualified: str) -> type[Inert]:
    return type(qualified.rsplit(".", 1)[-1], (Inert,), {"__module__": "vavam_ros.inert", "qualified": qualified})


class _Call:
    """A function that the pickle may call; without __dict__, so that the pickle cannot change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ArtifactError("the file tries to change a function")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> LazyTensor:
    """torch._utils._rebuild_tensor_v2."""
    whole = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or not all(type(n) is int for n in whole):
        raise ArtifactError("a tensor in the file is not described by a storage and whole numbers")
    return LazyTensor(storage, offset, tuple(shape), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    """torch._utils._rebuild_parameter."""
    return data


_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip

# Everything that a file may name. Nothing here imports, opens or runs anything.
ALLOWED: dict[str, Any] = {
    **{f"torch.{name}": dtype for name, dtype in _DTYPES.items()},
    "torch._utils._rebuild_tensor_v2": _Call(_tensor),
    "torch._utils._rebuild_parameter": _Call(_parameter),
    **{str(dtype): dtype for dtype in _DTYPES.values()},
    "torch.Size": tuple,
    "torch.jit._pickle.build_intlist": _Call(list),
    "torch.jit._pickle.build_doublelist": _Call(list),
    "torch.jit._pickle.build_boollist": _Call(list),
    "torch.jit._pickle.build_tensorlist": _Call(list),
    "torch.jit._pickle.restore_type_tag": _Call(lambda value, _tag: value),
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": _Call(lambda _factory=None, *rest: defaultdict(None, *rest)),
    **{f"{module}.{kind.__name__}": kind for module in ("builtins", "__builtin__") for kind in (dict, list, tuple, set, int, float, bool, str)},
    "lightning.fabric.utilities.data.AttributeDict": dict,  # hyper_parameters, as some versions of Lightning keep them
    "__builtin__.long": int,
    "__builtin__.unicode": str,
    **{
        name: _stand_in(name)
        for name in (
            "typing.Any", "argparse.Namespace",
            "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata",
            "omegaconf.nodes.AnyNode", "omegaconf.nodes.StringNode", "omegaconf.nodes.IntegerNode", "omegaconf.nodes.FloatNode", "omegaconf.nodes.BooleanNode",
            "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode", "torch.device",  # beside the weights
            "mup.infshape.InfShape", "mup.infshape.InfDim",
        )
    },
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Only names of the table; in a TorchScript file also its own generated classes, as stand-ins."""

    def __init__(self, file: Any, archive: Archive) -> None:
        super().__init__(file)
        self._archive, self._made = archive, dict[str, type[Inert]]()

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a global."""
        qualified = f"{module}.{name}"
        if qualified in ALLOWED:
            return ALLOWED[qualified]
        if module.split(".")[0] == "__torch__" and self._archive.is_torchscript:
            return self._made.setdefault(qualified, _stand_in(qualified))
        raise ForeignPickleError(
            f"{self._archive.path} asks for {qualified}, which is not on the list of harmless names: if the file is what you think it is, "
            "save its state_dict alone (torch.save of plain tensors) and convert that"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage by its number in the zip."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype) and type(pid[4]) is int):
            raise ArtifactError(f"{self._archive.path}: got a storage described by {pid!r}, expected (storage, type, key, location, size)")
        return _Storage(self._archive, f"data/{pid[2]}", pid[1], pid[4])


def plain(value: Any) -> Any:
    """Foreign configuration objects as dict, list, tuple and scalars: OmegaConf nodes, argparse namespaces, mup base shapes."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, Mapping) else {}
        kind = type(value).__name__
        if kind in ("DictConfig", "ListConfig"):
            return plain(state.get("_content"))
        if kind.endswith("Node"):
            return plain(state.get("_val"))
        if kind == "Namespace":
            return plain(dict(state))
        if kind == "InfShape":
            return tuple(plain(d) for d in value.args[0]) if value.args else ()
        if kind == "InfDim":
            return state.get("base_dim", value.args[0] if value.args else None)
        return f"<{kind}>"
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(v) for v in value)
    return value


def walk_module(value: Any, prefix: str = "") -> Iterator[tuple[str, LazyTensor]]:
    """(dotted attribute name, tensor) of a module tree, in the order of the file."""
    if isinstance(value, LazyTensor):
        yield prefix, value
    elif isinstance(value, Inert):
        yield from walk_module(value.state, prefix)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from walk_module(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from walk_module(item, f"{prefix}.{i}" if prefix else str(i))
