"""One row per parameter; declare a node's rows, check every value against them. The rows: parameter_table.py.

A value that is out of bounds, or of the wrong type, does not end the process: it is remembered as a named error, and configure fails with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vavam_ros.core.contracts import ConfigError

Value: TypeAlias = "bool | int | float | str | tuple[float, ...]"
Kind = Literal["bool", "int", "float", "str", "floats"]
Part = Literal["tokenizer", "planner"]

BOTH: frozenset[Part] = frozenset({"tokenizer", "planner"})
TOKENIZER: frozenset[Part] = frozenset({"tokenizer"})
PLANNER: frozenset[Part] = frozenset({"planner"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One parameter. `read_only`: fixed once the node is configured (settable again after cleanup); the others take effect at once."""

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    read_only: bool = True
    parts: frozenset[Part] = BOTH

    @property
    def kind(self) -> Kind:
        """The type, read from the default. (bool before int: Python's bool is an int.)"""
        kinds: tuple[tuple[type, Kind], ...] = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"))
        return next((kind for type_, kind in kinds if isinstance(self.default, type_)), "floats")

    @property
    def bounds(self) -> str:
        """Bounds or choices for people: `0 … 30`, `raw, compressed`, or nothing."""
        if self.choices:
            return ", ".join(c or '""' for c in self.choices)
        return f"{self.low:g} … {self.high:g}" if self.low is not None and self.high is not None else ""

    def problem(self, value: Value) -> str | None:
        """What is wrong with a value of the right type: got, expected; None if it is fine."""
        if self.choices and value not in self.choices:
            return f"parameter {self.name}: got {value!r}, expected one of: {self.bounds}"
        numbers = value if isinstance(value, tuple) else (value,) if isinstance(value, (int, float)) and not isinstance(value, bool) else ()
        for x in numbers:
            if self.low is not None and self.high is not None and not self.low <= x <= self.high:  # false for NaN as well
                return f"parameter {self.name}: got {x:g}, expected {self.bounds}{' ' + self.unit if self.unit else ''}"
        if self.kind == "floats" and isinstance(value, tuple) and len(value) not in (0, 3):
            return f"parameter {self.name}: got {len(value)} numbers, expected 3, or an empty list for none"
        return None


_TYPES = {
    "bool": Parameter.Type.BOOL,
    "int": Parameter.Type.INTEGER,
    "float": Parameter.Type.DOUBLE,
    "str": Parameter.Type.STRING,
    "floats": Parameter.Type.DOUBLE_ARRAY,
}


class Parameters:
    """The declared parameters of one node, typed. Values are read from the node at each call, so live changes are seen at once."""

    def __init__(self, node: Node, rows: Sequence[Row]) -> None:
        self._node = node
        self._rows = {row.name: row for row in rows}
        self._complaints: list[tuple[str, str]] = []  # (what, name) of values given at start that cannot be meant; the default holds in their place
        self.fixed = False  # while configured, only parameters that are not read_only may change
        for row in rows:
            self._declare(row)
        node.add_on_set_parameters_callback(self._on_set)

    def _declare(self, row: Row) -> None:
        default, descriptor = list(row.default) if isinstance(row.default, tuple) else row.default, _descriptor(row)
        try:
            if row.kind == "floats":  # an empty list in a YAML file carries no type
                declared: Any = self._node.declare_parameter(row.name, Parameter.Type.DOUBLE_ARRAY, descriptor).value
                if declared is None:
                    self._node.set_parameters([Parameter(row.name, Parameter.Type.DOUBLE_ARRAY, default)])
            else:
                self._node.declare_parameter(row.name, default, descriptor)
            problem = row.problem(self[row.name])
        except InvalidParameterTypeException as e:
            hint = "; write a decimal point for whole numbers (2.0, not 2)" if row.kind in ("float", "floats") else ""
            problem = f"parameter {row.name}: {e}; expected {row.kind}{hint}"
        except InvalidParameterValueException as e:
            problem = f"parameter {row.name}: {e}; expected {row.bounds} {row.unit}".rstrip()
        if problem is None:
            return
        if self._node.has_parameter(row.name):
            self._node.set_parameters([Parameter(row.name, _TYPES[row.kind], default)])
        else:
            self._node.declare_parameter(row.name, default, descriptor, ignore_override=True)
        self._complaints.append((problem, row.name))

    def __getitem__(self, name: str) -> Value:
        value: Any = self._node.get_parameter(name).value
        return value if isinstance(value, (bool, int, float, str)) else tuple(float(x) for x in value)

    def flag(self, name: str) -> bool:
        """A bool parameter."""
        return bool(self[name])

    def integer(self, name: str) -> int:
        """An int parameter."""
        value = self[name]
        assert isinstance(value, int)
        return value

    def number(self, name: str) -> float:
        """A float parameter."""
        value = self[name]
        assert isinstance(value, (int, float))
        return float(value)

    def text(self, name: str) -> str:
        """A string parameter."""
        value = self[name]
        assert isinstance(value, str)
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of floats, empty for none."""
        value = self[name]
        assert isinstance(value, tuple)
        return value

    def raise_errors(self) -> None:
        """ConfigError with every value that cannot be meant, if there is one."""
        if self._complaints:
            raise ConfigError("; ".join(problem for problem, _ in self._complaints))

    def _on_set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        for p in parameters:
            row = self._rows.get(p.name)
            if row is None:
                continue
            if row.read_only and self.fixed:
                reason = f"parameter {row.name} is fixed while the node is configured: clean it up (lifecycle), set it, configure again"
                return SetParametersResult(successful=False, reason=reason)
            if p.type_ is not _TYPES[row.kind]:
                return SetParametersResult(successful=False, reason=f"parameter {row.name}: got {p.type_.name}, expected {_TYPES[row.kind].name}")
            problem = row.problem(tuple(p.value) if row.kind == "floats" else p.value)
            if problem is not None:
                return SetParametersResult(successful=False, reason=problem)
        names = {p.name for p in parameters}
        self._complaints = [(error, name) for error, name in self._complaints if name not in names]
        return SetParametersResult(successful=True)


def _descriptor(row: Row) -> ParameterDescriptor:
    """The table row as ROS knows it. Read-only ones stay settable in the unconfigured state, which the descriptor's flag cannot express."""
    constraints = [c for c in (f"one of: {row.bounds}" if row.choices else "", "fixed while the node is configured" if row.read_only else "") if c]
    descriptor = ParameterDescriptor(description=f"{row.description}{f' [{row.unit}]' if row.unit else ''}", additional_constraints="; ".join(constraints))
    if row.low is not None and row.high is not None:
        if row.kind == "float":
            descriptor.floating_point_range = [FloatingPointRange(from_value=row.low, to_value=row.high, step=0.0)]
        elif row.kind == "int":
            descriptor.integer_range = [IntegerRange(from_value=math.ceil(row.low), to_value=math.floor(row.high), step=1)]
    return descriptor
