"""Tokens of a tokenizer in other number formats and memory orders against those of fp32, and the plans that the changed tokens cause.

The search in the codebook is fp32 in all of them, as everywhere (core/tokenizer/vq16.py). The driving model is fp32 too: what differs is the tokens alone.

Shape letters: B pictures · H W picture in pixels · W windows · T frames of a window · h w token grid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from bench.bench_model import medians_s
from bench.precision.shared import SAMPLES, Drive, Row, Setting, attempt, columns, difference_cm, plans_m, relative, straight_on
from vavam_ros.core.artifact import LoadedArtifact
from vavam_ros.core.camera import resize_like_upstream, to_model_input
from vavam_ros.core.contracts import U8
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.tokenizer import VQ16, VQ16_RELEASED, TokenizerSpec
from vavam_ros.core.tokenizer.random_init import init_tokenizer

REFERENCE = "fp32 contiguous"
VARIANTS: dict[str, tuple[torch.dtype, torch.memory_format]] = {
    REFERENCE: (torch.float32, torch.contiguous_format),
    "fp32 channels_last": (torch.float32, torch.channels_last),
    "bf16 channels_last": (torch.bfloat16, torch.channels_last),
    "fp16 channels_last": (torch.float16, torch.channels_last),
}


class LaidOut(VQ16):
    """VQ16 in a memory order of one's choice, not in the one that goes with its number format."""

    layout = torch.contiguous_format

    @property
    def memory_format(self) -> torch.memory_format:
        """Order of the axes in memory."""
        return self.layout


def variant(of: VQ16, dtype: torch.dtype, layout: torch.memory_format) -> VQ16:
    """A copy of an fp32 tokenizer."""
    copy = LaidOut(of.spec, device="cpu")
    copy.load_state_dict(of.state_dict())
    copy.layout = layout
    return copy.cast(dtype).eval()


def random_tokenizer(spec: TokenizerSpec) -> VQ16:
    """Random weights, always the same."""
    tokenizer = VQ16(spec, device="cpu")
    init_tokenizer(tokenizer, torch.Generator("cpu").manual_seed(0))
    return tokenizer.eval()


def as_input(rgb: U8, spec: TokenizerSpec) -> Tensor:
    """(1, 3, H, W) of what the tokenizer sees with `camera_mode: resize`."""
    return to_model_input(resize_like_upstream(rgb, spec.image_hw), torch.device("cpu"), torch.float32)


def encoded(tokenizer: VQ16, images: list[Tensor]) -> Tensor:
    """(B, h, w) tokens, one picture at a time as in the node."""
    return torch.cat([tokenizer.encode(image) for image in images])


@torch.inference_mode()
def compare(name: str, tokenizer: VQ16, pictures: list[U8], setting: Setting, plan: Callable[[Tensor], Tensor] | None = None) -> list[Row]:
    """A row for each variant. `plan`: tokens (B, h, w) → metres (…, 2) of the driving model, where there is one for these tokens."""
    images = [as_input(rgb, tokenizer.spec) for rgb in pictures]
    kinds = {kind: variant(tokenizer, *how) for kind, how in VARIANTS.items()}
    found = {kind: attempt(partial(encoded, one, images)) for kind, one in kinds.items()}
    sides: dict[str, Callable[[], object]] = {kind: partial(kinds[kind].encode, images[0]) for kind, (codes, _) in found.items() if codes is not None}
    ratio = relative(medians_s(sides, setting.repeats, False, setting.clock), REFERENCE)
    reference = found[REFERENCE][0]
    planned = None if plan is None else plan(reference)
    rows = []
    for kind, (codes, note) in found.items():
        row: Row = {"tokenizer": name, "format": kind, "pictures": len(pictures), "note": note}
        if codes is not None:
            row |= {"agree": float((codes == reference).float().mean()), "used": len(codes.unique()), "time": ratio[kind]}
            if plan is not None and planned is not None:
                row["max_cm"], row["median_cm"] = difference_cm(plan(codes), planned)
        rows.append(row)
    return rows


def planner_of(artifact: LoadedArtifact, windows: int) -> Callable[[Tensor], Tensor]:
    """Tokens (W·T, h, w) of W windows → plans in metres, all from the same noise, straight on."""
    k = max(SAMPLES)
    model = FastVaVAM(artifact.model, samples=k)
    return lambda codes: plans_m(model, rearrange(codes, "(w t) i j -> w t i j", w=windows), straight_on(artifact))[k]


def measure(drive: Drive, sizes: TokenizerSpec, artifact: LoadedArtifact | None, setting: Setting, *, windows: int, pictures: int) -> list[Row]:
    """A tokenizer of `sizes` with random weights on a few pictures, and the artifact's on windows of its driving model."""
    name = "released VQ-16, random" if sizes == VQ16_RELEASED else f"{sizes.channels} channels, random"
    rows = compare(name, random_tokenizer(sizes), [w[0] for w in drive.windows(pictures, 1, 0.5)], setting)
    if artifact is not None:
        spec = artifact.card.spec
        seen = [rgb for window in drive.windows(windows, spec.video.frames, spec.frame_dt_s) for rgb in window]
        name = artifact.card.model_id + ("" if artifact.card.trained else ", random")
        rows += compare(name, artifact.tokenizer, seen, setting, planner_of(artifact, windows))
    return rows


def table(rows: list[Row]) -> str:
    """For people."""
    shown = {
        "pictures": ("pictures", "d"),
        "used": ("codes in use", "d"),
        "agree": ("tokens agree", ".2%"),
        "time": ("time / fp32", ".3f"),
        "max_cm": ("plan max cm", ".2f"),
        "median_cm": ("median cm", ".2f"),
    }
    return columns(rows, shown, ("tokenizer", "format"))
