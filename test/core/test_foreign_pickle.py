"""Reading foreign files runs nothing and imports nothing; damaged files end in a named error."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from vavam_ros.core.contracts import ArtifactError, ForeignPickleError
from vavam_ros.core.upstream.foreign_pickle import ALLOWED, Archive, LazyTensor, plain


def zipped(path: Path, data_pkl: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a/data.pkl", data_pkl)
        for name, content in entries.items():
            z.writestr(f"a/{name}", content)
    return path


def test_tensors_of_every_kind(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    content = {
        "plain": base, "view": base[1:3, ::2], "transposed": base.t(), "empty": torch.zeros(0, 3), "scalar": torch.tensor(3),
        "half": base.half(), "bf16": base.bfloat16(), "bool": base > 5, "parameter": torch.nn.Parameter(base * 2), "bytes": base.to(torch.uint8),
    }  # fmt: skip
    torch.save(content, tmp_path / "t.pt")
    loaded = Archive(tmp_path / "t.pt").load()
    for name, want in content.items():
        assert isinstance(loaded[name], LazyTensor)
        got = loaded[name].load()
        assert got.dtype == want.dtype
        assert torch.equal(got, want), name
    assert loaded["plain"].same_place(loaded["plain"])
    assert not loaded["plain"].same_place(loaded["view"])


class Evil:
    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.args


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Evil(os.system, "touch {marker}"), "system"),
        (Evil(eval, "open('{marker}', 'w')"), "eval"),
        (Evil(getattr, dict, "fromkeys"), "getattr"),
        (Evil(__import__, "antigravity"), "__import__"),
        (Evil(torch.load, "{marker}"), "torch.serialization.load"),
        (Path("x"), "pathlib"),
    ],
)
def test_anything_else_is_refused_by_name(evil: Any, name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    if isinstance(evil, Evil):
        evil = Evil(evil.call, *(a.format(marker=marker) if isinstance(a, str) else a for a in evil.args))
    for protocol in (2, 4):
        with pytest.raises(ForeignPickleError, match=name):
            Archive(zipped(tmp_path / f"{protocol}.pt", pickle.dumps({"state_dict": evil}, protocol))).load()
    assert not marker.exists()


def test_nothing_on_the_list_can_reach_further() -> None:
    """Every allowed name is a container, a scalar type, a dtype, or one of our own inert stand-ins."""
    harmless = (dict, list, tuple, set, int, float, bool, str, OrderedDict)
    for name, value in ALLOWED.items():
        ours = getattr(value, "__module__", "") == "vavam_ros.inert" or type(value).__name__ == "_Call"
        assert ours or value in harmless or isinstance(value, torch.dtype), name


@pytest.mark.parametrize("target", ["torch._utils\n_rebuild_tensor_v2", "omegaconf.nodes\nAnyNode", "collections\nOrderedDict"])
def test_a_pickle_cannot_change_what_it_names(target: str, tmp_path: Path) -> None:
    """BUILD on a global itself, not on an instance of it."""
    program = f"\x80\x02c{target}\n".encode() + b"}X\x05\x00\x00\x00statesK\x01sb."
    with pytest.raises(ArtifactError):
        Archive(zipped(tmp_path / "x.pt", program)).load()


def test_configuration_objects_become_plain(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=1e-4, betas=[0.9, 0.95], nested=argparse.Namespace(a=(1, None)))}, tmp_path / "n.pt")
    assert plain(Archive(tmp_path / "n.pt").load()) == {"args": {"lr": 1e-4, "betas": [0.9, 0.95], "nested": {"a": (1, None)}}}


def test_scripted_classes_are_read_only_from_torchscript(tmp_path: Path) -> None:
    program = b"\x80\x02c__torch__.m\nNet\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    with pytest.raises(ForeignPickleError, match="__torch__"):
        Archive(zipped(tmp_path / "x.pt", program)).load()
    assert Archive(zipped(tmp_path / "y.pt", program, **{"constants.pkl": b""})).load().state == {"a": 1}


def test_damaged_files_have_a_name(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save({"w": torch.arange(10_000.0)}, good)
    content = good.read_bytes()
    cut, flipped, text = tmp_path / "cut.pt", tmp_path / "flipped.pt", tmp_path / "text.pt"
    cut.write_bytes(content[: len(content) // 2])
    middle = len(content) // 2
    flipped.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    text.write_text("not a checkpoint")
    for path, message in ((cut, "truncated"), (text, "not a zip"), (tmp_path / "none.pt", "no such file")):
        with pytest.raises(ArtifactError, match=message):
            Archive(path)
    with pytest.raises(ArtifactError, match="the file is damaged"):
        Archive(flipped).load()["w"].load()
    with pytest.raises(ArtifactError, match="cannot be read"):
        Archive(zipped(tmp_path / "p.pt", pickle.dumps([1, 2, 3])[:-3])).load()
    with pytest.raises(ArtifactError, match="big-endian"):
        Archive(zipped(tmp_path / "b.pt", pickle.dumps(1), byteorder=b"big"))


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    """Shape (4,) at offset 8 of ten floats is fine, one further is not."""
    file = tmp_path / "s.pt"
    torch.save(torch.arange(10.0)[6:], file)
    with zipfile.ZipFile(file) as old:
        entries = {n.split("/", 1)[1]: old.read(n) for n in old.namelist()}
    bent = entries.pop("data.pkl").replace(b"K\x06", b"K\x07")
    assert torch.equal(Archive(file).load().load(), torch.tensor([6.0, 7.0, 8.0, 9.0]))
    with pytest.raises(ArtifactError, match="beyond its storage"):
        Archive(zipped(tmp_path / "bent.pt", bent, **entries)).load().load()


def test_old_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pt").write_bytes(buffer.getvalue())
    with pytest.raises(ArtifactError, match=r"before 1.6"):
        Archive(tmp_path / "old.pt")
