"""What is read off /proc is what a process really holds."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.measure.processes import read_process, shared_segments

MIB = 2**20


def test_memory_that_is_written_to_is_a_process_s_own() -> None:
    before = read_process(os.getpid())
    held = np.ones(64 * MIB, np.uint8)
    after = read_process(os.getpid())
    assert before is not None
    assert after is not None
    assert after.own_mb - before.own_mb == pytest.approx(held.nbytes / 1e6, abs=2.0)
    assert after.rss_mb - before.rss_mb == pytest.approx(held.nbytes / 1e6, abs=2.0)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm on this machine")
def test_pages_of_a_segment_are_resident_once_they_are_touched_and_nobody_s_own() -> None:
    assert shared_segments(os.getpid()) == (0.0, 0.0)
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(32 * MIB)
        with mmap.mmap(file.fileno(), 32 * MIB) as segment:
            own = read_process(os.getpid())
            assert shared_segments(os.getpid()) == (0.0, pytest.approx(33.554432))
            segment[: 8 * MIB] = bytes(8 * MIB)
            resident, size = shared_segments(os.getpid())
            after = read_process(os.getpid())
    assert resident == pytest.approx(8.388608, abs=2.2)  # huge pages round up
    assert size == pytest.approx(33.554432)
    assert own is not None
    assert after is not None
    assert after.own_mb - own.own_mb < 8.0  # the bytes that were written, for a moment, and not the segment's


def test_a_process_that_has_ended_has_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert read_process(process.pid) is None
    assert shared_segments(process.pid) == (0.0, 0.0)
