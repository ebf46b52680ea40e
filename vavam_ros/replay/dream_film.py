"""Dreams as a film for people, GIF or MP4: on the left what the model sees and then expects, on the right what happened, below where in time."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vavam_ros.core.contracts import U8, ConfigError
from vavam_ros.replay.dream import Dream

SUFFIXES = (".gif", ".mp4")
PAPER, INK, SOFT, LINE, SEEN, EXPECTED = "#ffffff", "#1c2430", "#5b6770", "#dde2e6", "#5b6770", "#d9730d"
PANEL_W, GAP, TOP, CAPTION, BOTTOM, WARNING, EDGE = 480, 12, 34, 26, 42, 18, 4
HOLD_S = 1.0  # the last frame of a moment stays longer
MP4_FPS = 10  # players stumble over two frames a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Texts of every frame. `warning`: what must be known before anything is believed; "" for nothing."""

    model: str
    bag: str
    how: str  # how tokens are chosen
    warning: str = ""


@lru_cache(maxsize=8)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, as matplotlib brings it."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def frame_count(dreams: Sequence[Dream]) -> int:
    """Different frames that `frames` makes."""
    return sum(len(d.true_rgb) for d in dreams)


def frames(dreams: Sequence[Dream], labels: Labels) -> Iterator[tuple[U8, float]]:
    """(picture (height, width, 3), seconds it is shown), in order. All of one size, even in both directions."""
    for number, d in enumerate(dreams):
        for k in range(len(d.true_rgb)):
            last = k == len(d.true_rgb) - 1
            yield _frame(d, k, labels, f"moment {number + 1} of {len(dreams)}"), d.dt_s + (HOLD_S if last else 0.0)


def _frame(d: Dream, k: int, labels: Labels, moment: str) -> U8:
    seen = len(d.seen_rgb)
    made_up = k >= seen
    height = round(PANEL_W * d.true_rgb.shape[1] / d.true_rgb.shape[2])
    size = (2 * PANEL_W + 3 * GAP, TOP + CAPTION + height + BOTTOM + (WARNING if labels.warning else 0))
    sheet = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_title(draw, sheet.width, labels, f" · {moment} · {d.at_s:.1f} s")
    left = d.expected_rgb[k - seen] if made_up else d.seen_rgb[k]
    caption = f"expected {when(k, seen, d.dt_s)} · {labels.how}" if made_up else "seen by the model, through its tokens"
    for x, picture, text, colour in (
        (GAP, left, caption, EXPECTED if made_up else SEEN),
        (2 * GAP + PANEL_W, d.true_rgb[k], "what happened" if made_up else "what happened until now", SEEN),
    ):
        draw.text((x, TOP + 3), text, fill=colour, font=font(14, bold=colour == EXPECTED))
        box = (x, TOP + CAPTION, x + PANEL_W, TOP + CAPTION + height)
        sheet.paste(Image.fromarray(fitted(picture, (height, PANEL_W))), box[:2])
        if colour == EXPECTED:
            draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=EXPECTED, width=EDGE)
    _timeline(draw, d, k, (GAP, TOP + CAPTION + height + 12, sheet.width - GAP))
    if labels.warning:
        draw.text((GAP, sheet.height - 7), labels.warning, fill=EXPECTED, font=font(12, bold=True), anchor="ls")
    return np.asarray(sheet, np.uint8)


def draw_title(draw: ImageDraw.ImageDraw, width: int, labels: Labels, after: str) -> None:
    """The model on the left, the bag and `after` on the right, the bag's name cut where there is no room for it."""
    draw.text((GAP, 9), labels.model, fill=INK, font=font(14, bold=True))
    room = width - 4 * GAP - draw.textlength(labels.model, font=font(14, bold=True))
    bag = labels.bag
    while len(bag) > 1 and draw.textlength(bag + after, font=font(13)) > room:
        bag = bag.rstrip("…")[:-1] + "…"
    draw.text((width - GAP, 10), bag + after, fill=SOFT, font=font(13), anchor="ra")


def fitted(picture: U8, hw: tuple[int, int]) -> U8:
    """(H, W, 3) to a panel's size."""
    grown = picture.shape[1] < hw[1]
    panel: U8 = cv2.resize(picture, hw[::-1], interpolation=cv2.INTER_CUBIC if grown else cv2.INTER_AREA).astype(np.uint8)
    return panel


def when(i: int, seen: int, dt_s: float) -> str:
    """Of frame i, counted from the newest of those that are seen."""
    return "now" if i == seen - 1 else f"{(i - seen + 1) * dt_s:+.1f} s"


def _timeline(draw: ImageDraw.ImageDraw, d: Dream, k: int, at: tuple[int, int, int]) -> None:
    """One cell a frame, filled up to the present one."""
    x0, y, x1 = at
    total = len(d.true_rgb)
    for i in range(total):
        made_up = i >= len(d.seen_rgb)
        left, right = x0 + (x1 - x0) * i // total, x0 + (x1 - x0) * (i + 1) // total - 3
        draw.rectangle((left, y, right, y + 6), fill=LINE if i > k else EXPECTED if made_up else SEEN)
        text = when(i, len(d.seen_rgb), d.dt_s)
        draw.text(((left + right) // 2, y + 9), text, fill=INK if i == k else SOFT, font=font(11, bold=i == k), anchor="ma")


def write_film(path: Path, dreams: Sequence[Dream], labels: Labels) -> int:
    """Write the film; it appears under its name only when it is complete. Returns its frames. Raises ConfigError for another suffix than .gif or .mp4,
    and for .mp4 where the library for it is not installed."""
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        count = (_write_gif if path.suffix.lower() == ".gif" else _write_mp4)(part, frames(dreams, labels))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def check_suffix(path: Path) -> None:
    """Raise ConfigError unless such a film can be written here."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out: got {path.name!r}, expected a name that ends in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4":
        _ffmpeg()


def _write_gif(path: Path, shown: Iterator[tuple[U8, float]]) -> int:
    pictures, milliseconds = [], []
    for picture, seconds in shown:
        pictures.append(Image.fromarray(picture).quantize(256))
        milliseconds.append(round(seconds * 1000))
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False)
    return len(pictures)


def _write_mp4(path: Path, shown: Iterator[tuple[U8, float]]) -> int:
    """H.264 in yuv420p, which browsers play."""
    writer, count = None, 0
    try:
        for picture, seconds in shown:
            if writer is None:
                options = ["-preset", "veryfast", "-crf", "24", "-movflags", "+faststart", "-threads", "1"]
                writer = _ffmpeg().write_frames(
                    str(path), picture.shape[1::-1], fps=MP4_FPS, codec="libx264", quality=None, pix_fmt_out="yuv420p", output_params=options,
                    macro_block_size=2, ffmpeg_log_level="error",
                )  # fmt: skip
                writer.send(None)
            for _ in range(max(1, round(seconds * MP4_FPS))):
                writer.send(np.ascontiguousarray(picture))
            count += 1
    finally:
        if writer is not None:
            writer.close()
    return count


def _ffmpeg() -> Any:
    """The library by name: a vehicle does without it, so package.xml does not ask for it."""
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise ConfigError("--out: .mp4 needs imageio-ffmpeg, which is not installed here: pip install imageio-ffmpeg, or name the film .gif") from error
