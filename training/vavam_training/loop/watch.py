"""What people see of a run: progress bar, metrics.jsonl, TensorBoard, pictures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vavam_ros.core.contracts import InputError
from vavam_training.contracts import Picture

METRICS, PICTURES = "metrics.jsonl", "pictures"
CAPTION = "Description"  # PNG's own keyword for it


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Lines of a run's metrics.jsonl. A last line that was cut off by a kill is left out; another broken one is an InputError."""
    path = run / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number}: {error}; expected one JSON object a line") from error
    return found


def matrix_rate(
    device: torch.device, dtype: torch.dtype, size: int = 1024, seconds: float = 0.2, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Operations per second of a square matrix product on this machine: what MFU is a share of."""
    a = torch.randn(size, size, device=device, dtype=torch.float32).to(dtype)
    b, count = a.clone(), 0
    for _ in range(2):
        a @ b
    _finish(device)
    begun = clock()
    while clock() - begun < seconds:
        a @ b
        count += 1
        if count % 8 == 0:
            _finish(device)
    _finish(device)
    return count * 2.0 * size**3 / (clock() - begun)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Watch:
    """Writes what happens. On all but the first process: nothing (`folder` None)."""

    def __init__(self, folder: Path | None, name: str, first_step: int, steps: int, peak_flops: float) -> None:
        self._folder, self._peak = folder, peak_flops
        self._bar: Any = None
        if folder is None:
            return
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        kept = [m for m in read_metrics(folder) if m["step"] <= first_step]  # what came after the checkpoint is done again
        text = "".join(json.dumps(m) + "\n" for m in kept)
        part = folder / f"{METRICS}.partial"
        part.write_text(text, encoding="utf-8")
        os.replace(part, folder / METRICS)
        self._lines = (folder / METRICS).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
        self._bar = tqdm(total=steps, initial=first_step, desc=name, unit="step", disable=None, smoothing=0.05)

    def advance(self) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update(1)

    def log(self, step: int, values: Mapping[str, float], *, samples: int, tokens: int, seconds: float, window_tokens: int, window_flops: float) -> None:
        """Values after `step` steps. `seconds`, `window_…`: since the last time."""
        if self._folder is None:
            return
        line = {"step": step, "samples": samples, "tokens": tokens, **values}
        if seconds > 0.0:
            line |= {"tokens_per_s": window_tokens / seconds, "mfu": window_flops / seconds / self._peak if self._peak else 0.0}
        self._write(line)
        shown = {"loss": f"{values['loss']:.4f}"} if "loss" in values else {k: f"{v:.3f}" for k, v in values.items() if k.endswith("/loss")}
        self._bar.set_postfix(shown | ({"tok/s": f"{line['tokens_per_s']:.0f}", "MFU": f"{100 * line['mfu']:.0f}%"} if seconds > 0.0 else {}))

    def held_out(self, step: int, values: Mapping[str, float]) -> None:
        """Values of what is not trained on."""
        if self._folder is not None:
            self._write({"step": step, **{f"held_out/{k}": v for k, v in values.items()}})

    def pictures(self, step: int, pictures: Iterable[Picture]) -> None:
        """Write pictures as PNG, which holds the caption, too, and to TensorBoard."""
        if self._folder is None:
            return
        for picture in pictures:
            said = PngImagePlugin.PngInfo()
            said.add_itxt(CAPTION, picture.caption)
            Image.fromarray(picture.rgb).save(self._folder / PICTURES / f"{picture.name}_{step:08d}.png", pnginfo=said)
            self._board.add_image(picture.name, picture.rgb, step, dataformats="HWC")

    def say(self, text: str) -> None:
        """A line for people, above the bar."""
        if self._bar is not None:
            self._bar.write(text)

    def close(self) -> None:
        """Flush and close all."""
        if self._folder is not None:
            self._lines.close()
            self._board.close()
            self._bar.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        for name, value in _scalars(line):
            self._board.add_scalar(name, value, line["step"])


def _scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if name not in ("step",):
            yield name, float(value)
