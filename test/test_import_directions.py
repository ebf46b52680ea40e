"""Who may import whom: nodes → core ← training; the core knows a short list of libraries, and no ROS, clock, thread or default device."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.imports

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "vavam_ros" / "core"
CORE_LIBRARIES = {"numpy", "torch", "einops", "safetensors", "yaml", "cv2", "transforms3d"}
# vavam_ros folder → folders of vavam_ros that it may import (itself always).
MAY_IMPORT = {
    "core": set(),
    "replay": {"core", "bags"},
    "nodes": {"core", "bags", "replay"},
    "measure": {"core", "replay"},
    "cli": {"core", "bags", "replay", "measure", "bringup", "bringup_data", "nodes"},
}
FORBIDDEN_IN_CORE = {"time": "a clock", "threading": "a thread", "multiprocessing": "processes", "asyncio": "an event loop", "logging": "logging set-up"}
ROS = (
    "rclpy",
    "message_filters",
    "cv_bridge",
    "tf2_ros",
    "launch",
    "launch_ros",
    "std_msgs",
    "sensor_msgs",
    "nav_msgs",
    "geometry_msgs",
    "builtin_interfaces",
    "tf2_msgs",
)


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield module
            if module == "vavam_ros" or module in {f"vavam_ros.{f}" for f in MAY_IMPORT}:
                yield from (f"{module}.{a.name}" for a in node.names)


def core_modules() -> list[str]:
    """Module names of the core."""
    return sorted(".".join(("vavam_ros", "core", *p.relative_to(CORE).with_suffix("").parts)) for p in CORE.rglob("*.py") if p.stem != "__init__")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python at the root of the source tree."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd="/", env=env, capture_output=True, text=True)


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda p: p.name)
def test_core_file_imports_only_what_is_allowed(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in FORBIDDEN_IN_CORE, f"{path.name} imports {name}: the core has not {FORBIDDEN_IN_CORE[top]}"
        allowed = top in sys.stdlib_module_names or top in CORE_LIBRARIES or name.startswith("vavam_ros.core")
        assert allowed, f"{path.name} imports {name}: outside the core, the standard library and {sorted(CORE_LIBRARIES)}"


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_folder_imports_only_downwards(folder: str) -> None:
    for path in (ROOT / "vavam_ros" / folder).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "vavam_ros" and len(parts) > 1 and parts[1] not in ("msg", "srv"):
                assert parts[1] in MAY_IMPORT[folder] | {folder}, f"{path.relative_to(ROOT)} imports {name}"
            assert parts[0] not in ("training", "world", "test", "bench"), f"{path.relative_to(ROOT)} imports {name}"


SPEAKS_ROS = ("bridge", "faults", "cli")  # folders of the world that may import the nodes' helpers


def test_world_imports_nothing_of_the_nodes() -> None:
    """Except where the world speaks ROS itself: its bridge, its faults, its command line; and in the world's tests."""
    for path in (ROOT / "world").rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[1] == "test" or parts[2] in SPEAKS_ROS:
            continue
        for name in imports(path):
            assert not name.startswith(("vavam_ros.nodes", "vavam_ros.cli")), f"{path.relative_to(ROOT)} imports {name}"


TRAINING_MAY_IMPORT = ("vavam_ros.core", "vavam_ros.bags", "vavam_ros.replay", "vavam_ros.cli.main")


def test_training_imports_the_core_and_what_reads_bags() -> None:
    """Nothing of ROS, of the nodes, of the world. Its tests may also call the offline commands."""
    for path in (ROOT / "training").rglob("*.py"):
        allowed = (*TRAINING_MAY_IMPORT, "vavam_ros.cli") if path.is_relative_to(ROOT / "training" / "test") else TRAINING_MAY_IMPORT
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in (*ROS, "vavam_world"), f"{path.relative_to(ROOT)} imports {name}"
            if top == "vavam_ros" and name != "vavam_ros":
                assert any(f"{name}.".startswith(f"{a}.") for a in allowed), f"{path.relative_to(ROOT)} imports {name}"


def test_nothing_imports_the_training_workspace() -> None:
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[0] in ("training", "out", "build") or any(p.startswith(".") for p in parts):
            continue
        for name in imports(path):
            assert name.split(".")[0] not in ("vavam_training", "training"), f"{path.relative_to(ROOT)} imports {name}"


def test_core_is_imported_without_ros() -> None:
    """Every module of the core, in a process in which importing anything of ROS fails."""
    code = f"""
import importlib, sys
class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {ROS!r} or name.startswith('vavam_ros.msg'):
            raise ImportError('ROS is not here: ' + name)
sys.meta_path.insert(0, NoRos())
for name in {core_modules()!r}:
    importlib.import_module(name)
print('imported')
"""
    done = run_python(code)
    assert done.stdout.strip() == "imported", done.stderr[-2000:]


def test_core_makes_no_tensor_on_a_default_device_when_imported() -> None:
    """With a default device of meta, module constants made without a device would silently be empty."""
    code = f"""
import importlib, torch
torch.set_default_device('meta')
for name in {core_modules()!r}:
    module = importlib.import_module(name)
    for key, value in vars(module).items():
        assert not (isinstance(value, torch.Tensor) and value.is_meta), f'{{name}}.{{key}} was made on the default device'
print('imported')
"""
    done = run_python(code)
    assert done.stdout.strip() == "imported", done.stderr[-2000:]


def test_importing_the_command_line_needs_neither_torch_nor_ros() -> None:
    done = run_python("import sys, vavam_ros.cli.main as m\nm.commands()\nprint(sorted({'torch', 'rclpy', 'cv2'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr[-2000:]
