"""The guard of the stand-ins: they refuse to be imported where the real package exists."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["real_installation", "refuse_beside_real"]

# The ament package that carries the Python package of a name, where the two differ.
_AMENT_NAMES = {"tf2_ros": "tf2_ros_py"}


def refuse_beside_real(package: str, own_file: str) -> None:
    """Raise ImportError if `package` also exists outside the stand-in whose ``__init__`` is `own_file`."""
    found = real_installation(package, own_file, search_path=sys.path, prefixes=os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    if found is not None:
        raise ImportError(
            f"{package}: got the vavam_ros stand-in at {Path(own_file).parent}, but the real package is at {found}. "
            "Uninstall the stand-ins (pip uninstall vavam-ros-standins): a ROS 2 installation uses its own packages."
        )


def real_installation(package: str, own_file: str, *, search_path: Iterable[str], prefixes: Iterable[str]) -> Path | None:
    """Where `package` exists besides `own_file`: on the module search path, or in an ament prefix; None if nowhere."""
    own = Path(own_file).resolve().parent
    for folder in _candidate_folders(package, search_path, prefixes):
        if _is_package(folder) and folder.resolve() != own:
            return folder
    ament_name = _AMENT_NAMES.get(package, package)
    for prefix in prefixes:
        marker = Path(prefix) / "share" / "ament_index" / "resource_index" / "packages" / ament_name
        if prefix and marker.exists():
            return marker
    return None


def _candidate_folders(package: str, search_path: Iterable[str], prefixes: Iterable[str]) -> Iterator[Path]:
    for entry in search_path:
        yield Path(entry or ".") / package
    for prefix in prefixes:
        for lib in ("lib", "local/lib") if prefix else ():
            yield from Path(prefix).glob(f"{lib}/python3*/*-packages/{package}")


def _is_package(folder: Path) -> bool:
    # A bare folder of that name (a checkout, a namespace package) is not an installation, and another copy of the stand-ins is not real.
    return (folder / "__init__.py").is_file() and not (folder.parent / "vavam_ros_standins").is_dir()
