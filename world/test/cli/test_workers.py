"""Jobs in processes: none is lost."""

from __future__ import annotations

import os
import signal

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
