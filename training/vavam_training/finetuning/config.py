"""What a fine-tuning is, and the recipe that it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from vavam_ros.core.artifact import ModelCard
from vavam_ros.core.artifact.model_card import CommandRule
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.spec import ModelSpec, VideoSpec
from vavam_training.contracts import NO_COMMAND, DataError
from vavam_training.dataset import TokenDataset
from vavam_training.mixing.mixture import split_drives
from vavam_training.weights import OpenedWeights

LEARNS = ("auto", "expert", "both", "video")
VIDEO_LOSS = 0.3  # of `both`, as the bundled model's recipes have it
SEEDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """`sets`: token sets to learn from, of which `held_out_share` of the drives is kept out; `held_out_sets`: instead, sets that are only judged on.
    `inputs`: what these were made of, plain types.

    `learn`: expert (the video model frozen and detached), both, or video (the next token; video models); auto: expert where there is one. `memory_gb`: GiB
    that training may use, None for as much as a whole batch needs. `command_rule`: of the labels; None for the model's. `nodes_rule`: how the nodes are to
    make commands from a route, where no card says so."""

    start: Path
    out: Path
    sets: tuple[Path, ...]
    tokenizer: Path
    grid_hw: tuple[int, int]
    held_out_sets: tuple[Path, ...] = ()
    held_out_share: float = 0.2
    inputs: dict[str, Any] = field(default_factory=dict)
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

    def __post_init__(self) -> None:
        if self.learn not in LEARNS:
            raise ConfigError(f"learn: got {self.learn!r}, expected one of {', '.join(LEARNS)}")
        if self.steps < 1 or self.batch < 1:
            raise ConfigError(f"finetune: got {self.steps} steps of {self.batch} windows, expected one or more of each")
        if self.memory_gb is not None and not self.memory_gb > 0.0:
            raise ConfigError(f"memory: got {self.memory_gb} GiB, expected more than 0")
        if not self.lr > 0.0 or self.max_minutes < 0.0 or not 0.0 <= self.held_out_share < 1.0:
            got = f"lr {self.lr}, {self.max_minutes} minutes, a held-out share of {self.held_out_share}"
            raise ConfigError(f"finetune: got {got}, expected more than 0; 0 or more; 0 or more, below 1")

    def identity(self) -> dict[str, Any]:
        """What decides the result: a folder holds one such."""
        kept = asdict(self)
        for name in ("out", "max_minutes", "stored", "name", "device", "sets", "held_out_sets"):  # the sets are what `inputs` make them
            del kept[name]
        kept["grid_hw"] = list(self.grid_hw)
        return {k: str(v) if isinstance(v, Path) else v for k, v in kept.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of the weights that are gone on from, without the weights: they would count in the memory of the run."""

    kind: str
    spec: ModelSpec | VideoSpec
    source: str
    card: ModelCard | None
    label_rule: str
    max_sideways_m: float | None

    @classmethod
    def of(cls, opened: OpenedWeights) -> Origin:
        """From the opened weights."""
        notes = (opened.meta or {}).get("notes", {})
        return cls(
            kind=opened.kind, spec=opened.spec, source=opened.source, card=opened.card, label_rule=opened.label_rule, max_sideways_m=notes.get("max_sideways_m")
        )


def learns(config: FinetuneConfig, origin: Origin) -> str:
    """`learn` without auto. Raises ConfigError for what the model cannot."""
    has_expert = origin.kind == "vavam"
    chosen = config.learn if config.learn != "auto" else "expert" if has_expert else "video"
    if has_expert == (chosen == "video"):
        fits = "expert or both" if has_expert else "video"
        raise ConfigError(f"learn: got {chosen}, but {config.start} is a model {'with' if has_expert else 'without'} an action expert: choose {fits}")
    return chosen


def label_rule(config: FinetuneConfig, origin: Origin) -> str:
    """The rule of the labels' commands: what was asked for, else the model's. Raises ConfigError for recorded ones of a rule that nobody knows."""
    chosen = config.command_rule or origin.label_rule
    if chosen == "recorded" and origin.card is None and not config.nodes_rule:
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


