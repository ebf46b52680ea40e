"""The tokenizer's promises beyond recorded numbers: fp32 search, refusals, gradients, identity."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vavam_ros.core.contracts import ConfigError, TokenError
from vavam_ros.core.tokenizer import VQ16, VQ16_RELEASED, VQ16_SMALL, TokenizerSpec, check_codes, tokenizer_identity
from vavam_ros.core.tokenizer.random_init import init_tokenizer

TINY = replace(VQ16_SMALL, channels=8, encoder_multipliers=(1, 1, 1, 1, 2), decoder_multipliers=(1, 1, 1, 2, 2), latent=16, codebook_size=64, groups=4)

pytestmark = pytest.mark.usefixtures("nothing_without_a_device")


def cpu_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


@pytest.fixture
def model() -> VQ16:
    m = VQ16(TINY, device="cpu")
    init_tokenizer(m, cpu_generator())
    return m.eval()


def picture(height: int = 64, width: int = 96, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=cpu_generator(1), device="cpu") * 2 - 1


def test_released_size_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in VQ16(VQ16_RELEASED, device="meta").parameters()) == 71_883_403
    assert VQ16_RELEASED.grid_hw == (18, 32)
    assert VQ16_SMALL.grid_hw == (9, 16)


def test_spec_survives_a_dict() -> None:
    assert TokenizerSpec.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ConfigError, match="unknown \\['colour'\\]"):
        TokenizerSpec.from_dict({**TINY.to_dict(), "colour": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_hw": (100, 96)}, "multiples of 16"),
        ({"groups": 3}, "not a multiple of tokenizer.groups"),
        ({"decoder_multipliers": (1, 1)}, "must be equal"),
        ({"codebook_size": 70_000}, "65536"),
        ({"latent": 0}, "latent"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80), (144, 256)])
def test_any_multiple_of_sixteen(model: VQ16, height: int, width: int) -> None:
    codes = model.encode(picture(height, width))
    assert codes.shape == (1, height // 16, width // 16)
    assert model.decode(codes).shape == (1, 3, height, width)


def test_a_batch_gives_what_its_pictures_give(model: VQ16) -> None:
    images = picture(batch=3)
    assert torch.equal(model.encode(images), torch.cat([model.encode(image[None]) for image in images]))


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(lambda: picture(40, 96), id="not a multiple of 16"),
        pytest.param(lambda: picture()[:, :1], id="one channel"),
        pytest.param(lambda: picture()[0], id="no batch"),
        pytest.param(lambda: torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device="cpu"), id="bytes"),
        pytest.param(lambda: picture() * float("nan"), id="NaN"),
    ],
)
def test_pictures_that_cannot_be_encoded_are_refused(model: VQ16, images: object) -> None:
    with pytest.raises(TokenError, match=r"expected|NaN"):
        model.encode(images())  # type: ignore[operator]


def test_codes_are_checked() -> None:
    good = torch.tensor([[[0, 5], [63, 1]]], device="cpu")
    check_codes(good, 64, (2, 2))
    for bad, message in ((good - 1, "from -1"), (good + 1, "to 64"), (good.float(), "integers"), (good[0], "B, h, w"), (good == 0, "integers")):
        with pytest.raises(TokenError, match=message):
            check_codes(bad, 64)
    with pytest.raises(TokenError, match="grid"):
        check_codes(good, 64, (1, 4))


def test_search_finds_the_largest_cosine_whatever_the_lengths(model: VQ16) -> None:
    latents = torch.randn(2, 8, 5, 7, generator=cpu_generator(2), device="cpu") * 30
    weight = model.quantize.embedding.weight.detach()
    cosine = F.cosine_similarity(latents.permute(0, 2, 3, 1)[..., None, :].double(), weight.double(), dim=-1)
    assert torch.equal(model.quantize.search(latents), cosine.argmax(-1))
    assert torch.allclose(model.quantize.lookup(model.quantize.search(latents)).norm(dim=1), torch.ones(2, 5, 7, device="cpu"), atol=1e-6)


def test_codebook_and_search_stay_fp32_in_a_bf16_network(model: VQ16) -> None:
    exact = model.quantize.embedding.weight.detach().clone()
    latents = torch.randn(1, 8, 40, 40, generator=cpu_generator(3), device="cpu")
    codes = model.quantize.search(latents)
    model.to(torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.quantize.embedding.weight, exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.quantize.search(latents), codes)
    rounded = F.normalize(latents, dim=1).bfloat16(), F.normalize(exact, dim=1).bfloat16()
    assert not torch.equal(torch.einsum("bdhw,kd->bhwk", *rounded).argmax(-1), codes)  # what the fp32 search avoids
    assert model.encode(picture()).shape == (1, 4, 6)


def test_changed_codebook_is_noticed(model: VQ16) -> None:
    with torch.no_grad():
        before = model.quantize.unit_codebook()
        assert model.quantize.unit_codebook() is before  # normalised once
        model.quantize.embedding.weight.mul_(torch.linspace(-1, 1, 64, device="cpu")[:, None])
        assert not torch.equal(model.quantize.unit_codebook(), before)
        model.load_state_dict({**model.state_dict(), "quantize.embedding.weight": torch.ones(64, 8, device="cpu")}, assign=True)
        assert torch.allclose(model.quantize.unit_codebook(), torch.full((64, 8), 8**-0.5, device="cpu"))


def test_a_codebook_first_used_in_inference_mode_still_trains(model: VQ16) -> None:
    with torch.inference_mode():
        model.encode(picture())
    model.quantize.requires_grad_(False)
    model(picture()).square().mean().backward()
    assert model.decoder.conv_in.weight.grad is not None


def test_gradient_goes_straight_through_to_the_unit_latent(model: VQ16) -> None:
    latents = torch.randn(1, 8, 2, 2, generator=cpu_generator(4), device="cpu", requires_grad=True)
    weights = torch.randn(1, 8, 2, 2, generator=cpu_generator(5), device="cpu")
    quantized, _ = model.quantize.straight_through(latents)
    (got,) = torch.autograd.grad((quantized * weights).sum(), latents)
    (want,) = torch.autograd.grad((F.normalize(latents, dim=1) * weights).sum(), latents)
    assert torch.allclose(got, want, atol=1e-6)


def test_identity_names_what_codes_mean(model: VQ16) -> None:
    state = model.state_dict()
    identity = tokenizer_identity(state, TINY)
    assert identity == tokenizer_identity(dict(reversed(state.items())), TINY)
    assert identity == tokenizer_identity({**state, "quantize.codebook_used": torch.zeros(8, device="cpu")}, TINY)
    assert identity == tokenizer_identity(state, replace(TINY, image_hw=(32, 32)))
    assert identity == tokenizer_identity(model.to(memory_format=torch.channels_last).state_dict(), TINY)
    assert identity != tokenizer_identity(state, replace(TINY, eps=1e-5))
    bias = state["quant_conv.bias"].clone()
    bias[0] += 1e-3
    assert identity != tokenizer_identity({**state, "quant_conv.bias": bias}, TINY)


def test_random_weights_still_tell_pictures_apart(model: VQ16) -> None:
    assert len(model.encode(picture(128, 128)).unique()) > 16
    again = VQ16(TINY, device="cpu")
    init_tokenizer(again, cpu_generator())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
