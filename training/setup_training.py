"""Make the virtual environment of the training workspace: no ROS, the libraries of training/pyproject.toml, this package and vavam_ros.

    python3 training/setup_training.py [--venv .venv-training] [--torch pinned|system] [--python python3.11]

A second run finds the stamp of the first and does nothing. Versions come from constraints/training.txt. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "pip_ros"))  # the functions with which the other environments are made

from setup_env import find_python, make_venv, pip, require_system_torch  # noqa: E402 - found only now

CONSTRAINTS = ROOT / "constraints" / "training.txt"
TOOLS = ("setuptools", "pytest", "ruff", "mypy")


def requirements() -> list[str]:
    """What training/pyproject.toml and package.xml ask for, but vavam_ros itself. Read by hand, as the other environments are."""
    text = (ROOT / "training" / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert found, "training/pyproject.toml: no dependencies"
    of_vavam_ros = [str(e.text) for e in ET.parse(ROOT / "package.xml").getroot().findall("export/pip")]
    return [*of_vavam_ros, *(r for r in re.findall(r'"([^"]+)"', found[1]) if r != "vavam_ros"), *TOOLS]


def pins(torch: str) -> str:
    """The constraints; with the machine's own torch, its torch is not pinned."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if torch == "pinned" or not re.match(r"torch[=<>]", line)) + "\n"


def require_new_enough(python: str) -> None:
    """The pinned libraries need Python 3.11; the package itself, ROS and the world go with 3.10."""
    found = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True, capture_output=True, text=True).stdout.strip()
    if found == "3.10":
        raise SystemExit(
            f"error: the training workspace needs Python 3.11 or 3.12, {python} is {found}: name another (make setup-training PYTHON=python3.12). "
            "Without the workspace: make test-kilted test-jazzy"
        )


def setup_key(python: str, torch: str) -> str:
    """Hash of everything that decides what the environment holds."""
    digest = hashlib.sha256(f"{torch} {platform.machine()} {os.path.realpath(python)} {ROOT}".encode())
    for path in (Path(__file__), CONSTRAINTS, ROOT / "package.xml", ROOT / "setup.py", ROOT / "training" / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-training")
    parser.add_argument("--torch", choices=("pinned", "system"), default="pinned", help="system: keep the torch that this Python already has (a cluster's)")
    parser.add_argument("--python", help="Python 3.11 or 3.12 to make the environment with")
    args = parser.parse_args()
    venv = args.venv.absolute()
    python = find_python(args.python)
    require_new_enough(python)
    stamp = venv / "share" / "vavam_training" / "setup"
    key = setup_key(python, args.torch)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return 0
    start = time.monotonic()
    print(f"setup: the training workspace into {venv.name}, {python}, torch {args.torch}", flush=True)
    if args.torch == "system":
        require_system_torch(python)
    make_venv(venv, python, args.torch)
    log = venv / "setup.log"
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(pins(args.torch))
        file.flush()
        pip(venv, "-c", file.name, *requirements(), log=log)
    for folder in (ROOT, ROOT / "training"):
        pip(venv, "--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat", "-e", str(folder), log=log)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key, encoding="utf-8")
    print(f"setup: done in {time.monotonic() - start:.0f} s, log in {log}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