def check_commands(config: FinetuneConfig, rule: str) -> None:
    """Raises DataError where commands are to be taken as recorded and are not there."""
    for path in (*config.sets, *config.held_out_sets) if rule == "recorded" else ():
        dataset = TokenDataset.open(path)
        without = [name for i, name in enumerate(dataset.drive_names) if (dataset.rows(i).command == NO_COMMAND).any()]
        if without:
            said = f"{', '.join(without[:3])}{', …' * (len(without) > 3)} have frames without"
            raise DataError(f"{path.name}: got labels by the rule recorded, but {said}; expected bags with commands, or --command-rule horizon_3s")


def parts_of(config: FinetuneConfig) -> list[dict[str, Any]]:
    """`data.parts` of the recipe. Raises DataError where nothing would be held out: without that nobody can tell what came of it."""
    names = {p: TokenDataset.open(p).drive_names for p in config.sets}
    share = 0.0 if config.held_out_sets else config.held_out_share
    seed = split_seed([n for of_set in names.values() for n in of_set], share)
    parts: list[dict[str, Any]] = [{"name": p.name, "path": str(p), **_held_out(of_set, share, seed)} for p, of_set in names.items()]
    parts += [{"name": p.name, "path": str(p), "held_out_share": 1.0} for p in config.held_out_sets]
    shares = [p["held_out_share"] for p in parts]
    if not any(shares) or min(shares) == 1.0:
        count = sum(map(len, names.values()))
        raise DataError(f"held out: got {count} drives and a share of {share:g}, which leaves a side without; expected bags to judge the model on: give others "
                        "as --held-out-bags, or more drives and a --held-out-share above 0")  # fmt: skip
    return parts


def split_seed(names: Sequence[str], share: float) -> int:
    """The first seed with which the share of these drives leaves some on either side, and not many more than asked for. Mostly 0 where drives are many: a
    drive then keeps its side when others are added."""
    most = max(1, round(1.5 * share * len(names)))
    for seed in range(SEEDS if share > 0.0 and len(names) > 1 else 0):
        if 0 < len(split_drives(names, share, seed)[1]) <= min(most, len(names) - 1):
            return seed
    return 0


def _held_out(names: Sequence[str], share: float, seed: int) -> dict[str, Any]:
    """Of one set: all of its drives, some or none may be on either side."""
    held = len(split_drives(names, share, seed)[1])
    if held in (0, len(names)):
        return {"held_out_share": float(held > 0)}
    return {"held_out_share": share, "held_out_seed": seed}


def recipe_of(config: FinetuneConfig, origin: Origin, parts: list[dict[str, Any]], rule: str, *, micro_batch: int, checkpoint: bool) -> dict[str, Any]:
    """The recipe of the run, plain types. `checkpoint`: activations are computed again instead of kept (both, video)."""
    chosen = learns(config, origin)
    options: dict[str, Any] = {"both": {"train_video": True, "detach_video": False, "video_loss": VIDEO_LOSS}}.get(chosen, {})
    if checkpoint:
        options = options | {"checkpoint_activations": True}
    warmup, drop = config.steps // 20, config.steps // 2
    loop: dict[str, Any] = {
        "steps": config.steps, "batch_size": config.batch, "micro_batch": micro_batch, "seed": config.seed, "precision": config.precision,
        "device": config.device, "workers": 0, "ema": 0.99, "log_every": max(config.steps // 50, 1), "save_every": max(config.steps // 5, 1),
        "held_out_every": max(config.steps // 10, 1), "pictures_every": config.steps,
        "players": {"model": {
            "schedule": {"lr": config.lr, "total_steps": config.steps, "warmup_steps": warmup, "drop_steps": drop},
            "optim": {"betas": [0.9, 0.95], "weight_decay": 1.0e-7, "clip": 1.0},
        }},
    }  # fmt: skip
    recipe: dict[str, Any] = {
        "stage": "finetune" if chosen == "video" else "action", "out": str(config.out / "run"), "start": str(config.start), "tokenizer": str(config.tokenizer),
        "command_rule": rule, "max_sideways_m": origin.max_sideways_m, "data": {"parts": parts}, "options": options, "loop": loop,
    }  # fmt: skip
    if config.start.is_file():
        recipe["start_grid_hw"] = list(config.grid_hw)
    if isinstance(origin.spec, VideoSpec):
        # of the expert that such a model has not, the sizes do not matter
        recipe["model"] = {"preset": "small", "name": config.name or config.start.stem, "video": asdict(origin.spec)}
    return recipe
