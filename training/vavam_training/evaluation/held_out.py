"""The drives that a model is judged on, and their windows, in a fixed order.

Shape letters: M windows of a drive · T frames · H waypoints · h w token grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_training.contracts import I64, DataError, DriveRows
from vavam_training.dataset import Manifest, TokenDataset
from vavam_training.dataset.manifest import MANIFEST_FILE
from vavam_training.mixing import Part
from vavam_training.mixing.config import DataConfig, PartConfig
from vavam_training.mixing.mixture import split_drives
from vavam_training.windows import WindowSpec, find_windows, labels

BY_RECIPE = "held out by the recipe"
NEAR = "nearer than {:g} s to the window before"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutChoice:
    """Which drives of a set: those named, or the share that a run with the same `share` and `seed` held out (mixing.split_drives), or all."""

    drives: tuple[str, ...] = ()
    share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.drives and self.share is not None:
            raise ConfigError("held out: got both names of drives and a share, expected one of the two")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DriveWindows:
    """The windows of one drive. `number` counts the drives of the whole evaluation."""

    part: str
    number: int
    rows: DriveRows
    index: I64  # (M, T) rows of the context frames, oldest first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Windows of all drives, and what was left out of them, by part and reason."""

    drives: tuple[DriveWindows, ...]
    left_out: dict[str, dict[str, int]]
    spec: WindowSpec

    @property
    def windows(self) -> int:
        """In all drives."""
        return sum(len(d.index) for d in self.drives)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names, in the order of their first drive."""
        return tuple(dict.fromkeys(d.part for d in self.drives))

    def drive_of_window(self) -> I64:
        """(N,) number of the drive of each window."""
        return np.concatenate([np.full(len(d.index), d.number, np.int64) for d in self.drives])

    def batches(self, size: int) -> Iterator[tuple[DriveWindows, I64]]:
        """(drive, its next windows (B, T)), B up to `size`; one drive after the other."""
        for drive in self.drives:
            for at in range(0, len(drive.index), size):
                yield drive, drive.index[at : at + size]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedParts:
    """Parts with their held-out drives, and how these were chosen, in words. `by_recipe`: all are such as a recipe holds out. `config`: its data."""

    parts: tuple[Part, ...]
    manifests: tuple[Manifest, ...]
    chosen: tuple[str, ...]
    by_recipe: bool
    config: DataConfig | None = None


def open_parts(paths: Sequence[str | Path], choice: HeldOutChoice, recipe: DataConfig | None = None) -> OpenedParts:
    """Token sets, or YAML files with a run's data (`parts:`, or a whole recipe). No path: the data of the `recipe`.

    Of YAML and recipe the drives that a run with it holds out; of a set that is one of the recipe's likewise, unless `choice` says which; else `choice`'s.
    Raises DataError, ConfigError."""
    opened: list[tuple[Part, Manifest, str]] = []
    config = recipe
    if not paths and recipe is not None:
        opened += [_configured(c) for c in recipe.parts if c.held_out_share]
    for path in paths:
        if str(path).endswith((".yaml", ".yml")):
            config = _data_of(Path(path))
            opened += [_configured(c) for c in config.parts if c.held_out_share]
        else:
            opened.append(_of_set(str(path), choice, recipe))
    names = [p.name for p, *_ in opened]
    if not opened or len(set(names)) < len(names):
        raise DataError(
            f"evaluation: got the sets {names}, expected one or more with different names: give --data; of a recipe count the parts with a held_out_share"
        )
    for part, manifest, _ in opened[1:]:
        first = opened[0][1]
        if (manifest.tokenizer_id, manifest.grid_hw) != (first.tokenizer_id, first.grid_hw):
            raise DataError(f"{part.name}: tokens of {manifest.tokenizer_id} {manifest.grid_hw}, the first set's are of {first.tokenizer_id} {first.grid_hw}")
    parts, manifests, chosen = zip(*opened, strict=True)
    return OpenedParts(parts=parts, manifests=manifests, chosen=chosen, by_recipe=all(BY_RECIPE in how for how in chosen), config=config)


def _data_of(path: Path) -> DataConfig:
    """The `data:` of a recipe, or a file with `parts:` alone."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}; expected a YAML file with data parts") from error
    return DataConfig.from_dict(content["data"] if isinstance(content, dict) and "data" in content else content)


def _open(path: str) -> TokenDataset:
    return TokenDataset.open(path if "://" in path else Path(path).expanduser())


def _configured(config: PartConfig) -> tuple[Part, Manifest, str]:
    dataset = _open(config.path)
    part = Part(name=config.name, dataset=dataset, drives=_of_config(config, dataset), digest=dataset.manifest.digest)
    how = f"all {BY_RECIPE}" if config.held_out_share == 1.0 else f"{BY_RECIPE}, {config.held_out_share:g} with seed {config.held_out_seed}"
    return part, dataset.manifest, f"{config.name}: {how}"


