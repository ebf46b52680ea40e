"""`vavam launch` as a supervisor: output by name, one end for all, and an exit status that tells."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vavam_ros.cli.launch import Job, supervise

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "GREETING": "hello"}
WAIT = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: (print('asked to end'), sys.exit(0))); print('ready'); signal.pause()"


def job(name: str, code: str, on_exit: str = "fail") -> Job:
    return Job(name=name, command=(sys.executable, "-S", "-c", code), on_exit=on_exit)  # type: ignore[arg-type]


class Output(io.StringIO):
    """Text that sets `stop` once it holds `words`."""

    def __init__(self, words: str, stop: threading.Event) -> None:
        super().__init__()
        self.words, self.stop = words, stop

    def write(self, text: str) -> int:
        written = super().write(text)
        if all(word in self.getvalue() for word in self.words.split(" and ")):
            self.stop.set()
        return written


def test_told_to_stop_all_end_cleanly() -> None:
    stop = threading.Event()
    out = Output("[a] ready and [b] ready", stop)
    assert supervise([job("a", WAIT), job("b", WAIT)], ENVIRONMENT, out, stop) == 0
    assert out.getvalue().count("asked to end") == 2


def test_output_carries_the_name_and_the_environment_arrives() -> None:
    out = io.StringIO()
    code = "import os, sys; print(os.environ['GREETING']); print('to stderr', file=sys.stderr)"
    assert supervise([job("a", code, "shutdown")], ENVIRONMENT, out, threading.Event()) == 0
    assert "[a] hello\n" in out.getvalue()
    assert "[a] to stderr\n" in out.getvalue()


@pytest.mark.parametrize("status", [0, 3])
def test_the_end_of_a_required_process_ends_all_and_fails(status: int) -> None:
    out = io.StringIO()
    ends_when_ready = f"import sys; print('why it ends'); print(); sys.exit({status})"
    assert supervise([job("stays", WAIT), job("ends", ends_when_ready)], ENVIRONMENT, out, threading.Event(), grace_s=5.0) == 1
    assert f"[ends] ended with status {status}, which ends the system" in out.getvalue()
    assert out.getvalue().splitlines()[-1] == f"vavam launch: ends ended with status {status}; its last line: why it ends"


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1)])
def test_a_bags_end_is_the_systems(status: int, expected: int, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    waits = WAIT.replace("print('ready')", f"open({str(ready)!r}, 'w').close()")
    ends = f"import os, sys, time\nwhile not os.path.exists({str(ready)!r}): time.sleep(0.01)\nsys.exit({status})"
    out = io.StringIO()
    assert supervise([job("nodes", waits), job("bag", ends, "shutdown")], ENVIRONMENT, out, threading.Event()) == expected
    assert "[nodes] asked to end" in out.getvalue()


def test_who_does_not_listen_is_ended_by_force_and_it_shows() -> None:
    stop = threading.Event()
    out = Output("[deaf] ready", stop)
    deaf = "import signal\nfor s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\nprint('ready')\nwhile True: signal.pause()"
    assert supervise([job("deaf", deaf)], ENVIRONMENT, out, stop, grace_s=0.3) == 1
    assert f"did not end cleanly: status {-signal.SIGKILL}" in out.getvalue()


def test_ctrl_c_reaches_the_children_once(tmp_path: Path) -> None:
    """The whole command, interrupted as a terminal does it."""
    count = "n = 0\ndef on(*_):\n    global n\n    n += 1\n"
    # no pause(): an interrupt between 'ready' and it would not end it. A second one, should there be any, gets time to come.
    waits = "while not n: time.sleep(0.01)\ntime.sleep(0.3)\n"
    counts = f"import signal, time\n{count}signal.signal(signal.SIGINT, on)\nprint('ready')\n{waits}print('interrupts:', n)"
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import os, sys\nfrom vavam_ros.cli.launch import Job, supervise_with_signals\n"
        f"jobs = [Job(name='child', command=(sys.executable, '-S', '-c', {counts!r}))]\n"
        "sys.exit(supervise_with_signals(jobs, os.environ | {'PYTHONUNBUFFERED': '1'}, sys.stdout))\n"
    )
    with subprocess.Popen([sys.executable, str(driver)], stdout=subprocess.PIPE, text=True, start_new_session=True, env=_with_root()) as running:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            lines.append(line)
            if "ready" in line:
                os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=30) == 0
    assert "[child] interrupts: 1\n" in lines


def _with_root() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
