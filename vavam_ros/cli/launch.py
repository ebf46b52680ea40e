"""`vavam launch`: start a system (nodes, parameters, topics) where there is no `ros2 launch`.

    vavam launch SYSTEM name:=value …

Renders the same data as the launch files. Every line of output carries its process's name; Ctrl-C ends all; nothing is restarted. The exit
status is 0 if the system was told to end, or its bag has ended, and every process ended cleanly; else 1 (2 for arguments that cannot be meant).
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import yaml

from vavam_ros.bringup import SYSTEMS
from vavam_ros.bringup_data import GRACE_S, Declaration, Process
from vavam_ros.core.contracts import ConfigError, VavamError

POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process to run: its name in the output, its command, and what its end means (as in `Process`)."""

    name: str
    command: tuple[str, ...]
    on_exit: Literal["fail", "shutdown"] = "fail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vavam launch`."""
    parser.add_argument("system", choices=sorted(SYSTEMS), help="; ".join(f"{d.name}: {d.description}" for d in SYSTEMS.values()))
    parser.add_argument("assignments", nargs="*", metavar="name:=value", help="launch arguments, as for ros2 launch")
    parser.add_argument("--show-args", action="store_true", help="list the launch arguments of the system and end")
    parser.add_argument("--dry-run", action="store_true", help="print the environment and the commands, start nothing")


def run(args: argparse.Namespace) -> int:
    """Start the system and wait for its end."""
    declaration = SYSTEMS[args.system]
    if args.show_args:
        print(describe_arguments(declaration))
        return 0
    try:
        system = declaration.build(parse_assignments(args.assignments))
    except VavamError as error:
        print(f"vavam launch {args.system}: {error}", file=sys.stderr)
        return 2
    environment = system.environment_beside(os.environ)
    with tempfile.TemporaryDirectory(prefix="vavam_launch_") as folder:
        jobs = [Job(name=p.name, command=tuple(command_of(p, Path(folder))), on_exit=p.on_exit) for p in system.processes]
        if args.dry_run:
            for name, value in environment.items():
                print(f"{name}={shlex.quote(value)}")
            for process, job in zip(system.processes, jobs, strict=True):
                print(f"\n# {job.name}; its parameters:\n{_indented(parameters_yaml(process))}{shlex.join(job.command)}")
            return 0
        return supervise_with_signals(jobs, {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}, sys.stdout)


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """`name:=value` texts as a mapping. Raises ConfigError."""
    given: dict[str, str] = {}
    for text in assignments:
        name, separator, value = text.partition(":=")
        if not separator or not name:
            raise ConfigError(f"got {text!r}, expected name:=value")
        given[name] = value
    return given


def describe_arguments(declaration: Declaration) -> str:
    """The arguments of a system, for people."""
    lines = [f"{declaration.name}: {declaration.description}"]
    for a in declaration.arguments:
        choices = f" [{', '.join(c or 'empty' for c in a.choices)}]" if a.choices else ""
        lines.append(f"  {a.name}:={a.default}\n      {a.description}{choices}")
    return "\n".join(lines)


# --- rendering ----------------------------------------------------------------------------------------------------------------------


def command_of(process: Process, folder: Path) -> list[str]:
    """The command line of `process`, with this Python. Writes its parameter values into `folder`."""
    values = folder / f"{process.name}.yaml"
    values.write_text(parameters_yaml(process), encoding="utf-8")
    command = [sys.executable, "-m", process.module, "--ros-args", "--log-level", process.log_level]
    command += ["-r", f"__node:={process.node_name}", "-r", f"__ns:=/{process.namespace.strip('/')}"]
    for file in (*process.parameter_files, str(values)):
        command += ["--params-file", file]
    for source, target in process.remappings:
        command += ["-r", f"{source}:={target}"]
    return command


def parameters_yaml(process: Process) -> str:
    """The parameter values of `process` as a ROS parameter file. Named after the node, so that they win over the files before it."""
    namespace = process.namespace.strip("/")
    node = f"{'/' if namespace else ''}{namespace}/{process.node_name}"
    return str(yaml.safe_dump({node: {"ros__parameters": dict(process.parameters)}}, sort_keys=True))


def _indented(text: str) -> str:
    return "".join(f"#   {line}\n" for line in text.splitlines())


# --- running ------------------------------------------------------------------------------------------------------------------------


def supervise_with_signals(jobs: Sequence[Job], environment: Mapping[str, str], out: TextIO) -> int:
    """`supervise`, ended by SIGINT or SIGTERM. For the main thread."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return supervise(jobs, environment, out, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def supervise(
    jobs: Sequence[Job],
    environment: Mapping[str, str],
    out: TextIO,
    stop: threading.Event,
    grace_s: float = GRACE_S,
    on_start: Callable[[str, int], None] | None = None,
) -> int:
    """Run `jobs` until `stop`, or until one of them ends; then end the others. `on_start` gets each name and process. Returns the exit status."""
    lock = threading.Lock()
    running: dict[Job, subprocess.Popen[str]] = {}
    readers: list[threading.Thread] = []
    last: dict[str, str] = {}
    failed, why = False, ""
    try:
        for job in jobs:
            # A session of its own: Ctrl-C in the terminal reaches the children through us, once.
            process = subprocess.Popen(
                job.command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            running[job] = process
            reader = threading.Thread(target=_relay, args=(job.name, process, out, lock, last), daemon=True)
            reader.start()
            readers.append(reader)
            _say(out, lock, f"[{job.name}] started, process {process.pid}")
            if on_start is not None:
                on_start(job.name, process.pid)
        while not stop.is_set():
            ended = {job: process.returncode for job, process in running.items() if process.poll() is not None}
            for job, status in ended.items():
                clean = job.on_exit == "shutdown" and status == 0
                failed |= not clean
                why = why or ("" if clean else f"{job.name} ended with status {status}")
                _say(out, lock, f"[{job.name}] ended with status {status}{'' if clean else ', which ends the system'}")
                del running[job]
            if ended:
                break
            stop.wait(POLL_S)
    finally:
        statuses = _end(running, grace_s)
        for reader in readers:
            reader.join(timeout=2.0)
    for job, status in statuses.items():
        if status not in (0, -signal.SIGINT, 128 + signal.SIGINT):
            failed = True
            _say(out, lock, f"[{job.name}] did not end cleanly: status {status}")
    if why:  # once more: what the others say while they are ended can be long
        name = why.split()[0]
        _say(out, lock, f"vavam launch: {why}" + (f"; its last line: {last[name]}" if name in last else ""))
    return int(failed)


def _end(running: Mapping[Job, subprocess.Popen[str]], grace_s: float) -> dict[Job, int]:
    """End all: asked politely, then firmly, then by force. Returns the exit statuses."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        left = [process for process in running.values() if process.poll() is None]
        for process in left:
            process.send_signal(number)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(process.poll() is None for process in left):
            time.sleep(POLL_S)
    return {job: process.wait() for job, process in running.items()}


def _relay(name: str, process: subprocess.Popen[str], out: TextIO, lock: threading.Lock, last: dict[str, str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            last[name] = line.strip() or last.get(name, "")
            _say(out, lock, f"[{name}] {line.rstrip()}")


def _say(out: TextIO, lock: threading.Lock, line: str) -> None:
    with lock:
        print(line, file=out, flush=True)


def main() -> int:
    """Run as a module of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
