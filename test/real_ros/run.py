#!/usr/bin/env python3
"""Run launch files and compare the stand-ins with the real ROS 2 packages, from their sources: `make test-real-ros`.

    run.py --launch-src DIR --launch-ros-src DIR --message-filters-src DIR --cv-bridge-src DIR [--geometry2-src DIR] [--record]

Each DIR is a checkout (or a bare repository, whose HEAD is used) of ros2/launch, ros2/launch_ros, ros2/message_filters,
ros-perception/vision_opencv and ros2/geometry2. Needs rclpy (any wheel venv of pip_ros), and for cv_bridge and tf2 a C++ compiler;
cv_bridge also libboost-python-dev and libopencv-dev. Everything is made in a throwaway folder. --record renews test/golden/ros.

What is not real: launch_ros imports composition_interfaces, which has no wheel and is needed for composable nodes only; a placeholder
that fails on use takes its place.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden" / "ros"
SITE_INCLUDE = Path(sys.prefix) / "include"
PLACEHOLDER = '''"""Not the real composition_interfaces: lets launch_ros, which names the service in annotations, be imported without it."""


class LoadNode:
    class Request:
        def __init__(self, *_args: object, **_values: object) -> None:
            raise NotImplementedError("composable nodes are not part of this test")

    class Response(Request):
        pass
'''


class RunError(Exception):
    """A check that could not be run."""


@dataclass(frozen=True)
class Package:
    """A real Python package: the folder to put on the module search path, and what it is in words."""

    path: Path
    source: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("launch", "launch-ros", "message-filters", "cv-bridge", "geometry2"):
        variable = name.replace("-", "_").upper()  # make's own spelling is taken too
        parser.add_argument(f"--{name}-src", f"--{variable}-src", type=Path, help=f"sources of {name}")
    parser.add_argument("--record", action="store_true", help="renew the vectors in test/golden/ros from the real packages")
    args = parser.parse_args()
    sources = {"synchronizers": args.message_filters_src, "images": args.cv_bridge_src, "transforms": args.geometry2_src}
    makers = {"synchronizers": (message_filters, ".json"), "images": (cv_bridge, ".npz"), "transforms": (tf2, ".json")}

    built: dict[str, Package] = {}

    def comparison(what: str) -> Callable[[Path], str]:
        make, suffix = makers[what]

        def check(work: Path) -> str:
            built[what] = make(work, sources[what])
            return compare(what, suffix, built[what], work, args.record)

        return check

    checks: dict[str, tuple[Any, Callable[[Path], str]]] = {
        "message_filters": (args.message_filters_src, comparison("synchronizers")),
        "cv_bridge": (args.cv_bridge_src, comparison("images")),
        "tf2": (args.geometry2_src, comparison("transforms")),
        "launch": (args.launch_src and args.launch_ros_src, lambda work: launch_tests(work, args.launch_src, args.launch_ros_src, built)),
    }
    if not any(source for source, _ in checks.values()):
        parser.error("no sources given: make test-real-ros LAUNCH_SRC=… LAUNCH_ROS_SRC=… MESSAGE_FILTERS_SRC=… CV_BRIDGE_SRC=…")
    failed = False
    with tempfile.TemporaryDirectory(prefix="vavam_real_ros_") as work:
        for name, (source, check) in checks.items():
            if not source:
                print(f"{name:16} NOT RUN: no sources given")
                continue
            try:
                print(f"{name:16} {check(Path(work))}", flush=True)
            except RunError as error:
                failed = True
                print(f"{name:16} FAILED: {error}", flush=True)
    return int(failed)


# --- the real packages --------------------------------------------------------------------------------------------------------------


def checkout(work: Path, source: Path) -> tuple[Path, str]:
    """A work tree of `source`, and its revision in words."""
    described = subprocess.run(["git", "-C", str(source), "log", "-1", "--format=%h of %cs"], capture_output=True, text=True, check=False)
    revision = described.stdout.strip() or "unknown revision"
    if not (source / "HEAD").is_file():
        return source, revision
    tree = work / f"checkout_{source.parent.name}"
    if not tree.exists():
        tree.mkdir()
        archive = subprocess.run(["git", "-C", str(source), "archive", "HEAD"], capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree, revision


def find_package(tree: Path, name: str) -> Path:
    """The folder that holds the Python package `name` in a checkout of its repository or of its directory. Raises RunError."""
    for prefix in ("", "src/", f"{name}/", f"{name}/src/", "python/", f"{name}/python/"):
        if (tree / prefix / name / "__init__.py").is_file():
            return tree / prefix
    raise RunError(f"no Python package {name} in {tree}: pass a checkout of its repository")


def message_filters(work: Path, source: Path) -> Package:
    tree, revision = checkout(work, source)
    return Package(find_package(tree, "message_filters"), f"ros2/message_filters {revision}")


def cv_bridge(work: Path, source: Path) -> Package:
    """The Python part beside its C++ module, built here."""
    tree, revision = checkout(work, source)
    package = find_package(tree, "cv_bridge")
    root = package.parent
    built = work / "cv_bridge_built"
    shutil.copytree(package / "cv_bridge", built / "cv_bridge")
    (built / "cv_bridge" / "boost").mkdir()
    (built / "cv_bridge" / "boost" / "__init__.py").touch()
    export = built / "include" / "cv_bridge" / "cv_bridge_export.h"  # the build system would generate it
    export.parent.mkdir(parents=True)
    export.write_text("#pragma once\n#define CV_BRIDGE_EXPORT\n")
    boost = sorted(glob.glob(f"/usr/lib/*/libboost_python{sys.version_info.major}{sys.version_info.minor}.so"))
    opencv = Path("/usr/include/opencv4")
    if not boost or not opencv.is_dir():
        raise RunError("needs libboost-python-dev for this Python, and libopencv-dev: apt-get install libboost-python-dev libopencv-dev")
    build_extension(
        built / "cv_bridge" / "boost" / "cv_bridge_boost.so",
        [root / "src" / f"{name}.cpp" for name in ("cv_bridge", "rgb_colors", "module", "module_opencv4")],
        includes=[built / "include", root / "include", opencv, Path(np.get_include())],
        libraries=[boost[0], "-lopencv_core", "-lopencv_imgproc", "-lopencv_imgcodecs", "-lrcpputils"],
        defines=["-DPYTHON3", "-DOPENCV_VERSION_4"],
    )
    if int(_output([sys.executable, "-c", "import cv2; print(cv2.__version__)"]).split(".")[0]) > 4:
        # OpenCV 5 numbers its types otherwise than the OpenCV 4 that cv_bridge is built on: the pair would fail with KeyError.
        pip_install(built, "opencv-python-headless<5")
    return Package(built, f"ros-perception/vision_opencv {revision}, with its C++ module")


def tf2(work: Path, source: Path) -> Package:
    """The buffer of tf2 with its Python binding, built here."""
    tree, revision = checkout(work, source)
    built = work / "tf2_built"
    shutil.copytree(find_package(tree / "tf2_py", "tf2_py") / "tf2_py", built / "tf2_py")
    sources = [tree / "tf2" / "src" / f"{name}.cpp" for name in ("buffer_core", "cache", "static_cache", "time")]
    build_extension(
        built / "tf2_py" / "_tf2_py.so",
        [*sources, tree / "tf2_py" / "src" / "tf2_py.cpp"],
        includes=[tree / "tf2" / "include"],
        libraries=["-lrcutils", "-lrcpputils"],
    )
    return Package(built, f"ros2/geometry2 {revision}, tf2_py.BufferCore")


def build_extension(target: Path, sources: Sequence[Path], *, includes: Sequence[Path], libraries: Sequence[str], defines: Sequence[str] = ()) -> None:
    """Compile and link a Python extension against the ROS wheels of this environment. Raises RunError with the compiler's last words."""
    folders = [*includes, Path(sysconfig.get_config_var("INCLUDEPY")), *sorted(p for p in SITE_INCLUDE.iterdir() if p.is_dir())]
    flags = ["-std=c++17", "-O1", "-fPIC", "-w", *defines, *(f"-I{folder}" for folder in folders)]
    objects = []
    for source in sources:
        objects.append(str(target.parent / f"{source.stem}.o"))
        _run(["g++", *flags, "-c", str(source), "-o", objects[-1]])
    lib = str(Path(sys.prefix) / "lib")
    _run(["g++", "-shared", "-o", str(target), *objects, f"-L{lib}", f"-Wl,-rpath,{lib}", *libraries])


