"""Before, the run, after, the report, the export: `vavam-train finetune`, from token sets on. Each step leaves what it made and is not done twice."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from vavam_ros.core.contracts import ConfigError
from vavam_training.dataset import TokenDataset
from vavam_training.evaluation.evaluate import EvaluateConfig, evaluate
from vavam_training.evaluation.open_loop import OpenLoopConfig
from vavam_training.export.artifact import ExportConfig, export_artifact
from vavam_training.finetuning.claims import check_claim, claim
from vavam_training.finetuning.config import FinetuneConfig, Origin, check_commands, label_rule, learns, parts_of, recipe_of, rule_of_card
from vavam_training.finetuning.judged import Change, Judged, changes
from vavam_training.finetuning.memory import GIB, Fit, fitted, peak_of_training
from vavam_training.finetuning.page import write_report
from vavam_training.loop.memory import peak_bytes
from vavam_training.loop.processes import joined
from vavam_training.recipe import Recipe, open_recipe, read_recipe
from vavam_training.running import run_recipe
from vavam_training.weights import open_weights

IDENTITY, RECIPE, WINDOWS, MEMORY = "finetune.json", "recipe.yaml", "windows.npz", "memory.json"
WHAT = "fine-tuning"
JUDGED_AT_ONCE = 8  # windows, where memory does not say less


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What came of it."""

    changes: list[Change]
    page: Path
    model: Path


def check(config: FinetuneConfig) -> Origin:
    """What is gone on from. Raises VavamError for what can be seen before any drive is read."""
    if "WORLD_SIZE" in os.environ:
        raise ConfigError(f"finetune is one process: torchrun … train {config.out / RECIPE} trains with many, then this command goes on from there")
    check_claim(config.out / IDENTITY, config.identity(), WHAT)
    with joined(config.device):
        opened = open_weights(config.start, grid_hw=config.grid_hw)
    origin = Origin.of(opened)
    learns(config, origin)
    label_rule(config, origin)
    return origin


def finetune(config: FinetuneConfig, origin: Origin) -> Finetuned | None:
    """All of it, in `config.out`; None where the run was told to stop and goes on with the next call. `origin`: of `check`. Raises VavamError."""
    rule = label_rule(config, origin)
    with joined(config.device) as processes:
        device = processes.device
    recipe = _recipe(config, origin, rule)
    at_once = min(recipe.loop.micro_batch or config.batch, JUDGED_AT_ONCE)
    before = _judged(config, config.start, "before", recipe, at_once, str(device))
    outcome, _ = run_recipe(replace(recipe, loop=replace(recipe.loop, max_minutes=config.max_minutes, device=config.device)))
    memory = _note(config.out / MEMORY, {"peak_bytes": peak_bytes(device)})
    if not outcome.finished:
        return None
    after = _judged(config, Path(recipe.out), "after", recipe, at_once, str(device))
    found = changes(before, after, seed=config.seed)
    card = export_artifact(
        ExportConfig(
            run=Path(recipe.out), tokenizer=config.tokenizer, out=config.out / "model", name=config.name, stored=config.stored,
            command_rule=rule_of_card(config, origin.card, rule), notes=f"fine-tuned from {origin.source}",
        )
    )  # fmt: skip
    learned = f"{learns(config, origin)}, {config.steps:,} steps of {config.batch} windows, rate {config.lr:g}, seed {config.seed}, {config.precision}"
    facts = [
        ("from", f"{origin.source}, {config.start}"),
        ("learned", learned),
        ("commands", f"labels by rule {rule}; the model's: {card.command_rule}"),
        ("drives", "; ".join(_drives(p) for p in recipe.data["parts"])),
        ("memory", _memory_said(config, recipe, memory)),
        ("judged", f"in float32, samples of the same noise; the model directory holds {config.stored}"),
        ("model", f"{card.model_id}, {config.out / 'model'}, domain {card.domain}, licence {card.licence}"),
    ]
    title = f"{card.spec.name} on {', '.join(p.name for p in config.sets)}"
    return Finetuned(changes=found, page=write_report(config.out, title, found, before, after, facts), model=config.out / "model")


def _note(path: Path, found: dict[str, float]) -> dict[str, float]:
    """Numbers of this call beside those of the calls before it: the larger count."""
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known |= {k: max(v, known.get(k, 0.0)) for k, v in found.items()}
    path.write_text(json.dumps(known), encoding="utf-8")
    return known


