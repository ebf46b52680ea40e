"""Which token sets a run learns from, in which ratios, and which drives it never sees: the `data:` of a run's configuration.

parts:
  - {name: world, path: out/sets/world, ratio: 0.6, held_out_share: 0.1}
  - {name: nuplan, path: "s3://sets/nuplan", ratio: 0.4, licence: CC BY-NC-SA 4.0}
  - {name: nuscenes_val, path: out/sets/nuscenes_val, held_out_share: 1.0}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import DataError
from vavam_training.dataset import TokenDataset
from vavam_training.mixing.mixture import Mixture, split_drives, thinned
from vavam_training.mixing.parts import Part
from vavam_training.windows import WindowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PartConfig:
    """One token set of a mixture.

    `ratio`: its share of the samples, beside the other ratios; None for all parts: each window once an epoch. `held_out_share`: of its drives, chosen by the
    hash of `held_out_seed` and name, which only the held-out mixture holds; 1: all of them, the part is there to be tested on. `learned_share`: of the drives
    that are not held out, those that are learned from, chosen in the same way: what would be learned from less. `emphasis_m`: windows whose plans stray from
    going straight on come more often when they are learned from, once more an epoch for each so many metres. `licence`: if given, exactly what the set must
    be under."""

    name: str
    path: str
    ratio: float | None = None
    held_out_share: float = 0.0
    held_out_seed: int = 0
    learned_share: float = 1.0
    emphasis_m: float | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        owner = f"data part {self.name!r}"
        for key, kinds, wanted in (
            ("name", (str,), "a text"), ("path", (str,), "a folder or an address"), ("ratio", (int, float, type(None)), "a positive number or nothing"),
            ("held_out_share", (int, float), "a number from 0 to 1"), ("held_out_seed", (int,), "a whole number"),
            ("learned_share", (int, float), "a number above 0, up to 1"), ("emphasis_m", (int, float, type(None)), "metres above 0, or nothing"),
            ("licence", (str, type(None)), "the text of the set's manifest, or nothing"),
        ):  # fmt: skip
            value = getattr(self, key)
            if not isinstance(value, kinds) or isinstance(value, bool) or value == "":
                raise ConfigError(f"{owner}: {key}: got {value!r}, expected {wanted}")
        if self.ratio is not None and not 0.0 < self.ratio < math.inf:
            raise ConfigError(f"{owner}: ratio: got {self.ratio}, expected a positive number; leave the part out to get none of it")
        if self.emphasis_m is not None and not 0.0 < self.emphasis_m < math.inf:
            raise ConfigError(f"{owner}: emphasis_m: got {self.emphasis_m}, expected metres above 0, or nothing")
        if not 0.0 <= self.held_out_share <= 1.0:
            raise ConfigError(f"{owner}: held_out_share: got {self.held_out_share}, expected 0 to 1")
        if not 0.0 < self.learned_share <= 1.0:
            raise ConfigError(f"{owner}: learned_share: got {self.learned_share}, expected more than 0, up to 1")
        if self.held_out_share == 1.0 and self.ratio is not None:
            raise ConfigError(f"{owner}: got ratio {self.ratio} and held_out_share 1: a part of which all is held out has no share of the training samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The parts, in the order of `Batch.source`."""

    parts: tuple[PartConfig, ...]

    def __post_init__(self) -> None:
        names = [p.name for p in self.parts]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"data parts: got {names}, expected one or more with different names")
        trained = [p for p in self.parts if p.held_out_share < 1.0]
        if not trained:
            raise ConfigError(f"data parts: all drives of {', '.join(names)} are held out; expected something to train on")
        if len({p.ratio is None for p in trained}) > 1:
            raise ConfigError(f"data ratios: got {[p.ratio for p in trained]}, expected one for every part that is trained on, or none for all")

    @classmethod
    def from_dict(cls, d: Any) -> DataConfig:
        """Inverse of `to_dict`; keys with a default may be absent. Raises ConfigError for other missing and for unknown keys."""
        if not isinstance(d, Mapping) or set(d) != {"parts"} or not isinstance(d["parts"], Sequence) or isinstance(d["parts"], str):
            raise ConfigError(f"data: got {sorted(d) if isinstance(d, Mapping) else d!r}, expected the one key `parts` with a list of name, path, ratio, …")
        return cls(parts=tuple(_part(p, i) for i, p in enumerate(d["parts"])))

    @classmethod
    def from_yaml(cls, path: Path | str) -> DataConfig:
        """A YAML file with the keys above. Raises ConfigError."""
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: {error}; expected a YAML file with data parts") from error
        try:
            return cls.from_dict(content)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain types, every key."""
        return {"parts": [asdict(p) for p in self.parts]}


def _part(d: Any, number: int) -> PartConfig:
    known = {f.name: f.default is MISSING for f in fields(PartConfig)}
    if not isinstance(d, Mapping):
        raise ConfigError(f"data part {number}: got {d!r}, expected keys of {', '.join(known)}")
    unknown, missing = sorted(str(k) for k in set(d) - set(known)), [k for k, needed in known.items() if needed and k not in d]
    if unknown or missing:
        raise ConfigError(
            f"data part {number} ({d.get('name', 'no name')}): unknown keys {unknown}, missing keys {missing}; expected keys of {', '.join(known)}"
        )
    return PartConfig(**d)


def open_mixture(config: DataConfig, spec: WindowSpec, seed: int) -> tuple[Mixture, Mixture | None]:
    """(what is trained on, what is held out: None where nothing is). Opens every set.

    The held-out mixture has no ratios: each of its windows comes once an epoch, so that `len(held_out)` samples are all there is to test on. Its
    `parts` are those that hold something out; `Batch.source` counts them.

    Raises DataError for a set that cannot be opened, has another licence, or gives no window, and where sets have different tokens; ConfigError for a share
    that leaves a side without drives."""
    train: list[Part] = []
    held_out: list[Part] = []
    first: tuple[str, TokenDataset] | None = None
    for part in config.parts:
        dataset = TokenDataset.open(part.path if "://" in part.path else Path(part.path).expanduser())
        manifest = dataset.manifest
        if part.licence is not None and part.licence != manifest.licence:
            raise DataError(
                f"data part {part.name!r}: {part.path} is under {manifest.licence!r}, the configuration expects {part.licence!r}: check what you may do"
            )
        first = first or (part.name, dataset)
        _check_same_tokens(first, (part.name, dataset))
        kept, held = _split(part, dataset.drive_names)
        if kept:
            train.append(Part(name=part.name, dataset=dataset, ratio=part.ratio, drives=kept, digest=manifest.digest, emphasis_m=part.emphasis_m))
        if held:
            held_out.append(Part(name=part.name, dataset=dataset, drives=held, digest=manifest.digest))
    try:
        return Mixture(train, spec, seed), Mixture(held_out, spec, seed) if held_out else None
    except DataError as error:
        if [p.name for p in train] == [p.name for p in config.parts] and not held_out:
            raise
        raise DataError(f"{error}; drives to train on: {_counts(train)}, held out: {_counts(held_out)}") from error


def _split(part: PartConfig, names: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if part.held_out_share == 1.0:
        return (), tuple(range(len(names)))
    kept, held = split_drives(names, part.held_out_share, part.held_out_seed)
    kept = thinned(kept, names, part.learned_share, part.held_out_seed)
    if not kept or (part.held_out_share > 0.0 and not held):
        raise ConfigError(
            f"data part {part.name!r}: holding out {part.held_out_share} of {len(names)} drives and learning from {part.learned_share} of the others leaves "
            f"{len(kept)} to train on and {len(held)} held out, expected some of each: choose another held_out_share, learned_share or held_out_seed"
        )
    return kept, held


def _check_same_tokens(a: tuple[str, TokenDataset], b: tuple[str, TokenDataset]) -> None:
    for what in ("tokenizer_id", "grid_hw", "codebook_size"):
        of_a, of_b = getattr(a[1].manifest, what), getattr(b[1].manifest, what)
        if of_a != of_b:
            raise DataError(f"data parts {a[0]!r} and {b[0]!r}: {what} {of_a} and {of_b}; expected tokens of one tokenizer: import the drives again with it")


def _counts(parts: Sequence[Part]) -> str:
    return ", ".join(f"{p.name} {len(p.drives or ())}" for p in parts) or "none"
