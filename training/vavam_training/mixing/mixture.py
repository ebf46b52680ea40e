"""Which window is the k-th: a pure function of seed and k, whoever asks.

Parts with ratios take turns in blocks of BLOCK samples: each block holds each part's exact share (largest remainder), shuffled by (seed, block). Within a part,
windows come in a new order each epoch. Parts without ratios are one pool: each window once an epoch (more often where a part has an emphasis).
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import I64, Batch, DataError
from vavam_training.mixing.collate import Collator
from vavam_training.mixing.parts import Part, Place
from vavam_training.windows import WindowSpec, copies, find_windows, strays_m

BLOCK = 10_000  # samples in which ratios hold exactly (to 1/10,000)
KEPT_ORDERS = 4  # permutations held at a time


def split_drives(names: Sequence[str], share: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(kept, held out) numbers of the drives. Whole drives: neighbouring windows are nearly the same. By the hash of name and seed, so that a drive keeps
    its side when others are added."""
    if not 0.0 <= share < 1.0:
        raise ConfigError(f"held-out share: got {share}, expected 0 or more, below 1")
    held = tuple(i for i, name in enumerate(names) if _place(f"{seed} {name}") < share)
    return tuple(i for i in range(len(names)) if i not in set(held)), held


def thinned(drives: Sequence[int], names: Sequence[str], share: float, seed: int) -> tuple[int, ...]:
    """Of `drives`, a share, by the hash of seed and name: a smaller share is part of a larger one."""
    return tuple(i for i in drives if _place(f"learn {seed} {names[i]}") < share)


def _place(text: str) -> float:
    """From 0 to 1, below 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64


@dataclass(slots=True, eq=False)
class _Pool:
    """Windows that are drawn without putting back, epoch by epoch: (part, drive, row of the oldest frame) each, as often as they come in an epoch."""

    name: str
    places: I64  # (N, 3)
    orders: OrderedDict[int, I64] = field(default_factory=OrderedDict)

    def draw(self, j: int, seed: int) -> Place:
        """The j-th window ever drawn from this pool."""
        epoch, at = divmod(j, len(self.places))
        if epoch not in self.orders:
            key = int.from_bytes(hashlib.sha256(f"{seed} {self.name} {epoch}".encode()).digest()[:8], "big")
            self.orders[epoch] = np.random.default_rng(key).permutation(len(self.places))
            while len(self.orders) > KEPT_ORDERS:
                self.orders.popitem(last=False)
        part, drive, row = self.places[self.orders[epoch][at]]
        return Place(int(part), int(drive), int(row))


class Mixture:
    """Named parts, mixed. Raises ConfigError for ratios that cannot be meant, DataError where a part gives no window."""

    def __init__(self, parts: Sequence[Part], spec: WindowSpec, seed: int) -> None:
        if not spec.labelled and any(p.emphasis_m for p in parts):
            raise ConfigError("mixture: emphasis_m needs trajectories; expected labelled windows (the action stage), or no emphasis")
        if not parts or len({p.name for p in parts}) != len(parts):
            raise ConfigError(f"mixture: got parts {[p.name for p in parts]}, expected one or more with different names")
        given = [p.ratio for p in parts if p.ratio is not None]
        if given and (len(given) != len(parts) or min(given) <= 0.0):
            raise ConfigError(f"mixture ratios: got {[p.ratio for p in parts]}, expected a positive number for every part, or none for all")
        self.parts, self.spec, self.seed = tuple(parts), spec, seed
        self.left_out: dict[str, dict[str, int]] = {}
        found = [self._places(i) for i in range(len(parts))]
        self.windows: dict[str, int] = {p.name: len(np.unique(f, axis=0)) if p.emphasis_m else len(f) for p, f in zip(parts, found, strict=True)}
        if given:
            self._pools = [_Pool(p.name, f) for p, f in zip(parts, found, strict=True)]
            self._share = _largest_remainder(np.array(given) / sum(given), BLOCK)
            if (self._share == 0).any():
                raise ConfigError(f"mixture ratios: got {given}: a part would get less than one sample in {BLOCK}")
        else:
            self._pools, self._share = [_Pool("all", np.concatenate(found))], np.array([BLOCK])
        self._blocks: OrderedDict[int, tuple[I64, I64]] = OrderedDict()
        self._collator = Collator(self.parts, spec)

    def __len__(self) -> int:
        """Windows in all parts."""
        return sum(self.windows.values())

    @property
    def digest(self) -> str:
        """Identifies data and order: another one means another sequence of samples."""
        parts = [
            {"name": p.name, "ratio": p.ratio, "digest": p.digest, "windows": self.windows[p.name], "drives": self._names(p)}
            | ({"emphasis_m": p.emphasis_m} if p.emphasis_m else {})
            for p in self.parts
        ]
        text = json.dumps({"parts": parts, "spec": asdict(self.spec), "seed": self.seed, "block": BLOCK}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def batch(self, ks: Sequence[int]) -> Batch:
        """The samples with these numbers, in their order."""
        return self._collator([self.place(k) for k in ks])

    def place(self, k: int) -> Place:
        """Where the k-th sample (from 0) lies."""
        block, at = divmod(k, BLOCK)
        if block not in self._blocks:
            turns = np.repeat(np.arange(len(self._pools)), self._share)
            np.random.default_rng([self.seed, block]).shuffle(turns)
            before = np.zeros(BLOCK, dtype=np.int64)  # how often the same pool had its turn in this block already
            for i in range(len(self._pools)):
                mine = turns == i
                before[mine] = np.arange(int(mine.sum()))
            self._blocks[block] = turns, before
            while len(self._blocks) > KEPT_ORDERS:
                self._blocks.popitem(last=False)
        turns, before = self._blocks[block]
        i = int(turns[at])
        return self._pools[i].draw(block * int(self._share[i]) + int(before[at]), self.seed)

    def _names(self, part: Part) -> list[str]:
        chosen = part.drives if part.drives is not None else range(len(part.dataset.drive_names))
        return [part.dataset.drive_names[i] for i in chosen]

    def _places(self, number: int) -> I64:
        part = self.parts[number]
        chosen = part.drives if part.drives is not None else range(len(part.dataset.drive_names))
        out, left_out = [], dict[str, int]()
        for drive in chosen:
            rows = part.dataset.rows(drive)
            windows = find_windows(rows, self.spec)
            for reason, count in windows.left_out.items():
                left_out[reason] = left_out.get(reason, 0) + count
            first = windows.index[:, 0]
            places = np.stack([np.full_like(first, number), np.full_like(first, drive), first], axis=1)
            out.append(np.repeat(places, copies(strays_m(rows, windows.index, self.spec), part.emphasis_m), axis=0) if part.emphasis_m else places)
        self.left_out[part.name] = left_out
        places = np.concatenate(out) if out else np.zeros((0, 3), np.int64)
        if len(places) == 0:
            why = "; ".join(f"{reason}: {count}" for reason, count in left_out.items()) or "it has no drives"
            raise DataError(f"part {part.name!r} gives no window ({why}); expected drives of {self.spec.frames} frames at {self.spec.frame_dt_s} s and more")
        return places


def _largest_remainder(share: np.ndarray, total: int) -> I64:
    exact = share * total
    counts: I64 = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]] += 1
    return np.asarray(counts, dtype=np.int64)
