"""`vavam convert` and `vavam inspect` from upstream files to a model directory that loads."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vavam_ros.cli import convert, inspect
from vavam_ros.core.artifact import load_artifact, load_video_artifact, random_artifact, read_card, tokenizer_for
from vavam_ros.core.contracts import ArtifactError, ConfigError, DivisorError
from vavam_ros.core.tokenizer import VQ16, tokenizer_identity
from vavam_ros.core.tokenizer.random_init import init_tokenizer

_spec = importlib.util.spec_from_file_location("upstream_files", Path(__file__).with_name("upstream_files.py"))
assert _spec is not None
assert _spec.loader is not None
up = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(up)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

VQ_SPEC = replace(tokenizer_for(up.TINY), channels=8, encoder_multipliers=(1, 1, 1, 1, 1), decoder_multipliers=(1, 1, 1, 1, 1), latent=8)
GROUPS = ("--tokenizer-groups", "8")


def run(command: object, *arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)  # type: ignore[attr-defined]
    code: int = command.run(parser.parse_args([str(a) for a in arguments]))  # type: ignore[attr-defined]
    return code


@pytest.fixture(scope="module")
def vq() -> VQ16:
    m = VQ16(VQ_SPEC, device="cpu")
    init_tokenizer(m, torch.Generator("cpu").manual_seed(0))
    return m.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tokenizer_file(vq: VQ16, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(up.write(tmp_path_factory.mktemp("vq") / "vq.pt", {"model": vq.state_dict(), "args": argparse.Namespace(lr=1)}))


@pytest.fixture(scope="module")
def vavam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(up.write(tmp_path_factory.mktemp("vavam") / "vavam.pt", up.vavam_content(up.make_model())))


def test_convert_vavam(vq: VQ16, tokenizer_file: Path, vavam_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(convert, vavam_file, "--tokenizer", tokenizer_file, "--out", out, "--grid", "2x3", "--name", "mine", *GROUPS) == 0
    assert "research use only" in capsys.readouterr().out
    loaded = load_artifact(out, "cpu")
    assert (loaded.card.spec.name, loaded.card.kind, loaded.card.trained, loaded.card.domain) == ("mine", "vavam", True, "real")
    assert loaded.card.camera.name == "nuscenes_cam_front"
    assert loaded.card.tokenizer_id == tokenizer_identity(vq.state_dict(), VQ_SPEC)
    assert all(torch.equal(t, loaded.model.state_dict()[n]) for n, t in up.make_model().state_dict().items())


def test_convert_vavim_makes_a_video_model(tokenizer_file: Path, tmp_path: Path) -> None:
    file = up.write(tmp_path / "vavim.pt", up.vavim_content(up.make_model()))
    arguments = [file, "--tokenizer", tokenizer_file, "--out", tmp_path / "out", "--grid", "2x3", *GROUPS]
    with pytest.raises(DivisorError, match="--base-shapes"):
        run(convert, *arguments)
    assert not (tmp_path / "out").exists()
    shapes = up.write_base_shapes(tmp_path / "v.bsh", up.video_shapes(up.TINY.video, 16))
    assert run(convert, *arguments, "--base-shapes", shapes) == 0
    assert load_video_artifact(tmp_path / "out", "cpu").video.spec == up.TINY.video
    with pytest.raises(ArtifactError, match="cannot plan"):
        load_artifact(tmp_path / "out", "cpu")


def test_a_tokenizer_with_more_codes_than_words_is_refused(vavam_file: Path, tmp_path: Path) -> None:
    big = VQ16(replace(VQ_SPEC, codebook_size=128), device="cpu")
    file = up.write(tmp_path / "big.pt", {"model": big.state_dict()})
    with pytest.raises(ConfigError, match="128 codes"):
        run(convert, vavam_file, "--tokenizer", file, "--out", tmp_path / "out", "--grid", "2x3", *GROUPS)


def test_arguments_that_cannot_be_meant(tokenizer_file: Path, vavam_file: Path) -> None:
    with pytest.raises(ConfigError, match="--out"):
        run(convert, vavam_file, "--tokenizer", tokenizer_file)
    with pytest.raises(ArtifactError, match="--grid"):
        run(convert, vavam_file, "--tokenizer", tokenizer_file, "--out", "x", "--grid", "18")
    with pytest.raises(ConfigError, match="expected two"):
        run(convert, "--tokenizer", tokenizer_file, "--check-torchscript")


class Half(nn.Module):
    """An exported half of a tokenizer."""

    def __init__(self, vq: VQ16, encode: bool) -> None:
        super().__init__()
        self.vq, self.encode = vq, encode

    def forward(self, x: Tensor) -> Tensor:
        if not self.encode:
            book = nn.functional.normalize(self.vq.quantize.embedding.weight, dim=1)
            return self.vq.decoder(self.vq.post_quant_conv(book[x].permute(0, 3, 1, 2)))  # type: ignore[no-any-return]
        z = nn.functional.normalize(self.vq.quant_conv(self.vq.encoder(x)), dim=1)
        return torch.einsum("bdhw,kd->bhwk", z, nn.functional.normalize(self.vq.quantize.embedding.weight, dim=1)).argmax(-1)


def test_parity_tool_compares_and_can_fail(vq: VQ16, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder = tmp_path / "e.jit", tmp_path / "d.jit"
    torch.jit.trace(Half(vq, True), torch.zeros(1, 3, 64, 96), check_trace=False).save(str(encoder))
    torch.jit.trace(Half(vq, False), torch.zeros(1, 4, 6, dtype=torch.int64), check_trace=False).save(str(decoder))
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8))
    arguments = ["--check-torchscript", "--tokenizer", encoder, decoder, "--images", images, "--grid", "4x6"]
    assert run(convert, *arguments, *GROUPS) == 0
    assert "24 of 24 tokens agree (100.00%) in 1 pictures" in capsys.readouterr().out
    assert run(convert, *arguments, "--tokenizer-groups", "2") == 1
    assert "below 99.90%" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match=r"no .jpg or .png"):
        run(convert, "--check-torchscript", "--tokenizer", encoder, decoder, "--images", tmp_path / "none", *GROUPS)


def test_inspect_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = random_artifact(tmp_path / "m", up.TINY)
    assert run(inspect, tmp_path / "m") == 0
    text = capsys.readouterr().out
    for expected in (card.model_id, card.tokenizer_id, "UNTRAINED", "domain random", "divided by 2 (muP: width 32 / base 16)", "world_front", "Apache-2.0"):
        assert expected in text
    assert "reproduced on cpu" in text
    (tmp_path / "m" / "golden.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"golden.safetensors is missing"):
        run(inspect, tmp_path / "m")
    assert run(inspect, tmp_path / "m", "--no-golden") == 0
    assert "not replayed" in capsys.readouterr().out
    assert read_card(tmp_path / "m") == card


def test_inspect_upstream_files(vavam_file: Path, tokenizer_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(inspect, vavam_file, "--grid", "2x3") == 0
    text = capsys.readouterr().out
    for expected in ("upstream VaVAM", "7251 steps", "divided by 2 (muP: width 8 / base 4)", "4 waypoints, one per 0.5 s: 2 s"):
        assert expected in text
    assert run(inspect, tokenizer_file, "--tokenizer-groups", "8") == 0
    assert "64 codes of 8" in capsys.readouterr().out
