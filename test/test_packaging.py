"""Version, executables, dependencies and pins: written once, and both builds read the same."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.drift

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ET.parse(ROOT / "package.xml").getroot()
EXECUTABLES = {str(e.get("name")): str(e.get("module")) for e in PACKAGE.findall("export/executable")}
ROS_PREFIXES = ("rclpy", "launch", "launch_ros", "message_filters", "cv_bridge", "tf2_ros", "ament_index_python", "builtin_interfaces", "rcl_interfaces")
STDLIB_OF_LATER_PYTHON = {"compression"}  # 3.14; imported behind a version check
PIP_OF_MODULE = {"backports": "backports.zstd", "cv2": "opencv-python-headless", "yaml": "PyYAML", "PIL": "pillow"}


def pins(name: str) -> dict[str, set[str]]:
    """Package (lower case) → pinned versions of a constraints file."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = line.split(";")[0].strip()
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", requirement), f"{name}.txt: {line!r} is not an exact version"
            package, version = requirement.split("==")
            found.setdefault(package.lower(), set()).add(version)
    return found


def pip_requirements() -> dict[str, str]:
    """Declared pip requirement (lower-case name → range)."""
    pairs = [re.fullmatch(r"([A-Za-z0-9.-]+)(>=[\d.]+)", str(e.text)) for e in PACKAGE.findall("export/pip")]
    return {str(m[1]).lower(): str(m[2]) for m in pairs if m}


def imported_modules(folder: Path) -> dict[str, Path]:
    """Top-level modules that a folder's files import → one file that does."""
    found: dict[str, Path] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            found.update({name.split(".")[0]: path for name in names})
    return found


def test_pip_metadata_is_what_package_xml_says() -> None:
    code = "import sys; sys.argv[1:] = ['--name', '--version']; exec(open('setup.py').read())"
    done = subprocess.run([sys.executable, "-c", code.replace("exec(", "__file__ = 'setup.py'; exec(")], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == [PACKAGE.findtext("name"), PACKAGE.findtext("version")]


def test_installed_entry_points_are_the_executables_of_package_xml() -> None:
    try:
        distribution = importlib.metadata.distribution("vavam_ros")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("vavam_ros is not installed by pip here")
    scripts = {e.name: e.value for e in distribution.entry_points if e.group == "console_scripts"}
    assert scripts == {name: f"{module}:main" for name, module in EXECUTABLES.items()}, "package.xml changed after the install: make setup"


def test_cmake_finds_the_same_executables(tmp_path: Path) -> None:
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{Path('/usr/bin')}")
    if cmake is None:
        pytest.skip("cmake is not here")
    lines = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8").splitlines()
    block = [line for line in lines if "executable_lines" in line or line.strip().startswith(("string(REGEX REPLACE", "endforeach"))]
    script = "\n".join(block).replace("endforeach()", 'message("${VAVAM_NAME}=${VAVAM_MODULE}")\nendforeach()')
    (tmp_path / "read.cmake").write_text(script, encoding="utf-8")
    done = subprocess.run([cmake, "-P", str(tmp_path / "read.cmake")], cwd=ROOT, capture_output=True, text=True, check=True)
    assert dict(line.split("=") for line in done.stderr.split()) == EXECUTABLES


@pytest.mark.parametrize(("name", "module"), EXECUTABLES.items())
def test_executable_has_a_main(name: str, module: str) -> None:
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert path.is_file(), f"package.xml lists {name} ({module}), which does not exist"
    assert "main" in {n.name for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)}


def test_every_ros_package_imported_is_a_dependency() -> None:
    declared = {str(e.text) for tag in ("depend", "exec_depend") for e in PACKAGE.findall(tag)}
    for module, path in imported_modules(ROOT / "vavam_ros").items() | imported_modules(ROOT / "launch").items():
        if module.endswith(("_msgs", "_srvs")) or module in ROS_PREFIXES:
            assert module in declared, f"{path.relative_to(ROOT)} imports {module}, which package.xml does not name"


