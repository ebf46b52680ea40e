"""What every test run needs: a ROS domain of its own, nothing left behind, and the shared recordings where they are.

The ROS settings are made when this file is imported, before any test can import rclpy, and child processes inherit them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
RUN_MARK = "VAVAM_TEST_RUN"
SHM = Path("/dev/shm")


def _claim_domain() -> int:
    """A ROS domain that no other test run on this machine holds; the lock, held open until this process ends, is the claim."""
    first = uuid.uuid4().int % 100
    for i in range(100):  # above 101 a domain's ports reach into those that the kernel hands out
        domain = 1 + (first + i) % 100
        lock = os.open(Path(tempfile.gettempdir()) / f"vavam_ros_domain_{domain}.lock", os.O_CREAT | os.O_RDWR, 0o666)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain
        os.close(lock)
    raise RuntimeError("no free ROS domain: 100 test runs hold one each")


_DOMAIN = _claim_domain()
os.environ.update({RUN_MARK: uuid.uuid4().hex, "ROS_DOMAIN_ID": str(_DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch is imported: vavam_ros/nodes/__init__.py says why
for _variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
    os.environ[_variable] = str(ROOT / "config" / "fastdds_shm.xml")
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="vavam_ros_log_"))
if sys.prefix != sys.base_prefix and "AMENT_PREFIX_PATH" not in os.environ:
    os.environ["AMENT_PREFIX_PATH"] = sys.prefix  # the wheels do not set it
_SHM_BEFORE = {p.name for p in SHM.glob("*fast*")}


def _left_processes() -> list[int]:
    """Processes that this run started and that still live, found by the mark they inherited."""
    mark = f"{RUN_MARK}={os.environ[RUN_MARK]}".encode()
    own = {os.getpid(), os.getppid()}
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environ.read_bytes().split(b"\0") and int(environ.parent.name) not in own:
                found.append(int(environ.parent.name))
    return found


def _names_in_use() -> str:
    """Paths under /dev/shm that any process has mapped or open, as one text."""
    used = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            used.append("\n".join(line[line.index("/dev/shm") :] for line in (process / "maps").read_text().splitlines() if "/dev/shm/" in line))
        with contextlib.suppress(OSError):
            used += [os.readlink(fd) for fd in (process / "fd").iterdir()]
    return "\n".join(used) + "\n"


def pytest_sessionfinish() -> None:
    """End what was left running, then remove the shared memory that appeared during this run and that nobody uses."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        for pid in _left_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + 3
        while _left_processes() and time.monotonic() < deadline:
            time.sleep(0.1)
    new = [p for p in SHM.glob("*fast*") if p.name not in _SHM_BEFORE]
    used = _names_in_use() if new else ""
    for path in new:
        # A segment goes together with its lock files (…_el, …_sl): one in use keeps all of them.
        stem = path.name.removeprefix("sem.").removesuffix("_mutex").removesuffix("_el").removesuffix("_sl")
        with contextlib.suppress(OSError):
            if stem not in used and path.stat().st_uid == os.getuid():
                path.unlink()


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real recordings: $VAVAM_DATA, or shared/data beside the checkout. Tests that need it are skipped, by name, without."""
    path = Path(os.environ.get("VAVAM_DATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"real recordings are not here: {path} does not exist (set VAVAM_DATA to their folder)")
    return path