def _memory_said(config: FinetuneConfig, recipe: Recipe, memory: dict[str, float]) -> str:
    budget = f", budget {config.memory_gb:g} GiB" if config.memory_gb else ""
    fit, one = (memory.get(k, 0.0) / GIB for k in ("fit_bytes", "one_bytes"))
    beforehand = f"; training alone, measured beforehand: {fit:.2f} GiB, one window {one:.2f} GiB" if fit else ""
    return f"{recipe.loop.micro_batch or config.batch} windows at a time{budget}; peak with judging {memory['peak_bytes'] / GIB:.2f} GiB{beforehand}"


def _recipe(config: FinetuneConfig, origin: Origin, rule: str) -> Recipe:
    """OUT/recipe.yaml, with as many windows at a time as the memory allows. Raises ConfigError where it does not allow one."""
    path = config.out / RECIPE
    if path.exists():
        return read_recipe(path)
    check_commands(config, rule)
    parts = parts_of(config)
    config.out.mkdir(parents=True, exist_ok=True)
    trial = path.with_suffix(".trial.yaml")

    def write(micro_batch: int, checkpoint: bool) -> None:
        recipe = recipe_of(config, origin, parts, rule, micro_batch=micro_batch, checkpoint=checkpoint)
        trial.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")

    try:
        write(0, False)
        open_recipe(read_recipe(trial))  # what does not go together shows here
        if config.memory_gb is not None:
            fit, checkpoint = _measured(config, learns(config, origin) != "expert", trial, write)
            # 0: the whole share of a process, however many there will be
            write(fit.micro_batch if fit.micro_batch < config.batch else 0, checkpoint)
            _note(config.out / MEMORY, {"fit_bytes": fit.peak_bytes, "one_bytes": fit.one_bytes})
        # From here on the folder is this one's: what cannot be done leaves no claim.
        claim(config.out / IDENTITY, config.identity(), WHAT)
        trial.replace(path)
    finally:
        trial.unlink(missing_ok=True)
    return read_recipe(path)


def _measured(config: FinetuneConfig, can_recompute: bool, trial: Path, write: Any) -> tuple[Fit, bool]:
    """What fits, and whether activations are computed again for it."""
    assert config.memory_gb is not None
    budget = config.memory_gb
    print(f"memory: measuring how many windows at a time fit into {budget:g} GiB", flush=True)
    fit, checkpoint = fitted(config.batch, budget * GIB, lambda n: peak_of_training(trial, n)), False
    if not fit.micro_batch and can_recompute:
        checkpoint = True
        write(0, True)
        fit = fitted(config.batch, budget * GIB, lambda n: peak_of_training(trial, n))
    if not fit.micro_batch:
        less = ", or --learn expert, which keeps the video model frozen" if config.learn == "both" else ""
        needs = f"{fit.one_bytes / GIB:.2f} GiB" if math.isfinite(fit.one_bytes) else "more than there is here"
        raise ConfigError(f"memory: got a budget of {budget:g} GiB, one window at a time needs {needs}: give more{less}")
    print(f"memory: {fit.micro_batch} of {config.batch} windows at a time, {fit.peak_bytes / GIB:.2f} GiB{', activations again' * checkpoint}", flush=True)
    return fit, checkpoint


def _judged(config: FinetuneConfig, model: Path, name: str, recipe: Recipe, at_once: int, device: str) -> Judged:
    """OUT/before or OUT/after: an evaluation with its page, and its windows for pairing."""
    folder = config.out / name
    kept = folder / WINDOWS
    if kept.exists():
        return Judged.load(kept)
    print(f"{name}: {model} on the held-out drives", flush=True)
    loop = OpenLoopConfig(samples=config.samples, seed=config.seed, batch=at_once)
    wanted = EvaluateConfig(
        model=model, out=folder, data=(str(config.out / RECIPE),), grid_hw=config.grid_hw if model.is_file() else None, tokenizer=config.tokenizer,
        command_rule=recipe.command_rule, max_sideways_m=recipe.max_sideways_m, every_s=config.every_s, device=device, open_loop=loop, windows=config.windows,
        shown=2,
    )  # fmt: skip
    found = Judged.of(evaluate(wanted))
    found.save(kept)
    return found


def _drives(part: dict[str, Any]) -> str:
    count, share = len(TokenDataset.open(part["path"]).drive_names), part["held_out_share"]
    kept = "all held out" if share == 1.0 else f"{share:g} held out, seed {part['held_out_seed']}" if share else "all learned from"
    return f"{part['name']}: {count}, {kept}"
