"""Build this repository's messages, and those of pip_ros/interfaces, into a virtual environment that holds the ROS 2 wheels.

    python3 pip_ros/build_interfaces.py .venv [--force]

Installed into the environment itself they need no PYTHONPATH and no LD_LIBRARY_PATH. What is built is remembered by the content of the
definitions, so a second run does nothing. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEEL_BUILDER_PREFIX = "/opt/python/"  # where the machine that made the wheels kept its Python; it is in their exported CMake files


def clean_environment(venv: Path) -> dict[str, str]:
    """The process environment without what another environment's Python left in it, with this one's tools first."""
    env = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONPATH", "PYTHONHOME")}
    env.update(VIRTUAL_ENV=str(venv), AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv), PATH=f"{venv / 'bin'}{os.pathsep}{env['PATH']}")
    return env


def ask_python(venv: Path, expression: str) -> str:
    """Evaluate an expression in the environment's Python."""
    code = f"import sysconfig, importlib\nprint({expression})"
    done = subprocess.run([venv / "bin" / "python", "-c", code], env=clean_environment(venv), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repair_exports(venv: Path) -> int:
    """Point the include paths in the wheels' exported CMake files at this environment's Python and NumPy. Returns files changed."""
    include = ask_python(venv, "sysconfig.get_config_var('INCLUDEPY')")
    numpy_include = ask_python(venv, "importlib.import_module('numpy').get_include()")
    if not (Path(include) / "Python.h").is_file():
        raise SystemExit(f"error: {include}/Python.h is missing: install this Python's headers (Debian, Ubuntu: apt-get install python3-dev)")
    changed = 0
    for path in sorted((venv / "share").rglob("*.cmake")):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if WHEEL_BUILDER_PREFIX not in text:
            continue
        words = [_repaired(word, include, numpy_include) for word in _split_keeping(text)]
        path.write_text("".join(words), encoding="utf-8", errors="surrogateescape")
        changed += 1
    return changed


def _split_keeping(text: str) -> list[str]:
    """Cut at the characters that separate CMake paths, and keep the separators."""
    words, word = [], ""
    for char in text:
        if char in ';"\n ()':
            words += [word, char]
            word = ""
        else:
            word += char
    return [*words, word]


def _repaired(word: str, include: str, numpy_include: str) -> str:
    if not word.startswith(WHEEL_BUILDER_PREFIX):
        return word
    if "/numpy/" in word:
        return numpy_include
    if "/include/python" in word:
        return include
    raise SystemExit(f"error: a wheel's CMake file names {word}, which is neither Python's nor NumPy's include folder; repair_exports must learn it")


def package_folders() -> list[Path]:
    """Interface packages in build order: the shared ones, then this repository."""
    return [*sorted(p.parent for p in (ROOT / "pip_ros" / "interfaces").glob("*/package.xml")), ROOT]


def content_key(venv: Path, package: Path) -> str:
    """Hash of everything that decides what the build makes."""
    digest = hashlib.sha256(str(venv).encode())
    inputs = [Path(__file__), package / "CMakeLists.txt", *sorted(package.glob("msg/*.msg")), *sorted(package.glob("srv/*.srv"))]
    if (init := package / package_name(package) / "__init__.py").is_file():
        inputs.append(init)
    inputs += sorted(venv.glob("lib/python3*/site-packages/ros_rosidl_generator_py-*.dist-info/RECORD"))
    for path in inputs:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def package_name(package: Path) -> str:
    """A package's folder is named after it, apart from this repository's own."""
    return "vavam_ros" if package == ROOT else package.name


def installed(venv: Path, package: Path) -> bool:
    """Whether the generated Python messages are there at all."""
    return any(venv.glob(f"lib/python3*/site-packages/{package_name(package)}/msg/__init__.py"))


def build(venv: Path, package: Path) -> None:
    """Configure, compile and install one package; on failure show the end of its log."""
    with tempfile.TemporaryDirectory(prefix="vavam_interfaces_") as work:
        configure = [
            str(venv / "bin" / "cmake"), "-GNinja", "-S", str(package), "-B", work, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
            "-DVAVAM_INTERFACES_ONLY=ON", f"-DPython3_EXECUTABLE={venv / 'bin' / 'python'}", f"-DCMAKE_INSTALL_PREFIX={venv}",
            "--no-warn-unused-cli", "-Wno-dev",
        ]  # fmt: skip
        for command in (configure, [str(venv / "bin" / "ninja"), "-C", work, "install"]):
            done = subprocess.run(command, env=clean_environment(venv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            if done.returncode:
                print("\n".join(done.stdout.splitlines()[-40:]), file=sys.stderr)
                raise SystemExit(f"error: building the messages of {package_name(package)} failed at: {' '.join(command)}")
    if package == ROOT:
        # pip would take this record of the messages for an older version of the package it installs from setup.py, and delete them.
        for record in venv.glob("lib/python3*/site-packages/vavam_ros-*.egg-info"):
            shutil.rmtree(record)


def build_all(venv: Path, *, force: bool = False) -> int:
    """Build what changed. Returns how many packages were built."""
    stamps = venv / "share" / "vavam_pip_ros"
    stamps.mkdir(parents=True, exist_ok=True)
    todo = [(p, key) for p in package_folders() if (key := content_key(venv, p)) != _read(stamps / package_name(p)) or force or not installed(venv, p)]
    if todo:
        repair_exports(venv)
    for package, key in todo:
        start = time.monotonic()
        build(venv, package)
        (stamps / package_name(package)).write_text(key, encoding="utf-8")
        print(f"  messages of {package_name(package)}: built in {time.monotonic() - start:.0f} s", flush=True)
    return len(todo)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--force", action="store_true", help="build even what has not changed")
    args = parser.parse_args()
    built = build_all(args.venv.absolute(), force=args.force)
    if not built:
        print("  messages: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
