"""One scenario driven by live nodes: the whole system as `vavam launch carla` starts it, in a ROS domain of its own, in lock-step."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vavam_world.bridge.result import load_trace
from vavam_world.contracts import Scenario, Trace, WorldError
from vavam_world.live.domain import own_domain

TAIL = 12  # lines of output that an error shows
KEPT = 2000
START_S = 120.0  # for loading the model on a busy machine
SLOWEST = 15.0  # wall seconds a simulated second may take
# A picture that is lost while the nodes find each other shifts how contexts are put together, and with that the last bits of plans, until a window of eight
# pictures at 2 Hz has been renewed. The expert drives so long, and what was lost at the start is forgotten.
PRIME_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSystem:
    """What drives. `driver` as in the launch argument world_driver: the model, or one of the world's while the model plans beside it."""

    model: Path
    driver: str = "model"
    config: str = "carla,cpu"
    composed: bool = True
    arguments: Mapping[str, str] = field(default_factory=dict)  # further launch arguments
    beside_name: str = "the model, not followed"  # where a driver of the world drives

    def launch_arguments(self, scenario: Path, result: Path) -> list[str]:
        """`name:=value` texts of `vavam launch carla`."""
        given = {
            "model": str(self.model),
            "world": str(scenario),
            "world_driver": self.driver,
            "world_result": str(result),
            "config": self.config,
            "composed": str(self.composed).lower(),
            "auto_enable": "true",
            "world_prime_s": str(PRIME_S),
            **self.arguments,
        }
        return [f"{name}:={value}" for name, value in given.items()]


def drive_live(scenario: Scenario, system: LiveSystem, *, on_line: Callable[[str], None] = lambda line: None) -> Trace:
    """Drive one scenario to its end and return what happened. `on_line` gets the system's output.

    Raises WorldError, with the end of that output, where there is no result: a node failed, or an awaited answer did not come."""
    with tempfile.TemporaryDirectory(prefix="vavam_live_") as folder, own_domain() as domain:
        file, result = Path(folder) / "scenario.json", Path(folder) / "result.json"
        file.write_text(json.dumps(scenario.to_dict()), encoding="utf-8")
        command = [sys.executable, "-m", "vavam_ros.cli.main", "launch", "carla", *system.launch_arguments(file, result)]
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        said: deque[str] = deque(maxlen=KEPT)
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        try:
            with _deadline(process, START_S + SLOWEST * scenario.time_limit_s):
                assert process.stdout is not None
                for line in process.stdout:
                    said.append(line.rstrip())
                    on_line(line.rstrip())
            status = process.wait()
        finally:
            _end(process)
        values = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
        if status != 0 or not values or values["finished"] in ("error", "interrupted"):
            why = values.get("detail") or f"the system ended with status {status}"
            raise WorldError("\n".join([f"{scenario.name}, driven live: {why}", *_telling(said)]))
        return load_trace(result.with_suffix(".npz"), driver=system.driver)


def _telling(said: Sequence[str]) -> list[str]:
    """The last lines of the process that ended first: what the others say after that is about their own end."""
    first = next((found[1] for line in said if (found := re.match(r"\[(\w+)\] ended with status", line))), "")
    return [line for line in said if line.startswith(f"[{first}]" if first else "")][-TAIL:]


@contextlib.contextmanager
def _deadline(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """End the system if it takes longer; its output then ends, and so does reading it."""
    timer = threading.Timer(seconds, process.send_signal, [signal.SIGINT])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    """The launcher ends its own children when it is asked to."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30.0)
    if process.stdout is not None:
        process.stdout.close()
