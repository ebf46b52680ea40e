"""Semantics: features that separate classes are read without a mistake, features that do not are not; folders and stores give the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_evaluation import HW, label_store

from vavam_ros.core.contracts import F32, U8, ConfigError
from vavam_training.contracts import DataError
from vavam_training.evaluation.labelled import Place, find_labelled, memory_and_queries
from vavam_training.evaluation.semantics import Memory, Retrieval, RetrievalConfig, judge, patch_labels

CONFIG = RetrievalConfig(neighbours=5, patches=8)


def folder(path: Path, pictures: int = 6, groups: int = 2) -> Path:
    """Each column of patches is of one of three classes; its brightness tells which. (Columns: from centre to centre the linear way is half and half.)"""
    rng = np.random.default_rng(0)
    for i in range(pictures):
        patches = np.tile(rng.permutation(np.arange(4) % 3), (2, 1)).astype(np.uint8)
        classes = patches.repeat(16, axis=0).repeat(16, axis=1)
        for kind, content in (("images", 80 * classes), ("labels", classes)):
            file = path / kind / f"drive-{i % groups}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), content)
    return path


def brightness(pictures: U8) -> F32:
    """(n, 2, 4, 3): a direction of its own for each class."""
    level = np.round(pictures.reshape(len(pictures), 2, 16, 4, 16, 3).mean(axis=(2, 4, 5)) / 80).astype(int)
    return np.eye(3, dtype=np.float32)[level]


def nothing(pictures: U8) -> F32:
    return np.ones((len(pictures), 2, 4, 3), np.float32)


def test_separable_features_are_read_without_a_mistake(tmp_path: Path) -> None:
    memory, queries = memory_and_queries([folder(tmp_path)], most=10)
    assert {p.group for p in memory}.isdisjoint(p.group for p in queries)
    done: list[int] = []
    found = judge(memory, queries, {"brightness": brightness, "nothing": nothing}, HW, CONFIG, shown=2, progress=done.append)
    assert sum(done) == 2 * (len(memory) + len(queries))
    scores = {(s.features, s.method): s for s in found.scores}
    for method in ("retrieval", "linear probe"):
        good, blind = scores["brightness", method], scores["nothing", method]
        np.testing.assert_allclose(good.iou, 1.0)
        assert (good.mean_iou, good.pixel_accuracy) == (1.0, 1.0)
        assert blind.mean_iou < 0.3
    assert (found.classes, found.memory_patches, found.queries) == (3, 24, 3)
    np.testing.assert_array_equal(found.shown[0][1], found.shown[0][2])


def test_neighbours_weigh_by_the_softmax_of_their_cosine() -> None:
    a = 0.02 * np.log(3.0)  # of two neighbours one is so much further that it counts a third
    memory = Memory(features=np.array([[1.0, 0.0], [1.0 - a, np.sqrt(1 - (1 - a) ** 2)], [-1.0, 0.0]], np.float32), labels=np.eye(3, dtype=np.float32))
    shares = Retrieval(memory, RetrievalConfig(neighbours=2))(np.array([[2.0, 0.0]], np.float32))
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0.0]], atol=1e-3)


def test_labels_of_a_patch_are_shares_of_what_counts() -> None:
    classes = np.full(HW, 255, np.uint8)
    classes[:16, :16] = 1
    classes[:4, :16] = 0
    classes[16:, :8] = 1
    found = patch_labels(classes, (2, 4), 2)
    np.testing.assert_allclose(found[0, 0], [0.25, 0.75])
    np.testing.assert_allclose(found[1, 0], [0.0, 1.0])  # the other half of it does not count
    np.testing.assert_allclose(found[:, 1:], 0.0)
    with pytest.raises(DataError, match="class 1"):
        patch_labels(classes, (2, 4), 1)


def test_pictures_of_a_label_store(tmp_path: Path) -> None:
    memory, queries = memory_and_queries([label_store(tmp_path / "store")], most=3)
    assert ({p.group for p in memory}, {p.group for p in queries}) == ({"drive-0"}, {"drive-1"})
    rgb, classes = memory[1].read((16, 32))
    assert (rgb.shape, classes.shape) == ((16, 32, 3), (16, 32))
    assert np.unique(classes).tolist() == [memory[1].row % 3] == [rgb.max() // 80]
    apart = memory_and_queries([label_store(tmp_path / "a"), label_store(tmp_path / "b", 1)], most=100)
    assert (len(apart[0]), len(apart[1])) == (8, 4)


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one drive only"):
        memory_and_queries([folder(tmp_path / "one", groups=1)], most=10)
    with pytest.raises(ConfigError, match="got 3 paths"):
        memory_and_queries([tmp_path] * 3, most=10)
    with pytest.raises(DataError, match="neither"):
        find_labelled(tmp_path)
    (folder(tmp_path / "two") / "labels" / "drive-0" / "0.png").unlink()
    with pytest.raises(DataError, match="no label"):
        find_labelled(tmp_path / "two")
    place = Place(group="x", image=next((tmp_path / "one" / "images").rglob("1.png")), label=next((tmp_path / "one" / "images").rglob("1.png")))
    cv2.imwrite(str(place.label), np.zeros((*HW, 3), np.uint8))
    with pytest.raises(DataError, match="one channel"):
        place.read(HW)
