"""The odometry subscription: messages into the core's history, poses out of it. The one place that locks it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from nav_msgs.msg import Odometry

from vavam_ros.core.contracts import EgoPose, InputError, OdometrySample, Waiting
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory, PushOutcome
from vavam_ros.nodes import convert

if TYPE_CHECKING:
    from vavam_ros.nodes.model_node import ModelNode

_REFUSED = (PushOutcome.REJECTED_NONFINITE, PushOutcome.REJECTED_NO_STAMP)


class OdometryInput:
    """`~/odometry` → OdometryHistory. `on_arrival` is called after each accepted message, `on_reset` when the history began anew."""

    def __init__(self, node: ModelNode, on_reset: Callable[[str], None]) -> None:
        p = node.parameters
        self._node, self._on_reset = node, on_reset
        self._estimated = p.flag("odometry_is_estimated")
        self._lock = threading.Lock()
        config = OdometryConfig(
            keep_s=p.number("odometry_keep_s"), max_gap_s=p.number("odometry_max_gap_s"), max_extrapolation_s=p.number("odometry_max_extrapolation_s")
        )
        self._history = OdometryHistory(config, p.number("rear_axle_x_m"))
        self._newest: OdometrySample | None = None
        self.on_arrival: list[Callable[[], None]] = []
        self.monitor = node.monitor("~/odometry")
        # best effort: it matches reliable publishers as well, and a lost message is interpolated across
        self._subscription = node.subscribe(Odometry, self.monitor, self._on_message, depth=50, reliable=False)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.unsubscribe(self._subscription)

    def _on_message(self, msg: Odometry) -> None:
        if not self.monitor.seen(convert.stamp_ns(msg.header)):
            self._node.board.event("no_stamp", topic=self.monitor.topic)
        try:
            sample = convert.odometry_sample(msg, estimated=self._estimated)
        except InputError as e:
            self._node.board.event("bad_odometry", error=e)
            return
        with self._lock:
            outcome = self._history.push(sample)
            if outcome not in _REFUSED:
                self._newest = sample
        if outcome in _REFUSED:
            self._node.board.event("bad_odometry", error=outcome.value)
            return
        if outcome.was_reset:
            self._node.board.event("odometry_reset", outcome=outcome.value)
            self._on_reset(f"odometry: {outcome.value}")
        for listener in self.on_arrival:
            listener()

    @property
    def newest(self) -> OdometrySample | None:
        """The last message taken in."""
        return self._newest

    @property
    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest message in the history."""
        with self._lock:
            return self._history.newest_stamp_ns

    def pose_at(self, stamp_ns: int, *, extrapolate: bool) -> EgoPose | Waiting:
        """The ego pose at a stamp; with `extrapolate`, carried on by the twist where odometry has not reached it."""
        with self._lock:
            return self._history.pose_at(stamp_ns, allow_extrapolation_s=self._history.config.max_extrapolation_s if extrapolate else 0.0)

    def pose_now(self, now_ns: int) -> EgoPose | Waiting:
        """The ego pose now."""
        with self._lock:
            return self._history.pose_now(now_ns)

    def base_now(self, now_ns: int) -> OdometrySample | Waiting:
        """base_link's pose now."""
        with self._lock:
            return self._history.base_now(now_ns)

    def contradiction(self) -> str | None:
        """Why twists and poses cannot both be right; None when they agree."""
        with self._lock:
            return self._history.contradiction()

    def reset(self) -> None:
        """Forget all messages."""
        with self._lock:
            self._history.reset()
            self._newest = None

    def values(self) -> dict[str, object]:
        """Outcome counters for diagnostics."""
        with self._lock:
            return {f"odometry {outcome.value}": n for outcome, n in self._history.counters.items() if n}
