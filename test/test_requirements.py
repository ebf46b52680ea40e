"""docs/requirements.md names every requirement once, with a state, and only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = re.findall(r"^\| R(\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", (ROOT / "docs/requirements.md").read_text(encoding="utf-8"), re.MULTILINE)
NAMED = re.findall(r"`((?:world/)?test/[\w/.]+?)(?:::(\w+))?`", (ROOT / "docs/requirements.md").read_text(encoding="utf-8"))

pytestmark = pytest.mark.drift


def test_every_number_is_there_once_with_a_state() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 60))
    assert {state.strip() for _, _, state, _ in ROWS} <= {"done", "part", "later", "rejected"}


def test_what_is_done_says_where_and_what_is_not_says_why() -> None:
    assert not [number for number, _, _, where in ROWS if len(where.strip()) < 5]


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_named_tests_exist(path: str, name: str) -> None:
    assert (ROOT / path).exists(), path
    if name:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name
