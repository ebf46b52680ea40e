"""Token sets: what is written is what is read, whatever happens in between; and damage is named."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from vavam_training.contracts import DataError, DriveRows, Skipped
from vavam_training.dataset import Manifest, TokenDataset, TokenWriter

GRID, CODES = (3, 4), 64
SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "source": "test",
    "licence": "none",
    "domain": "synthetic_world",
    "tokenizer_id": "vq16-0",
    "tokenizer": {"image_hw": (48, 64)},
    "canonical_camera": {"name": "world_front"},
    "grid_hw": GRID,
    "codebook_size": CODES,
    "git_revision": "abc",
}


def drive(name: str, n: int = 20, *, seed: int = 0, motion: bool = True) -> DriveRows:
    rng = np.random.default_rng(seed)
    nan = np.nan
    rotation = rng.normal(size=(n, 4))
    return DriveRows(
        name=name,
        source="test",
        stamp_ns=np.arange(1, n + 1, dtype=np.int64) * 100_000_000,
        tokens=rng.integers(0, CODES, (n, *GRID)).astype(np.uint16),
        position_m=rng.normal(size=(n, 3)) if motion else np.full((n, 3), nan),
        rotation_wxyz=rotation / np.linalg.norm(rotation, axis=1, keepdims=True) if motion else np.full((n, 4), nan),
        speed_mps=rng.normal(size=n).astype(np.float32),
        command=rng.integers(-1, 3, n).astype(np.int8),
        camera_id="world_front",
    )


def make(out: Path, drives: list[DriveRows], **changes: Any) -> Manifest:
    with TokenWriter(out, **{**SETTINGS, **changes}) as writer:
        for rows in drives:
            if not writer.has(rows.name):
                writer.write(rows)
        return writer.finish()


def same(a: DriveRows, b: DriveRows) -> bool:
    if (a.advice_m is None) != (b.advice_m is None):
        return False
    nans = ("position_m", "rotation_wxyz", "advice_m")
    names = [f.name for f in dataclasses.fields(a) if f.name != "advice_m" or a.advice_m is not None]
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n in nans) for n in names)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_rows_come_back_as_views_of_the_mapped_file(tmp_path: Path) -> None:
    drives = [drive("b", 7, seed=1), drive("a", 30, seed=2), drive("video", 5, motion=False)]
    manifest = make(tmp_path / "set", drives)
    dataset = TokenDataset.open(tmp_path / "set")
    assert dataset.drive_names == ("a", "b", "video")
    assert dataset.drive_lengths == (30, 7, 5)
    assert dataset.has_motion == (True, True, False)
    assert len(dataset) == 3
    assert manifest.frames == 42
    assert manifest.hours == pytest.approx((2.9 + 0.6 + 0.4) / 3600)
    for i, name in enumerate(dataset.drive_names):
        rows = dataset.rows(i)
        assert same(rows, next(d for d in drives if d.name == name))
        assert not rows.tokens.flags.owndata
        assert not rows.tokens.flags.writeable
    dataset.verify()


def test_pickled_and_opened_again_it_gives_the_same(tmp_path: Path) -> None:
    make(tmp_path / "set", [drive("a")])
    dataset = TokenDataset.open(tmp_path / "set")
    first = dataset.rows(0)
    again = pickle.loads(pickle.dumps(dataset))
    assert same(again.rows(0), first)
    assert again.manifest == dataset.manifest


def test_shards_are_cut_by_size_and_the_digest_does_not_depend_on_them(tmp_path: Path) -> None:
    drives = [drive(f"d{i}", seed=i) for i in range(5)]
    whole, cut = make(tmp_path / "whole", drives), make(tmp_path / "cut", drives, shard_bytes=9000)
    assert len(whole.shards) == 1
    assert len(cut.shards) > 1
    assert whole.digest == cut.digest
    dataset = TokenDataset.open(tmp_path / "cut")
    assert all(same(dataset.rows(i), drives[i]) for i in range(5))
    dataset.verify()


def test_interrupted_and_resumed_in_another_order_gives_identical_files(tmp_path: Path) -> None:
    drives = [drive(f"d{i}", seed=i) for i in range(4)]
    make(tmp_path / "once", drives)
    with TokenWriter(tmp_path / "twice", **SETTINGS) as writer:
        writer.write(drives[2])
        writer.skip(Skipped(what="d0", why="could not be read"))  # it can, the second time
    (tmp_path / "twice" / "parts" / ".d1.arrow.left").write_bytes(b"of a process that was killed")
    make(tmp_path / "twice", drives)
    assert files(tmp_path / "once") == files(tmp_path / "twice")


@pytest.mark.parametrize("reached", ["first shard", "manifest"])
def test_killed_while_it_finishes_it_finishes_the_next_time(tmp_path: Path, reached: str) -> None:
    drives = [drive(f"d{i}", seed=i) for i in range(4)]
    make(tmp_path / "once", drives, shard_bytes=9000)
    with TokenWriter(tmp_path / "twice", **SETTINGS, shard_bytes=9000) as writer:
        for rows in drives:
            writer.write(rows)
        shutil.copytree(tmp_path / "twice" / "parts", tmp_path / "parts")
        writer.finish()
    shutil.move(tmp_path / "parts", tmp_path / "twice" / "parts")
    (tmp_path / "twice" / ".shard-00001.arrow.left").write_bytes(b"half")
    if reached == "first shard":
        (tmp_path / "twice" / "manifest.json").unlink()
        (tmp_path / "twice" / "shard-00001.arrow").unlink()
    make(tmp_path / "twice", drives, shard_bytes=9000)
    assert files(tmp_path / "once") == files(tmp_path / "twice")


def test_processes_that_start_together_do_not_take_each_others_files_for_foreign(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / ".settings.json.other").write_bytes(b"{")
    assert make(tmp_path, [drive("a")]).frames == 20


def test_a_finished_set_grows_and_keeps_what_it_had(tmp_path: Path) -> None:
    first = make(tmp_path / "set", [drive("b")])
    second = make(tmp_path / "set", [drive("b"), drive("a", seed=3)])
    assert [d.name for d in second.drives] == ["b", "a"]
    assert second.drives[0] == first.drives[0]
    assert second.digest != first.digest
    TokenDataset.open(tmp_path / "set").verify()


def test_what_was_skipped_is_in_the_manifest(tmp_path: Path) -> None:
    with TokenWriter(tmp_path / "set", **SETTINGS) as writer:
        writer.write(drive("a"), skipped=[Skipped(what="a: 2 frames", why="black")])
        writer.skip(Skipped(what="b", why="truncated"))
        writer.skip(Skipped(what="b", why="truncated"))
        writer.finish()
    assert TokenDataset.open(tmp_path / "set").manifest.skipped == (Skipped(what="a: 2 frames", why="black"), Skipped(what="b", why="truncated"))


def test_a_set_without_drives_is_an_error_that_says_why(tmp_path: Path) -> None:
    with TokenWriter(tmp_path / "set", **SETTINGS) as writer:
        writer.skip(Skipped(what="b", why="truncated"))
        with pytest.raises(DataError, match="no drive was written; 1 things were skipped \\(b: truncated\\)"):
            writer.finish()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a/b"}, "usable as a file name"),
        ({"tokens": np.full((20, *GRID), CODES, np.uint16)}, "frame 0: token 64, expected less than 64"),
        ({"tokens": np.zeros((20, 4, 3), np.uint16)}, "tokens: got uint16 \\(20, 4, 3\\), expected uint16 \\(20, 3, 4\\)"),
        ({"stamp_ns": np.r_[np.arange(1, 20), 19].astype(np.int64)}, "frame 19: stamp 19 does not exceed"),
        ({"position_m": np.r_[np.zeros((3, 3)), np.full((17, 3), np.nan)]}, "frame 3: no finite pose"),
        ({"rotation_wxyz": np.full((20, 4), 0.4)}, "no unit quaternion"),
        ({"command": np.full(20, 7, np.int8)}, "commands from 7 to 7"),
        ({"speed_mps": np.zeros(20)}, "speed_mps: got float64"),
    ],
)
def test_rows_that_cannot_be_stored_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with TokenWriter(tmp_path / "set", **SETTINGS) as writer, pytest.raises(DataError, match=said):
        writer.write(dataclasses.replace(drive("a"), **changes))


def test_another_tokenizer_does_not_get_into_a_set(tmp_path: Path) -> None:
    make(tmp_path / "set", [drive("a")])
    with pytest.raises(DataError, match="its tokenizer_id is 'vq16-0', this import has 'vq16-1'"):
        make(tmp_path / "set", [drive("b")], tokenizer_id="vq16-1")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="is no token set"):
        make(tmp_path, [drive("a")])
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def damaged(folder: Path, how: str) -> None:
    shard, manifest = folder / "shard-00000.arrow", folder / "manifest.json"
    data = bytearray(shard.read_bytes())
    if how == "cut":
        shard.write_bytes(data[:-100])
    elif how == "gone":
        shard.unlink()
    elif how == "bit":
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    elif how == "edited":
        content = json.loads(manifest.read_text())
        content["licence"] = "CC0"
        manifest.write_text(json.dumps(content))
    elif how == "text":
        manifest.write_text("{")
    else:
        manifest.unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "shard-00000.arrow has .* bytes, the manifest says"),
        ("gone", "shard-00000.arrow does not exist"),
        ("bit", "shard-00000.arrow: SHA-256"),
        ("edited", "manifest.json: its content gives digest"),
        ("text", "expected the manifest of a token set"),
        ("unfinished", "expected a finished token set"),
    ],
)
def test_damage_is_named(tmp_path: Path, how: str, said: str) -> None:
    make(tmp_path, [drive("a")])
    damaged(tmp_path, how)
    with pytest.raises(DataError, match=said):
        TokenDataset.open(tmp_path).verify()


def test_a_remote_set_is_read_through_a_cache_and_checked(tmp_path: Path) -> None:
    drives = [drive(f"d{i}", seed=i) for i in range(3)]
    make(tmp_path / "set", drives, shard_bytes=9000)
    remote = fsspec.filesystem("memory")
    remote.put(str(tmp_path / "set"), "/bucket/set", recursive=True)
    try:
        dataset = TokenDataset.open("memory://bucket/set", cache=tmp_path / "cache")
        assert not list((tmp_path / "cache").rglob("*.arrow"))
        assert same(dataset.rows(1), drives[1])
        assert len(list((tmp_path / "cache").rglob("*.arrow"))) == 1  # only the shard that was needed
        remote.pipe("/bucket/set/shard-00000.arrow", b"something else")
        with pytest.raises(DataError, match="the stored shard is damaged"):
            TokenDataset.open("memory://bucket/set", cache=tmp_path / "other").rows(0)
        assert not [p for p in (tmp_path / "other").rglob("*") if p.is_file()]
        with pytest.raises(DataError, match="check the address"):
            TokenDataset.open("memory://bucket/nothing")
    finally:
        remote.rm("/bucket", recursive=True)


def advised(name: str, *, none_at: int = 3, steps: int = 6) -> DriveRows:
    advice = np.random.default_rng(5).normal(size=(20, steps, 2))
    advice[none_at] = np.nan
    return dataclasses.replace(drive(name), advice_m=advice)


def test_advice_comes_back_and_is_part_of_what_the_set_is(tmp_path: Path) -> None:
    manifest = make(tmp_path / "set", [advised("a"), advised("b", none_at=0)], advice_steps=6)
    dataset = TokenDataset.open(tmp_path / "set")
    dataset.verify()
    assert dataset.manifest.advice_steps == 6
    assert same(dataset.rows(1), advised("b", none_at=0))
    other = make(tmp_path / "other", [advised("a"), advised("b", none_at=1)], advice_steps=6)
    assert other.digest != manifest.digest
    with pytest.raises(DataError, match="its advice_steps is 6, this import has None"):
        make(tmp_path / "set", [drive("c")])


def test_advice_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="drive 'a': without advice; expected all drives of a set alike"):
        make(tmp_path / "none", [drive("a")], advice_steps=6)
    with pytest.raises(DataError, match="drive 'a': with advice"):
        make(tmp_path / "some", [advised("a")])
    with pytest.raises(DataError, match=r"advice_m: got float64 \(20, 5, 2\), expected float64 \(20, 6, 2\)"):
        make(tmp_path / "short", [advised("a", steps=5)], advice_steps=6)
    part = advised("a")
    assert part.advice_m is not None
    part.advice_m[7, 2, 0] = np.nan
    with pytest.raises(DataError, match="frame 7: advice that is known in part; expected all 6 positions or none"):
        make(tmp_path / "part", [part], advice_steps=6)
