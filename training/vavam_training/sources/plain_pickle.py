"""Reads pickles that hold nothing but numbers, texts, lists, dicts and NumPy arrays of numbers; imports and runs nothing that they name.

A pickle is a program: its GLOBAL opcodes import whatever they like. Here each of them is looked up in a table of inert stand-ins, and a name that is not in
the table stops the reading. (`vavam_ros.core.upstream.foreign_pickle` does so for the zip files of torch.)

Source of the layouts: NumPy's `_reconstruct`, `scalar` and `_frombuffer` (numpy/_core/multiarray, numpy/_core/numeric), the list types of nuPlan's data base
(nuplan/database/common/data_types.py).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vavam_ros.core.contracts import ForeignPickleError
from vavam_training.contracts import DataError

_NUMBERS = {"b1", "i1", "u1", *(f"{kind}{size}" for kind in "iu" for size in (2, 4, 8)), "f2", "f4", "f8"}


def load_plain(source: bytes | BinaryIO, owner: str) -> Any:
    """The content: dict, list, tuple, str, bytes, int, float, bool, None, and `PlainArray` for arrays and NumPy's scalars (np.asarray takes them).

    Raises ForeignPickleError, with the name, for a pickle that asks for anything else, and DataError for one that is damaged; both name `owner`."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return _Reader(file, owner).load()
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, RecursionError) as error:
        raise DataError(f"{owner}: {type(error).__name__}: {error}; expected a whole pickle of plain values: copy or make it again") from error


class PlainArray:
    """An array or scalar of NumPy, rebuilt from its bytes without NumPy's own unpickling."""

    __slots__ = ("_values",)

    def __init__(self, values: npt.NDArray[Any] | None = None) -> None:
        self._values = values

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, fortran, raw = state
        self._values = _array(raw, kind, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self._values is None:
            raise ValueError("an array in the pickle was never filled")
        return np.array(self._values, dtype=dtype)

    def __float__(self) -> float:
        return float(np.asarray(self).item())

    def __int__(self) -> int:
        return int(np.asarray(self).item())

    def tolist(self) -> Any:
        """As lists and numbers."""
        return np.asarray(self).tolist()


class _Kind:
    """A NumPy dtype of numbers."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in _NUMBERS:
            raise ValueError(f"an array of {code!r}, expected numbers: {', '.join(sorted(_NUMBERS))}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"a byte order {state[1]!r}, expected < or >")
        self.order = ">" if state[1] == ">" else "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype itself."""
        kind: np.dtype[Any] = np.dtype(self.order + self.code)
        return kind


class _Call:
    """A function that the pickle may call; without __dict__, so that the pickle cannot change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("the pickle tries to change a function")


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    if not isinstance(kind, _Kind) or not isinstance(raw, bytes | bytearray) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array that is not described by numbers, shape and bytes")
    return np.frombuffer(bytes(raw), kind.dtype).reshape(shape, order=order)


def _latin1(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError(f"text in {encoding!r}, expected bytes as latin1")
    return text.encode("latin1")


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> PlainArray:
    return PlainArray(_array(raw, kind, shape, order))


# Everything that a pickle may name. Nothing here imports, opens or runs anything.
ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": dict,
    "_codecs.encode": _Call(_latin1),  # bytes of protocol 2
    "__builtin__.bytes": _Call(lambda: b""),  # likewise, when empty
    "numpy.ndarray": "numpy.ndarray",  # an argument of _reconstruct, not looked at
    "numpy.dtype": _Call(_Kind),
    **{f"numpy.{core}.multiarray._reconstruct": _Call(lambda *_: PlainArray()) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _Call(lambda kind, raw: PlainArray(_array(raw, kind, (), "C"))) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Call(_from_buffer) for core in ("core", "_core")},
    **{f"nuplan.database.common.data_types.{name}": list for name in ("Translation", "Rotation", "CameraIntrinsic")},  # lists with more names
}


class _Reader(pickle.Unpickler):
    """Only names of the table."""

    def __init__(self, file: BinaryIO, owner: str) -> None:
        super().__init__(file)
        self._owner = owner

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a global."""
        qualified = f"{module}.{name}"
        if qualified not in ALLOWED:
            raise ForeignPickleError(
                f"{self._owner} asks for {qualified}, which is not on the list of harmless names; expected plain numbers, texts, lists, dicts and arrays: "
                "if you trust the file, write its values anew as such"
            )
        return ALLOWED[qualified]
