"""What is measured: the stages of a folder of recipes on data made on the way, with random weights.

Shape letters: n frames of a drive · h w token grid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vavam_ros.core.contracts import NS_PER_S
from vavam_training.contracts import Batch, DriveRows, Samples, Stage
from vavam_training.dataset import TokenWriter
from vavam_training.loop.config import LoopConfig
from vavam_training.loop.processes import Processes
from vavam_training.loop.steps import Stepper
from vavam_training.mixing.loader import Loader
from vavam_training.pictures.store import CLASSES, MANIFEST, PARTS
from vavam_training.recipe import model_spec, open_recipe, read_recipe

STAGES = ("tokenizer", "pretrain", "action")
DRIVES, SECONDS, HZ, STRIDE = 24, 60, 2.0, 16
PICTURES = 64


def token_set(folder: Path, grid_hw: tuple[int, int], codes: int) -> Path:
    """Drives of a minute on circles, random tokens (n, h, w)."""
    rng, n = np.random.default_rng(0), round(SECONDS * HZ)
    stamps = (np.arange(n) * NS_PER_S / HZ).astype(np.int64) + NS_PER_S
    settings: dict[str, Any] = {"name": "bench", "source": "bench", "licence": "none", "domain": "synthetic_world", "tokenizer_id": "bench", "tokenizer": {}}
    with TokenWriter(folder, **settings, canonical_camera={}, grid_hw=grid_hw, codebook_size=codes, git_revision="") as writer:
        for i in range(DRIVES):
            heading = np.arange(n) / HZ * 8.0 / (30.0 + i)  # 8 m/s
            zero = np.zeros(n)
            rows = DriveRows(
                name=f"drive-{i:03d}", source="bench", stamp_ns=stamps, tokens=rng.integers(0, codes, (n, *grid_hw)).astype(np.uint16),
                position_m=np.stack([(30.0 + i) * np.sin(heading), (30.0 + i) * (1.0 - np.cos(heading)), zero], axis=1),
                rotation_wxyz=np.stack([np.cos(heading / 2), zero, zero, np.sin(heading / 2)], axis=1),
                speed_mps=np.full(n, 8.0, np.float32), command=np.full(n, 2, np.int8),
            )  # fmt: skip
            writer.write(rows)
        writer.finish()
    return folder


def picture_store(folder: Path, image_hw: tuple[int, int], classes: int) -> Path:
    """Random pictures in the layout of `vavam-train data pictures`; with classes, if any are asked for."""
    rng = np.random.default_rng(0)
    (folder / PARTS).mkdir(parents=True)
    pictures = rng.integers(0, 256, (PICTURES, *image_hw, 3)).astype(np.uint8)
    np.save(folder / PARTS / "drive.npy", pictures)
    if classes:
        np.save(folder / PARTS / f"drive{CLASSES}", rng.integers(0, classes, (PICTURES, *image_hw)).astype(np.uint8))
    about = {"image_hw": image_hw, "canonical_camera": {}, "source": "bench", "licence": "none", "domain": "synthetic_world"}
    drives = {"drive": (PICTURES, hashlib.sha256(pictures.tobytes()).hexdigest())}
    (folder / MANIFEST).write_text(json.dumps(about | {"drives": drives}), encoding="utf-8")
    return folder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A recipe with its files open. `first_step`: from where on steps are what most of the run's are."""

    stage: Stage
    samples: Samples
    config: LoopConfig
    first_step: int


def stages_of(recipes: Path) -> tuple[str, ...]:
    """Those that a folder has a recipe for."""
    return tuple(s for s in STAGES if (recipes / f"{s}.yaml").exists())


def open_case(recipes: Path, stage: str, folder: Path, *, precision: str, batch: int, changes: Sequence[str] = ()) -> Case:
    """Its recipe with data made in `folder` (once), new weights, one micro-batch a step. `batch`: samples of it; 0: as many as the recipe takes at a time."""
    path = recipes / f"{stage}.yaml"
    recipe, pretrain = read_recipe(path), read_recipe(recipes / "pretrain.yaml")
    video = model_spec(pretrain.model).video
    grid_hw = (video.grid_h, video.grid_w)
    if stage == "tokenizer":
        data = folder / "pictures"
        if not data.exists():
            picture_store(data, (grid_hw[0] * STRIDE, grid_hw[1] * STRIDE), len(recipe.data.get("class_weights", ())))
        made = [f"data.pictures=[{data}]", "data.held_out_share=0.0"]
    else:
        data = folder / "tokens"
        if not data.exists():
            token_set(data, grid_hw, video.vocabulary - 1)
        made = [f"data.parts=[{{name: bench, path: {data}}}]", "start=null", "tokenizer=null"]
        if not recipe.model:  # it is that of the weights which the recipe begins with
            made.append(f"model={json.dumps(pretrain.model)}")
    size = batch or recipe.loop.micro_batch or recipe.loop.batch_size
    made += [f"loop.batch_size={size}", "loop.micro_batch=0", f"loop.precision={precision}"]
    recipe = read_recipe(path, [*made, *changes])
    opened = open_recipe(recipe)
    return Case(stage=opened.stage, samples=opened.samples, config=recipe.loop, first_step=1 + int(recipe.options.get("quantize_from", 0)))


class Training:
    """Steps of one stage on one batch that is there already. `graph_through_video`: of the action stage, as one that trains the expert alone but does not
    detach the video model: gradients of its weights are computed, and thrown away."""

    def __init__(self, case: Case, device: torch.device, *, graph_through_video: bool = False) -> None:
        self.case, self._device, self._number = case, device, case.first_step
        self._stepper = Stepper(case.stage, case.config, Processes(device=device))
        self._unused: list[torch.nn.Parameter] = []
        if graph_through_video:
            video = self._stepper.net.get_submodule("video").requires_grad_(True)
            self._unused = list(video.parameters())
        self.batch: Batch = next(iter(Loader(case.samples, case.config.batch_size, start_step=self._number))).to(device)

    def step(self) -> None:
        """One step, until the device has done it."""
        for p in self._unused:
            p.grad = None
        self._stepper.step(self._number, [(0, self.batch)])
        self._number += 1
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.case.stage.tokens(self.batch)

    def flops(self) -> float:
        """Of a step: as the stage counts them; where it does not, by watching one step."""
        counted = self.case.stage.flops(self.batch)
        if not counted:
            with FlopCounterMode(display=False) as counter:
                self.step()
            counted = float(counter.get_total_flops())
        return counted


def loading(case: Case, batches: int) -> Callable[[], None]:
    """Taking so many batches from the loader in this process, on and on."""
    given = iter(Loader(case.samples, case.config.batch_size, start_step=case.first_step))

    def load() -> None:
        for _ in islice(given, batches):
            pass

    return load
