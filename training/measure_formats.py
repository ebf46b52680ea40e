"""How fast windows are read at random from token sets in several formats (docs/decisions/0012-arrow-ipc-token-sets.md).

    .venv-training/bin/python training/measure_formats.py [--hours 10] [--windows 2000]

Random tokens, drives of a minute at 10 Hz, 9 × 16 tokens; a window is 8 frames half a second apart, with stamps and poses. Files are in the page cache.
Zarr and WebDataset are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vavam_training.contracts import DriveRows
from vavam_training.dataset import TokenDataset, TokenWriter
from vavam_training.dataset.schema import schema, to_batch

FRAMES, GRID, CODES, STEP, WINDOW = 600, (9, 16), 1024, 5, 8
READ = ("stamp_ns", "tokens", "position_m", "rotation_wxyz")
Read = Callable[[int, int], int]  # drive, first frame → a number that depends on what was read


def drives(count: int) -> list[DriveRows]:
    """Random drives."""
    rng = np.random.default_rng(0)
    return [
        DriveRows(
            name=f"drive-{i:05d}",
            source="measurement",
            stamp_ns=np.arange(1, FRAMES + 1, dtype=np.int64) * 100_000_000,
            tokens=rng.integers(0, CODES, (FRAMES, *GRID)).astype(np.uint16),
            position_m=rng.normal(size=(FRAMES, 3)),
            rotation_wxyz=np.tile([1.0, 0.0, 0.0, 0.0], (FRAMES, 1)),
            speed_mps=np.zeros(FRAMES, np.float32),
            command=np.zeros(FRAMES, np.int8),
            camera_id="world_front",
        )
        for i in range(count)
    ]


def arrow(folder: Path, rows: list[DriveRows]) -> Read:
    """The format of this workspace."""
    settings: dict[str, Any] = {"name": "m", "source": "m", "licence": "m", "domain": "synthetic_world", "tokenizer_id": "m", "tokenizer": {}}
    with TokenWriter(folder / "arrow", **settings, canonical_camera={}, grid_hw=GRID, codebook_size=CODES, git_revision="") as writer:
        for r in rows:
            writer.write(r)
        writer.finish()
    dataset = TokenDataset.open(folder / "arrow")

    def read(drive: int, first: int) -> int:
        found = dataset.rows(drive)
        at = slice(first, first + WINDOW * STEP, STEP)
        return sum(int(getattr(found, name)[at].sum()) for name in READ)

    return read


def parquet(folder: Path, rows: list[DriveRows]) -> Read:
    """One row group a drive, zstd."""
    kind = schema(GRID)
    with pq.ParquetWriter(folder / "set.parquet", kind, compression="zstd") as writer:
        for r in rows:
            writer.write_batch(to_batch(r, "m", kind), row_group_size=FRAMES)
    file = pq.ParquetFile(folder / "set.parquet", memory_map=True)

    def read(drive: int, first: int) -> int:
        table = file.read_row_group(drive, columns=list(READ), use_threads=False).combine_chunks()
        columns = [table.column(name).chunk(0) for name in READ]
        flat = [np.asarray(c.flatten() if hasattr(c, "flatten") and c.type.num_fields else c).reshape(FRAMES, -1) for c in columns]
        return sum(int(c[first : first + WINDOW * STEP : STEP].sum()) for c in flat)

    return read


def zarr_chunks(folder: Path, rows: list[DriveRows]) -> Read:
    """Arrays over all frames, one chunk a drive."""
    import zarr

    group = zarr.open_group(str(folder / "set.zarr"), mode="w")
    for name in READ:
        whole = np.concatenate([getattr(r, name) for r in rows])
        group.create_array(name, data=whole, chunks=(FRAMES, *whole.shape[1:]))
    arrays = [group[name] for name in READ]

    def read(drive: int, first: int) -> int:
        at = drive * FRAMES + first
        return sum(int(a[at : at + WINDOW * STEP : STEP].sum()) for a in arrays)

    return read


def webdataset_shard(folder: Path, rows: list[DriveRows]) -> Read:
    """A tar of .npz, one a drive, found by an index of offsets: WebDataset's layout, which it reads in order only."""
    offsets = []
    with tarfile.open(folder / "set.tar", "w") as tar:
        for r in rows:
            buffer = io.BytesIO()
            np.savez(buffer, **{name: getattr(r, name) for name in READ})
            info = tarfile.TarInfo(f"{r.name}.npz")
            info.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(info, buffer)
            offsets.append((tar.offset - (info.size + 511) // 512 * 512, info.size))
    file = (folder / "set.tar").open("rb")

    def read(drive: int, first: int) -> int:
        offset, size = offsets[drive]
        file.seek(offset)
        with np.load(io.BytesIO(file.read(size))) as found:
            return sum(int(found[name][first : first + WINDOW * STEP : STEP].sum()) for name in READ)

    return read


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--windows", type=int, default=2000)
    args = parser.parse_args()
    rows = drives(max(1, round(args.hours * 60)))
    makers = {"Arrow IPC, mapped": arrow, "Parquet, zstd": parquet, "tar of npz": webdataset_shard}
    if importlib.util.find_spec("zarr"):
        makers["Zarr 3"] = zarr_chunks
    rng = np.random.default_rng(1)
    wanted = [(int(rng.integers(len(rows))), int(rng.integers(FRAMES - WINDOW * STEP))) for _ in range(args.windows)]
    sums = set()
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            read = make(Path(folder), rows)
            wrote_s = time.perf_counter() - started
            size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
            sums.add(sum(read(*w) for w in wanted))  # once, to warm the page cache and to see that all read the same
            times = []
            for w in wanted:
                started = time.perf_counter()
                read(*w)
                times.append(time.perf_counter() - started)
        ms = 1e3 * np.array(times)
        speed = f"{len(times) / ms.sum() * 1e3:9.0f} windows/s   p50 {np.median(ms):7.3f} ms   p99 {np.quantile(ms, 0.99):7.3f} ms"
        print(f"{name:20s} {speed}   {size / 1e6:6.1f} MB   written in {wrote_s:.1f} s")
    assert len(sums) == 1, f"the formats gave different numbers: {sums}"
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