def pip_install(folder: Path, *requirements: str) -> None:
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *requirements])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{' '.join(command[:3])} …: {done.stderr.strip()[-1500:]}")


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# --- comparison ---------------------------------------------------------------------------------------------------------------------


def compare(what: str, suffix: str, real: Package, work: Path, renew: bool) -> str:
    """Put the scenarios to the real package and to the stand-in, live. Raises RunError where they, or the stored vectors, differ."""
    stored = GOLDEN / f"{what}{suffix}"
    files = {"real": work / f"{what}_real{suffix}", "stand-in": work / f"{what}_standin{suffix}"}
    for who, path, words in (("real", real.path, real.source), ("stand-in", ROOT / "pip_ros" / "standins", "stand-in")):
        _run([sys.executable, str(GOLDEN / "record.py"), what, "--path", str(path), "--out", str(files[who]), "--source", words])
    if renew:
        shutil.copyfile(files["real"], stored)
    outcomes = {who: load_outcomes(file) for who, file in {**files, "stored": stored}.items()}
    for who in ("stand-in", "stored"):
        wrong = [name for name, expected in outcomes["real"].items() if not same(outcomes[who].get(name), expected)]
        if wrong or set(outcomes[who]) != set(outcomes["real"]):
            raise RunError(f"{who} differs from the real package ({real.source}) in {len(wrong)} of {len(outcomes['real'])} scenarios: {', '.join(wrong[:8])}")
    return f"{len(outcomes['real'])} scenarios: real = stand-in = stored{' (renewed)' if renew else ''}; {real.source}"


