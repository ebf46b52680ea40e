"""A run: steps until the last one, or until it is told to stop; then it goes on, bit for bit where the arithmetic allows it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vavam_training.contracts import Batch, ResumeError, Samples, Stage
from vavam_training.loop import checkpoints
from vavam_training.loop.config import LoopConfig
from vavam_training.loop.page import write_page
from vavam_training.loop.processes import Processes, StopSignal
from vavam_training.loop.steps import NET, Stepper, check_finite
from vavam_training.loop.watch import Watch, matrix_rate
from vavam_training.mixing.loader import Loader
from vavam_training.revision import git_revision

RUN = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. `finished`: all steps are done; else it was told to stop and goes on when started again."""

    finished: bool
    step: int
    checkpoint: Path


def train(
    folder: Path, stage: Stage, samples: Samples, held_out: Samples | None, config: LoopConfig, processes: Processes, notes: Mapping[str, Any] | None = None
) -> Outcome:
    """Train `stage` on `samples` in `folder`, going on from the newest checkpoint there. `notes`: JSON that checkpoints carry (data, recipe).

    Raises ResumeError where the folder holds another run, TrainingError where the loss is not finite, RankError where another process is gone."""
    return _Run(folder, stage, samples, held_out, config, processes, dict(notes or {})).go()


class _Run:
    def __init__(
        self, folder: Path, stage: Stage, samples: Samples, held_out: Samples | None, config: LoopConfig, processes: Processes, notes: dict[str, Any]
    ) -> None:
        self.folder, self.stage, self.config, self.processes = folder, stage, config, processes
        self.identity = {"stage": stage.name, "seed": config.seed, "batch_size": config.batch_size, "data": samples.digest}
        self.notes = notes
        _claim(folder, self.identity, notes, processes)
        self.stepper = Stepper(stage, config, processes)
        at = checkpoints.latest(folder)
        self.step = self.samples_seen = self.tokens_seen = 0
        self.described = stage.describe()
        if at is not None:
            checkpoints.load(at, self.stepper.module, self.stepper.state_dict_order(), self.stepper.ema, processes)
            meta = checkpoints.read_meta(at)
            self.step, self.samples_seen, self.tokens_seen = (int(meta[k]) for k in ("step", "samples", "tokens"))
            self.described[checkpoints.BEGAN] = meta.get(checkpoints.BEGAN)  # another model may lie there by now
        share: dict[str, Any] = {"micro_batch": config.micro_batch, "rank": processes.rank, "world_size": processes.world_size, "workers": config.workers}
        self.loader = Loader(samples, config.batch_size, start_step=self.step, **share)
        self.kept_out = _held_out_batches(held_out, config, processes)
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        peak = matrix_rate(processes.device, dtype) * processes.world_size if processes.first else 0.0
        self.watch = Watch(folder if processes.first else None, stage.name, self.step, config.steps, peak)
        self.last_checkpoint = at

    def go(self) -> Outcome:
        """Until the last step, or a stop."""
        begun, stopped = time.monotonic(), False
        with StopSignal() as stop:
            try:
                if self.step == 0:
                    self._look()
                window = _Window()
                batches = iter(self.loader)
                while self.step < self.config.steps and not stopped:
                    parts = [(part, next(batches).to(self.processes.device)) for part in self.loader.mine]
                    values = self.stepper.step(self.step, parts)
                    self._count(parts, window)
                    done = self.step == self.config.steps
                    if self.step % self.config.log_every == 0 or done:
                        self._log(values, window)
                        window = _Window()
                    self._sometimes()
                    late = bool(self.config.max_minutes) and time.monotonic() - begun > 60.0 * self.config.max_minutes
                    stopped = self.processes.any(stop.asked or late) and not done
                    if self.step % self.config.save_every == 0 or done or stopped:
                        self._save(values)
            finally:
                self.watch.close()
        if self.last_checkpoint is None:
            self._save({})
        assert self.last_checkpoint is not None
        if self.processes.first:
            write_page(self.folder)
        return Outcome(finished=not stopped, step=self.step, checkpoint=self.last_checkpoint)

    def _count(self, parts: list[tuple[int, Batch]], window: _Window) -> None:
        self.step += 1
        self.samples_seen += self.config.batch_size
        tokens = sum(self.stage.tokens(b) for _, b in parts) * self.processes.world_size
        self.tokens_seen += tokens
        window.tokens += tokens
        window.flops += sum(self.stage.flops(b) for _, b in parts) * self.processes.world_size
        self.watch.advance()

    def _log(self, values: dict[str, Tensor], window: _Window) -> None:
        means = self._means(values)
        check_finite(self.step, means)
        amounts = {"samples": self.samples_seen, "tokens": self.tokens_seen}
        spent = {"seconds": time.monotonic() - window.begun, "window_tokens": window.tokens, "window_flops": window.flops}
        self.watch.log(self.step, means, **amounts, **spent)  # type: ignore[arg-type]

    def _means(self, values: dict[str, Tensor]) -> dict[str, float]:
        names = sorted(values)
        if not names:
            return {}
        mean = self.processes.mean(torch.stack([values[n].detach().to("cpu", torch.float64) for n in names]))
        return dict(zip(names, mean.tolist(), strict=True))

    def _sometimes(self) -> None:
        every = self.config.held_out_every
        last = self.step == self.config.steps
        if self.kept_out and every and (self.step % every == 0 or last):
            self._validate()
        if self.config.pictures_every and (self.step % self.config.pictures_every == 0 or last):
            self._look()

    def _validate(self) -> None:
        for player in self.stage.players[:1]:
            with self.stepper.averaged():
                means = self._means(self.stepper.held_out(self.kept_out, player))
            self.watch.held_out(self.step, means)

    def _look(self) -> None:
        """Pictures, where the weights are whole on the first process."""
        if self.processes.first and self.kept_out and self.config.strategy != "fsdp2" and self.config.pictures_every:
            with self.stepper.averaged(), torch.no_grad():
                self.watch.pictures(self.step, self.stage.pictures(self.stepper.net, self.kept_out[0], self.config.seed))

    def _save(self, values: dict[str, Tensor]) -> None:
        check_finite(self.step, self._means({k: v for k, v in values.items() if k.endswith("gradient_norm")}))
        with self.stepper.averaged():
            whole = {k.removeprefix(NET): v for k, v in checkpoints.whole_state(self.stepper.module).items()}
        weights = self.stage.weights(whole) if self.processes.first else {}
        meta = {"step": self.step, "samples": self.samples_seen, "tokens": self.tokens_seen, **self.identity, **self.described, "notes": self.notes}
        self.last_checkpoint = checkpoints.save(
            self.folder,
            self.step,
            self.stepper.module,
            self.stepper.state_dict_order(),
            self.stepper.ema,
            weights,
            meta,
            self.processes,
            self.config.keep,
        )
        if self.processes.first:
            write_page(self.folder)


