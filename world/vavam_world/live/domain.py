"""A ROS domain that no other run on this machine holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vavam_world.contracts import WorldError

DOMAINS = range(1, 101)  # above 101 a domain's ports reach into those that the kernel hands out


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """Hold a domain. The lock, open until the end, is the claim; a process that dies gives its own back. Raises WorldError where all are held."""
    first = int.from_bytes(os.urandom(2), "little") % len(DOMAINS)
    for i in range(len(DOMAINS)):
        domain = DOMAINS[(first + i) % len(DOMAINS)]
        lock = os.open(Path(tempfile.gettempdir()) / f"vavam_ros_domain_{domain}.lock", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield domain
                return
        finally:
            os.close(lock)
    raise WorldError(f"no free ROS domain: {len(DOMAINS)} runs hold one each; wait for one to end")
