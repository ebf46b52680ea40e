"""Each sub-command explains itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from vavam_world.cli import main as cli

from vavam_ros.cli.main import commands


@pytest.mark.parametrize("name", sorted(commands(Path(cli.__file__).resolve().parent)))
def test_help_names_the_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: world {name}" in capsys.readouterr().out
