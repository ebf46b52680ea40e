"""A whole system as `vavam launch` would start it, whose processes can be hurt one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vavam_ros.bringup import SYSTEMS
from vavam_ros.bringup_data import Process, Value
from vavam_ros.cli.launch import command_of
from vavam_world.contracts import WorldError

GRACE_S = 15.0
SETTINGS = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


class System:
    """Processes by name. Their output goes to `<name>.log` in `folder`. Ends all of them at the end of a `with` block."""

    def __init__(
        self, name: str, arguments: Mapping[str, str], folder: Path, domain: int, *, parameters: Mapping[str, Mapping[str, Value]] | None = None
    ) -> None:
        """`parameters`: further node parameters, by process. Raises ConfigError for arguments that cannot be meant."""
        more = parameters or {}
        system = SYSTEMS[name].build(arguments)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._processes = {p.name: replace(p, parameters={**p.parameters, **more.get(p.name, {})}) for p in system.processes}
        self._environment = {**os.environ, **system.environment_beside(os.environ), **SETTINGS, "ROS_DOMAIN_ID": str(domain)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._expected: dict[str, bool] = {}  # name → it should live
        self._temporary = tempfile.TemporaryDirectory(prefix="vavam_faults_")

    def __enter__(self) -> System:
        for name in self._processes:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the system's own processes."""
        return tuple(self._processes)

    def start(self, name: str) -> None:
        """Start one of the system's processes, for the first time or again."""
        process: Process = self._processes[name]
        self.run(name, command_of(process, Path(self._temporary.name)))

    def run(self, name: str, command: Sequence[str]) -> None:
        """Start a process that is not of the system."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                list(command), env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._expected[name] = True

    def signal(self, name: str, number: int) -> None:
        """SIGKILL and SIGINT are waited for."""
        process = self._running[name]
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGINT):
            self._expected[name] = False
            process.wait(GRACE_S)

    def dead(self) -> tuple[str, ...]:
        """Processes that should live and do not, with their exit status."""
        return tuple(f"{n} ended with {p.returncode}" for n, p in self._running.items() if self._expected[n] and p.poll() is not None)

    def log(self, name: str) -> str:
        """What a process has said."""
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def check(self) -> None:
        """Raises WorldError where a process has died by itself."""
        if dead := self.dead():
            name = dead[0].split()[0]
            raise WorldError(f"{'; '.join(dead)}; its last words:\n" + "\n".join(self.log(name).splitlines()[-8:]))

    def stop(self) -> None:
        """End all: asked politely, then by force."""
        for number in (signal.SIGINT, signal.SIGKILL):
            left = [p for p in self._running.values() if p.poll() is None]
            for process in left:
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
            end = time.monotonic() + GRACE_S
            while any(p.poll() is None for p in left) and time.monotonic() < end:
                time.sleep(0.05)
        self._temporary.cleanup()
