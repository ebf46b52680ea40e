"""A recipe: one YAML file that says what is trained, on what, and how. Read strictly: an unknown key, a missing one or another type is an error.

stage: pretrain                     # pretrain | finetune | action | tokenizer
out: out/runs/video
model: {preset: small, name: my-model, video: {width: 192}, action: {}, flow: {action_scale_m: 20.0}}
start: out/runs/video               # weights to begin with: run, checkpoint, artifact or upstream file; finetune and action
start_grid_hw: [18, 32]             # of an upstream file whose frames have another number of tokens than 576
tokenizer: out/runs/tokenizer       # decodes pictures for people; not needed
command_rule: horizon_3s            # action
max_sideways_m: 0.15                # action: trajectories on which the vehicle was moved by hand are not learned (windows.WindowSpec)
options: {init_std: 0.0289}         # of the stage
data: {parts: [{name: world, path: out/sets/world, held_out_share: 0.05}]}
loop: {steps: 1000, batch_size: 32, players: {model: {schedule: {lr: 0.004, total_steps: 1000}}}}
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import dacite
import yaml

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.spec import PRESETS, ModelSpec
from vavam_training.contracts import Samples, Stage
from vavam_training.loop.config import LoopConfig

STAGES = {
    "tokenizer": "vavam_training.stages.tokenizer.opening",
    "pretrain": "vavam_training.stages.opening",
    "finetune": "vavam_training.stages.opening",
    "action": "vavam_training.stages.opening",
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """See the module. `options`, `data`: as the stage reads them."""

    stage: str
    out: str
    loop: LoopConfig
    data: dict[str, Any]
    model: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    start_grid_hw: tuple[int, int] | None = None
    tokenizer: str | None = None
    command_rule: str = "horizon_3s"
    max_sideways_m: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ConfigError(f"stage: got {self.stage!r}, expected one of {', '.join(STAGES)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A recipe with its files open."""

    stage: Stage
    samples: Samples
    held_out: Samples | None


def read_recipe(path: Path | str, changes: Sequence[str] = ()) -> Recipe:
    """A YAML file, with `changes` like `loop.steps=10` over it. Raises ConfigError."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}; expected a recipe in YAML") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got {type(content).__name__}, expected a recipe in YAML")
    for change in changes:
        _change(content, change)
    try:
        return parsed(Recipe, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _change(content: dict[str, Any], change: str) -> None:
    name, found, text = change.partition("=")
    keys = name.split(".")
    if not found or not all(keys):
        raise ConfigError(f"--set {change}: expected a name and a value, as in loop.steps=10")
    *above, last = keys
    at: Any = content
    for key in above:
        at = at[int(key)] if isinstance(at, list) and key.isdigit() and int(key) < len(at) else at.setdefault(key, {}) if isinstance(at, dict) else None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {change}: {error}") from error
    if isinstance(at, list) and last.isdigit() and int(last) < len(at):
        at[int(last)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise ConfigError(f"--set {change}: {'.'.join(above)} has no part {last!r}")


def parsed(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass from plain types. Raises ConfigError that names the key."""
    try:
        # casts: YAML has no tuples, writes 1 for 1.0, and reads 1e-8 as a text
        return dacite.from_dict(kind, _numbers(content), dacite.Config(strict=True, cast=[tuple], type_hooks={float: float}))
    except (dacite.DaciteError, ValueError, TypeError) as error:
        raise ConfigError(f"{kind.__name__}: {error}") from error


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if isinstance(value, str) and value[:1].isdigit() and "e" in value:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def model_spec(model: Mapping[str, Any]) -> ModelSpec:
    """`preset` with what is given beside it. Raises ConfigError for an unknown key."""
    given = dict(model)
    name = given.pop("preset", "small")
    if name not in PRESETS:
        raise ConfigError(f"model.preset: got {name!r}, expected one of {', '.join(PRESETS)}")
    spec = PRESETS[name]
    changed: dict[str, Any] = {}
    for key, value in given.items():
        if key in ("video", "action", "flow"):
            part = getattr(spec, key)
            unknown = set(value) - {f.name for f in fields(part)}
            if unknown:
                raise ConfigError(f"model.{key}: unknown keys {sorted(unknown)}, expected some of {', '.join(f.name for f in fields(part))}")
            changed[key] = parsed(type(part), asdict(part) | dict(value))
        elif key in ("name", "frame_dt_s", "waypoint_dt_s"):
            changed[key] = value
        else:
            raise ConfigError(f"model: unknown key {key!r}, expected preset, name, video, action, flow, frame_dt_s, waypoint_dt_s")
    return replace(spec, **changed)


def open_recipe(recipe: Recipe) -> Opened:
    """Open data and weights. Raises ConfigError, DataError, ArtifactError."""
    opened: Opened = importlib.import_module(STAGES[recipe.stage]).open_stage(recipe)
    return opened
