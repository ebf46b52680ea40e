"""JPEG decoders against the one that the node uses, on frames of a drive encoded anew: time, pixels, tokens.

The pictures are the middle of the frames in the proportions 16:9, scaled to size: from a smaller recording they are smoother than a camera's of that size.
Encoder: cv2, which halves the resolution of the colours (4:2:0) unless told otherwise.

Shape letters: B pictures · h w token grid.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch

from bench.bench_model import medians_s
from bench.precision.shared import Drive, Row, Setting, columns, cut, relative
from bench.precision.tokenizer import as_input
from vavam_ros.core.camera import decode_compressed
from vavam_ros.core.contracts import U8
from vavam_ros.core.tokenizer import VQ16

SIZES_HW, QUALITIES = ((900, 1600), (144, 256)), (75, 90)
REFERENCE = "cv2, as the node"
Decoder = Callable[[bytes], U8]


def _pillow() -> Decoder:
    from PIL import Image

    return lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _simplejpeg(**how: bool) -> Decoder:
    import simplejpeg

    return partial(simplejpeg.decode_jpeg, colorspace="RGB", **how)


def _turbojpeg() -> Decoder:
    import turbojpeg

    return partial(turbojpeg.TurboJPEG().decode, pixel_format=turbojpeg.TJPF_RGB)


MAKERS: dict[str, Callable[[], Decoder]] = {
    REFERENCE: lambda: decode_compressed,
    "Pillow": _pillow,
    "simplejpeg": _simplejpeg,
    "simplejpeg, rough": partial(_simplejpeg, fastdct=True, fastupsample=True),  # the shortcuts that the others do not take
    "PyTurboJPEG": _turbojpeg,
}


def decoders() -> dict[str, tuple[Decoder | None, str]]:
    """Name → JPEG bytes to rgb (height, width, 3) uint8, or why it is not there."""
    found: dict[str, tuple[Decoder | None, str]] = {}
    for name, make in MAKERS.items():
        try:
            found[name] = make(), ""
        except ImportError as e:
            found[name] = None, f"not installed: {e.name}"
        except RuntimeError as e:  # PyTurboJPEG without the library that it calls
            found[name] = None, f"not installed: {str(e).partition('.')[0]}"
    return found


def encode(rgb: U8, quality: int) -> bytes:
    """JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return bytes(data.tobytes())


def _decode_all(decoder: Decoder, files: list[bytes]) -> None:
    for data in files:
        decoder(data)


def pixels(pictures: list[U8], reference: list[U8]) -> Row:
    """Largest and mean difference of a channel, and the share of pixels that differ in any."""
    difference = np.stack([np.abs(a.astype(np.int16) - b.astype(np.int16)) for a, b in zip(pictures, reference, strict=True)])
    return {"max_px": int(difference.max()), "mean_px": float(difference.mean()), "share_px": float(difference.any(axis=-1).mean())}


@torch.inference_mode()
def measure(drive: Drive, tokenizer: VQ16, setting: Setting, *, pictures: int, sizes_hw: tuple[tuple[int, int], ...] = SIZES_HW) -> list[Row]:
    """A row for each size, quality and decoder."""
    rows: list[Row] = []
    found = decoders()
    usable = {name: decoder for name, (decoder, _) in found.items() if decoder is not None}
    frames = [w[0] for w in drive.windows(pictures, 1, 0.5)]
    for hw in sizes_hw:
        for quality in QUALITIES:
            files = [encode(cut(rgb, hw), quality) for rgb in frames]
            decoded = {name: [decoder(data) for data in files] for name, decoder in usable.items()}
            sides: dict[str, Callable[[], object]] = {name: partial(_decode_all, decoder, files) for name, decoder in usable.items()}
            times = relative(medians_s(sides, setting.repeats, True, setting.clock), REFERENCE)
            reference = decoded[REFERENCE]
            codes = [tokenizer.encode(as_input(rgb, tokenizer.spec)) for rgb in reference]
            for name, (_, note) in found.items():
                row: Row = {"size": f"{hw[1]}×{hw[0]}", "quality": quality, "decoder": name, "note": note}
                if name in decoded:
                    row |= pixels(decoded[name], reference) | {"time": times[name], "agree": agreement(tokenizer, decoded[name], reference, codes)}
                rows.append(row)
    return rows


def agreement(tokenizer: VQ16, pictures: list[U8], reference: list[U8], codes: list[torch.Tensor]) -> float:
    """Share of tokens that are those of the reference's pictures, `codes`. Equal pictures are not tokenized again."""
    same = []
    for rgb, other, tokens in zip(pictures, reference, codes, strict=True):
        equal = np.array_equal(rgb, other)
        same.append(1.0 if equal else float((tokenizer.encode(as_input(rgb, tokenizer.spec)) == tokens).float().mean()))
    return float(np.mean(same))


def table(rows: list[Row]) -> str:
    """For people."""
    shown = {
        "time": ("time / cv2", ".3f"),
        "max_px": ("largest level", "d"),
        "mean_px": ("mean level", ".4f"),
        "share_px": ("pixels differ", ".2%"),
        "agree": ("tokens agree", ".2%"),
    }
    return columns(rows, shown, ("size", "quality", "decoder"))
