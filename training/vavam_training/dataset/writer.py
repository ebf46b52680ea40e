"""Writes a token set drive by drive, by any number of processes, so that a kill at any moment costs the drive in hand and nothing else.

    OUT/settings.json         what the set is; a second import with other settings is refused
    OUT/parts/NAME.arrow      one finished drive each (renamed into place), with what was left out of it
    OUT/parts/HASH.skip.json  something that gave no drive at all, and why
    OUT/shard-00000.arrow …   after finish(): the parts in order of their names, cut at `shard_bytes`
    OUT/manifest.json         last; from then on the parts are not needed

What is written depends on the drives alone: an import that was killed and started again leaves the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from vavam_training.contracts import DataError, Domain, DriveRows, Skipped
from vavam_training.dataset.manifest import MANIFEST_FILE, DriveEntry, Manifest, ShardEntry, write_atomically
from vavam_training.dataset.schema import NAME, check_rows, from_batch, rows_digest, schema, to_batch

SETTINGS_FILE, PARTS = "settings.json", "parts"
SHARD_BYTES = 256 << 20
_SKIPPED_KEY = "skipped"


class TokenWriter:
    """A token set being written. A context manager; leaving it does not finish the set: `finish()` does, once, when all processes have written."""

    def __init__(
        self,
        out: Path,
        *,
        name: str,
        source: str,
        licence: str,
        domain: Domain,
        tokenizer_id: str,
        tokenizer: Mapping[str, Any],
        canonical_camera: Mapping[str, Any],
        grid_hw: tuple[int, int],
        codebook_size: int,
        git_revision: str,
        advice_steps: int = 0,
        looks_seed: int | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Raises DataError where `out` holds something else, or a set with other settings."""
        if not 1 <= codebook_size <= 65536:
            raise DataError(f"codebook of {codebook_size} codes: expected 1 to 65536, tokens are stored as 16 bits")
        self.out, self._parts, self._shard_bytes = out, out / PARTS, shard_bytes
        self._head = Manifest(
            name=name,
            source=source,
            licence=licence,
            domain=domain,
            tokenizer_id=tokenizer_id,
            tokenizer=_plain(tokenizer),
            canonical_camera=_plain(canonical_camera),
            grid_hw=(int(grid_hw[0]), int(grid_hw[1])),
            codebook_size=codebook_size,
            git_revision=git_revision,
            advice_steps=advice_steps,
            looks_seed=looks_seed,
        )
        self._done: dict[str, DriveEntry] = {}

    def __enter__(self) -> TokenWriter:
        foreign = not self.out.is_dir() or any(p.name not in (PARTS, SETTINGS_FILE) and not _is_ours(p) for p in self.out.iterdir())
        if self.out.exists() and foreign and not (self.out / SETTINGS_FILE).exists():
            raise DataError(f"{self.out} exists and is no token set: choose another folder, nothing was written")
        self._parts.mkdir(parents=True, exist_ok=True)
        self._check_settings()
        if (self.out / MANIFEST_FILE).exists():
            self._done = {d.name: d for d in Manifest.read(self.out).drives}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing: each drive was complete or absent all along."""

    def _check_settings(self) -> None:
        names: tuple[str, ...] = ("name", "source", "licence", "domain", "tokenizer_id", "tokenizer", "canonical_camera", "grid_hw", "codebook_size")
        wanted = json.loads(json.dumps({n: getattr(self._head, n) for n in names}))
        if self._head.advice_steps:
            wanted["advice_steps"] = self._head.advice_steps
        if self._head.looks_seed is not None:
            wanted["looks_seed"] = self._head.looks_seed
        names += ("advice_steps", "looks_seed")
        path = self.out / SETTINGS_FILE
        if path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{path}: {error}; expected the settings of an import: remove the folder and import again") from error
            for n in names:
                if found.get(n) != wanted.get(n):
                    raise DataError(f"{self.out}: its {n} is {found.get(n)!r}, this import has {wanted.get(n)!r}: use the same settings, or another folder")
        else:
            write_atomically(path, (json.dumps(wanted, indent=1) + "\n").encode())

    def has(self, drive_name: str) -> bool:
        """This drive is written already, whole."""
        return drive_name in self._done or self._part(drive_name).exists()

    def write(self, rows: DriveRows, skipped: Sequence[Skipped] = ()) -> None:
        """Write one drive in one step, with what was left out of it. Raises DataError for rows that cannot be stored and for a drive that is there."""
        check_rows(rows, self._head.grid_hw, self._head.codebook_size, self._head.advice_steps)
        if self.has(rows.name):
            raise DataError(f"{self.out}: drive {rows.name!r} is there already: names must be unique")
        metadata = {_SKIPPED_KEY: json.dumps([asdict(s) for s in skipped], ensure_ascii=False)}
        kind = self._schema(metadata)
        batch = to_batch(rows, self._head.tokenizer_id, kind)
        write_atomically(self._part(rows.name), _file_of([batch], kind))
        self._skip_file(rows.name).unlink(missing_ok=True)

    def skip(self, skipped: Skipped) -> None:
        """Note something that gave no drive. Noting it again changes nothing; a drive of that name that is written later takes its place."""
        self._parts.mkdir(parents=True, exist_ok=True)
        write_atomically(self._skip_file(skipped.what), json.dumps(asdict(skipped), ensure_ascii=False).encode())

    def finish(self) -> Manifest:
        """Cut the parts into shards and write the manifest. Raises DataError for a part that is damaged and for a set without drives."""
        old = Manifest.read(self.out) if (self.out / MANIFEST_FILE).exists() else self._head
        names = sorted(p.name.removesuffix(".arrow") for p in self._parts.glob("*.arrow"))
        fresh = [n for n in names if n not in {d.name for d in old.drives}]
        drives, shards, skipped = list(old.drives), list(old.shards), set(old.skipped)
        for group in self._groups(fresh):
            file = f"shard-{len(shards):05d}.arrow"
            batches: list[Any] = []
            for name in group:
                batch, of_drive = self._read_part(name)
                rows = from_batch(batch, self._head.grid_hw)
                drives.append(self._entry(rows, file, len(batches)))
                skipped.update(of_drive)
                batches.append(batch)
            data = _file_of(batches, self._schema(self._shard_metadata()))
            write_atomically(self.out / file, data)
            shards.append(ShardEntry(file=file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
        skipped |= {Skipped(**json.loads(p.read_text(encoding="utf-8"))) for p in sorted(self._parts.glob("*.skip.json"))}
        have = {d.name for d in drives}
        left_out = tuple(sorted((s for s in skipped if s.what not in have), key=lambda s: (s.what, s.why)))
        if not drives:
            why = f" ({left_out[0].what}: {left_out[0].why}{', and others' if len(left_out) > 1 else ''})" if left_out else ""
            raise DataError(f"{self.out}: no drive was written; {len(left_out)} things were skipped{why}")
        manifest = replace(self._head, drives=tuple(drives), shards=tuple(shards), skipped=left_out)
        write_atomically(self.out / MANIFEST_FILE, manifest.to_json().encode())
        self._done = {d.name: d for d in manifest.drives}
        self._clear(names)
        return manifest

    def _schema(self, metadata: Mapping[str, str] | None = None) -> Any:
        return schema(self._head.grid_hw, metadata, advice_steps=self._head.advice_steps)

    def _shard_metadata(self) -> dict[str, str]:
        return {"set": self._head.name, "source": self._head.source, "licence": self._head.licence, "codebook_size": str(self._head.codebook_size)}

    def _groups(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Names whose parts together make a shard: at least one, then as many as fit."""
        group: list[str] = []
        size = 0
        for name in names:
            bytes_of_part = self._part(name).stat().st_size
            if group and size + bytes_of_part > self._shard_bytes:
                yield group
                group, size = [], 0
            group.append(name)
            size += bytes_of_part
        if group:
            yield group

    def _read_part(self, name: str) -> tuple[Any, list[Skipped]]:
        path = self._part(name)
        try:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                if reader.num_record_batches != 1 or reader.schema != self._schema():
                    raise DataError(f"{path}: got {reader.num_record_batches} batches of {reader.schema}, expected one drive of this set: remove it")
                skipped = [Skipped(**s) for s in json.loads((reader.schema.metadata or {}).get(_SKIPPED_KEY.encode(), b"[]"))]
                return reader.get_batch(0), skipped
        except (pa.ArrowException, ValueError, TypeError, OSError) as error:
            raise DataError(f"{path}: {type(error).__name__}: {error}; remove it and import again, the drive will be read anew") from error

    def _entry(self, rows: DriveRows, shard: str, batch: int) -> DriveEntry:
        return DriveEntry(
            name=rows.name,
            source=rows.source,
            frames=len(rows.stamp_ns),
            first_stamp_ns=int(rows.stamp_ns[0]),
            last_stamp_ns=int(rows.stamp_ns[-1]),
            has_motion=rows.has_motion,
            camera_id=rows.camera_id,
            sha256=rows_digest(rows, self._head.tokenizer_id),
            shard=shard,
            batch=batch,
        )

    def _clear(self, names: Sequence[str]) -> None:
        """Remove the parts: the manifest names all that they held."""
        for path in (*(self._part(n) for n in names), *self._parts.glob("*.skip.json")):
            path.unlink(missing_ok=True)
        for path in (*self._parts.glob(".*"), *(p for p in self.out.glob(".*") if _is_ours(p))):  # of processes that were killed
            path.unlink(missing_ok=True)
        os.rmdir(self._parts)

    def _part(self, drive_name: str) -> Path:
        if not NAME.fullmatch(drive_name):
            raise DataError(f"drive {drive_name!r}: expected a name of letters, digits and . _ + = @ -, at most 200, usable as a file name")
        return self._parts / f"{drive_name}.arrow"

    def _skip_file(self, what: str) -> Path:
        return self._parts / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.skip.json"


def _file_of(batches: Sequence[Any], kind: Any) -> bytes:
    """An Arrow IPC file: uncompressed, each buffer on a multiple of 64 bytes, so that it can be mapped and used as it lies."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=None, unify_dictionaries=True)
    with pa.ipc.new_file(sink, kind, options=options) as writer:
        writer.write_table(pa.Table.from_batches([b.replace_schema_metadata(kind.metadata) for b in batches], kind))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _is_ours(path: Path) -> bool:
    """A file of this set that was being written."""
    return path.name.startswith((f".{SETTINGS_FILE}.", f".{MANIFEST_FILE}.", ".shard-"))


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    return plain
