"""What can be done to the world's messages, as data: named faults with a beginning, a length and parameters. Strictly read; no ROS."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import TICK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A parameter of a fault: default, bounds, unit, meaning."""

    default: float
    low: float
    high: float
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault."""

    what: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    once: bool = False  # it has no end: what follows stays changed


KINDS: dict[str, Kind] = {
    "image_freeze": Kind(what="the last picture again and again, under new stamps"),
    "image_black": Kind(what="black pictures"),
    "image_drop": Kind(
        what="a share of the pictures is lost", numbers={"share": Number(default=0.5, low=0.0, high=1.0, unit="", meaning="share that is lost, at random")}
    ),
    "image_loss": Kind(what="no picture and no camera_info at all"),
    "image_delay": Kind(
        what="pictures come late",
        numbers={
            "delay_s": Number(default=0.6, low=0.0, high=10.0, unit="s", meaning="how late"),
            "jitter_s": Number(default=0.2, low=0.0, high=10.0, unit="s", meaning="spread of that to both sides, at random; they can overtake one another"),
        },
    ),
    "image_encoding": Kind(what="pictures without colour: mono16, compressed a 16-bit PNG"),
    "image_truncated": Kind(
        what="half of each picture's data is missing",
        numbers={"share": Number(default=0.5, low=0.0, high=1.0, unit="", meaning="share of the data that is kept")},
    ),
    "camera_info_change": Kind(
        what="another focal length in camera_info", numbers={"factor": Number(default=1.3, low=0.1, high=10.0, unit="", meaning="on the focal lengths")}
    ),
    "odometry_jump": Kind(
        what="the pose is another one from now on",
        numbers={"metres": Number(default=20.0, low=-1000.0, high=1000.0, unit="m", meaning="along x of map")},
        once=True,
    ),
    "odometry_nan": Kind(what="NaN in pose and twist"),
    "odometry_loss": Kind(what="no odometry at all"),
    "clock_jump": Kind(
        what="clock and all stamps jump back, once",
        numbers={"seconds": Number(default=5.0, low=0.05, high=50.0, unit="s", meaning="how far")},
        once=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: from `begin_s` of simulated time into the scenario on, for `length_s` (ignored for those that happen once)."""

    name: str
    begin_s: float
    length_s: float = math.inf
    parameters: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        kind = KINDS.get(self.name)
        if kind is None:
            raise ConfigError(f"fault: got name {self.name!r}, expected one of {', '.join(KINDS)}")
        if not _number(self.begin_s) or not 0.0 <= self.begin_s < math.inf:
            raise ConfigError(f"fault {self.name}: got begin_s {self.begin_s!r}, expected seconds, 0 or more")
        if not _number(self.length_s) or not self.length_s > 0.0:
            raise ConfigError(f"fault {self.name}: got length_s {self.length_s!r}, expected a positive number of seconds")
        seed: Any = self.seed  # as JSON had it
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ConfigError(f"fault {self.name}: got seed {seed!r}, expected a whole number, 0 or more")
        for key, value in self.parameters.items():
            number = kind.numbers.get(key)
            if number is None:
                raise ConfigError(f"fault {self.name}: got parameter {key!r}, expected {' or '.join(kind.numbers) or 'none'}")
            if not _number(value) or not number.low <= value <= number.high:
                raise ConfigError(f"fault {self.name}: got {key} {value!r}, expected {number.low:g} to {number.high:g} {number.unit}".rstrip())

    @property
    def begin_tick(self) -> int:
        """First tick that it touches."""
        return round(self.begin_s / TICK_S)

    @property
    def end_tick(self) -> float:
        """First tick that it leaves alone; infinite for one that happens once."""
        return math.inf if KINDS[self.name].once or math.isinf(self.length_s) else self.begin_tick + max(1, round(self.length_s / TICK_S))

    def value(self, parameter: str) -> float:
        """A parameter's value or default."""
        return float(self.parameters.get(parameter, KINDS[self.name].numbers[parameter].default))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an endless fault has no `length_s`."""
        values: dict[str, Any] = {"name": self.name, "begin_s": self.begin_s, "parameters": dict(self.parameters), "seed": self.seed}
        return values if math.isinf(self.length_s) else {**values, "length_s": self.length_s}


def read_faults(text: str) -> tuple[Fault, ...]:
    """A JSON file, or JSON itself: a list of faults, or one fault. Raises ConfigError."""
    what = "faults"
    if not text.lstrip().startswith(("[", "{")):
        path = Path(text).expanduser()
        what = f"faults {path}"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"{what}: {e.strerror or e}; expected a JSON file with a list of faults, or JSON itself") from e
    try:
        values = json.loads(text)
    except json.JSONDecodeError as e:
        raise ConfigError(f"{what}: no JSON, {e}") from e
    entries: Sequence[Any] = [values] if isinstance(values, dict) else values
    if not isinstance(entries, list):
        raise ConfigError(f"{what}: got {type(values).__name__}, expected a list of faults")
    return tuple(_fault(entry, f"{what}, number {i + 1}") for i, entry in enumerate(entries))


def _fault(entry: Any, what: str) -> Fault:
    if not isinstance(entry, dict):
        raise ConfigError(f"{what}: got {type(entry).__name__}, expected an object")
    known = [f.name for f in fields(Fault)]
    if unknown := sorted(set(entry) - set(known)):
        raise ConfigError(f"{what}: got unknown {', '.join(unknown)}, expected some of {', '.join(known)}")
    if missing := [name for name in ("name", "begin_s") if name not in entry]:
        raise ConfigError(f"{what}: {' and '.join(missing)} missing")
    if not isinstance(entry.get("parameters", {}), dict):
        raise ConfigError(f"{what}: got parameters {entry['parameters']!r}, expected an object")
    return Fault(**entry)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
