"""One driver until a tick, another from it on: into what states does the first get itself, and how does the second get out of them?

What a model learns from an expert alone begins where the expert would be. Where the model drives first, it begins where the model would be (data aggregation:
Ross, Gordon, Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning, 2011).
"""

from __future__ import annotations

import math

from vavam_ros.core.contracts import ConfigError, DensePath
from vavam_world.contracts import Driver, View, WorldError


class HandedOver:
    """State: both drivers', the first one's last path, how many plans there were. Where the first has nothing to drive on, the second takes over then."""

    name = "handed_over"

    def __init__(self, first: Driver, then: Driver, at_tick: int) -> None:
        """Raises ConfigError where `at_tick` is no tick at which both plan."""
        if at_tick < 0 or at_tick % math.lcm(first.plan_every_ticks, then.plan_every_ticks):
            expected = f"a multiple of {first.plan_every_ticks} and {then.plan_every_ticks}, 0 or more"
            raise ConfigError(f"hand-over: got tick {at_tick}, expected {expected}: both plan there")
        self.first, self.then, self._planned_tick = first, then, at_tick
        self.plan_every_ticks = math.gcd(first.plan_every_ticks, then.plan_every_ticks)
        self.reset()

    def reset(self) -> None:
        """Before a new scenario."""
        self.first.reset()
        self.then.reset()
        self._tick = 0
        self.at_tick = self._planned_tick  # of the hand-over: earlier where the first driver fails
        self._path: DensePath | None = None

    @property
    def needs_image(self) -> bool:
        """Of the next plan: only the driver who makes it is asked."""
        driver = self._driver
        return driver.needs_image and self._tick % driver.plan_every_ticks == 0

    @property
    def _driver(self) -> Driver:
        return self.first if self._tick < self.at_tick else self.then

    def plan(self, view: View) -> DensePath:
        """The driver's whose turn it is; between its plans its last one."""
        driver = self._driver
        if self._path is None or self._tick % driver.plan_every_ticks == 0:
            try:
                self._path = driver.plan(view)
            except WorldError:
                if driver is self.then:
                    raise
                self.at_tick = self._tick
                self._path = self.then.plan(view)
        self._tick += self.plan_every_ticks
        return self._path
