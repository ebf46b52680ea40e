"""/carla/control, and the wall clock's pace. No ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import TICK_S

PLAY, PAUSE, STEP_ONCE = 0, 1, 2  # carla_msgs/CarlaControl
WAIT_SLICE_S = 0.05


class RunState:
    """PLAY, PAUSE and STEP_ONCE as the bridge treats them: of several commands the last counts; a single step ends in a pause."""

    def __init__(self, *, paused: bool = False) -> None:
        self._commands: deque[int] = deque([PAUSE] if paused else [])
        self._changed = threading.Condition()
        self.running = not paused

    def command(self, value: int) -> None:
        """A message came. Raises ConfigError on a number that is none."""
        if value not in (PLAY, PAUSE, STEP_ONCE):
            raise ConfigError(f"/carla/control: got command {value}, expected PLAY 0, PAUSE 1 or STEP_ONCE 2")
        with self._changed:
            self._commands.append(value)
            self._changed.notify_all()

    def before_tick(self, says_running: Callable[[bool], None], alive: Callable[[], bool]) -> bool:
        """Returns when the next tick may be done (True), or when `alive` says no (False). `says_running` hears of each change."""
        with self._changed:
            command = self._commands[-1] if self._commands else None
            self._commands.clear()
            while command is not None:
                self._say(command != PAUSE, says_running)
                if command == STEP_ONCE:
                    self._commands.appendleft(PAUSE)
                if command != PAUSE:
                    return alive()
                while not self._commands:
                    if not alive():
                        return False
                    self._changed.wait(WAIT_SLICE_S)
                command = self._commands.popleft()
        return alive()

    def _say(self, running: bool, says_running: Callable[[bool], None]) -> None:
        if running != self.running:
            self.running = running
            says_running(running)


class Pace:
    """Ticks against the wall clock. Factor 0: as fast as possible."""

    SAYS_BEHIND_S = 0.5

    def __init__(self, factor: float, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        if not 0.0 <= factor <= 100.0:
            raise ConfigError(f"real_time_factor: got {factor}, expected 0 (as fast as possible) to 100")
        self._factor, self._now, self._sleep = factor, now, sleep
        self._next: float | None = None
        self.behind_s = 0.0  # in all
        self.worst_s = 0.0

    def hold(self) -> None:
        """Time stood still: a pause."""
        self._next = None

    def wait(self) -> float:
        """Sleep until the next tick is due. Returns how far behind the tick is if that is worth a word (time is then not caught up), else 0."""
        if self._factor == 0.0:
            return 0.0
        now = self._now()
        if self._next is None:
            self._next = now
        late = now - self._next
        self.worst_s = max(self.worst_s, late)
        said = 0.0
        if late > self.SAYS_BEHIND_S:
            said, self._next = late, now
            self.behind_s += late
        elif late < 0.0:
            self._sleep(-late)
        self._next += TICK_S / self._factor
        return said
