"""`colcon build` of this tree, plain and with --symlink-install, and life in its install space (make test-colcon).

The test's Python has the ROS 2 wheels and colcon, but what is asked of the install space runs with the environment that colcon made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.colcon

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.prefix)
COLCON = VENV / "bin" / "colcon"
EXECUTABLES = [str(e.get("name")) for e in ET.parse(ROOT / "package.xml").getroot().findall("export/executable")]
TREE = ("vavam_ros", "msg", "config", "launch", "cmake", "package.xml", "CMakeLists.txt", "setup.py", "pyproject.toml", "pip_ros")


def environment() -> dict[str, str]:
    """As a shell has it in which this environment is active."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")}
    return env | {"VIRTUAL_ENV": str(VENV), "AMENT_PREFIX_PATH": str(VENV), "CMAKE_PREFIX_PATH": str(VENV), "PATH": f"{VENV / 'bin'}:{env['PATH']}"}


@pytest.fixture(scope="module", params=["plain", "symlink"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a copy of this tree, built."""
    if not COLCON.is_file():
        pytest.skip("colcon is not in this environment (make test-colcon)")
    space = tmp_path_factory.mktemp(f"ws_{request.param}")
    source = space / "src" / "vavam_ros"
    source.mkdir(parents=True)
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    options = ["--symlink-install"] if request.param == "symlink" else []
    command = [
        str(COLCON),
        "build",
        *options,
        "--event-handlers",
        "console_cohesion+",
        "--cmake-args",
        "-GNinja",
        f"-DPython3_EXECUTABLE={VENV / 'bin' / 'python'}",
    ]
    done = subprocess.run(command, cwd=space, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 package finished" in done.stdout, done.stdout[-4000:]
    return space


def in_install_space(space: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell that has sourced the install space."""
    return subprocess.run(["bash", "-c", f"source install/setup.bash && {command}"], cwd=space, env=environment(), capture_output=True, text=True)


def test_messages_and_modules_come_from_the_install_space(workspace: Path) -> None:
    # Isolated from the editable install of the same tree in this environment: only what the shell's PYTHONPATH names counts.
    code = (
        f"import sys; sys.path = [p for p in sys.path if 'install' in p] + [p for p in sys.path if 'install' not in p and p != '{ROOT}'];"
        "import vavam_ros.msg, vavam_ros.core.contracts as c; print(vavam_ros.msg.__file__); print(c.__file__); vavam_ros.msg.FrameTokens(tokens=[1])"
    )
    done = in_install_space(workspace, f'python -c "{code}"')
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(workspace / "install")) for line in done.stdout.split()), done.stdout


@pytest.mark.parametrize("name", EXECUTABLES)
def test_executable_is_where_ros2_run_looks_and_starts(workspace: Path, name: str) -> None:
    path = workspace / "install" / "vavam_ros" / "lib" / "vavam_ros" / name
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"#!{VENV / 'bin' / 'python'}"
    if name == "vavam":
        done = in_install_space(workspace, f"{path} --help")
        assert done.returncode == 0, done.stderr
        assert "doctor" in done.stdout
        return
    # A node stops at once with a message of ROS's own when its arguments are wrong: everything it imports was found by then.
    done = in_install_space(workspace, f"timeout 60 {path} --ros-args --param no_assignment")
    assert "Error" in done.stderr or "error" in done.stderr, done.stderr
    assert "no_assignment" in done.stderr, done.stderr
    assert "ModuleNotFoundError" not in done.stderr, done.stderr


def test_data_files_are_installed(workspace: Path) -> None:
    share = workspace / "install" / "vavam_ros" / "share" / "vavam_ros"
    assert (share / "config" / "fastdds_shm.xml").is_file()
    assert (share / "package.xml").is_file()
    for path in (ROOT / "launch").glob("*.launch.py"):
        assert (share / "launch" / path.name).is_file(), path.name


def test_symlink_install_sees_edits(workspace: Path) -> None:
    if "ws_symlink" not in str(workspace):
        pytest.skip("a plain install is a copy")
    installed = next((workspace / "install" / "vavam_ros").rglob("core/contracts.py"))
    assert installed.resolve() == workspace / "src" / "vavam_ros" / "vavam_ros" / "core" / "contracts.py"