def _of_set(path: str, choice: HeldOutChoice, recipe: DataConfig | None) -> tuple[Part, Manifest, str]:
    dataset = _open(path)
    if choice == HeldOutChoice():
        same = [c for c in (recipe.parts if recipe else ()) if _same(c.path, path, dataset)]
        if same and same[0].held_out_share:
            return _configured(replace(same[0], path=path))
        if same:
            raise DataError(f"{path}: the run learned from all of its drives; give another set, or --held-out-share or --drives to judge it on these")
    name = dataset.manifest.name
    how = f"{len(choice.drives)} named drives" if choice.drives else f"a share of {choice.share:g} with seed {choice.seed}" if choice.share else "all drives"
    return Part(name=name, dataset=dataset, drives=_chosen(choice, dataset, path), digest=dataset.manifest.digest), dataset.manifest, f"{name}: {how}"


def _same(configured: str, path: str, dataset: TokenDataset) -> bool:
    if "://" in configured or "://" in path:
        return configured.rstrip("/") == path.rstrip("/")
    if Path(configured).expanduser().resolve() == Path(path).expanduser().resolve():
        return True
    return (Path(configured).expanduser() / MANIFEST_FILE).is_file() and _open(configured).manifest.digest == dataset.manifest.digest


def _of_config(config: PartConfig, dataset: TokenDataset) -> tuple[int, ...]:
    if config.held_out_share == 1.0:
        return tuple(range(len(dataset)))
    return split_drives(dataset.drive_names, config.held_out_share, config.held_out_seed)[1]


def _chosen(choice: HeldOutChoice, dataset: TokenDataset, path: str) -> tuple[int, ...]:
    if choice.drives:
        missing = sorted(set(choice.drives) - set(dataset.drive_names))
        if missing:
            known = ", ".join(dataset.drive_names[:5])
            raise DataError(f"{path}: no drives {missing}, expected names of its {len(dataset)} drives ({known}, …)")
        return tuple(i for i, name in enumerate(dataset.drive_names) if name in set(choice.drives))
    if choice.share is None:
        return tuple(range(len(dataset)))
    held = split_drives(dataset.drive_names, choice.share, choice.seed)[1]
    if not held:
        raise DataError(f"{path}: a share of {choice.share} with seed {choice.seed} holds out none of its {len(dataset)} drives; choose another share or seed")
    return held


def find_held_out(parts: Sequence[Part], spec: WindowSpec, every_s: float) -> HeldOut:
    """All windows of the parts' drives; with `every_s`, in each drive only those whose newest frame comes so long after that of the one before (0: all).

    Raises DataError where there is none."""
    if every_s < 0.0:
        raise ConfigError(f"every_s: got {every_s}, expected 0 (all windows) or seconds between windows")
    found: list[DriveWindows] = []
    left_out: dict[str, dict[str, int]] = {}
    for part in parts:
        reasons: dict[str, int] = left_out.setdefault(part.name, {})
        for drive in part.drives if part.drives is not None else range(len(part.dataset.drive_names)):
            rows = part.dataset.rows(drive)
            windows = find_windows(rows, spec)
            for reason, count in windows.left_out.items():
                reasons[reason] = reasons.get(reason, 0) + count
            driven = _driven(rows, windows.index, spec)
            index = _thinned(rows, driven, every_s)
            for why, count in (("the vehicle was moved meanwhile", len(windows.index) - len(driven)), (NEAR.format(every_s), len(driven) - len(index))):
                if count:
                    reasons[why] = reasons.get(why, 0) + count
            if len(index):
                found.append(DriveWindows(part=part.name, number=len(found), rows=rows, index=index))
    if not found:
        raise DataError(f"no window in {', '.join(p.name for p in parts)}: left out {left_out}; expected drives of {spec.frames} frames at {spec.frame_dt_s} s")
    return HeldOut(drives=tuple(found), left_out=left_out, spec=spec)


def _driven(rows: DriveRows, index: I64, spec: WindowSpec) -> I64:
    """Those whose newest frame has a trajectory that was driven (WindowSpec.max_sideways_m): another is no truth to be judged by."""
    if not spec.labelled or spec.max_sideways_m is None or not len(index):
        return index
    return index[np.isfinite(labels(rows, index[:, -1:], spec)[0]).all(axis=(1, 2, 3))]


def _thinned(rows: DriveRows, index: I64, every_s: float) -> I64:
    kept: list[int] = []
    step_ns, last_ns = round(every_s * NS_PER_S), None
    slack_ns = step_ns // 20  # stamps jitter
    for i, newest in enumerate(rows.stamp_ns[index[:, -1]].tolist()):
        if last_ns is None or newest - last_ns >= step_ns - slack_ns:
            kept.append(i)
            last_ns = newest
    return index[kept]
