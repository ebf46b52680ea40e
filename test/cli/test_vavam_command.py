"""The `vavam` command: finding sub-commands, one line for an error that the user can put right, exit statuses."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from vavam_ros.cli import main as cli
from vavam_ros.core.contracts import ConfigError


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A sub-command `toy-one` that records its arguments."""
    module = SimpleNamespace(add_arguments=lambda p: p.add_argument("--n", type=int, default=0), run=lambda args: args.n)
    monkeypatch.setitem(sys.modules, "vavam_ros.cli.toy_one", module)
    monkeypatch.setattr(cli, "commands", lambda: {"toy-one": "a toy"})
    return module


def test_exit_status_is_the_commands(toy: SimpleNamespace) -> None:
    assert cli.main(["toy-one", "--n", "7"]) == 7


def test_an_error_of_ours_is_one_line_and_status_2(toy: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> int:
        raise ConfigError("rate: got -1, expected a positive number")

    toy.run = fail
    assert cli.main(["toy-one"]) == 2
    assert capsys.readouterr().err == "error: rate: got -1, expected a positive number\n"


def test_options_may_stand_among_the_positional_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--dry-run", "vehicle", "model:=/nowhere"], ["vehicle", "--dry-run", "model:=/nowhere"], ["vehicle", "model:=/nowhere", "--dry-run"]):
        assert cli.main(["launch", *words]) == 2
        assert "argument model: got /nowhere" in capsys.readouterr().err, words


def test_a_fault_of_ours_is_not_hidden(toy: SimpleNamespace) -> None:
    toy.run = lambda _: 1 // 0
    with pytest.raises(ZeroDivisionError):
        cli.main(["toy-one"])


def test_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["no-such"])
    assert stop.value.code == 2
    assert "doctor" in capsys.readouterr().err


def test_files_with_both_functions_are_commands() -> None:
    found = cli.commands()
    assert found["doctor"].startswith("check this machine")
    assert "main" not in found
    assert all(what for what in found.values()), "a sub-command's module needs a docstring: it is the help text"
