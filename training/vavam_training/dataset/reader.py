"""Reads a token set: shards are mapped, rows are views, and opening it again in another process costs a few file handles.

A set at an address with a scheme (`s3://…`, `https://…`, whatever fsspec knows) is read through a local cache: each shard is fetched when the first of its
drives is asked for, checked against its hash, and mapped from there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from vavam_training.contracts import I64, DataError, DriveRows
from vavam_training.dataset.manifest import MANIFEST_FILE, Manifest, ShardEntry
from vavam_training.dataset.schema import from_batch, rows_digest, schema


class TokenDataset:
    """Drives as arrays. Not more than one file handle a shard; picklable (the other process opens its own)."""

    def __init__(self, manifest: Manifest, folder: Path, url: str | None = None) -> None:
        self.manifest, self._folder, self._url = manifest, folder, url
        self.drive_names: tuple[str, ...] = tuple(d.name for d in manifest.drives)
        self.drive_lengths: tuple[int, ...] = tuple(d.frames for d in manifest.drives)
        self.has_motion: tuple[bool, ...] = tuple(d.has_motion for d in manifest.drives)
        self._shards = {s.file: s for s in manifest.shards}
        self._open: dict[str, Any] = {}

    @classmethod
    def open(cls, path: str | Path, *, cache: Path | None = None) -> TokenDataset:
        """Open a folder, or an address that fsspec knows, with its cache (default: ~/.cache/vavam/tokens). Raises DataError.

        Of a local folder the size of every shard is checked, which finds what was cut short; `verify()` reads all of it."""
        if "://" not in str(path):
            folder = Path(path)
            dataset = cls(Manifest.read(folder), folder)
            for shard in dataset.manifest.shards:
                dataset._check_size(shard)
            return dataset
        url = str(path).rstrip("/")
        manifest = Manifest.from_json(_fetch(f"{url}/{MANIFEST_FILE}").decode("utf-8", errors="replace"), f"{url}/{MANIFEST_FILE}")
        shards = hashlib.sha256("".join(s.sha256 for s in manifest.shards).encode()).hexdigest()[:8]
        folder = (cache or Path("~/.cache/vavam/tokens").expanduser()) / f"{manifest.digest}-{shards}"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(manifest, folder, url)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        """Number of drives."""
        return len(self.drive_names)

    def rows(self, i: int) -> DriveRows:
        """Drive i, as read-only views of the mapped file. Raises DataError for a shard that is missing, damaged, or not what the manifest says."""
        entry = self.manifest.drives[i]
        reader = self._reader(entry.shard)
        try:
            batch = reader.get_batch(entry.batch)
        except (pa.ArrowException, IndexError, OSError) as error:
            raise DataError(f"{self._folder / entry.shard}: drive {entry.name!r}: {type(error).__name__}: {error}; copy the shard again") from error
        if batch.num_rows != entry.frames:
            got = f"drive {entry.name!r} has {batch.num_rows} frames, the manifest says {entry.frames}"
            raise DataError(f"{self._folder / entry.shard}: {got}: copy the set again")
        rows = from_batch(batch, self.manifest.grid_hw)
        if rows.name != entry.name:
            raise DataError(f"{self._folder / entry.shard}: batch {entry.batch} is drive {rows.name!r}, the manifest says {entry.name!r}: copy the set again")
        return rows

    def stamps_ns(self, i: int) -> I64:
        """Stamps of drive i, (n,)."""
        return self.rows(i).stamp_ns

    def verify(self) -> None:
        """Read everything and compare it with the hashes of the manifest. Raises DataError that names the first shard or drive that differs."""
        for shard in self.manifest.shards:
            path = self._local(shard)
            found = _sha256_of(path)
            if found != shard.sha256:
                raise DataError(f"{path}: SHA-256 {found}, the manifest says {shard.sha256}: the file is damaged, copy it again or import anew")
        for i, entry in enumerate(self.manifest.drives):
            found = rows_digest(self.rows(i), self.manifest.tokenizer_id)
            if found != entry.sha256:
                raise DataError(f"{self._folder / entry.shard}: drive {entry.name!r}: content {found}, the manifest says {entry.sha256}: import the set anew")

    def _reader(self, file: str) -> Any:
        if file not in self._open:
            if file not in self._shards:
                raise DataError(f"{self._folder / MANIFEST_FILE}: a drive lies in {file}, which is not one of its shards: copy the set again")
            path = self._local(self._shards[file])
            try:
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path}: {type(error).__name__}: {error}; expected an Arrow file: copy it again or import anew") from error
            if reader.schema != schema(self.manifest.grid_hw, advice_steps=self.manifest.advice_steps):
                raise DataError(f"{path}: its columns are not those of {self.manifest.grid_hw} token grids:\n{reader.schema}")
            self._open[file] = reader
        return self._open[file]

    def _local(self, shard: ShardEntry) -> Path:
        """Where the shard lies on this machine; fetched first where it lies elsewhere."""
        path = self._folder / shard.file
        if self._url is not None and not (path.exists() and path.stat().st_size == shard.bytes):
            _download(f"{self._url}/{shard.file}", path, shard)
        self._check_size(shard)
        return path

    def _check_size(self, shard: ShardEntry) -> None:
        path = self._folder / shard.file
        got = path.stat().st_size if path.is_file() else None
        if got != shard.bytes:
            what = "does not exist" if got is None else f"has {got} bytes"
            raise DataError(f"{path} {what}, the manifest says {shard.bytes}: the set is incomplete, copy it again or import anew")


def _fetch(url: str) -> bytes:
    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read()
            return data
    except (OSError, ValueError, ImportError) as error:  # ValueError: unknown scheme; ImportError: its library is not installed
        raise DataError(f"{url}: {type(error).__name__}: {error}; check the address, the rights, and that fsspec's library for it is installed") from error


def _download(url: str, path: Path, shard: ShardEntry) -> None:
    """Copy a shard into the cache, in pieces, and rename it into place when its hash is right. Several processes may do so at once."""
    digest = hashlib.sha256()
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out, fsspec.open(url, "rb") as file:
            while block := file.read(8 << 20):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != shard.sha256:
            raise DataError(f"{url}: SHA-256 {digest.hexdigest()}, the manifest says {shard.sha256}: the stored shard is damaged")
        os.replace(part, path)
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"{url}: {type(error).__name__}: {error}; it could not be fetched to {path}") from error
    finally:
        Path(part).unlink(missing_ok=True)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
