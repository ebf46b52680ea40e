"""The recorded output that an artifact must reproduce: one picture, its tokens, one trajectory and the last logits of one frame.

Shape letters: h w token grid · H W picture · A waypoints · V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vavam_ros.core.contracts import ArtifactError, GoldenMismatchError
from vavam_ros.core.model.network import VaVAM, VideoModel
from vavam_ros.core.tokenizer.vq16 import VQ16

# Share of the largest magnitude. Rounding of fp32 between devices and thread counts stays below 1e-4; a wrong divisor or tensor is far above.
TOLERANCE = 1e-3
# Codes may differ only where the best two code distances lie this close (unit vectors, squared).
NEAR_TIE = 1e-4


def sample_picture(height: int, width: int) -> Tensor:
    """uint8 (1, height, width, 3): ramps, a checker and a disc, so that neighbouring tokens differ."""
    y, x = torch.meshgrid(torch.arange(height, device="cpu"), torch.arange(width, device="cpu"), indexing="ij")
    checker = ((x // 12 + y // 9) % 2) * 90
    disc = (((x - width // 3) ** 2 + (y - height // 2) ** 2) < (height // 4) ** 2) * 120
    red, green, blue = x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x * 5 + y * 3) % 256
    return torch.stack([(red + disc) % 256, (green + checker) % 256, blue], dim=-1).to(torch.uint8).unsqueeze(0)


@contextlib.contextmanager
def _exact_convolutions() -> Iterator[None]:
    """cuDNN without TF32, which is on by default and moves latents by 1e-3."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def _encode(tokenizer: VQ16, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (1, h, w) and the gap between the best two squared distances (1, h, w)."""
    device = tokenizer.quant_conv.weight.device
    x = picture.to(device).permute(0, 3, 1, 2).float() * 2 / 255 - 1
    latents = tokenizer.latents(x)
    scores = torch.einsum("b d h w, k d -> b h w k", F.normalize(latents.float(), dim=1), tokenizer.quantize.unit_codebook())
    best = 2 * scores.topk(min(2, scores.shape[-1]), dim=-1).values
    return tokenizer.quantize.search(latents).cpu(), (best[..., 0] - best[..., -1]).cpu()


def _logits(video: VideoModel, codes: Tensor, device: torch.device) -> Tensor:
    """(V,) of the last token of one frame."""
    logits: Tensor = video(codes.to(device).unsqueeze(1))[0, -1]
    return logits.float().cpu()


def _trajectory(model: VaVAM, golden: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """(1, A, 2) metres from the recorded codes and noise."""
    context = model.context(golden["codes"].to(device).unsqueeze(1))
    metres: Tensor = model.sample(context, golden["noise"].to(device), golden["command"].to(device))
    return metres.float().cpu()


@torch.inference_mode()
def record(model: VaVAM | VideoModel, tokenizer: VQ16) -> dict[str, Tensor]:
    """Golden tensors of an fp32 model: picture, codes, code_gap, logits and, if it can plan, noise, command, trajectory."""
    video = model.video if isinstance(model, VaVAM) else model
    device = next(video.parameters()).device
    with _exact_convolutions():
        picture = sample_picture(*tokenizer.spec.image_hw)
        codes, gap = _encode(tokenizer, picture)
        golden = {"picture": picture, "codes": codes, "code_gap": gap, "logits": _logits(video, codes, device)}
        if isinstance(model, VaVAM):
            action = model.spec.action
            noise = torch.randn(1, action.horizon, action.action_dim, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
            golden |= {"noise": noise, "command": torch.tensor([action.commands - 1], device="cpu")}
            golden["trajectory"] = _trajectory(model, golden, device)
    broken = [name for name, value in golden.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise GoldenMismatchError(f"the model's own output is not finite ({', '.join(broken)}): it cannot be written as an artifact")
    return golden


@torch.inference_mode()
def replay(model: VaVAM | VideoModel, tokenizer: VQ16, golden: Mapping[str, Tensor], source: str) -> None:
    """Raise GoldenMismatchError unless an fp32 model reproduces its golden tensors on the device where it is."""
    video = model.video if isinstance(model, VaVAM) else model
    expected = {"picture", "codes", "code_gap", "logits"} | ({"noise", "command", "trajectory"} if isinstance(model, VaVAM) else set())
    if set(golden) != expected:
        raise ArtifactError(f"{source}: got the tensors {sorted(golden)}, expected {sorted(expected)}; convert the model again")
    device = next(video.parameters()).device
    with _exact_convolutions():
        codes, _ = _encode(tokenizer, golden["picture"])
        if codes.shape != golden["codes"].shape:
            raise GoldenMismatchError(f"{source}: the picture gives {tuple(codes.shape)} tokens, recorded were {tuple(golden['codes'].shape)}")
        wrong = int(((codes != golden["codes"]) & (golden["code_gap"] > NEAR_TIE)).sum())
        if wrong:
            raise GoldenMismatchError(
                f"{source}: {wrong} of {codes.numel()} tokens of the recorded picture differ: tokenizer.safetensors is not the one recorded"
            )
        _compare(_logits(video, golden["codes"], device), golden["logits"], "logits", source)
        if isinstance(model, VaVAM):
            _compare(_trajectory(model, golden, device), golden["trajectory"], "trajectory", source)


def _compare(got: Tensor, recorded: Tensor, what: str, source: str) -> None:
    if got.shape != recorded.shape:
        raise GoldenMismatchError(f"{source}: {what} has the shape {tuple(got.shape)}, recorded was {tuple(recorded.shape)}")
    error = float((got - recorded).abs().max()) / max(float(recorded.abs().max()), 1e-12)
    if not error <= TOLERANCE:
        raise GoldenMismatchError(
            f"{source}: {what} is {error:.2g} of its largest magnitude away from the recorded one (limit {TOLERANCE:g}): "
            "weights or model.yaml were changed after recording, or this device computes wrongly; copy or convert the model again"
        )