def load_outcomes(file: Path) -> dict[str, Any]:
    """name → outcome, arrays in their places."""
    if file.suffix == ".json":
        return {name: case["outcome"] for name, case in json.loads(file.read_text())["cases"].items()}
    with np.load(file) as arrays:
        cases = json.loads(str(arrays["index"]))["cases"]
        return {
            name: {key: arrays[value["array"]] if isinstance(value, dict) and "array" in value else value for key, value in case["outcome"].items()}
            for name, case in cases.items()
        }


def same(a: Any, b: Any) -> bool:
    """Equal; numbers to 1e-9, pixels to 2 (JPEG decoders round differently), and a quaternion of either sign."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and bool(np.abs(a.astype(np.int64) - b.astype(np.int64)).max(initial=0) <= 2)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) == len(b) == 4 and all(isinstance(x, float) for x in a + b):
            return bool(min(np.abs(np.subtract(a, b)).max(), np.abs(np.add(a, b)).max()) < 1e-9)
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) < 1e-9
    return bool(a == b)


# --- launch -------------------------------------------------------------------------------------------------------------------------


def launch_tests(work: Path, launch_source: Path, launch_ros_source: Path, built: Mapping[str, Package]) -> str:
    """test/launch/test_launch_real.py under pytest, with the real launch and launch_ros importable; real nodes get the real packages that there are."""
    (launch_tree, launch_revision), (ros_tree, ros_revision) = checkout(work, launch_source), checkout(work, launch_ros_source)
    helpers = work / "launch_helpers"
    pip_install(helpers, "osrf_pycommon", "lark")
    (helpers / "composition_interfaces").mkdir()
    (helpers / "composition_interfaces" / "__init__.py").touch()
    (helpers / "composition_interfaces" / "srv.py").write_text(PLACEHOLDER)
    paths = [find_package(launch_tree, "launch"), find_package(ros_tree, "launch_ros"), helpers, ROOT]
    # tf2_ros stays a stand-in (only the buffer's core is built); the others' stand-ins come last and are shadowed where the real ones are.
    real = [built[what].path for what in ("synchronizers", "images") if what in built]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, *real, ROOT / "pip_ros" / "standins"]))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "test/launch/test_launch_real.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        raise RunError("\n".join([*lines[-60:], done.stderr[-2000:]]))
    nodes_on = " and ".join(["the real message_filters"] * ("synchronizers" in built) + ["the real cv_bridge"] * ("images" in built)) or "the stand-ins"
    return f"{lines[-1]}; ros2/launch {launch_revision}, ros2/launch_ros {ros_revision}; nodes on {nodes_on}"


if __name__ == "__main__":
    sys.exit(main())
