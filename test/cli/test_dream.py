"""`vavam dream` as it is called: a film and a picture out of a bag and a model directory, or one line that says what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from vavam_ros.bags import BagWriter
from vavam_ros.cli import main as cli
from vavam_ros.core.artifact import load_artifact, random_artifact, save_artifact
from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.replay import messages
from vavam_ros.replay.clip_bag import clip_for, write_clip
from vavam_ros.replay.road_clip import RoadClip

TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=1, head_size=16, vocabulary=33, frames=4, grid_h=3, grid_w=5, mup_base_width=16),
    action=ActionSpec(width=16, mup_base_width=16),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/, and drive.mcap of 4 s."""
    folder = tmp_path_factory.mktemp("dream")
    card = random_artifact(folder / "model", TINY)
    write_clip(folder / "drive.mcap", clip_for(CanonicalCamera.from_dict(card.canonical_camera), width=96, duration_s=4.0))
    return folder


def called(*words: object) -> int:
    return cli.main(["dream", *map(str, words), "--device", "cpu"])


def test_a_film_and_a_picture(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = [folder / "drive.mcap", "--model", folder / "model", "--moments", 1, "--seen", 2, "--frames", 1, "--top-k", 0]
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert called(*drive, "--seed", seed, "--out", tmp_path / f"{name}.gif") == 0
    said = capsys.readouterr().out
    assert "3 frames" in said
    assert "untrained weights" in said
    a, b, c = ((tmp_path / f"{n}.gif").read_bytes() for n in "abc")
    assert a == b
    assert a != c
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 3 * 240


def test_a_video_model_alone_dreams_the_same(folder: Path, tmp_path: Path) -> None:
    loaded = load_artifact(folder / "model", "cpu")
    save_artifact(tmp_path / "video", replace(loaded.card, kind="vavim"), loaded.model.video, loaded.tokenizer)
    for model in (folder / "model", tmp_path / "video"):
        assert called(folder / "drive.mcap", "--model", model, "--at", 2, "--out", tmp_path / f"{model.name}.gif", "--seen", 1, "--frames", 1) == 0
    with Image.open(tmp_path / "model.png") as whole, Image.open(tmp_path / "video.png") as alone:
        box = (0, 34, whole.width, whole.height)  # below the model's name
        assert whole.crop(box).tobytes() == alone.crop(box).tobytes()


def test_pictures_without_odometry_and_calibration_are_enough_when_resized(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = RoadClip(clip_for(CanonicalCamera.from_dict(load_artifact(folder / "model", "cpu").card.canonical_camera), width=64, duration_s=3.0))
    with BagWriter(tmp_path / "bare.mcap") as writer:
        writer.add_topic("/image", messages.COMPRESSED_IMAGE)
        for stamp_ns in clip.image_stamps():
            picture = Image.fromarray(clip.picture(stamp_ns))
            picture.save(tmp_path / "p.png")
            writer.write("/image", stamp_ns, messages.compressed_image(writer, stamp_ns, "c", (tmp_path / "p.png").read_bytes(), "png"))
    bare = [tmp_path / "bare.mcap", "--model", folder / "model", "--out", tmp_path / "a.gif", "--moments", 1, "--seen", 1, "--frames", 1]
    assert called(*bare) == 2
    assert "--camera-mode resize" in capsys.readouterr().err
    assert called(*bare, "--camera-mode", "resize") == 0
    assert "pictures were only resized" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "a.avi"], "ends in .gif or .mp4"),
        (["--frames", 30], "30 that follow"),
        (["--at", 99], "usable moments lie between"),
        (["--seen", 4], "expected at most 3"),
    ],
)
def test_what_cannot_be_dreamt_is_one_line(folder: Path, tmp_path: Path, words: list[object], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(folder / "drive.mcap", "--model", folder / "model", "--out", tmp_path / "a.gif", *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert says in error
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_without_its_decoder_says_so(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_artifact(folder / "model", "cpu")
    save_artifact(tmp_path / "model", loaded.card, loaded.model, loaded.tokenizer)
    path = tmp_path / "model" / "tokenizer.safetensors"
    weights: dict[str, torch.Tensor] = {n: t for n, t in load_file(path).items() if not n.startswith("decoder.")}
    save_file(weights, path)
    assert called(folder / "drive.mcap", "--model", tmp_path / "model", "--out", tmp_path / "a.gif") == 2
    assert "an encoder without its decoder" in capsys.readouterr().err
