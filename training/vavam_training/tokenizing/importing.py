"""A source → a token set: each drive once, by as many processes as torchrun starts; started again it goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from vavam_training.contracts import DataError, Skipped, Source
from vavam_training.dataset import Manifest, TokenWriter
from vavam_training.tokenizing.encode import DriveEncoder
from vavam_training.tokenizing.share import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What one process did. `manifest` is of the whole set, in process 0 only."""

    drives: int
    frames: int
    seconds: float
    manifest: Manifest | None


def import_drives(
    source: Source,
    encoder: DriveEncoder,
    writer: TokenWriter,
    share: Share | None = None,
    *,
    skip_bad: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Imported:
    """Encode and write what is missing of this process's share, wait for the others, finish the set.

    Raises DataError for a drive that cannot be read or encoded; with `skip_bad` such drives are listed in the manifest, with their reason, instead."""
    share = share or Share()
    drives = list(source.drives())
    names = [d.name for d in drives]
    if twice := sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []:
        raise DataError(f"source {source.name}: several drives are called {', '.join(twice)}; expected names that are unique")
    for skipped in source.skipped if share.rank == 0 else ():
        writer.skip(skipped)
    todo = [d for d in share.of(drives) if not writer.has(d.name)]
    started, frames = clock(), 0
    expected = sum(d.frames_expected for d in todo)
    with tqdm(total=expected or None, unit="frame", desc=f"tokens {share.rank + 1}/{share.processes}", disable=None, smoothing=0.05) as bar:
        for drive in todo:
            before = len(source.skipped)
            try:
                rows = encoder.rows(drive, source.frames(drive), source.name, bar.update)
            except DataError as error:
                if not skip_bad:
                    raise
                for left in source.skipped[before:]:
                    writer.skip(left)
                writer.skip(Skipped(what=drive.name, why=str(error)))
                continue
            writer.write(rows, source.skipped[before:])
            frames += len(rows.stamp_ns)
    seconds = clock() - started
    share.meet()
    manifest = writer.finish() if share.rank == 0 else None
    share.meet()
    return Imported(drives=len(todo), frames=frames, seconds=seconds, manifest=manifest)