def test_every_python_library_imported_is_a_dependency() -> None:
    declared = pip_requirements()
    ros = {m for m in imported_modules(ROOT / "vavam_ros") if m.endswith(("_msgs", "_srvs")) or m in ROS_PREFIXES} | {"builtin_interfaces"}
    for module, path in imported_modules(ROOT / "vavam_ros").items():
        if module in sys.stdlib_module_names | STDLIB_OF_LATER_PYTHON or module in ros or module in ("", "vavam_ros"):
            continue
        name = PIP_OF_MODULE.get(module, module).lower()
        assert name in declared, f"{path.relative_to(ROOT)} imports {module}, which package.xml does not name under <pip>"


def test_rosdep_keys_of_pip_requirements_are_dependencies() -> None:
    declared = {str(e.text) for e in PACKAGE.findall("exec_depend")}
    named = {str(e.get("rosdep")) for e in PACKAGE.findall("export/pip")} - {""}
    assert named <= declared
    assert {d for d in declared if d.startswith("python3-")} == named


def test_install_recipes_name_what_rosdep_lacks() -> None:
    """backports.zstd comes with rosbags."""
    lacking = [str(e.text).split(">")[0] for e in PACKAGE.findall("export/pip") if not e.get("rosdep")]
    wanted = [name for name in lacking if name != "backports.zstd"]
    for path in ("docs/install.md", ".github/workflows/ros.yml"):
        lines = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if "python -m pip install" in line]
        assert len(lines) == 2, path
        for line in lines:
            assert set(wanted) <= set(line.split()), f"{path}: {line} lacks some of {wanted}"


def test_every_folder_with_modules_is_a_package() -> None:
    """Else pip's build leaves it out."""
    folders = {path.parent for path in (ROOT / "vavam_ros").rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").is_file()] == []


def test_torch_is_declared_wide_and_pinned_exactly() -> None:
    assert pip_requirements()["torch"] == ">=2.6"
    assert pins("default")["torch"] == {"2.13.0"}


@pytest.mark.parametrize("name", ["default", "jazzy"])
def test_every_requirement_is_pinned(name: str) -> None:
    assert set(pip_requirements()) <= set(pins(name))


def test_distributions_share_their_python_pins() -> None:
    """Two ROS distributions are tested with the same libraries, apart from ROS itself."""
    default, jazzy = pins("default"), pins("jazzy")
    assert {k: v for k, v in jazzy.items() if not k.startswith("ros-") and default.get(k) != v} == {}


def test_training_workspace_shares_the_pins_and_pins_all_it_asks_for() -> None:
    default, training = pins("default"), pins("training")
    assert {k: v for k, v in training.items() if k in default and not v <= default[k]} == {}
    text = (ROOT / "training" / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert found
    asked = {re.split(r"[>=<]", r)[0].lower() for r in re.findall(r'"([^"]+)"', found[1])} - {"vavam_ros"}
    assert asked | set(pip_requirements()) <= set(training)
    names = {**PIP_OF_MODULE, "sklearn": "scikit-learn", "imageio_ffmpeg": "imageio-ffmpeg"}
    for module, path in imported_modules(ROOT / "training" / "vavam_training").items():
        if module not in sys.stdlib_module_names and module not in ("vavam_ros", "vavam_training", ""):
            assert names.get(module, module).lower() in asked | set(pip_requirements()), f"{path.relative_to(ROOT)} imports {module}: training/pyproject.toml"


def test_humble_recipe_stays_on_numpy_1() -> None:
    assert all(v.startswith("1.") for v in pins("humble")["numpy"])


def test_version_heads_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    headings = re.findall(r"^(.+)\n-{3,}$", text, flags=re.MULTILINE)
    assert headings
    assert headings[0] in ("Forthcoming", PACKAGE.findtext("version"))


def test_no_registry_host_in_the_pins() -> None:
    for path in (ROOT / "constraints").glob("*.txt"):
        assert "://" not in path.read_text(encoding="utf-8"), path.name
