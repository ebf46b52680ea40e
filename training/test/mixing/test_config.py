"""Named token sets → what is trained on and what is held out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import DataError, DriveRows
from vavam_training.dataset import TokenWriter
from vavam_training.mixing import DataConfig, PartConfig, open_mixture
from vavam_training.windows import WindowSpec

SPEC = WindowSpec(frames=3, horizon=4)


def write_set(folder: Path, drives: int, *, first: int = 0, n: int = 60, tokenizer_id: str = "vq16-x", licence: str = "free", motion: bool = True) -> Path:
    """Straight ahead at 10 Hz; every token of drive i is first + i."""
    with TokenWriter(
        folder, name=folder.name, source="test", licence=licence, domain="real", tokenizer_id=tokenizer_id, tokenizer={}, canonical_camera={},
        grid_hw=(2, 3), codebook_size=256, git_revision="",
    ) as writer:  # fmt: skip
        for i in range(drives):
            position, rotation = np.full((n, 3), np.nan), np.full((n, 4), np.nan)
            if motion:
                position, rotation = np.outer(np.arange(n) * 0.5, [1.0, 0.0, 0.0]), np.tile([1.0, 0.0, 0.0, 0.0], (n, 1))
            writer.write(
                DriveRows(
                    name=f"d{i:02d}", source="test", stamp_ns=10**9 + np.arange(n, dtype=np.int64) * 10**8, tokens=np.full((n, 2, 3), first + i, np.uint16),
                    position_m=position, rotation_wxyz=rotation, speed_mps=np.full(n, 5.0, np.float32), command=np.full(n, -1, np.int8),
                )
            )  # fmt: skip
        writer.finish()
    return folder


def config(*parts: dict[str, Any]) -> DataConfig:
    return DataConfig.from_dict({"parts": list(parts)})


def test_held_out_drives_are_in_one_mixture_and_the_others_in_the_other(tmp_path: Path) -> None:
    a, b = write_set(tmp_path / "a", 20), write_set(tmp_path / "b", 4, first=100)
    data = config({"name": "a", "path": str(a), "ratio": 3, "held_out_share": 0.3}, {"name": "b", "path": str(b), "ratio": 1})
    train, held_out = open_mixture(data, SPEC, 7)
    assert held_out is not None
    assert [p.name for p in held_out.parts] == ["a"]
    of_train = train.batch(range(4000))
    assert Counter(of_train.source.tolist()) == pytest.approx({0: 3000, 1: 1000}, abs=150)
    seen = set(of_train.tokens[:, 0, 0, 0].tolist())
    kept_back = set(held_out.batch(range(len(held_out))).tokens[:, 0, 0, 0].tolist())
    assert len(kept_back) >= 2
    assert seen.isdisjoint(kept_back)
    assert seen | kept_back == set(range(20)) | set(range(100, 104))
    assert len({held_out.place(k) for k in range(len(held_out))}) == len(held_out)  # each window once
    again, _ = open_mixture(data, SPEC, 7)
    assert again.digest == train.digest
    other = config({"name": "a", "path": str(a), "ratio": 3, "held_out_share": 0.3, "held_out_seed": 1}, {"name": "b", "path": str(b), "ratio": 1})
    assert open_mixture(other, SPEC, 7)[0].digest != train.digest


def test_learning_from_a_share_is_nested_and_leaves_the_held_out_as_they_are(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "a", 60)

    def drives(share: float) -> tuple[set[int], set[int]]:
        train, held_out = open_mixture(config({"name": "a", "path": str(folder), "held_out_share": 0.2, "learned_share": share}), SPEC, 0)
        assert held_out is not None
        return tuple(set(m.batch(range(len(m))).tokens[:, 0, 0, 0].tolist()) for m in (train, held_out))  # type: ignore[return-value]

    (whole, held), (half, held_of_half), (eighth, held_of_eighth) = drives(1.0), drives(0.5), drives(0.125)
    assert held == held_of_half == held_of_eighth
    assert eighth < half < whole
    assert len(half) == pytest.approx(0.5 * len(whole), abs=9)
    with pytest.raises(ConfigError, match="emphasis_m: got -1, expected metres above 0"):
        config({"name": "a", "path": str(folder), "emphasis_m": -1})
    assert open_mixture(config({"name": "a", "path": str(folder), "emphasis_m": 2.0}), SPEC, 0)[0].parts[0].emphasis_m == 2.0
    with pytest.raises(ConfigError, match="learned_share: got 0, expected more than 0"):
        config({"name": "a", "path": str(folder), "learned_share": 0})


def test_a_set_that_is_only_tested_on(tmp_path: Path) -> None:
    a, b = write_set(tmp_path / "a", 3), write_set(tmp_path / "b", 2, first=100)
    data = config({"name": "a", "path": str(a)}, {"name": "val", "path": str(b), "held_out_share": 1.0})
    train, held_out = open_mixture(data, SPEC, 0)
    assert held_out is not None
    assert (list(train.windows), list(held_out.windows)) == (["a"], ["val"])
    assert open_mixture(config({"name": "a", "path": str(a)}), SPEC, 0)[1] is None


def test_yaml_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("parts:\n  - {name: a, path: sets/a, ratio: 0.5, held_out_share: 0.1}\n  - {name: b, path: 's3://x/b', ratio: 1, licence: CC BY 4.0}\n")
    data = DataConfig.from_yaml(path)
    assert data.parts[1] == PartConfig(name="b", path="s3://x/b", ratio=1, licence="CC BY 4.0")
    assert DataConfig.from_dict(data.to_dict()) == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parts: [{name: a, path: x, weight: 2}]", r"data\.yaml: data part 0 \(a\): unknown keys \['weight'\]"),
        ("parts: [{name: a}]", r"missing keys \['path'\]"),
        ("parts: [{name: a, path: x}]\nseed: 1", r"the one key `parts`"),
        ("parts: []", "one or more with different names"),
        ("parts: [{name: a, path: x}, {name: a, path: y}]", "one or more with different names"),
        ("parts: [{name: a, path: x, ratio: -1}]", "expected a positive number"),
        ("parts: [{name: a, path: x, ratio: much}]", "ratio: got 'much'"),
        ("parts: [{name: a, path: x, ratio: 1}, {name: b, path: y}]", "one for every part that is trained on, or none for all"),
        ("parts: [{name: a, path: x, held_out_share: 1.0}]", "expected something to train on"),
        ("parts: [{name: a, path: x}, {name: b, path: y, held_out_share: 1.0, ratio: 1}]", "no share of the training samples"),
        ("parts: [a]", "got 'a', expected keys of name"),
        ("parts: {", "expected a YAML file"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        DataConfig.from_yaml(path)


def test_sets_that_do_not_fit(tmp_path: Path) -> None:
    a, other = write_set(tmp_path / "a", 3), write_set(tmp_path / "other", 1, tokenizer_id="vq16-y")
    video = write_set(tmp_path / "video", 1, motion=False)
    with pytest.raises(DataError, match="'a' and 'o': tokenizer_id vq16-x and vq16-y"):
        open_mixture(config({"name": "a", "path": str(a)}, {"name": "o", "path": str(other)}), SPEC, 0)
    with pytest.raises(DataError, match="under 'free', the configuration expects 'MIT'"):
        open_mixture(config({"name": "a", "path": str(a), "licence": "MIT"}), SPEC, 0)
    with pytest.raises(ConfigError, match=r"holding out 0\.01 of 3 drives and learning from 1\.0 of the others leaves 3 to train on and 0 held out"):
        open_mixture(config({"name": "a", "path": str(a), "held_out_share": 0.01}), SPEC, 0)
    with pytest.raises(DataError, match=r"part 'v' gives no window \(no poses"):
        open_mixture(config({"name": "a", "path": str(a)}, {"name": "v", "path": str(video)}), SPEC, 0)
    with pytest.raises(DataError, match=r"'v' gives no window .* held out: v 1"):
        open_mixture(config({"name": "a", "path": str(a)}, {"name": "v", "path": str(video), "held_out_share": 1.0}), SPEC, 0)
    with pytest.raises(DataError, match="finished token set"):
        open_mixture(config({"name": "a", "path": str(tmp_path / "nothing")}), SPEC, 0)