class _Window:
    """Since the last line of the log."""

    def __init__(self) -> None:
        self.begun, self.tokens, self.flops = time.monotonic(), 0, 0.0


def _held_out_batches(held_out: Samples | None, config: LoopConfig, processes: Processes) -> list[Batch]:
    if held_out is None or not config.held_out_batches:
        return []
    size = config.micro_batch or max(config.batch_size // processes.world_size, 1)
    loader = Loader(held_out, size * processes.world_size, rank=processes.rank, world_size=processes.world_size)
    return [b.to(processes.device) for b in islice(loader, config.held_out_batches)]


def _claim(folder: Path, identity: dict[str, Any], notes: dict[str, Any], processes: Processes) -> None:
    """Make the run's folder, or see that it is this run's."""
    path = folder / RUN
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))["identity"]
        if known != identity:
            differs = {k: (identity[k], known.get(k)) for k in identity if identity[k] != known.get(k)}
            raise ResumeError(f"{folder} holds another run: {', '.join(f'{k} {a!r} is {b!r} there' for k, (a, b) in differs.items())}; choose another folder")
    processes.wait()
    if processes.first and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".partial")
        part.write_text(json.dumps({"identity": identity, "revision": git_revision(), "torch": torch.__version__, "notes": notes}, indent=1), encoding="utf-8")
        os.replace(part, path)


def as_json(config: LoopConfig) -> dict[str, Any]:
    """The configuration as plain types."""
    return asdict(config)
