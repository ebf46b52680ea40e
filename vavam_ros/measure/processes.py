"""Processor time and memory of processes, from /proc (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vavam_ros.measure.trend import Slope, after_warm_up, slope

PROC = Path("/proc")
MB = 1e6
GROWTH_MB_PER_H = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One process at one time. `own_mb`: of its resident memory what it does not share with files or other processes (pictures in transit are shared)."""

    t_s: float  # monotonic
    cpu_s: float  # user and system, since its start
    rss_mb: float
    own_mb: float


@dataclass(slots=True)
class Usage:
    """The samples of one process."""

    name: str
    pid: int
    samples: list[Sample] = field(default_factory=list)

    def take(self) -> Sample | None:
        """Sample now; None when it has ended."""
        sample = read_process(self.pid)
        if sample is not None:
            self.samples.append(sample)
        return sample

    @property
    def cores(self) -> float | None:
        """Processor seconds per second between the first sample and the last."""
        if len(self.samples) < 2:
            return None
        first, last = self.samples[0], self.samples[-1]
        return (last.cpu_s - first.cpu_s) / (last.t_s - first.t_s) if last.t_s > first.t_s else None

    def slope(self, *, own: bool = False, warm_up: float = 0.2) -> Slope | None:
        """MB per hour after the warm-up."""
        t = [s.t_s for s in self.samples]
        i = after_warm_up(t, warm_up)
        return slope(t[i:], [s.own_mb if own else s.rss_mb for s in self.samples[i:]])

    def grows(self, warm_up: float = 0.2) -> bool | None:
        """Whether own memory grows by more than `GROWTH_MB_PER_H`, at 95 %; None: the samples cannot tell.

        Not judged by RSS: of what is shared, the transport's segments have a fixed size, whose pages become resident when they are first touched.
        """
        found = self.slope(own=True, warm_up=warm_up)
        if found is None or found.low <= GROWTH_MB_PER_H < found.high:
            return None
        return found.low > GROWTH_MB_PER_H


def read_process(pid: int) -> Sample | None:
    """A sample of a process, None when there is none of this number."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        _, resident, shared = map(int, (PROC / str(pid) / "statm").read_text(encoding="utf-8").split()[:3])
    except (OSError, ValueError):
        return None
    page_mb = os.sysconf("SC_PAGE_SIZE") / MB
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Sample(t_s=time.monotonic(), cpu_s=cpu_s, rss_mb=resident * page_mb, own_mb=(resident - shared) * page_mb)


def shared_segments(pid: int) -> tuple[float, float]:
    """Megabytes of the shared memory files (/dev/shm) that a process maps, resident and at most: pictures in transit. Zeros when it has ended."""
    resident = size = 0
    try:
        lines = (PROC / str(pid) / "smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0.0, 0.0
    ours = False
    for line in lines:
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):  # the head of a mapping: addresses, permissions, offset, device, inode, file
            ours = len(rest) == 5 and rest[4].startswith("/dev/shm/")
        elif ours and first == "Rss:":
            resident += int(rest[0])
        elif ours and first == "Size:":
            size += int(rest[0])
    return resident * 1024 / MB, size * 1024 / MB


def processes_in(namespace: str) -> dict[str, int]:
    """Node name → process, of the nodes that `vavam launch` or `ros2 launch` started in a namespace on this machine, by their command lines."""
    wanted = f"__ns:=/{namespace.strip('/')}"
    found = {}
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        name = next((w.partition(":=")[2] for w in words if w.startswith("__node:=")), None)
        if wanted in words and name:
            found[name] = int(path.parent.name)
    return found


def usage_table(usages: Iterable[Usage], warm_up: float = 0.2) -> str:
    """For people: cores, memory now, its slopes with half of their 95 % intervals, and whether own memory grows."""
    lines = [f"{'':28} {'cores':>6} {'own MB':>8} {'its slope':>22} {'RSS MB':>8} {'its slope':>22}"]
    said: dict[bool | None, list[str]] = {True: [], None: [], False: []}
    for u in usages:
        if not u.samples:
            lines.append(f"{u.name:28} gone")
            continue
        cores, last = u.cores, u.samples[-1]
        own, rss = (s.text("MB") if s is not None else "too short to tell" for s in (u.slope(own=True, warm_up=warm_up), u.slope(warm_up=warm_up)))
        lines.append(f"{u.name:28} {cores if cores is not None else float('nan'):6.2f} {last.own_mb:8.1f} {own:>22} {last.rss_mb:8.1f} {rss:>22}")
        said[u.grows(warm_up)].append(u.name)
    what = f"growth of own memory beyond {GROWTH_MB_PER_H:g} MB/h"
    words = {True: "shown", None: "neither shown nor excluded (a longer run has a smaller error)", False: "excluded at 95 %"}
    lines += [f"{what}, {words[found]}: {', '.join(names)}" for found, names in said.items() if names]
    return "\n".join(lines)
