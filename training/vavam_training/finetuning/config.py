"""What a fine-tuning is, and the recipe that it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from vavam_ros.core.artifact import ModelCard
from vavam_ros.core.artifact.model_card import CommandRule
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.spec import VideoSpec
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.mixing.mixture import split_drives
from vavam_training.weights import OpenedWeights

LEARNS = ("auto", "expert", "both", "video")
VIDEO_LOSS = 0.3  # of `both`, as the bundled model's recipes have it
SEEDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """`sets`: token sets to learn from, of which `held_out_share` of the drives is kept out; `held_out_sets`: instead, sets that are only judged on.

    `learn`: expert (the video model frozen and detached), both, or video (the next token; video models); auto: expert where there is one. `memory_gb`: GiB
    that training may use, None for as much as a whole batch needs. `command_rule`: of the labels; None for the model's. `nodes_rule`:
    how the nodes are to make commands from a route, where no card says so. `base_licence`: of the weights that are gone on from."""

    start: Path
    out: Path
    sets: tuple[Path, ...]
    tokenizer: Path
    grid_hw: tuple[int, int]
    held_out_sets: tuple[Path, ...] = ()
    held_out_share: float = 0.2
    learn: str = "auto"
    steps: int = 500
    batch: int = 16
    lr: float = 1e-3
    seed: int = 0
    memory_gb: float | None = None
    command_rule: str | None = None
    nodes_rule: str = ""
    device: str = "auto"
    precision: str = "fp32"
    max_minutes: float = 0.0
    samples: int = 10
    every_s: float = 0.0
    windows: int = 64
    name: str = ""
    stored: str = "float32"
    base_licence: str = ""

    def __post_init__(self) -> None:
        if self.learn not in LEARNS:
            raise ConfigError(f"learn: got {self.learn!r}, expected one of {', '.join(LEARNS)}")
        if self.steps < 1 or self.batch < 1:
            raise ConfigError(f"finetune: got {self.steps} steps of {self.batch} windows, expected one or more of each")
        if self.memory_gb is not None and not self.memory_gb > 0.0:
            raise ConfigError(f"memory: got {self.memory_gb} GiB, expected more than 0")

    def identity(self) -> dict[str, Any]:
        """What decides the result: a folder holds one such."""
        kept = asdict(self)
        for name in ("out", "max_minutes", "stored", "name", "base_licence", "device"):
            del kept[name]
        kept |= {name: [str(p) for p in kept[name]] for name in ("sets", "held_out_sets")} | {"grid_hw": list(self.grid_hw)}
        return {k: str(v) if isinstance(v, Path) else v for k, v in kept.items()}


def learns(config: FinetuneConfig, opened: OpenedWeights) -> str:
    """`learn` without auto. Raises ConfigError for what the model cannot."""
    has_expert = opened.kind == "vavam"
    chosen = config.learn if config.learn != "auto" else "expert" if has_expert else "video"
    if has_expert == (chosen == "video"):
        fits = "expert or both" if has_expert else "video"
        raise ConfigError(f"learn: got {chosen}, but {config.start} is a model {'with' if has_expert else 'without'} an action expert: choose {fits}")
    return chosen


def label_rule(config: FinetuneConfig, opened: OpenedWeights) -> str:
    """The rule of the labels' commands: what was asked for, else the model's. Raises ConfigError for recorded ones of a rule that nobody knows."""
    chosen = config.command_rule or opened.label_rule
    if chosen == "recorded" and opened.card is None and not config.nodes_rule:
        raise ConfigError(
            f"commands: got recorded ones, and {config.start} has no card that says how the nodes make them from a route; expected --nodes-command-rule, the "
            "rule that the bags were recorded with"
        )
    return chosen


def rule_of_card(config: FinetuneConfig, card: ModelCard | None, rule: str) -> CommandRule:
    """How the nodes are to make commands for a model whose labels have `rule`."""
    if config.nodes_rule:
        return cast(CommandRule, config.nodes_rule)
    return card.command_rule if card is not None and rule == "recorded" else "reference"


def parts_of(config: FinetuneConfig) -> list[dict[str, Any]]:
    """`data.parts` of the recipe. Raises DataError where nothing would be held out: without that nobody can tell what came of it."""
    datasets = [TokenDataset.open(p) for p in config.sets]
    parts: list[dict[str, Any]] = [
        {"name": p.name, "path": str(p), **_held_out(d.drive_names, 0.0 if config.held_out_sets else config.held_out_share)}
        for p, d in zip(config.sets, datasets, strict=True)
    ]
    parts += [{"name": p.name, "path": str(p), "held_out_share": 1.0} for p in config.held_out_sets]
    if not any(p["held_out_share"] for p in parts):
        names = ", ".join(f"{p.name}: {len(d.drive_names)} drives" for p, d in zip(config.sets, datasets, strict=True))
        raise DataError(f"held out: nothing of {names}; expected bags to judge the model on: give others as --held-out-bags, or a --held-out-share above 0")
    return parts


def _held_out(names: Sequence[str], share: float) -> dict[str, Any]:
    """The share of a few drives that a hash picks may be none or all: the first seed that comes nearest, with one drive or more on either side."""
    if share <= 0.0 or len(names) < 2:
        return {"held_out_share": 0.0}
    counts = [len(split_drives(names, share, seed)[1]) for seed in range(SEEDS)]
    wanted = min(max(share * len(names), 1.0), len(names) - 1.0)
    seed = min(range(SEEDS), key=lambda s: (not 0 < counts[s] < len(names), abs(counts[s] - wanted), s))
    return {"held_out_share": share, "held_out_seed": seed}


def recipe_of(config: FinetuneConfig, opened: OpenedWeights, parts: list[dict[str, Any]], rule: str, *, micro_batch: int, checkpoint: bool) -> dict[str, Any]:
    """The recipe of the run, plain types. `checkpoint`: activations are computed again instead of kept (both, video)."""
    chosen = learns(config, opened)
    options: dict[str, Any] = {"both": {"train_video": True, "detach_video": False, "video_loss": VIDEO_LOSS}}.get(chosen, {})
    if checkpoint:
        options = options | {"checkpoint_activations": True}
    warmup, drop = config.steps // 20, config.steps // 2
    loop: dict[str, Any] = {
        "steps": config.steps, "batch_size": config.batch, "micro_batch": micro_batch, "seed": config.seed, "precision": config.precision,
        "device": config.device, "workers": 0, "ema": 0.99, "log_every": max(config.steps // 50, 1), "save_every": max(config.steps // 5, 1),
        "held_out_every": max(config.steps // 10, 1), "pictures_every": config.steps, "max_minutes": config.max_minutes,
        "players": {"model": {
            "schedule": {"lr": config.lr, "total_steps": config.steps, "warmup_steps": warmup, "drop_steps": drop},
            "optim": {"betas": [0.9, 0.95], "weight_decay": 1.0e-7, "clip": 1.0},
        }},
    }  # fmt: skip
    recipe: dict[str, Any] = {
        "stage": "finetune" if chosen == "video" else "action", "out": str(config.out / "run"), "start": str(config.start), "tokenizer": str(config.tokenizer),
        "command_rule": rule, "data": {"parts": parts}, "options": options, "loop": loop,
    }  # fmt: skip
    if config.start.is_file():
        recipe["start_grid_hw"] = list(config.grid_hw)
    if isinstance(opened.spec, VideoSpec):
        # of the expert that such a model has not, the sizes do not matter
        recipe["model"] = {"preset": "small", "name": config.name or config.start.stem, "video": asdict(opened.spec)}
    return recipe
