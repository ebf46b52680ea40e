"""What arrives on a topic, and why a set of topics does not come together."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vavam_ros.core.contracts import NS_PER_S

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode

CLOCKS_DIFFER_S = 5.0


def since_s(node: ModelNode, wall_s: float, at_ns: int) -> float:
    """Seconds since `wall_s` (monotonic), `at_ns` in the node's clock: nothing gets old while a simulated clock stands still, as it does in lock-step."""
    waited_s = time.monotonic() - wall_s
    simulated = bool(node.get_parameter("use_sim_time").value)
    return min(waited_s, abs(node.now_ns - at_ns) / NS_PER_S) if simulated else waited_s


class LastUse:
    """When something usable came last."""

    def __init__(self, node: ModelNode) -> None:
        self._node = node
        self.note()

    def note(self) -> None:
        """It came now."""
        self._wall_s, self._at_ns = time.monotonic(), self._node.now_ns

    @property
    def age_s(self) -> float:
        """See since_s."""
        return since_s(self._node, self._wall_s, self._at_ns)


@dataclass(slots=True)
class TopicMonitor:
    """Count, rate and stamps of one topic. Written by the executor, read by the diagnostics thread (single values: no lock needed)."""

    name: str  # as the parameter table and the documentation call it, `~/image`
    topic: str  # resolved
    given: str  # what to subscribe to: remapping applies to it
    count: int = 0
    empty_stamps: int = 0
    last_stamp_ns: int = 0
    last_arrival_s: float = 0.0
    qos_problem: str = ""
    requested: Any = None  # QoSProfile of the subscription, after overrides
    _arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    def seen(self, stamp_ns: int) -> bool:
        """Take in one message. False when its stamp is empty."""
        self.count += 1
        self.last_arrival_s = time.monotonic()
        self._arrivals_s.append(self.last_arrival_s)
        if stamp_ns <= 0:
            self.empty_stamps += 1
            return False
        self.last_stamp_ns = stamp_ns
        return True

    @property
    def rate_hz(self) -> float:
        """Arrivals per second over the newest 50, 0 when they stopped a while ago."""
        arrivals = list(self._arrivals_s)
        if len(arrivals) < 2 or arrivals[-1] <= arrivals[0] or time.monotonic() - arrivals[-1] > 5.0:
            return 0.0
        return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])

    @property
    def age_s(self) -> float:
        """Seconds since the last message, infinite before the first."""
        return time.monotonic() - self.last_arrival_s if self.count else float("inf")

    def offset_s(self, reference_ns: int) -> float | None:
        """Last stamp against a reference, None without both."""
        return (self.last_stamp_ns - reference_ns) / NS_PER_S if self.last_stamp_ns and reference_ns else None

    def row(self, reference_ns: int) -> str:
        """One line of the table."""
        offset = self.offset_s(reference_ns)
        stamp = f"{self.last_stamp_ns / NS_PER_S:.3f}" if self.last_stamp_ns else "none"
        return f"{self.topic}: {self.count} messages, {self.rate_hz:.1f} Hz, last stamp {stamp}{f', offset {offset:+.3f} s' if offset is not None else ''}"

    def values(self, reference_ns: int) -> dict[str, object]:
        """Key-values for diagnostics."""
        offset = self.offset_s(reference_ns)
        return {
            f"{self.name}.count": self.count,
            f"{self.name}.rate_hz": self.rate_hz,
            f"{self.name}.last_stamp": f"{self.last_stamp_ns / NS_PER_S:.3f}" if self.last_stamp_ns else "none",
            f"{self.name}.offset_to_image_s": offset if offset is not None else "none",
            f"{self.name}.empty_stamps": self.empty_stamps,
        }


def likely_cause(monitors: list[TopicMonitor], publishers: dict[str, int], *, paired: list[TopicMonitor], slop_s: float) -> str:
    """Why `monitors` do not come together, the first (image or tokens) leading, `odometry` last; `paired` are matched by stamp.

    `publishers` counts the publishers of each topic."""
    for m in monitors:
        if m.qos_problem:
            return f"QoS of {m.topic}: {m.qos_problem}"
        if m.count == 0 and publishers[m.topic] == 0:
            return f"no publisher on {m.topic}"
        if m.count == 0:
            return f"{publishers[m.topic]} publisher(s) on {m.topic}, but nothing arrives: QoS, or a transport too small (shared-memory profile)"
        if m.empty_stamps and not m.last_stamp_ns:
            return f"empty header stamps on {m.topic}"
        if m.age_s > 2.0:
            return f"{m.topic} stopped {m.age_s:.0f} s ago"
    lead = monitors[0]
    for m in monitors[1:]:
        offset = m.offset_s(lead.last_stamp_ns) or 0.0
        if abs(offset) > CLOCKS_DIFFER_S:
            return f"different clocks: {m.topic} is {offset:+.1f} s from {lead.topic}"
        if m in paired and offset:
            need = f"sync_slop_s is {slop_s:g}" if slop_s else "they are paired by equal stamps (sync_slop_s 0)"
            return f"stamps of {m.topic} and {lead.topic} differ by {abs(offset) * 1e3:.1f} ms and {need}"
        if m not in paired and offset < 0.0:
            return f"odometry is behind: {m.topic} by {-offset:.2f} s (odometry_wait_s)"
    return "none found; see the values and the other conditions"
