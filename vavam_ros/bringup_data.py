"""The vocabulary of bring-up: arguments, processes, systems; and where their files lie. Plain data, no ROS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from vavam_ros.core.contracts import ConfigError

Value: TypeAlias = "bool | int | float | str"
Kind = Literal["str", "int", "float", "bool"]
PACKAGE = "vavam_ros"
FALSE_TRUE = ("false", "true")
# What a process gets to end in, before it is asked more firmly: unloading a model on a busy machine takes seconds.
GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One launch argument. `parameter`: it sets the node parameter of that name, unless it is left empty."""

    name: str
    description: str
    default: str = ""
    choices: tuple[str, ...] = ()
    kind: Kind = "str"
    parameter: str = ""

    def value(self, text: str) -> Value:
        """`text` as the argument's type. Raises ConfigError."""
        if self.kind == "bool" and text.lower() in FALSE_TRUE:
            return text.lower() == "true"
        try:
            if self.kind == "int":
                return int(text)
            if self.kind == "float":
                return float(text)
        except ValueError as error:
            raise ConfigError(f"argument {self.name}: got {text!r}, expected a number of type {self.kind}") from error
        if self.kind == "bool":
            raise ConfigError(f"argument {self.name}: got {text!r}, expected true or false")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process with one node. `on_exit`: "fail", its end is a failure of the system; "shutdown", its clean end is the system's.

    `python_module`: the module to run where it is not an executable of this package.
    """

    name: str
    executable: str
    namespace: str
    node_name: str
    parameter_files: tuple[str, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    log_level: str = "info"
    on_exit: Literal["fail", "shutdown"] = "fail"
    python_module: str = ""

    @property
    def module(self) -> str:
        """The Python module that the process runs."""
        return self.python_module or f"{PACKAGE}.nodes.{self.executable}"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What to start. `environment` holds defaults: a variable that the user has set already stays."""

    name: str
    processes: tuple[Process, ...]
    environment: Mapping[str, str]

    def environment_beside(self, present: Mapping[str, str]) -> dict[str, str]:
        """The variables to set where `present` are set."""
        return {name: value for name, value in self.environment.items() if not present.get(name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A system that can be started: its arguments, and the function that makes it of their values."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    build: Callable[[Mapping[str, str]], System]


def data_dir(kind: Literal["config", "launch"]) -> Path:
    """The folder of configuration or launch files: of the source tree, else of the installation. Raises ConfigError."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[1] / kind, *(parent / "share" / PACKAGE / kind for parent in here.parents)):
        if candidate.is_dir():
            return candidate
    raise ConfigError(f"no {kind} folder beside {here.parent}, expected a source tree or an installation: run from one, or build the package")


def resolve(declaration: Declaration, given: Mapping[str, str]) -> dict[str, str]:
    """Every argument of `declaration` with the given text or its default. Raises ConfigError on an unknown name or value."""
    names = {argument.name for argument in declaration.arguments}
    unknown = sorted(set(given) - names)
    if unknown:
        raise ConfigError(f"{declaration.name}: got argument {', '.join(unknown)}, expected some of {', '.join(sorted(names))}")
    values = {argument.name: given.get(argument.name, argument.default) for argument in declaration.arguments}
    for argument in declaration.arguments:
        if argument.choices and values[argument.name] not in argument.choices:
            raise ConfigError(f"argument {argument.name}: got {values[argument.name]!r}, expected one of {', '.join(argument.choices)}")
        if values[argument.name]:
            argument.value(values[argument.name])
    return values


def find_file(name: str, suffix: str, folder: str = "") -> str:
    """A file given by its name in config/ (or a `folder` of it, with or without suffix), or by its path. Raises ConfigError."""
    path, known = Path(name.strip()).expanduser(), data_dir("config") / folder
    named = [known / (path.name if path.suffix == suffix else f"{path.name}{suffix}")] if path.name == name.strip() else []
    for candidate in (*named, path):
        if candidate.is_file():
            return str(candidate.resolve())
    names = ", ".join(sorted(p.stem for p in known.glob(f"*{suffix}")))
    raise ConfigError(f"got {name!r}, expected a file, or one of {names} in {known}")
