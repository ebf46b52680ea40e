"""What a node knows about its own health, and its rendering as diagnostic_msgs. Thread safe: callbacks and inference threads write, one thread reports."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vavam_ros.nodes.conditions import BY_CODE, TASKS, Condition, Level, Task

QUIET = ("loading",)  # logged by who knows the steps
HOLD_S = 5.0  # how long an event stays visible after it last happened


@dataclass(slots=True)
class _Active:
    condition: Condition
    text: str
    until: float  # monotonic seconds; inf for states


class Board:
    """Conditions that hold now, counters and values, by task."""

    def __init__(self, log: Callable[[Level, str], None], now_s: Callable[[], float] = time.monotonic) -> None:
        self._log, self._now_s = log, now_s
        self._lock = threading.Lock()
        self._active: dict[str, _Active] = {}
        self._counts: Counter[str] = Counter()
        self._values: dict[Task, dict[str, str]] = {task: {} for task in TASKS}

    def event(self, code: str, **values: object) -> None:
        """Something happened: counted, shown for a while, logged when it was not showing before."""
        self._set(code, HOLD_S, values)
        with self._lock:
            self._counts[code] += 1

    def state(self, code: str, active: bool, **values: object) -> None:
        """Something holds from now on, or no longer does."""
        if active:
            self._set(code, float("inf"), values)
        else:
            with self._lock:
                self._active.pop(code, None)

    def _set(self, code: str, hold_s: float, values: dict[str, object]) -> None:
        condition = BY_CODE[code]
        text = condition.text.format(**values)
        now = self._now_s()
        with self._lock:
            known = self._active.get(code)
            fresh = known is None or known.until < now
            self._active[code] = _Active(condition, text, now + hold_s)
        if fresh and condition.level is not Level.OK and code not in QUIET:
            self._log(condition.level, f"[{code}] {text}")

    def put(self, task: Task, **values: object) -> None:
        """Set values; a float is shown with four digits."""
        with self._lock:
            self._values[task].update({k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in values.items()})

    def put_all(self, task: Task, values: dict[str, object]) -> None:
        """`put` for names that are no identifiers."""
        self.put(task, **values)

    def count_of(self, code: str) -> int:
        """How often an event came."""
        with self._lock:
            return self._counts[code]

    def is_active(self, code: str) -> bool:
        """Is the condition showing?"""
        with self._lock:
            found = self._active.get(code)
            return found is not None and found.until >= self._now_s()

    def forget(self, *tasks: Task) -> None:
        """Drop conditions and values of these tasks; counters stay."""
        with self._lock:
            self._active = {code: a for code, a in self._active.items() if a.condition.task not in tasks}
            for task in tasks:
                self._values[task].clear()

    def statuses(self, node_name: str) -> list[DiagnosticStatus]:
        """One status per task."""
        now = self._now_s()
        with self._lock:
            self._active = {code: a for code, a in self._active.items() if a.until >= now}
            active, counts = sorted(self._active.values(), key=lambda a: -a.condition.level), dict(self._counts)
            values = {task: dict(v) for task, v in self._values.items()}
        return [self._status(node_name, task, [a for a in active if a.condition.task == task], counts, values[task]) for task in TASKS]

    @staticmethod
    def _status(node_name: str, task: Task, active: list[_Active], counts: dict[str, int], values: dict[str, str]) -> DiagnosticStatus:
        level = max((a.condition.level for a in active), default=Level.OK)
        shown = {"remedy": active[0].condition.remedy} if level is not Level.OK else {}
        shown |= values | {f"count.{code}": str(n) for code, n in counts.items() if BY_CODE[code].task == task}
        return DiagnosticStatus(
            level=bytes([level]),
            name=f"{node_name}: {task}",
            message="; ".join(f"[{a.condition.code}] {a.text}" for a in active) or "ok",
            hardware_id=node_name,
            values=[KeyValue(key=k, value=v) for k, v in shown.items()],
        )


class Timings:
    """Milliseconds per stage over a window of the newest runs. Thread safe."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._runs: dict[str, deque[float]] = {}

    def add(self, stage: str, ms: float) -> None:
        """Record one run."""
        with self._lock:
            self._runs.setdefault(stage, deque(maxlen=self._window)).append(ms)

    def clear(self) -> None:
        """Forget all runs."""
        with self._lock:
            self._runs.clear()

    def quantile(self, stage: str, q: float) -> float | None:
        """A quantile in milliseconds, None without a run."""
        with self._lock:
            runs = list(self._runs.get(stage, ()))
        return float(np.quantile(runs, q)) if runs else None

    def values(self) -> dict[str, object]:
        """`<stage>.p50_ms`, `.p95_ms`, `.p99_ms`, `.max_ms`, `.runs` of every stage."""
        with self._lock:
            runs = {stage: list(r) for stage, r in self._runs.items()}
        out: dict[str, object] = {}
        for stage, r in runs.items():
            p50, p95, p99 = map(float, np.quantile(r, (0.5, 0.95, 0.99)))
            out |= {f"{stage}.p50_ms": p50, f"{stage}.p95_ms": p95, f"{stage}.p99_ms": p99, f"{stage}.max_ms": max(r), f"{stage}.runs": len(r)}
        return out
