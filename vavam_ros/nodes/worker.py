"""One thread that does the slow work, behind a slot that keeps only the newest job.

The caller never waits: `submit` replaces a job that has not started yet (counted as skipped) and returns. One job runs at a time. A job that fails
with an error of a named kind is reported and the thread lives on; anything else is a defect, is reported too, and ends the thread loudly.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import cv2

from vavam_ros.core.contracts import VavamError

Job = TypeVar("Job")

SURVIVABLE: tuple[type[Exception], ...] = (VavamError, RuntimeError, ValueError, MemoryError, cv2.error)
"""What a job may raise without ending the thread. RuntimeError: torch, its out-of-memory error included; ValueError: numpy shapes."""

IDLE_S = 0.05  # how often an idle thread shows that it lives


@dataclass(slots=True)
class WorkerCounts:
    """Totals since construction."""

    submitted: int = 0
    skipped: int = 0  # replaced by a newer job before they began
    done: int = 0
    failed: int = 0
    discarded: int = 0  # finished, but of an older generation: the world had been reset meanwhile


class Call:
    """A function that runs once in the worker's thread, ahead of any job: loading, warming up, freeing."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run it, keeping what it raises for the one who waits."""
        try:
            self._function()
        except BaseException as e:
            self.error = e
            if not isinstance(e, Exception):
                raise
        finally:
            self._function = _nothing  # it holds what it loaded
            self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """True once it has run."""
        return self._done.wait(timeout_s)


def _nothing() -> None:
    """What is left of a call that has run."""


@dataclass(slots=True)
class _Slot(Generic[Job]):
    job: Job | None = None
    calls: deque[Call] = field(default_factory=deque)
    generation: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)


class Worker(Generic[Job]):
    """Runs `work(job, is_current)` in its own thread. `is_current()` says whether the job still belongs to the newest generation."""

    def __init__(
        self,
        name: str,
        work: Callable[[Job, Callable[[], bool]], None],
        on_error: Callable[[Exception, bool], None],
    ) -> None:
        """`on_error(error, alive)`: `alive` is False when the thread ends because of it."""
        self.name = name
        self._work, self._on_error = work, on_error
        self._slot: _Slot[Job] = _Slot()
        self._stop = False
        self._busy_since: float | None = None
        self.counts = WorkerCounts()
        self.progress = 0  # grows while the thread turns over; stands still while one job runs
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    @property
    def busy_s(self) -> float:
        """For how long the present job has been running; 0 when idle."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        with self._slot.condition:
            return self._slot.job is None and self._busy_since is None

    def submit(self, job: Job) -> None:
        """Hand over a job. One that is waiting is dropped in its favour. Never blocks on work."""
        with self._slot.condition:
            self.counts.submitted += 1
            if self._slot.job is not None:
                self.counts.skipped += 1
            self._slot.job = job
            self._slot.condition.notify()

    def call(self, function: Callable[[], None]) -> Call:
        """Have a function run in the thread, after the job that runs now. What it raises is in the result's `error`."""
        call = Call(function)
        with self._slot.condition:
            self._slot.calls.append(call)
            self._slot.condition.notify()
        return call

    def bump(self) -> None:
        """Begin a new generation: the waiting job is dropped, the running one will find that it is no longer current."""
        with self._slot.condition:
            self._slot.generation += 1
            if self._slot.job is not None:
                self.counts.discarded += 1
                self._slot.job = None

    def stop(self, timeout_s: float = 30.0) -> bool:
        """End the thread after its present job and wait for it. False if it did not end in time."""
        with self._slot.condition:
            self._stop = True
            self._slot.generation += 1
            self._slot.job = None
            self._slot.condition.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self) -> tuple[Call | None, Job | None, int]:
        with self._slot.condition:
            if self._slot.job is None and not self._slot.calls and not self._stop:
                self._slot.condition.wait(IDLE_S)
            if self._slot.calls:
                self._busy_since = time.monotonic()
                return self._slot.calls.popleft(), None, 0
            job, self._slot.job = self._slot.job, None
            if job is not None:
                self._busy_since = time.monotonic()
            return None, job, self._slot.generation

    def _run(self) -> None:
        while not self._stop:
            call, job, generation = self._take()
            if call is not None:
                call.run()
                self._busy_since = None
            elif job is not None:
                self._do(job, generation)
            del call, job  # hold no image or context while idle
            self.progress += 1

    def _do(self, job: Job, generation: int) -> None:
        def is_current() -> bool:
            return generation == self._slot.generation

        try:
            self._work(job, is_current)
            if is_current():
                self.counts.done += 1
            else:
                self.counts.discarded += 1
        except SURVIVABLE as e:
            self.counts.failed += 1
            self._on_error(e, True)
        except Exception as e:
            self.counts.failed += 1
            self._on_error(e, False)
            raise
        finally:
            with self._slot.condition:
                self._busy_since = None
