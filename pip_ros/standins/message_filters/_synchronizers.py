"""Pairing by header stamp, exactly or within a slop.

Every input keeps the messages that have not found partners, by stamp in nanoseconds; a second message of the same stamp takes the
first one's place; beyond `queue_size` the smallest stamp goes, be it the one that just came. A clock that jumps back empties
nothing: old stamps, smaller than those kept, leave at once when the queue is full. What happens is held to recorded vectors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from message_filters._filters import SimpleFilter


class TimeSynchronizer(SimpleFilter):
    """Calls back with one message per input as soon as all inputs hold a message of the same stamp."""

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Take `fs` for inputs, with empty queues."""
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [source.registerCallback(self.add, queue, index) for index, (source, queue) in enumerate(zip(fs, self.queues, strict=True))]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Receive one message of the input that keeps `my_queue`."""
        stamp_ns = Time.from_msg(msg.header.stamp).nanoseconds
        with self.lock:
            self._keep(my_queue, stamp_ns, msg)
            complete = set(self.queues[0])
            for queue in self.queues[1:]:
                complete &= queue.keys()
            for stamp in sorted(complete):
                self._emit([stamp] * len(self.queues))

    def _keep(self, queue: dict[int, Any], stamp_ns: int, msg: Any) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _emit(self, stamps_ns: Sequence[int]) -> None:
        """Pass on the messages of these stamps, one per input, and forget them."""
        self.signalMessage(*(queue[stamp] for queue, stamp in zip(self.queues, stamps_ns, strict=True)))
        for queue, stamp in zip(self.queues, stamps_ns, strict=True):
            del queue[stamp]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Calls back with one message per input whose stamps lie less than `slop` seconds apart (a slop of 0 pairs nothing).

    A new message looks for the nearest partner in each other input; the first input's choice weighs most. A message without a header is
    dropped with a warning, or takes the present time with `allow_headerless`.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False) -> None:
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless
        super().__init__(fs, queue_size)  # last: from here on messages come in

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Receive one message of the input that keeps `my_queue`, number `my_queue_index`."""
        stamp_ns = self._stamp_of(msg)
        if stamp_ns is None:
            return
        with self.lock:
            self._keep(my_queue, stamp_ns, msg)
            if stamp_ns not in my_queue:
                return  # the queue is full of newer ones
            choices = [[stamp_ns] if index == my_queue_index else self._near(queue, stamp_ns) for index, queue in enumerate(self.queues)]
            for stamps in _within(choices, self.slop.nanoseconds):
                self._emit(stamps)
                return

    def _stamp_of(self, msg: Any) -> int | None:
        stamp = getattr(getattr(msg, "header", None), "stamp", None)
        if stamp is not None:
            return int(stamp.nanoseconds if hasattr(stamp, "nanoseconds") else Time.from_msg(stamp).nanoseconds)
        if self.allow_headerless:
            return int(ROSClock().now().nanoseconds)
        get_logger("message_filters_approx").warning(
            f"dropped a message without a header ({type(msg).__name__}): construct with allow_headerless=True to have it stamped on arrival"
        )
        return None

    def _near(self, queue: dict[int, Any], stamp_ns: int) -> list[int]:
        """Stamps of `queue` within the slop of `stamp_ns`, nearest first, equally near ones in the order of arrival."""
        near = [stamp for stamp in queue if abs(stamp - stamp_ns) <= self.slop.nanoseconds]
        return sorted(near, key=lambda stamp: abs(stamp - stamp_ns))


def _within(choices: Sequence[Sequence[int]], slop_ns: int, chosen: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """One stamp from each of `choices`, all less than `slop_ns` apart, earlier inputs' preferences first."""
    if chosen and max(chosen) - min(chosen) >= slop_ns:
        return
    if len(chosen) == len(choices):
        yield chosen
        return
    for stamp in choices[len(chosen)]:
        yield from _within(choices, slop_ns, (*chosen, stamp))
