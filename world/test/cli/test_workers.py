"""Jobs in processes: none is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vavam_world.workers import Failure, run_jobs


def job(n: int) -> int:
    if n == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 2:
        raise ValueError("two")
    return n * n


def test_a_process_that_dies_takes_one_job_with_it() -> None:
    results = dict(run_jobs(job, range(5), 1))
    assert {n: r for n, r in results.items() if not isinstance(r, Failure)} == {0: 0, 3: 9, 4: 16}
    assert isinstance(results[1], Failure)
    assert results[1].reason == "the process died: signal SIGKILL"
    assert isinstance(results[2], Failure)
    assert results[2].reason == "ValueError: two"
    assert "in job" in results[2].trace


def threads_of(number: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert set(dict(run_jobs(threads_of, range(4), 2)).values()) == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert dict(run_jobs(threads_of, range(1), 1)) == {0: "5"}


def long_job(folder: Path) -> None:
    (folder / "begun").touch()
    try:
        time.sleep(60.0)
    finally:
        (folder / "ended").touch()


def job_that_is_told_twice(folder: Path) -> None:
    (folder / "begun").touch()
    try:
        time.sleep(60.0)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # as where a whole process group is told to end
        time.sleep(0.1)
        (folder / "ended").touch()


@pytest.mark.parametrize("function", [long_job, job_that_is_told_twice])
def test_a_job_that_is_broken_off_can_end_what_it_started(function: Callable[[Path], None], tmp_path: Path) -> None:
    def jobs() -> Iterator[Path]:
        yield tmp_path
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dict(run_jobs(function, jobs(), 2))
    assert (tmp_path / "ended").exists()
