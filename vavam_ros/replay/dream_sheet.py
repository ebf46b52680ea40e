"""Dreams as one picture: each moment in two rows, what happened above, what the model sees and then expects below."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vavam_ros.core.contracts import U8
from vavam_ros.replay.dream import Dream
from vavam_ros.replay.dream_film import EXPECTED, GAP, INK, PAPER, SEEN, SOFT, TOP, Labels, draw_title, fitted, font, when

PANEL_W, MIN_PANEL_W, WIDE, HEAD, ROW_NAME_W, BETWEEN, FRAME = 240, 120, 2400, 22, 96, 4, 3


def sheet(dreams: Sequence[Dream], labels: Labels) -> U8:
    """(height, width, 3). Panels shrink where there are many frames, down to what can still be made out."""
    columns = max(len(d.true_rgb) for d in dreams)
    panel_w = min(PANEL_W, max(MIN_PANEL_W, (WIDE - ROW_NAME_W) // columns))
    panel_h = round(panel_w * dreams[0].true_rgb.shape[1] / dreams[0].true_rgb.shape[2])
    block_h = HEAD + 2 * panel_h + 2 * BETWEEN + GAP
    width = ROW_NAME_W + columns * (panel_w + BETWEEN) + 2 * GAP
    out = Image.new("RGB", (width, TOP + 2 * HEAD + len(dreams) * block_h), PAPER)
    draw = ImageDraw.Draw(out)
    draw_title(draw, width, labels, f" · {labels.how}")
    if labels.warning:
        draw.text((GAP, TOP), labels.warning, fill=EXPECTED, font=font(13, bold=True))
    for number, d in enumerate(dreams):
        _block(out, draw, d, TOP + 2 * HEAD - (0 if labels.warning else HEAD) + number * block_h, (panel_h, panel_w))
    used = out.height - (0 if labels.warning else HEAD)
    return np.asarray(out.crop((0, 0, width, used)), np.uint8)


def _block(out: Image.Image, draw: ImageDraw.ImageDraw, d: Dream, y: int, hw: tuple[int, int]) -> None:
    """One moment, from `y` downwards."""
    seen, first_y = len(d.seen_rgb), y + HEAD
    second_y = first_y + hw[0] + BETWEEN
    draw.text((GAP, y + 2), f"{d.at_s:.1f} s", fill=INK, font=font(13, bold=True))
    for row_y, text, colour in ((first_y, "happened", SOFT), (second_y, "seen, then", SOFT), (second_y + 17, "expected", EXPECTED)):
        draw.text((GAP, row_y + 4), text, fill=colour, font=font(13))
    for i, true in enumerate(d.true_rgb):
        x = GAP + ROW_NAME_W + i * (hw[1] + BETWEEN)
        made_up = i >= seen
        draw.text((x, y + 3), when(i, seen, d.dt_s), fill=EXPECTED if made_up else SEEN, font=font(12, bold=i == seen - 1))
        out.paste(Image.fromarray(fitted(true, hw)), (x, first_y))
        out.paste(Image.fromarray(fitted(d.expected_rgb[i - seen] if made_up else d.seen_rgb[i], hw)), (x, second_y))
        if made_up:
            draw.rectangle((x, second_y, x + hw[1] - 1, second_y + hw[0] - 1), outline=EXPECTED, width=FRAME)


def write_sheet(path: Path, dreams: Sequence[Dream], labels: Labels) -> None:
    """Write a PNG; it appears under its name only when it is complete."""
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        Image.fromarray(sheet(dreams, labels)).save(part, format="PNG")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
