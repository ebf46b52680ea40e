"""Before, the run, after, the report, the export: `vavam-train finetune`, from token sets on. Each step leaves what it made and is not done twice."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import ResumeError
from vavam_training.dataset import TokenDataset
from vavam_training.evaluation.evaluate import EvaluateConfig, evaluate
from vavam_training.evaluation.open_loop import OpenLoopConfig
from vavam_training.export.artifact import ExportConfig, export_artifact
from vavam_training.finetuning.config import FinetuneConfig, label_rule, learns, parts_of, recipe_of, rule_of_card
from vavam_training.finetuning.judged import Change, Judged, changes
from vavam_training.finetuning.memory import GIB, Fit, fitted, peak_of_training
from vavam_training.finetuning.page import write_report
from vavam_training.loop.memory import peak_bytes
from vavam_training.loop.processes import joined
from vavam_training.recipe import read_recipe
from vavam_training.running import run_recipe
from vavam_training.weights import OpenedWeights, open_weights

IDENTITY, RECIPE, WINDOWS = "finetune.json", "recipe.yaml", "windows.npz"
JUDGED_AT_ONCE = 8  # windows, where memory does not say less


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What came of it. None: the run was told to stop and goes on with the next call."""

    changes: list[Change]
    page: Path
    model: Path


def finetune(config: FinetuneConfig) -> Finetuned | None:
    """All of it, in `config.out`. Raises VavamError."""
    if "WORLD_SIZE" in os.environ:
        raise ConfigError(f"finetune is one process: torchrun … train {config.out / RECIPE} trains with many, then this command goes on from there")
    _check_folder(config)
    opened = open_weights(config.start, grid_hw=config.grid_hw)
    rule = label_rule(config, opened)
    with joined(config.device) as processes:
        device = processes.device
    recipe_file, fit = _recipe(config, opened, rule)
    recipe = read_recipe(recipe_file)
    at_once = min(recipe.loop.micro_batch or config.batch, JUDGED_AT_ONCE)
    before = _judged(config, config.start, "before", recipe_file, rule, at_once, str(device))
    outcome, _ = run_recipe(replace(recipe, loop=replace(recipe.loop, max_minutes=config.max_minutes)))
    if not outcome.finished:
        return None
    peak = peak_bytes(device)
    after = _judged(config, Path(recipe.out), "after", recipe_file, rule, at_once, str(device))
    found = changes(before, after, seed=config.seed)
    card = export_artifact(_export(config, opened, rule))
    budget = f", budget {config.memory_gb:g} GiB" if config.memory_gb else ""
    facts = [
        ("from", f"{opened.source}, {config.start}"),
        ("learned", f"{learns(config, opened)}, {config.steps:,} steps of {config.batch} windows, rate {config.lr:g}, seed {config.seed}, {config.precision}"),
        ("commands", f"labels by rule {rule}; the model's: {card.command_rule}"),
        ("drives", "; ".join(_drives(p) for p in recipe.data["parts"])),
        ("memory", f"{recipe.loop.micro_batch or config.batch} windows at a time{budget}; peak of all this {peak / GIB:.2f} GiB{_measured(fit)}"),
        ("model", f"{card.model_id}, {config.out / 'model'}, licence {card.licence}"),
    ]
    title = f"{card.spec.name} on {', '.join(p.name for p in config.sets)}"
    return Finetuned(changes=found, page=write_report(config.out, title, found, before, after, facts), model=config.out / "model")


def _measured(fit: Fit | None) -> str:
    return f"; training alone, measured beforehand: {fit.peak_bytes / GIB:.2f} GiB, one window {fit.one_bytes / GIB:.2f} GiB" if fit else ""


def _check_folder(config: FinetuneConfig) -> None:
    """The folder is new, or this fine-tuning's."""
    path, identity = config.out / IDENTITY, config.identity()
    if not path.exists():
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    differs = {k: (identity[k], known.get(k)) for k in identity if identity[k] != known.get(k)}
    if differs:
        said = ", ".join(f"{k} {a!r} is {b!r} there" for k, (a, b) in differs.items())
        raise ResumeError(f"{config.out} holds another fine-tuning: {said}; choose another --out, or delete it")


