"""Upstream tokenizer files: read as data, matched by name ends and shapes, never run."""

from __future__ import annotations

import argparse
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vavam_ros.core.contracts import ArtifactError
from vavam_ros.core.tokenizer import VQ16, VQ16_SMALL, TokenizerSpec, tokenizer_identity
from vavam_ros.core.tokenizer.random_init import init_tokenizer
from vavam_ros.core.upstream.scripted_tokenizer import ScriptedTokenizer
from vavam_ros.core.upstream.tokenizer_files import infer_spec, open_tokenizer

# Upstream ships TorchScript, which current versions of torch still write but advise against.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

TINY = replace(
    VQ16_SMALL, channels=8, encoder_multipliers=(1, 1, 1, 1, 2), decoder_multipliers=(1, 2, 1, 1, 4), latent=16, codebook_size=64, groups=4, image_hw=(32, 48)
)


def make(seed: int = 0, spec: TokenizerSpec = TINY) -> VQ16:
    m = VQ16(spec, device="cpu")
    init_tokenizer(m, torch.Generator("cpu").manual_seed(seed))
    return m.eval().requires_grad_(False)


class EncodeOnly(nn.Module):
    """The shape of an exported encoder: the whole tokenizer under another name."""

    def __init__(self, vq: VQ16) -> None:
        super().__init__()
        self.wrapped = nn.ModuleDict({"vq_model": vq})

    def forward(self, x: Tensor) -> Tensor:
        vq = self.wrapped["vq_model"]
        z = nn.functional.normalize(vq.quant_conv(vq.encoder(x)), dim=1)
        e = nn.functional.normalize(vq.quantize.embedding.weight, dim=1)
        return torch.einsum("bdhw,kd->bhwk", z, e).argmax(-1)


class DecodeOnly(nn.Module):
    """An exported decoder whose parts have names of their own."""

    def __init__(self, vq: VQ16) -> None:
        super().__init__()
        self.body, self.expand, self.codes = vq.decoder, vq.post_quant_conv, nn.Parameter(nn.functional.normalize(vq.quantize.embedding.weight, dim=1))

    def forward(self, codes: Tensor) -> Tensor:
        return self.body(self.expand(self.codes[codes].permute(0, 3, 1, 2)))


@pytest.fixture(scope="module")
def vq() -> VQ16:
    return make()


