"""The native tokenizer against numbers recorded from the published network.

The set lies in `VQ16_GOLDEN` (default: the copy beside this file); any set of the same layout runs. Every array of a set belongs to a test or
to the list of those that wait for training; an array that nothing claims fails. The numbers are recordings of another program: they are renewed
only together with the file set, never from this code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from vavam_ros.core.contracts import TokenError
from vavam_ros.core.tokenizer import VQ16, VQ16_RELEASED, TokenizerSpec

GOLDEN = Path(os.environ.get("VQ16_GOLDEN") or Path(__file__).parent / "vq16")
TOLERANCE = 2e-5  # of the largest magnitude; the recording's own rounding is up to 7e-6
NEAR_TIE = 1e-4  # gap of squared distances below which the full-size case may choose another code
FULL_SEEDS = (0x5EED0001, 0x5EEDBEEF)  # of the sets "open" and "heldout"

# Losses, gradients and the discriminator: they come with the training side.
WAITING_FOR_TRAINING = ("training.safetensors", "patchgan_weights.safetensors")

BLOCKS = ("enc_out", "pre_quant", "top2_distance", "indices", "quant_lookup", "quant_encode", "post_quant", "decoded", "reconstruction_forward")


def stage_names(levels: int) -> list[str]:
    encoder = ["conv_in", *(f"level{i}" for i in range(levels)), "mid0", "mid1", "mid2"]
    decoder = ["conv_in", "mid2", *(f"block{i}" for i in range(levels))]
    return [f"enc.{n}" for n in encoder] + [f"dec.{n}" for n in decoder]


@pytest.fixture(scope="module", autouse=True)
def nothing_without_a_device() -> Iterator[None]:
    """A tensor made without a device lands on meta and spoils the numbers."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture(scope="module")
def spec() -> TokenizerSpec:
    c = json.loads((GOLDEN / "config.json").read_text())
    return TokenizerSpec(
        channels=c["ch"],
        encoder_multipliers=tuple(c["enc"]),
        decoder_multipliers=tuple(c["dec"]),
        res_blocks=c["nrb"],
        latent=c["z"],
        codebook_size=c["K"],
        code_dim=c["D"],
        groups=c["groups"],
        eps=c["norm_eps"],
    )


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return load_file(GOLDEN / "inputs.safetensors", device="cpu")


@pytest.fixture(scope="module")
def outputs() -> dict[str, Tensor]:
    return load_file(GOLDEN / "outputs.safetensors", device="cpu")


@pytest.fixture(scope="module")
def model(spec: TokenizerSpec) -> VQ16:
    m = VQ16(spec, device="meta")
    weights = load_file(GOLDEN / "weights.safetensors", device="cpu")
    weights.pop("quantize.codebook_used")
    m.load_state_dict(weights, strict=True, assign=True)
    return m.eval().requires_grad_(False)


def close(got: Tensor, recorded: Tensor) -> None:
    assert got.shape == recorded.shape
    worst, scale = (got - recorded).abs().max().item(), recorded.abs().max().item()
    assert worst <= TOLERANCE * scale, f"{worst:.3g} of {scale:.3g}: {worst / scale:.2g} of the largest magnitude"


def two_smallest_distances(model: VQ16, pre_quant: Tensor) -> Tensor:
    z = torch.nn.functional.normalize(pre_quant.double(), dim=1)
    e = torch.nn.functional.normalize(model.quantize.embedding.weight.double(), dim=1)
    distance = z.square().sum(1)[..., None] + e.square().sum(1) - 2 * torch.einsum("bdhw,kd->bhwk", z, e)
    return distance.topk(2, dim=-1, largest=False).values.float()