def _recipe(config: FinetuneConfig, opened: OpenedWeights, rule: str) -> tuple[Path, Fit | None]:
    """OUT/recipe.yaml, with as many windows at a time as the memory allows. Raises ConfigError where it does not allow one."""
    path, fit = config.out / RECIPE, None
    if path.exists():
        return path, None
    config.out.mkdir(parents=True, exist_ok=True)
    parts = parts_of(config)

    def write(to: Path, micro_batch: int, checkpoint: bool) -> None:
        recipe = recipe_of(config, opened, parts, rule, micro_batch=micro_batch, checkpoint=checkpoint)
        to.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")

    trial, checkpoint = path.with_suffix(".trial.yaml"), False
    write(trial, 0, False)
    if config.memory_gb is not None:
        print(f"memory: measuring how many windows at a time fit into {config.memory_gb:g} GiB", flush=True)
        fit = fitted(config.batch, config.memory_gb * GIB, lambda n: peak_of_training(trial, n))
        if not fit.micro_batch and learns(config, opened) != "expert":
            checkpoint = True
            write(trial, 0, True)
            fit = fitted(config.batch, config.memory_gb * GIB, lambda n: peak_of_training(trial, n))
        if not fit.micro_batch:
            trial.unlink()
            less = "" if learns(config, opened) != "both" else ", or --learn expert, which keeps the video model frozen"
            raise ConfigError(f"memory: got a budget of {config.memory_gb:g} GiB, one window at a time needs {fit.one_bytes / GIB:.2f} GiB: give more{less}")
        print(f"memory: {fit.micro_batch} of {config.batch} windows at a time, {fit.peak_bytes / GIB:.2f} GiB{', activations again' * checkpoint}", flush=True)
    write(trial, fit.micro_batch if fit else 0, checkpoint)
    # From here on the folder is this one's: what cannot be done leaves no claim.
    part = (config.out / IDENTITY).with_suffix(".partial")
    part.write_text(json.dumps(config.identity(), indent=1), encoding="utf-8")
    part.replace(config.out / IDENTITY)
    trial.replace(path)
    return path, fit


def _judged(config: FinetuneConfig, model: Path, name: str, recipe: Path, rule: str, at_once: int, device: str) -> Judged:
    """OUT/before or OUT/after: an evaluation with its page, and its windows for pairing."""
    folder = config.out / name
    kept = folder / WINDOWS
    if kept.exists():
        return Judged.load(kept)
    print(f"{name}: {model} on the held-out drives", flush=True)
    loop = OpenLoopConfig(samples=config.samples, seed=config.seed, batch=at_once)
    wanted = EvaluateConfig(
        model=model, out=folder, data=(str(recipe),), grid_hw=config.grid_hw if model.is_file() else None, tokenizer=config.tokenizer, command_rule=rule,
        every_s=config.every_s, device=device, open_loop=loop, windows=config.windows, shown=2,
    )  # fmt: skip
    found = Judged.of(evaluate(wanted))
    found.save(kept)
    return found


def _drives(part: dict[str, Any]) -> str:
    count, share = len(TokenDataset.open(part["path"]).drive_names), part["held_out_share"]
    kept = "all held out" if share == 1.0 else f"{share:g} held out, seed {part['held_out_seed']}" if share else "all learned from"
    return f"{part['name']}: {count}, {kept}"


def _export(config: FinetuneConfig, opened: OpenedWeights, rule: str) -> ExportConfig:
    """Under the licence of the weights that it began with and of the drives; with the command rule that its labels mean."""
    card = opened.card
    base = config.base_licence or (card.licence if card is not None else "")
    drives = {TokenDataset.open(p).manifest.licence for p in config.sets}
    return ExportConfig(
        run=config.out / "run", tokenizer=config.tokenizer, out=config.out / "model", name=config.name, stored=config.stored,
        command_rule=rule_of_card(config, card, rule),
        notes=f"fine-tuned from {opened.source}", licence="; ".join(dict.fromkeys(filter(None, [base, *sorted(drives)]))),
    )  # fmt: skip
