"""Pictures are kept once, drawn in a fixed order, and a tokenizer learns from them and encodes drives."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from vavam_ros.core.contracts import ArtifactError, ConfigError
from vavam_training.cli.main import main
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.loop.watch import read_metrics
from vavam_training.mixing import Loader
from vavam_training.pictures import PictureSamples, PictureStore
from vavam_training.pictures.samples import split_pictures
from vavam_training.stages.tokenizer.losses import edge_loss, weighted_mean
from vavam_training.tokenizing.load import load_tokenizer_dir, tokenizer_camera

Bag = Callable[..., Path]
TINY = {
    "channels": 8, "encoder_multipliers": [1, 1, 1, 1, 1], "decoder_multipliers": [1, 1, 1, 1, 1], "res_blocks": 1, "latent": 8, "codebook_size": 16,
    "code_dim": 4, "groups": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory, make_bag: Bag) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for i in range(3):
        make_bag(folder / f"drive-{i}.mcap", pictures=6)
    return folder


def keep(bags: Path, out: Path, *more: str) -> int:
    size = ["--image-hw", "32", "64"]
    return main(["data", "pictures", "--path", str(bags), "--camera", "world_front", "--out", str(out), *size, *more])


@pytest.fixture(scope="module")
def store(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> PictureStore:
    out = tmp_path_factory.mktemp("kept") / "pictures"
    assert keep(bags, out) == 0
    return PictureStore.open(out)


def test_pictures_are_what_the_tokenizer_will_see(store: PictureStore) -> None:
    assert {name: n for name, (n, _) in store.drives.items()} == {f"drive-{i}": 6 for i in range(3)}
    first = store.array("drive-0")
    assert first.shape == (6, 32, 64, 3)
    assert len({p.tobytes() for p in first}) == 6
    assert store.canonical_camera["name"] == "world_front"


def test_started_again_it_keeps_what_is_whole(bags: Path, store: PictureStore, tmp_path: Path) -> None:
    out = tmp_path / "p"
    assert keep(bags, out) == 0
    (out / "pictures.json").unlink()
    (out / "parts" / "drive-1.npy").unlink()
    before = (out / "parts" / "drive-0.npy").stat().st_mtime_ns
    assert keep(bags, out) == 0
    assert PictureStore.open(out).digest == store.digest
    assert (out / "parts" / "drive-0.npy").stat().st_mtime_ns == before
    assert keep(bags, out, "--every", "2") == 2  # other settings
    assert keep(bags, tmp_path / "half", "--every", "2") == 0
    assert PictureStore.open(tmp_path / "half").drives["drive-0"][0] == 3
    with (out / "parts" / "drive-0.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(DataError, match="keep the pictures again"):
        PictureStore.open(out).array("drive-0")
    with pytest.raises(DataError, match="expected pictures kept by"):
        PictureStore.open(tmp_path)


def test_the_order_is_nobody_s_but_the_seed_s(store: PictureStore) -> None:
    samples = PictureSamples([store], 3, crop_hw=(16, 32), whole_from=8, mirror=True)
    assert len(samples) == 18
    plain = list(islice(Loader(samples, 4), 5))
    forked = list(islice(Loader(PictureSamples([store], 3, crop_hw=(16, 32), whole_from=8, mirror=True), 4, workers=1), 5))
    for a, b in zip(plain, forked, strict=True):
        assert a.images is not None
        assert b.images is not None
        assert torch.equal(a.images, b.images)
    assert [tuple(b.images.shape[2:]) for b in plain if b.images is not None] == [(16, 32)] * 2 + [(32, 64)] * 3
    images = plain[-1].images
    assert images is not None
    assert float(images.min()) >= -1.0
    assert float(images.max()) <= 1.0
    whole = PictureSamples([store], 3).batch(range(18)).images
    assert whole is not None
    times = Counter(x.numpy().tobytes() for x in whole)
    assert sorted(times.values()) == [3] * 6  # each once an epoch: the three drives have the same six pictures
    with pytest.raises(ConfigError, match="lies within a batch"):
        samples.batch(range(6, 10))
    with pytest.raises(ConfigError, match="multiples of 16"):
        PictureSamples([store], 3, crop_hw=(16, 40))


def test_pixels_count_by_their_class(tmp_path: Path, make_bag: Bag) -> None:
    (tmp_path / "bags").mkdir()
    make_bag(tmp_path / "bags" / "drive.mcap", pictures=3, label_topic=True)
    command = ["data", "pictures", "--path", str(tmp_path / "bags"), "--camera", "world_front", "--rear-axle-x", "-1.4"]
    assert main([*command, "--option", "label_topic=/classes/image", "--out", str(tmp_path / "p")]) == 0
    kept = PictureStore.open(tmp_path / "p")
    assert [int(c.max()) for c in kept.classes("drive")] == [0, 1, 2]
    samples = PictureSamples([kept], 0, class_weights=(1.0, 5.0, 2.0), mirror=True)
    batch = samples.batch(range(3))
    assert batch.weight is not None
    assert batch.weight.shape == (3, 1, *kept.image_hw)
    assert sorted(float(w.max()) for w in batch.weight) == [1.0, 2.0, 5.0]
    assert batch.classes is not None
    assert torch.equal(torch.tensor([1.0, 5.0, 2.0])[batch.classes], batch.weight[:, 0])
    with pytest.raises(DataError, match=r"got 2 of them, but the pictures have class 2"):
        PictureSamples([kept], 0, class_weights=(1.0, 5.0)).batch(range(3))
    assert main([*command, "--image-hw", "32", "64", "--option", "label_topic=/classes/image", "--out", str(tmp_path / "small")]) == 2  # they cannot be warped
    assert main([*command, "--option", "label_topic=/nothing", "--out", str(tmp_path / "none")]) == 2
    assert main([*command, "--out", str(tmp_path / "plain")]) == 0
    with pytest.raises(DataError, match="from a source with classes"):
        PictureSamples([PictureStore.open(tmp_path / "plain")], 0, class_weights=(1.0,)).batch(range(2))


def test_codes_tell_classes_apart(tmp_path: Path, make_bag: Bag) -> None:
    (tmp_path / "bags").mkdir()
    make_bag(tmp_path / "bags" / "drive.mcap", pictures=3, label_topic=True)
    command = ["data", "pictures", "--path", str(tmp_path / "bags"), "--camera", "world_front", "--rear-axle-x", "-1.4"]
    assert main([*command, "--option", "label_topic=/classes/image", "--out", str(tmp_path / "p")]) == 0
    loop = {"steps": 60, "batch_size": 1, "workers": 0, "log_every": 1, "players": {"generator": {"schedule": {"lr": 3e-3, "total_steps": 60}}}}
    data = {"pictures": [str(tmp_path / "p")], "class_weights": [1.0, 1.0, 1.0]}
    options = {"l1": 1.0, "semantic": 1.0, "classes": 3}
    content = {"stage": "tokenizer", "out": str(tmp_path / "run"), "model": TINY, "options": options, "data": data, "loop": loop}
    recipe = tmp_path / "tokenizer.yaml"
    recipe.write_text(yaml.safe_dump(content))
    assert main(["train", str(recipe)]) == 0
    course = [m["semantic"] for m in read_metrics(tmp_path / "run")]
    assert course[0] == pytest.approx(math.log(3), rel=1e-3)  # nothing is known yet
    assert min(course[-5:]) < 0.8 * course[0]
    assert not any("class_head" in name for name in load_tokenizer_dir(tmp_path / "run").state_dict())
    assert main(["train", str(recipe), "--out", str(tmp_path / "two"), "--set", "options.classes=2"]) == 2
    assert main(["train", str(recipe), "--out", str(tmp_path / "none"), "--set", "data.class_weights=[]"]) == 2


def test_weights_of_pixels_weigh_their_errors() -> None:
    made, true, weight = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    made[..., :2] = 1.0  # right in the left half
    assert float(weighted_mean((made - true).abs(), None)) == 0.5
    weight[..., 2:] = 3.0
    assert float(weighted_mean((made - true).abs(), weight)) == pytest.approx(0.75)
    assert float(edge_loss(made, true)) < float(edge_loss(made, true, weight))
    assert float(edge_loss(made, true, torch.full_like(weight, 7.0))) == pytest.approx(float(edge_loss(made, true)))


def test_whole_drives_are_held_out(store: PictureStore) -> None:
    train, held_out = split_pictures([store], 0.5, 1)
    assert held_out is not None
    assert len(train) + len(held_out) == 18
    assert len(held_out) % 6 == 0


def test_a_tokenizer_learns_and_encodes_drives(store: PictureStore, bags: Path, tmp_path: Path) -> None:
    players = {"generator": {"schedule": {"lr": 3e-3, "total_steps": 40}}}
    loop = {"steps": 30, "batch_size": 4, "workers": 0, "log_every": 1, "held_out_every": 30, "held_out_batches": 1, "players": players}
    options = {"mse": 1.0, "l1": 1.0, "edge": 0.5, "quantize_from": 10, "revive_every": 5}
    data = {"pictures": [str(store.folder)], "held_out_share": 0.5, "crop_hw": [16, 32], "whole_from_step": 20, "mirror": True}
    content = {"stage": "tokenizer", "out": str(tmp_path / "run"), "model": TINY, "options": options, "data": data, "loop": loop}
    recipe = tmp_path / "tokenizer.yaml"
    recipe.write_text(yaml.safe_dump(content))
    for steps in (5, 15, 30):  # before the codes are used, after that, to the end
        assert main(["train", str(recipe), "--set", f"loop.steps={steps}"]) == 0
    course = read_metrics(tmp_path / "run")
    assert course[-2]["l1"] < 0.8 * course[0]["l1"]
    assert course[-2]["perplexity"] > 2.0
    assert list((tmp_path / "run" / "pictures").glob("reconstruction_*.png"))
    tokenizer = load_tokenizer_dir(tmp_path / "run")
    assert tokenizer.tokenizer_id.startswith("vq16-")
    camera = tokenizer_camera(tmp_path / "run")
    assert camera is not None
    assert camera.name == "world_front"
    whole = tmp_path / "whole"
    assert main(["train", str(recipe), "--out", str(whole)]) == 0
    assert json.loads((whole / "metrics.jsonl").read_text().splitlines()[-2])["l1"] == course[-2]["l1"]  # as if it had not been interrupted
    assert main(["data", "import", "--path", str(bags), "--tokenizer", str(whole), "--out", str(tmp_path / "set"), "--licence", "test"]) == 0
    manifest = TokenDataset.open(tmp_path / "set").manifest
    assert manifest.tokenizer_id == load_tokenizer_dir(whole).tokenizer_id
    with pytest.raises(ArtifactError, match="expected a model directory or a run of stage tokenizer"):
        load_tokenizer_dir(tmp_path)


def test_a_critic_joins_in(store: PictureStore, tmp_path: Path) -> None:
    schedule = {"schedule": {"lr": 1e-3, "total_steps": 4}}
    loop = {"steps": 4, "batch_size": 2, "workers": 0, "log_every": 1, "players": {"generator": schedule, "discriminator": schedule}}
    options = {"discriminator_weight": 0.5, "discriminator_from": 3, "discriminator_width": 4}
    content = {"stage": "tokenizer", "out": str(tmp_path / "run"), "model": TINY, "options": options, "data": {"pictures": [str(store.folder)]}, "loop": loop}
    recipe = tmp_path / "tokenizer.yaml"
    recipe.write_text(yaml.safe_dump(content))
    assert main(["train", str(recipe)]) == 0
    course = read_metrics(tmp_path / "run")
    assert "generator/adversarial" not in course[1]
    assert np.isfinite([m["generator/adversarial"] for m in course[2:]]).all()
    assert [m["discriminator/gradient_norm"] > 0.0 for m in course] == [False, False, True, True]
    assert main(["train", str(recipe), "--set", "options.perceptual=1.0", "--out", str(tmp_path / "other")]) == 2