def test_every_array_is_claimed(spec: TokenizerSpec) -> None:
    claimed = {"inputs.safetensors": {"A.image", "B.image", "C.indices"}, "outputs.safetensors": {"C.decoded"}}
    claimed["outputs.safetensors"] |= {f"{p}.{n}" for p in "AB" for n in BLOCKS}
    claimed["outputs.safetensors"] |= {f"B.stage.{n}" for n in stage_names(len(spec.encoder_multipliers))}
    if FULL_SIZE.is_file():
        with safe_open(str(FULL_SIZE), framework="pt") as f:
            claimed[FULL_SIZE.name] = {n for n in f.keys() if n.startswith("check.")} | FULL_ARRAYS  # noqa: SIM118 (no mapping)
    claimed["weights.safetensors"] = set(json.loads((GOLDEN / "config.json").read_text())["state_dict_order"])
    found = {}
    for path in GOLDEN.glob("*.safetensors"):
        if path.name not in WAITING_FOR_TRAINING:
            with safe_open(str(path), framework="pt") as f:
                found[path.name] = set(f.keys())
    assert found == claimed


def test_names_and_order_are_llamagens(spec: TokenizerSpec) -> None:
    order = json.loads((GOLDEN / "config.json").read_text())["state_dict_order"]
    assert list(VQ16(spec, device="meta").state_dict()) == [n for n in order if n != "quantize.codebook_used"]


def test_parameter_count(model: VQ16) -> None:
    assert sum(p.numel() for p in model.parameters()) == json.loads((GOLDEN / "config.json").read_text())["parameter_count"]


@pytest.mark.parametrize("case", ["A", "B"])
def test_encoder(case: str, model: VQ16, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    image = inputs[f"{case}.image"]
    close(model.encoder(image), outputs[f"{case}.enc_out"])
    pre_quant = model.latents(image)
    close(pre_quant, outputs[f"{case}.pre_quant"])
    close(two_smallest_distances(model, pre_quant), outputs[f"{case}.top2_distance"])
    codes = model.encode(image)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, outputs[f"{case}.indices"])


