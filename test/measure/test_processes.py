"""What is read off /proc is what a process really holds."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.measure.processes import Sample, Usage, read_process, shared_segments, usage_table

MIB = 2**20


def test_memory_that_is_written_to_is_a_process_s_own() -> None:
    before = read_process(os.getpid())
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:  # malloc would give what was freed before
        held[:] = bytes([1]) * len(held)
        after = read_process(os.getpid())
    assert before is not None
    assert after is not None
    assert after.own_mb - before.own_mb == pytest.approx(67.1, abs=2.0)
    assert after.rss_mb - before.rss_mb == pytest.approx(67.1, abs=2.0)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm on this machine")
def test_pages_of_a_segment_are_resident_once_they_are_touched_and_nobody_s_own() -> None:
    resident_before, size_before = shared_segments(os.getpid())  # semaphores of others in this process
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(32 * MIB)
        with mmap.mmap(file.fileno(), 32 * MIB) as segment:
            own = read_process(os.getpid())
            assert shared_segments(os.getpid()) == pytest.approx((resident_before, size_before + 33.554432))
            segment[: 8 * MIB] = bytes(8 * MIB)
            resident, size = shared_segments(os.getpid())
            after = read_process(os.getpid())
    assert resident - resident_before == pytest.approx(8.388608, abs=2.2)  # huge pages round up
    assert size - size_before == pytest.approx(33.554432)
    assert own is not None
    assert after is not None
    assert after.own_mb - own.own_mb < 8.0  # the bytes that were written, for a moment, and not the segment's


def test_a_process_that_has_ended_has_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert read_process(process.pid) is None
    assert shared_segments(process.pid) == (0.0, 0.0)


def grown(own_mb_per_h: float, rss_mb_per_h: float, *, seconds: int = 240, shaken_mb: float = 0.0) -> Usage:
    """A process whose memory follows straight lines, but for what shakes it."""
    usage, shaken = Usage(name="node", pid=1), np.random.default_rng(0).normal(0.0, shaken_mb, seconds)
    for t in range(seconds):
        own = own_mb_per_h * t / 3600 + float(shaken[t])
        usage.samples.append(Sample(t_s=float(t), cpu_s=t / 2, own_mb=300 + own, rss_mb=500 + rss_mb_per_h * t / 3600))
    return usage


@pytest.mark.parametrize(
    ("usage", "grows", "said"),
    [
        (grown(0.5, 36.0), False, "excluded at 95 %"),
        (grown(5.0, 0.0), True, "shown"),
        (grown(0.0, 0.0, shaken_mb=3.0), None, "neither shown nor excluded"),
        (grown(5.0, 5.0, seconds=3), None, "neither shown nor excluded"),
    ],
)
def test_growth_is_that_of_own_memory_whatever_rss_does(usage: Usage, grows: bool | None, said: str) -> None:
    assert usage.grows() is grows
    assert f"growth of own memory beyond 1 MB/h, {said}" in usage_table([usage])


def test_the_table_has_both_slopes() -> None:
    _, row, _ = usage_table([grown(5.0, 36.0)]).splitlines()
    assert row.split() == ["node", "0.50", "300.3", "+5.00", "±", "0.00", "MB/h", "502.4", "+36.00", "±", "0.00", "MB/h"]
    assert usage_table([Usage(name="node", pid=1)]).splitlines()[1:] == [f"{'node':28} gone"]