@pytest.fixture(scope="module")
def pair(vq: VQ16, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("jit")
    encoder, decoder = folder / "encoder.jit", folder / "decoder.jit"
    torch.jit.trace(EncodeOnly(vq), torch.zeros(1, 3, 32, 48), check_trace=False).save(str(encoder))
    torch.jit.trace(DecodeOnly(vq), torch.zeros(1, 2, 3, dtype=torch.int64), check_trace=False).save(str(decoder))
    return encoder, decoder


def test_torchscript_pair_gives_the_same_tokens(vq: VQ16, pair: tuple[Path, Path]) -> None:
    native = open_tokenizer(pair, image_hw=(32, 48), groups=4).build("cpu")
    assert native.spec == TINY
    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    codes = vq.encode(image)
    assert torch.equal(native.encode(image), codes)
    assert torch.allclose(native.decode(codes), vq.decode(codes), atol=1e-5)


def test_native_and_scripted_agree(pair: tuple[Path, Path], vq: VQ16) -> None:
    scripted = ScriptedTokenizer(*pair, TINY, device="cpu")
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1
    codes = scripted.encode(image)
    assert torch.equal(codes, vq.encode(image))
    assert torch.allclose(scripted.decode(codes), vq.decode(codes), atol=1e-5)


def test_the_program_in_the_file_is_not_run(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading works with every line of code in the file replaced by something that does not parse, and with torch.jit out of reach."""
    monkeypatch.setattr(torch.jit, "load", None)
    spoiled = []
    for file in pair:
        copy = tmp_path / file.name
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(copy, "w") as new:
            for item in old.namelist():
                new.writestr(item, b"not a program" if "/code/" in item else old.read(item))
        spoiled.append(copy)
    assert open_tokenizer(spoiled, image_hw=(32, 48), groups=4).build("cpu").spec == TINY


def test_scripted_module_with_a_prefix(vq: VQ16, tmp_path: Path) -> None:
    """torch.jit.script instead of trace, encoder and decoder directly under foreign names."""

    class Bare(nn.Module):
        def __init__(self, parts: dict[str, nn.Module], book: Tensor | None) -> None:
            super().__init__()
            for name, part in parts.items():
                self.add_module(name, part)
            if book is not None:
                self.register_buffer("book", book)

        def forward(self, x: Tensor) -> Tensor:
            return x

    encoder, decoder = tmp_path / "e.jit", tmp_path / "d.jit"
    traced = torch.jit.trace(vq.encoder, torch.zeros(1, 3, 32, 48), check_trace=False)
    torch.jit.script(Bare({"net": traced, "quant_conv": torch.jit.script(vq.quant_conv)}, None)).save(str(encoder))
    traced = torch.jit.trace(vq.decoder, torch.zeros(1, 16, 2, 3))
    torch.jit.script(Bare({"net": traced, "post_quant_conv": torch.jit.script(vq.post_quant_conv)}, vq.quantize.embedding.weight)).save(str(decoder))
    native = open_tokenizer((encoder, decoder), image_hw=(32, 48), groups=4).build("cpu")
    assert native.tokenizer_id == tokenizer_identity(vq.state_dict(), TINY)


def test_encoder_alone_is_not_a_tokenizer(vq: VQ16, tmp_path: Path) -> None:
    alone = tmp_path / "encoder.jit"
    torch.jit.trace(vq.encoder, torch.zeros(1, 3, 32, 48), check_trace=False).save(str(alone))
    with pytest.raises(ArtifactError, match="give both"):
        open_tokenizer([alone], image_hw=(32, 48), groups=4)


def test_halves_of_different_tokenizers_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.jit"
    torch.jit.trace(DecodeOnly(make(seed=1)), torch.zeros(1, 2, 3, dtype=torch.int64), check_trace=False).save(str(other))
    with pytest.raises(ArtifactError, match="different tokenizers"):
        open_tokenizer((pair[0], other), image_hw=(32, 48), groups=4)


def test_frozen_torchscript_is_refused_with_the_reason(vq: VQ16, tmp_path: Path) -> None:
    frozen = tmp_path / "frozen.jit"
    torch.jit.freeze(torch.jit.trace(EncodeOnly(vq), torch.zeros(1, 3, 32, 48), check_trace=False).eval()).save(str(frozen))
    with pytest.raises(ArtifactError, match="frozen on export"):
        open_tokenizer([frozen], groups=4)


@pytest.mark.parametrize("top", ["ema", "model", "state_dict"])
def test_llamagen_checkpoint(top: str, vq: VQ16, tmp_path: Path) -> None:
    path = tmp_path / "vq.pt"
    state = {**vq.state_dict(), "quantize.codebook_used": torch.zeros(65536)}
    optimizer = {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.95)}]}
    content = {top: state, "steps": 3, "args": argparse.Namespace(codebook_size=64), "optimizer": optimizer}
    if top == "ema":
        content["model"] = make(seed=5).state_dict()  # ema wins
    torch.save(content, path)
    native = open_tokenizer([path], image_hw=(32, 48), groups=4).build("cpu")
    assert native.tokenizer_id == tokenizer_identity(vq.state_dict(), TINY)


def test_missing_weight_is_named(vq: VQ16, tmp_path: Path) -> None:
    path = tmp_path / "vq.pt"
    torch.save({"model": {n: t for n, t in vq.state_dict().items() if n != "decoder.mid.1.q.bias"}}, path)
    with pytest.raises(ArtifactError, match=r"1 tensors missing \(decoder.mid.1.q.bias\)"):
        open_tokenizer([path], groups=4)


def test_released_sizes_follow_from_shapes() -> None:
    spec = TokenizerSpec()
    shapes = {n: tuple(t.shape) for n, t in VQ16(spec, device="meta").state_dict().items()}
    assert infer_spec(shapes, image_hw=(288, 512), groups=32, eps=1e-6, source="test") == spec
