from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from vavam_ros.core.contracts import EncodingError
from vavam_ros.nodes.worker import Worker

pytestmark = pytest.mark.ros  # no rclpy, but it waits for threads as the nodes' tests do


class Harness:
    """A worker whose jobs wait for a gate."""

    def __init__(self) -> None:
        self.gate, self.began = threading.Event(), threading.Semaphore(0)
        self.finished: list[tuple[object, bool]] = []
        self.errors: list[tuple[Exception, bool]] = []
        self.worker: Worker[object] = Worker("test", self.work, lambda e, alive: self.errors.append((e, alive)))
        self.worker.start()

    def work(self, job: object, is_current: Callable[[], bool]) -> None:
        self.began.release()
        if isinstance(job, Exception):
            raise job
        assert self.gate.wait(10.0)
        self.finished.append((job, is_current()))

    def settle(self) -> None:
        call = self.worker.call(lambda: None)
        assert call.wait(10.0)


def test_only_the_newest_waiting_job_runs_and_the_others_are_counted() -> None:
    h = Harness()
    h.worker.submit(1)
    assert h.began.acquire(timeout=10.0)
    for job in (2, 3, 4):
        h.worker.submit(job)  # returns at once, though one is running
    h.gate.set()
    assert h.began.acquire(timeout=10.0)
    h.settle()
    assert h.finished == [(1, True), (4, True)]
    counts = h.worker.counts
    assert (counts.submitted, counts.skipped, counts.done) == (4, 2, 2)
    assert h.worker.stop()


def test_a_new_generation_drops_the_waiting_job_and_marks_the_running_one() -> None:
    h = Harness()
    h.worker.submit("running")
    assert h.began.acquire(timeout=10.0)
    h.worker.submit("waiting")
    h.worker.bump()
    h.gate.set()
    h.settle()
    assert h.finished == [("running", False)]
    assert (h.worker.counts.discarded, h.worker.counts.done) == (2, 0)
    h.worker.submit("after")
    assert h.began.acquire(timeout=10.0)
    h.settle()
    assert h.finished[-1] == ("after", True)
    assert h.worker.stop()


@pytest.mark.parametrize("error", [EncodingError("bad"), RuntimeError("out of memory"), ValueError("shape")])
def test_named_errors_are_reported_and_the_thread_lives(error: Exception) -> None:
    h = Harness()
    h.gate.set()
    h.worker.submit(error)
    assert h.began.acquire(timeout=10.0)
    h.settle()
    assert h.errors == [(error, True)]
    h.worker.submit("good")
    assert h.began.acquire(timeout=10.0)
    h.settle()
    assert h.finished == [("good", True)]
    assert h.worker.counts.failed == 1
    assert h.worker.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_is_reported_and_ends_the_thread_loudly() -> None:
    h = Harness()
    h.worker.submit(KeyError("defect"))
    assert h.began.acquire(timeout=10.0)
    h.worker._thread.join(10.0)
    assert [alive for _, alive in h.errors] == [False]
    assert not h.worker.alive


def test_progress_grows_while_idle_and_stands_still_while_busy() -> None:
    h = Harness()
    before = h.worker.progress
    for _ in range(100):
        if h.worker.progress > before + 1:
            break
        threading.Event().wait(0.05)
    assert h.worker.progress > before + 1
    h.worker.submit(1)
    assert h.began.acquire(timeout=10.0)
    busy = h.worker.progress
    threading.Event().wait(0.3)
    assert h.worker.progress == busy
    assert h.worker.busy_s > 0.0
    h.gate.set()
    h.settle()
    assert h.worker.stop()


def test_a_call_runs_in_the_thread_and_brings_back_its_error() -> None:
    h = Harness()
    seen: list[str] = []
    call = h.worker.call(lambda: seen.append(threading.current_thread().name))
    assert call.wait(10.0)
    assert seen == ["test"]

    def fail() -> None:
        raise RuntimeError("no memory")

    failed = h.worker.call(fail)
    assert failed.wait(10.0)
    assert str(failed.error) == "no memory"
    assert h.worker.stop()
