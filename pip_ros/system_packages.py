"""What has to come from the system: a C and C++ compiler, this Python's header files, its venv module, and the library the world is drawn with.

Missing ones are installed where that is possible (as root, or with sudo after asking); otherwise the command is named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def missing(python: str) -> list[str]:
    """Debian and Ubuntu names of the packages that are missing for this Python."""
    packages = []
    if not (shutil.which("cc") or shutil.which("gcc")) or not (shutil.which("c++") or shutil.which("g++")):
        packages.append("build-essential")
    probe = (
        "import importlib.util as u, os, sys, sysconfig\n"
        "print('%d.%d' % sys.version_info[:2], os.path.isfile(os.path.join(sysconfig.get_config_var('INCLUDEPY'), 'Python.h')), "
        "bool(u.find_spec('venv') and u.find_spec('ensurepip')), sys.prefix == '/usr', end=' ')\n"
        # Panda3D's software renderer links libX11, though it opens no display. Tried as it will be: by this Python's loader.
        "try:\n    import ctypes; print(bool(ctypes.CDLL('libX11.so.6')))\nexcept (ImportError, OSError):\n    print(False)\n"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")}
    done = subprocess.run([python, "-c", probe], check=True, capture_output=True, text=True, env=env)
    version, headers, venv, of_system, x11 = done.stdout.split()
    if of_system != "True" and "False" in (headers, venv):
        raise SystemExit(
            f"error: {python} lacks its header files or its venv module, and is not the system's own: install it completely, or name another with PYTHON="
        )
    if headers == "False":
        packages.append(f"python{version}-dev")
    if venv == "False":
        packages.append(f"python{version}-venv")
    if x11 == "False":
        packages.append("libx11-6")
    return packages


def require(python: str) -> None:
    """Return when nothing is missing, after installing where possible; else end with the command to run."""
    packages = missing(python)
    if not packages:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    said = f"apt-get update && {' '.join(command)}"
    prefix = _right_to_install(said)
    if prefix is None:
        raise SystemExit(
            f"error: system packages are missing: {', '.join(packages)}. Install them, then run this again:\n  sudo {said.replace('&& ', '&& sudo ')}"
        )
    print(f"  installing system packages: {', '.join(packages)}", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], command):
        if subprocess.run([*prefix, *step], env=env, stdin=None if prefix else subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(f"error: {' '.join(prefix + step)} failed. Run it by hand to see why, then run this again.")
    if left := missing(python):
        raise SystemExit(f"error: still missing after {said}: {', '.join(left)}")


def _right_to_install(said: str) -> list[str] | None:
    """What to put before apt-get: nothing as root, sudo after a yes at the terminal, None where it cannot be done."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None or not sys.stdin.isatty() or os.environ.get("CI"):
        return None
    answer = input(f"System packages are missing. Run with sudo: {said} [y/N] ")
    return ["sudo"] if answer.strip().lower() in ("y", "yes") else None
