"""What the way of one picture through the nodes took, stage by stage: every moment after its first arrival is charged to one stage.

In the order of the way: transport (stamp → paired with its camera_info in the node), wait (for odometry to pass the stamp), queue (for the inference thread),
decode, warp, tokenize, ring (handing over, publishing tokens, the ring itself), plan_queue, context, denoise, select; then publish, which the samples that
carry the others cannot hold. A planner in a process of its own begins with tokens (stamp → token frame heard) in place of all before ring.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode


class Trip:
    """Stage times of one picture, milliseconds. Handed on with it, so that one thread at a time holds it: no lock. One per picture that is taken."""

    __slots__ = ("_last_s", "_timings", "stage_ms")

    def __init__(self, first: str, node: ModelNode, stamp_ns: int) -> None:
        """`first`: the stage from `stamp_ns` until now, by the node's clock; 0 where that clock is behind the stamp."""
        self._timings = node.timings
        self.stage_ms: list[tuple[str, float]] = []
        now_ns = node.now_ns
        self._last_s = time.perf_counter()  # read second: should another thread run in between, its time is left out, not charged twice
        self._add(first, max(0.0, (now_ns - stamp_ns) / 1e6))

    def lap(self, stage: str) -> None:
        """Charge everything since the last call to `stage`."""
        now_s = time.perf_counter()
        self._add(stage, max(0.0, (now_s - self._last_s) * 1e3))
        self._last_s = now_s

    def take(self, stages: Iterable[tuple[str, float]]) -> None:
        """Take over stages that somebody else measured since the last call; what they leave open goes to the next lap."""
        for stage, ms in stages:
            self._add(stage, ms)
            self._last_s += ms / 1e3

    def _add(self, stage: str, ms: float) -> None:
        self.stage_ms.append((stage, ms))
        self._timings.add(stage, ms)
