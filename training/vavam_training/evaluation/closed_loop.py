"""Closed loop: the world's own command drives the exported model and writes its report. Nothing of the world is imported here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vavam_ros.core.artifact.model_card import CARD_FILE
from vavam_ros.core.contracts import ConfigError

COMMAND, RESULT, PAGE = "world", "evaluation.json", "index.html"
DRIVERS = ("vavam", "vavam_direct")  # the world's names: through the live nodes, and by the core's pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopConfig:
    """`suites`: as `world evaluate --suite`. `world`: the command; None: beside this Python, else on PATH. The others: as there."""

    suites: str
    driver: str = DRIVERS[0]
    planner: tuple[str, ...] = ()  # settings of the planner, as in plan_rate_hz=10; of others its defaults
    world: Path | None = None
    limit: int = 0
    workers: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """What the command was and what it left. `status` 1: some runs were lost to an error, which the report shows."""

    command: tuple[str, ...]
    status: int
    page: Path
    result: dict[str, Any]
    planner: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Its tables, without the runs."""
        tables = {k: self.result.get(k) for k in ("settings", "suites", "routes", "safety")}
        return {"command": list(self.command), "status": self.status, "report": str(self.page), "planner": list(self.planner), **tables}


def find_world(given: Path | None) -> str:
    """The command. Raises ConfigError where there is none."""
    beside = Path(sys.executable).with_name(COMMAND)
    found = shutil.which(str(given)) if given is not None else str(beside) if beside.is_file() else shutil.which(COMMAND)
    if found is None:
        raise ConfigError(f"closed loop: got no command {given or COMMAND}, expected `world` of the main environment: give it by --world .venv/bin/world")
    return found


def check(model: Path, config: ClosedLoopConfig) -> None:
    """Before anything is computed. Raises ConfigError where the model is none that nodes load, there is no command, or a setting has no value."""
    find_world(config.world)
    bare = [text for text in config.planner if not all(text.partition("="))]
    if bare:
        raise ConfigError(f"closed loop: planner: got {' '.join(bare)}, expected settings like plan_rate_hz=10 selection=cautious")
    if not (model / CARD_FILE).is_file():
        raise ConfigError(f"closed loop: got {model}, expected a model directory: `vavam-train export` makes one of a run")


def drive(model: Path, config: ClosedLoopConfig, out: Path) -> ClosedLoop:
    """Run `world evaluate`; its output goes where this command's goes. Raises ConfigError as `check`, and where the command fails."""
    check(model, config)
    words = [find_world(config.world), "evaluate", "--driver", config.driver, "--model", str(model), "--suite", config.suites]
    words += ["--limit", str(config.limit), "--workers", str(config.workers), "--out", str(out)]
    words += ["--planner", *config.planner] if config.planner else []
    try:
        status = subprocess.run(words, check=False).returncode
    except OSError as error:
        raise ConfigError(f"closed loop: {words[0]}: {error}; expected the world's command") from error
    if status not in (0, 1):
        raise ConfigError(f"closed loop: `{' '.join(words)}` ended with status {status}; it says why above")
    try:
        result = json.loads((out / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"closed loop: {out / RESULT}: {error}; expected the result of `{' '.join(words)}`") from error
    return ClosedLoop(command=tuple(words), status=status, page=out / PAGE, result=result, planner=config.planner)
