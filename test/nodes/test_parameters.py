from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.planning.validation import Limits
from vavam_ros.nodes import conditions, parameter_table
from vavam_ros.nodes.parameter_table import LIMIT_NAMES, ROWS, rows_of
from vavam_ros.nodes.parameters import Parameters

pytestmark = pytest.mark.ros


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


def make(context: Context, **overrides: object) -> tuple[Node, Parameters]:
    arguments = ["--ros-args"] + [a for k, v in overrides.items() for a in ("-p", f"{k}:={v}")]
    node = Node("parameter_test", context=context, cli_args=arguments)
    return node, Parameters(node, rows_of(["tokenizer", "planner"]))


def test_documents_are_those_that_the_tables_give(repo_root: Path) -> None:
    assert (repo_root / "docs" / "parameters.md").read_text() == parameter_table.markdown(), "run: python -m vavam_ros.nodes.parameter_table --markdown"
    assert (repo_root / "docs" / "diagnostics.md").read_text() == conditions.markdown(), "run: python -m vavam_ros.nodes.conditions --markdown"


def test_table_is_sound() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.problem(row.default) is None, row
        assert row.description.endswith("."), row
        if row.kind in ("int", "float") and row.name != "seed":
            assert row.low is not None, f"{row.name} has no bounds"
    assert set(LIMIT_NAMES) == {f.name for f in fields(Limits)}


def test_defaults_are_declared_with_their_ranges(context: Context) -> None:
    node, p = make(context)
    p.raise_errors()
    for row in rows_of(["tokenizer", "planner"]):
        assert p[row.name] == row.default
    descriptor = node.describe_parameter("plan_rate_hz")
    assert descriptor.floating_point_range[0].to_value == 60.0
    assert "[Hz]" in descriptor.description
    assert node.describe_parameter("num_samples").integer_range[0].from_value == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("plan_rate_hz", "1000.0", "0 … 60 Hz"),
        ("num_samples", "0", "1 … 256"),
        ("camera_mode", "fisheye", "one of: warp, resize"),
        ("plan_rate_hz", "2", "write a decimal point"),
        ("camera_mount_rpy_deg", "[1.0, 2.0]", "expected 3"),
        ("min_coverage", ".nan", "0 … 1"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_and_does_not_end_the_process(context: Context, name: str, value: str, expected: str) -> None:
    _, p = make(context, **{name: value})
    with pytest.raises(ConfigError, match=rf"parameter {name}: .*{expected}"):
        p.raise_errors()
    assert p[name] == next(row.default for row in ROWS if row.name == name)


def test_overrides_are_taken(context: Context) -> None:
    _, p = make(context, plan_rate_hz="4.0", camera_mount_rpy_deg="[0.0, 1.0, 0.0]", image_transport="compressed")
    p.raise_errors()
    assert (p.number("plan_rate_hz"), p.numbers("camera_mount_rpy_deg"), p.text("image_transport")) == (4.0, (0.0, 1.0, 0.0), "compressed")


def test_live_parameters_change_and_fixed_ones_refuse_with_the_reason(context: Context) -> None:
    node, p = make(context)
    p.fixed = True
    live, fixed = node.set_parameters([Parameter("max_plan_age_s", value=2.5), Parameter("num_samples", value=4)])
    assert live.successful
    assert p.number("max_plan_age_s") == 2.5
    assert not fixed.successful
    assert "clean it up" in fixed.reason
    (out,) = node.set_parameters([Parameter("max_plan_age_s", value=99.0)])
    assert not out.successful
    p.fixed = False
    assert node.set_parameters([Parameter("num_samples", value=4)])[0].successful
    (wrong,) = node.set_parameters([Parameter("invalid_plan", value="maybe")])
    assert "one of: drop, publish" in wrong.reason


def test_a_good_value_set_later_ends_the_complaint(context: Context) -> None:
    node, p = make(context, plan_rate_hz="1000.0")
    node.set_parameters([Parameter("plan_rate_hz", value=5.0)])
    p.raise_errors()
    assert p.number("plan_rate_hz") == 5.0
