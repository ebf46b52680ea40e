"""The table of faults: what the issue asks for is in it, and the documentation shows all of it, as measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vavam_world.cli import faults as command
from vavam_world.faults.cases import BY_NAME, CASES, SEEN_TICKS
from vavam_world.faults.harness import Config, Outcome
from vavam_world.faults.matrix import BEGIN, CONFIGS, END, chosen, into_page, merged, table
from vavam_world.faults.spec import KINDS

from vavam_ros.core.contracts import ConfigError
from vavam_ros.nodes.conditions import BY_CODE

pytestmark = pytest.mark.ros
WANTED = (
    *("image_freeze", "image_black", "image_drop", "image_loss", "image_delay", "image_encoding", "image_truncated", "camera_info_change"),
    *("odometry_jump", "odometry_nan", "clock_jump", "bag_loop", "planner_kill", "planner_hang", "nan_weights", "follower_flood"),
)


def _page(root: Path) -> str:
    return (root / "docs" / "faults.md").read_text(encoding="utf-8")


def test_the_documented_table_has_every_fault_measured_in_every_way(repo_root: Path) -> None:
    between = _page(repo_root).partition(BEGIN)[2].partition(END)[0]
    rows = {m[1]: line for line in between.splitlines() if (m := re.match(r"\| `(\w+)`", line))}
    assert list(rows) == [case.name for case in CASES]
    assert set(WANTED) <= set(rows)
    for name, line in rows.items():
        assert "**failed**" not in line, name
        assert "not run" not in line, name
        assert all(f"`{code}`" in line for code in BY_NAME[name].codes)
    for what, ticks, limit in re.findall(r"(\w+) after (\d+) of (\d+) ticks", between):
        assert int(ticks) <= int(limit), what


def test_every_injectable_fault_is_on_the_page(repo_root: Path) -> None:
    page = _page(repo_root)
    assert [name for name in KINDS if f"| `{name}` |" not in page] == []


def test_what_diagnostics_are_to_say_are_conditions() -> None:
    assert {code for case in CASES for code in case.codes} <= set(BY_CODE)
    assert [c.name for c in CASES if c.fault and c.fault.length_s != c.length_s] == []


def test_limits_follow_from_the_paths() -> None:
    assert BY_NAME["image_freeze"].limit_ticks(0.75) == 23 + SEEN_TICKS
    assert BY_NAME["image_encoding"].limit_ticks(0.75) == 15 + SEEN_TICKS
    assert BY_NAME["odometry_nan"].limit_ticks(1.5) == SEEN_TICKS


def test_the_table_says_what_failed_and_what_was_not_run(tmp_path: Path) -> None:
    good = Outcome(case="image_freeze", compressed=False, composed=False, reaction="STOP", ticks=9, limit_ticks=20, stop_m=4.0, stop_decel_mps2=2.0)
    bad = Outcome(case="image_black", compressed=True, composed=True, problems=["9 ticks, limit 2"])
    result = {"outcomes": [good.to_dict(), bad.to_dict()]}
    lines = {line.split("`")[1]: line for line in table(result).splitlines()[2:]}
    assert "STOP after 9 of 20 ticks; stands after 4 m, at most 2 m/s²" in lines["image_freeze"]
    assert lines["image_freeze"].count("not run") == len(CONFIGS) - 1
    assert "**failed**: 9 ticks, limit 2" in lines["image_black"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    into_page(page, result)
    assert page.read_text() == f"before\n{BEGIN}\n\n{table(result)}\n{END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(ConfigError, match="no place for the table"):
        into_page(page, result)


def test_the_worst_run_counts() -> None:
    def run(ticks: int, limit: int, *problems: str) -> dict[str, object]:
        return Outcome(case="image_black", compressed=False, composed=False, reaction="STOP", ticks=ticks, limit_ticks=limit, problems=list(problems)).to_dict()

    other = {**run(1, 2), "composed": True}
    found = merged([run(9, 20)], [run(8, 10), other], [run(11, 30)])
    assert [(o["ticks"], o["runs"]) for o in found] == [(8, 3), (1, 1)]
    assert "STOP after 8 of 10 ticks (worst of 3)" in table({"outcomes": found})
    assert merged(found, [run(1, 30, "it died")])[0]["problems"] == ["it died"]


def test_what_is_asked_for_by_name_is_checked() -> None:
    assert [c.name for c in chosen(["odometry_nan", "image_freeze"])] == ["image_freeze", "odometry_nan"]
    assert chosen([]) == CASES
    with pytest.raises(ConfigError, match="got image_frost"):
        chosen(["image_frost"])
    with pytest.raises(ConfigError, match="--transport: got 'rar'"):
        command._words("rar", ("raw", "compressed"), "--transport")
    assert [Config(compressed=c, composed=p).name for c, p in ((False, False), (True, True))] == ["raw, 2 processes", "compressed, 1 process"]
