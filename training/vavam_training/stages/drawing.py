"""Pictures of what a model says, for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from vavam_ros.core.contracts import F64, U8, Command
from vavam_ros.core.model import VideoModel
from vavam_ros.core.model.generate import generate_frames
from vavam_ros.core.tokenizer import VQ16
from vavam_training.contracts import Picture

WHITE, INK, TRUTH, SAMPLE = (255, 255, 255), (28, 36, 48), (31, 150, 70), (31, 95, 168)
AHEAD_M, ASIDE_M, PX_PER_M = 30.0, 12.0, 9.0


@torch.no_grad()
def decoded(tokenizer: VQ16, tokens: Tensor) -> U8:
    """(n, h, w) codes → (n, H, W, 3) pictures."""
    codes = tokens.to(next(tokenizer.parameters()).device).clamp(max=tokenizer.codebook_size - 1)
    images = tokenizer.decode(codes).float()
    rgb: U8 = (127.5 * images + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return rgb


def grid(rows: Sequence[Sequence[U8]], titles: Sequence[str], gap: int = 4) -> U8:
    """Pictures of one size in rows, each row under its title."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(r) for r in rows)
    bar = 18
    sheet = np.full((len(rows) * (height + bar + gap), columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for i, (row, title) in enumerate(zip(rows, titles, strict=True)):
        top = i * (height + bar + gap)
        cv2.putText(sheet, title, (2, top + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
        for j, picture in enumerate(row):
            left = j * (width + gap)
            sheet[top + bar : top + bar + height, left : left + width] = picture
    return sheet


def generated_beside_true(video: VideoModel, tokenizer: VQ16, tokens: Tensor, given: int, seed: int) -> list[Picture]:
    """The frames after the first `given` of windows (B, T, h, w), true, greedy, and drawn from the 50 likeliest."""
    was_training = video.training
    video.eval()
    n = tokens.shape[1] - given
    generator = torch.Generator(tokens.device).manual_seed(seed)
    limit = tokenizer.codebook_size
    greedy = generate_frames(video, tokens[:, :given], n, codebook_size=limit)
    drawn = generate_frames(video, tokens[:, :given], n, top_k=min(50, limit), generator=generator, codebook_size=limit)
    video.train(was_training)
    pictures = []
    for i in range(len(tokens)):
        rows = [list(decoded(tokenizer, x)) for x in (tokens[i, :given], tokens[i, given:], greedy[i], drawn[i])]
        titles = ("given (decoded tokens)", "what came", "expected: likeliest tokens", "expected: drawn from the 50 likeliest")
        pictures.append(Picture(name=f"frames_{i}", rgb=grid(rows, titles)))
    return pictures


def seen_from_above(samples_m: F64, truth_m: F64, command: int) -> U8:
    """Samples (K, H, 2) and the true path (H, 2) in the ego frame: x up, y to the left, 9 pixels a metre."""
    height, width = round(AHEAD_M * PX_PER_M), round(2 * ASIDE_M * PX_PER_M)
    sheet = np.full((height, width, 3), 255, dtype=np.uint8)
    for metres in range(0, round(AHEAD_M), 5):
        y = height - 1 - round(metres * PX_PER_M)
        cv2.line(sheet, (0, y), (width, y), (228, 232, 236), 1)
        cv2.putText(sheet, f"{metres} m", (2, y - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (140, 150, 160), 1, cv2.LINE_AA)
    for path in samples_m:
        _line(sheet, path, SAMPLE, 1)
    if np.isfinite(truth_m).all():
        _line(sheet, truth_m, TRUTH, 2)
    cv2.putText(sheet, Command(command).name.lower(), (width - 70, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    return sheet


def _line(sheet: U8, path_m: F64, colour: tuple[int, int, int], thickness: int) -> None:
    points = np.vstack([[0.0, 0.0], path_m])
    height, width = sheet.shape[:2]
    xy = np.stack([width / 2 - points[:, 1] * PX_PER_M, height - 1 - points[:, 0] * PX_PER_M], axis=1)
    pixels = np.clip(np.round(xy), -10_000, 10_000).astype(np.int32)
    cv2.polylines(sheet, [pixels[:, None]], False, colour, thickness, cv2.LINE_AA)
    for x, y in pixels[1:]:
        cv2.circle(sheet, (int(x), int(y)), thickness + 1, colour, -1, cv2.LINE_AA)
