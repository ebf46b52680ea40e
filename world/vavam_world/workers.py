"""Jobs in parallel processes, where no job is lost: one that raises, and one whose process dies, come back as a Failure."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from vavam_ros.core.contracts import ConfigError

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job that gave no result: why, in one line, and the traceback where there is one."""

    reason: str
    trace: str = ""

    def __str__(self) -> str:
        return self.reason


@dataclass(slots=True, eq=False)
class _Worker(Generic[J]):
    process: BaseProcess
    pipe: Connection
    job: J | None = None


def run_jobs(function: Callable[[J], R], jobs: Iterable[J], workers: int) -> Generator[tuple[J, R | Failure], None, None]:
    """Results as they come. `function` is a module's function, `jobs` may be endless (it is asked for one when a process is free).

    `workers` = 0 runs them here, one after the other. Processes start afresh (spawn), ignore Ctrl-C, and are ended when the iterator is closed.
    Raises ConfigError on a negative number."""
    if workers < 0:
        raise ConfigError(f"--workers: got {workers}, expected 0 (in this process) or more")
    if workers == 0:
        for job in jobs:
            yield job, _attempt(function, job)
        return
    yield from _parallel(function, iter(jobs), workers)


def _attempt(function: Callable[[J], R], job: J) -> R | Failure:
    try:
        return function(job)
    except Exception as error:  # noqa: BLE001  whatever a job raises is its result; the others go on
        return Failure(reason=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


@contextmanager
def _fair_share(workers: int) -> Iterator[None]:
    """A process started in here takes its part of the cores for an operation, not all of them: threads of processes that share cores wait for each other,
    and what takes milliseconds alone takes seconds. OMP_NUM_THREADS set by the user stays."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _parallel(function: Callable[[J], R], jobs: Iterator[J], workers: int) -> Generator[tuple[J, R | Failure], None, None]:
    context = mp.get_context("spawn")

    def start() -> _Worker[J]:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(function, there), daemon=True)
        with _fair_share(workers):
            process.start()
        there.close()
        return _Worker(process, here)

    def next_job(worker: _Worker[J]) -> bool:
        for job in jobs:
            worker.job = job
            worker.pipe.send(job)
            return True
        return False

    pool: list[_Worker[J]] = []
    try:
        for _ in range(workers):
            pool.append(start())
            if not next_job(pool[-1]):
                _end(pool.pop())
                break
        while pool:
            ready = wait([w.pipe for w in pool])
            for worker in [w for w in pool if w.pipe in ready]:
                job, worker.job = worker.job, None
                assert job is not None
                result, alive = _receive(worker)
                pool.remove(worker)
                worker = worker if alive else start()
                if next_job(worker):
                    pool.append(worker)
                else:
                    _end(worker)
                yield job, result
    finally:
        for worker in pool:
            worker.process.terminate()
            worker.process.join()
            worker.pipe.close()


def _receive(worker: _Worker[Any]) -> tuple[Any, bool]:
    try:
        return worker.pipe.recv(), True
    except (EOFError, ConnectionResetError):
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        return Failure(reason=f"the process died: {how}"), False


def _end(worker: _Worker[Any]) -> None:
    worker.pipe.send(None)
    worker.process.join()
    worker.pipe.close()


def _leave(*_: object) -> None:
    """An orderly exit, so that a job ends the processes that it has started; a second signal, of a group that is told to end, would break into it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    """A process's life: one job after the other until None comes or the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        if job is None:
            return
        pipe.send(_attempt(function, job))
