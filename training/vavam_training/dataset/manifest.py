"""What a token set holds: `manifest.json` beside its shards.

A set is identified by its content (`digest`): names, frames and hashes of its drives and what their tokens mean; not by how it is cut into shards, nor
by the revision of the program that wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vavam_ros.core.contracts import NS_PER_S
from vavam_training.contracts import DataError, Domain, Skipped

FORMAT = "vavam_tokens/1"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveEntry:
    """One drive of a set."""

    name: str
    source: str
    frames: int
    first_stamp_ns: int
    last_stamp_ns: int
    has_motion: bool
    camera_id: str
    sha256: str  # of the columns' values (schema.rows_digest), whatever shard they lie in
    shard: str
    batch: int  # record batch of that shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """One file of a set."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A token set. Drives are in the order in which `TokenDataset` numbers them."""

    name: str
    source: str
    licence: str
    domain: Domain
    tokenizer_id: str
    tokenizer: Mapping[str, Any]  # TokenizerSpec; empty: only the id is known
    canonical_camera: Mapping[str, Any]  # CanonicalCamera; empty: pictures were only resized, or unknown
    grid_hw: tuple[int, int]
    codebook_size: int
    git_revision: str
    advice_steps: int = 0  # positions of an adviser after each frame (contracts.ADVICE_DT_S apart); 0: nobody was asked
    looks_seed: int | None = None  # of the drives' looks (tokenizing/looks.py); None: as they were taken
    drives: tuple[DriveEntry, ...] = ()
    shards: tuple[ShardEntry, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def frames(self) -> int:
        """Frames of all drives."""
        return sum(d.frames for d in self.drives)

    @property
    def hours(self) -> float:
        """Time from first to last frame, summed over the drives."""
        return sum(d.last_stamp_ns - d.first_stamp_ns for d in self.drives) / NS_PER_S / 3600.0

    @property
    def digest(self) -> str:
        """Hash of what the set means and holds; 16 hexadecimal digits."""
        named = ("source", "licence", "domain", "tokenizer_id", "grid_hw", "codebook_size", "canonical_camera")
        content = {name: getattr(self, name) for name in named}
        content |= {"advice_steps": self.advice_steps} if self.advice_steps else {}
        content |= {"looks_seed": self.looks_seed} if self.looks_seed is not None else {}
        content["drives"] = [(d.name, d.frames, d.sha256) for d in self.drives]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=dict).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The text of manifest.json."""
        content = {"format": FORMAT, **asdict(self)}
        content["totals"] = {"drives": len(self.drives), "frames": self.frames, "hours": round(self.hours, 4), "skipped": len(self.skipped)}
        content["digest"] = self.digest
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, owner: str) -> Manifest:
        """Read the text of a manifest.json. Raises DataError that names `owner` where it is none, or was changed by hand."""
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise DataError(f"{owner}: got format {content['format']!r}, expected {FORMAT!r}: import the drives again with this version")
            values = {f.name: content[f.name] for f in fields(cls) if f.name not in ("advice_steps", "looks_seed") or f.name in content}
            values["drives"] = tuple(DriveEntry(**d) for d in values["drives"])
            values["shards"] = tuple(ShardEntry(**s) for s in values["shards"])
            values["skipped"] = tuple(Skipped(**s) for s in values["skipped"])
            values["grid_hw"] = (int(values["grid_hw"][0]), int(values["grid_hw"][1]))
            found, stated = cls(**values), content["digest"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(f"{owner}: {type(error).__name__}: {error}; expected the manifest of a token set (vavam-train data import)") from error
        if found.digest != stated:
            raise DataError(f"{owner}: its content gives digest {found.digest}, it states {stated}: the file was changed after it was written; restore it")
        return found

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder. Raises DataError."""
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise DataError(f"{path} does not exist: expected a finished token set (an interrupted import goes on when it is started again)")
        return cls.from_json(path.read_text(encoding="utf-8"), str(path))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step: it holds the old or the new content, never a part."""
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:  # Ctrl-C as well: no part stays behind
        os.unlink(part)
        raise
