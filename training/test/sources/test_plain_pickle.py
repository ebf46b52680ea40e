"""Pickles: plain values come out, and nothing that a pickle names is imported or run."""

from __future__ import annotations

import datetime
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vavam_ros.core.contracts import ForeignPickleError
from vavam_training.contracts import DataError
from vavam_training.sources.plain_pickle import load_plain


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays(protocol: int) -> None:
    value = {
        "n": [1, 2.5, None, True, "é", b"\x00\xff", (3, -(2**40))],
        "d": OrderedDict(a=1),
        "f8": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "big": np.arange(3, dtype=">i4"),
        "bool": np.array([True, False]),
        "scalar": np.float32(1.5),
        "empty": np.zeros((0, 3), np.uint16),
    }
    got = load_plain(pickle.dumps(value, protocol), "x")
    assert got["n"] == value["n"]
    assert got["d"] == {"a": 1}
    for name in ("f8", "big", "bool", "empty"):
        array = np.asarray(got[name])
        assert array.dtype.kind == value[name].dtype.kind  # type: ignore[attr-defined]
        np.testing.assert_array_equal(array, value[name])  # type: ignore[arg-type]
    assert float(got["scalar"]) == 1.5
    assert got["big"].tolist() == [0, 1, 2]


def test_list_types_of_nuplan_become_lists() -> None:
    """As pickle writes an instance of a subclass of list: the class, made without arguments, then its items."""
    data = b"\x80\x02cnuplan.database.common.data_types\nTranslation\n)\x81(G?\xf8\x00\x00\x00\x00\x00\x00K\x02e."
    assert load_plain(data, "x") == [1.5, 2]


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_something_is_refused_and_does_not(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "ran"
    data = pickle.dumps([1, {"a": Runs(f"touch {victim}")}], protocol)
    with pytest.raises(ForeignPickleError, match=r"evil\.pkl asks for (posix|nt)\.system, which is not on the list"):
        load_plain(data, "evil.pkl")
    assert not victim.exists()
    with pytest.raises(ForeignPickleError, match=r"builtins\.eval|__builtin__\.eval"):
        load_plain(b"cbuiltins\neval\n(S'1'\ntR.", "x")
    with pytest.raises(ForeignPickleError, match=r"datetime\.date"):
        load_plain(pickle.dumps(datetime.date(2020, 1, 1)), "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        pickle.dumps({"a": [1, 2, 3]})[:-5],
        pickle.dumps(np.arange(5))[:-20],
        pickle.dumps(np.array([object()], dtype=object), 2).replace(b"cbuiltins\nobject\n", b"cnumpy\ndtype\n"),
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.",  # a kind that holds objects
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x05\x85NI00\nC\x01atb.",  # no dtype
        b"\x80\x02cnumpy\ndtype\n}b.",  # changes the function
    ],
)
def test_damaged_pickles_are_named(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^file\.pkl: "):
        load_plain(data, "file.pkl")