@pytest.mark.parametrize("case", ["A", "B"])
def test_quantiser_and_decoder(case: str, model: VQ16, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    codes = outputs[f"{case}.indices"]
    lookup = model.quantize.lookup(codes)
    close(lookup, outputs[f"{case}.quant_lookup"])
    close(model.post_quant_conv(lookup), outputs[f"{case}.post_quant"])
    close(model.decode(codes), outputs[f"{case}.decoded"])
    quantized, again = model.quantize.straight_through(outputs[f"{case}.pre_quant"])
    close(quantized, outputs[f"{case}.quant_encode"])
    assert torch.equal(again, codes)
    close(model(inputs[f"{case}.image"]), outputs[f"{case}.reconstruction_forward"])


def test_decoding_random_codes(model: VQ16, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    close(model.decode(inputs["C.indices"]), outputs["C.decoded"])


def test_stages(model: VQ16, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    modules: dict[str, torch.nn.Module] = {"enc.conv_in": model.encoder.conv_in, "dec.conv_in": model.decoder.conv_in, "dec.mid2": model.decoder.mid[2]}
    modules |= {f"enc.level{i}": m for i, m in enumerate(model.encoder.conv_blocks)} | {f"enc.mid{i}": m for i, m in enumerate(model.encoder.mid)}
    modules |= {f"dec.block{i}": m for i, m in enumerate(model.decoder.conv_blocks)}
    assert sorted(modules) == sorted(stage_names(len(model.spec.encoder_multipliers)))
    seen: dict[str, Tensor] = {}
    hooks = [m.register_forward_hook(lambda _m, _i, out, name=n: seen.__setitem__(name, out)) for n, m in modules.items()]
    model.decode(model.encode(inputs["B.image"]))
    for hook in hooks:
        hook.remove()
    for name, got in seen.items():
        close(got, outputs[f"B.stage.{name}"])
    assert len(seen) == len(modules)


def test_a_code_outside_this_codebook_is_refused(model: VQ16) -> None:
    codes = torch.zeros(1, 2, 2, dtype=torch.int64, device="cpu")
    codes[0, 1, 1] = model.codebook_size
    with pytest.raises(TokenError, match=f"0 to {model.codebook_size - 1}"):
        model.decode(codes)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("case", ["A", "B"])
def test_on_a_gpu(case: str, spec: TokenizerSpec, model: VQ16, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    """The same codes; pictures within 1e-4, without TF32 in the convolutions."""
    on_gpu = VQ16(spec, device="meta")
    on_gpu.load_state_dict({n: t.to("cuda") for n, t in model.state_dict().items()}, strict=True, assign=True)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert torch.equal(on_gpu.encode(inputs[f"{case}.image"].to("cuda")).cpu(), outputs[f"{case}.indices"])
        decoded = on_gpu.decode(outputs[f"{case}.indices"].to("cuda")).cpu()
    assert (decoded - outputs[f"{case}.decoded"]).abs().max() <= 1e-4 * outputs[f"{case}.decoded"].abs().max()


# ---- full size: 71.9 M weights from a formula --------------------------------------------------------------------------------------------

FULL_SIZE = GOLDEN / "full_size.safetensors"
FULL_ARRAYS = {
    "image_u8", "quant_conv.weight", "quant_conv.bias", "enc_out_every2", "pre_quant", "indices", "top2_distance",
    "decoded_every4", "decoded_crop", "decoded_mean", "decoded_std",
}  # fmt: skip


def formula(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The weights of one tensor: FNV-1a of its name, splitmix64 along its elements."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    x = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(h ^ seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    a, b = 0.1, 0.0
    if name == "quantize.embedding.weight":
        a = 1.0
    elif "norm" in name:
        a, b = (0.4, 1.0) if name.endswith("weight") else (0.3, 0.0)
    elif name.endswith("weight"):
        a = float(np.sqrt(3 / np.prod(shape[1:])))
    values = (2.0 * ((x >> np.uint64(40)).astype(np.float64) / 2.0**24) - 1.0) * a + b
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


@pytest.fixture(scope="module")
def full() -> dict[str, Tensor]:
    if not FULL_SIZE.is_file():
        pytest.skip(f"{FULL_SIZE.name} is not part of this set")
    return load_file(FULL_SIZE, device="cpu")


@pytest.fixture(scope="module")
def full_model(full: dict[str, Tensor]) -> VQ16:
    m = VQ16(VQ16_RELEASED, device="meta")
    shapes = {n: tuple(t.shape) for n, t in m.state_dict().items()}
    checks = {n.removeprefix("check."): t for n, t in full.items() if n.startswith("check.")}
    first = min(checks, key=lambda n: int(np.prod(shapes[n])))
    seeds = [s for s in FULL_SEEDS if torch.equal(formula(first, shapes[first], s).flatten()[:16], checks[first])]
    assert len(seeds) == 1, f"check.{first} comes from none of the seeds {[hex(s) for s in FULL_SEEDS]}"
    weights = {n: formula(n, s, seeds[0]) for n, s in shapes.items()} | {n: full[n] for n in ("quant_conv.weight", "quant_conv.bias")}
    for name, recorded in checks.items():
        assert torch.equal(weights[name].flatten()[:16], recorded), name
    m.load_state_dict(weights, strict=True, assign=True)
    return m.eval().requires_grad_(False)


def test_full_size_encoder(full_model: VQ16, full: dict[str, Tensor]) -> None:
    assert sum(p.numel() for p in full_model.parameters()) == 71_883_403
    image = full["image_u8"].float() / 255 * 2 - 1
    caught: list[Tensor] = []
    hook = full_model.encoder.register_forward_hook(lambda _m, _i, out: caught.append(out))
    pre_quant = full_model.latents(image)
    hook.remove()
    close(caught[0][..., ::2, ::2], full["enc_out_every2"])
    close(pre_quant, full["pre_quant"])
    recorded = full["top2_distance"]
    assert (two_smallest_distances(full_model, pre_quant) - recorded).abs().max() < TOLERANCE
    different = full_model.quantize.search(pre_quant) != full["indices"]
    assert not (different & (recorded[..., 1] - recorded[..., 0] >= NEAR_TIE)).any()
    assert int(different.sum()) <= 2


def test_full_size_decoder(full_model: VQ16, full: dict[str, Tensor]) -> None:
    picture = full_model.decode(full["indices"])
    assert picture.shape == (1, 3, 288, 512)
    close(picture[..., ::4, ::4], full["decoded_every4"])
    close(picture[..., 96:160, 160:224], full["decoded_crop"])
    close(picture.mean(dim=(0, 2, 3)), full["decoded_mean"])
    close(picture.std(dim=(0, 2, 3), unbiased=False), full["decoded_std"])
