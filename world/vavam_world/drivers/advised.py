"""One driver drives, another is asked at each of its plans what it would do, and nobody listens.

What is learned from an expert who drives begins where the expert gets to; what it would do is known wherever the other one gets to, up to the collision
that it would have avoided (data aggregation: Ross, Gordon, Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning, 2011).
"""

from __future__ import annotations

import contextlib

from vavam_ros.core.contracts import DensePath
from vavam_world.contracts import Driver, View, WorldError


class Advised:
    """State: both drivers', and the advice so far. Where the first has nothing to drive on, the advice is driven."""

    name = "advised"

    def __init__(self, first: Driver, adviser: Driver) -> None:
        self.first, self.adviser = first, adviser
        self.plan_every_ticks = first.plan_every_ticks
        self.advice: dict[int, DensePath] = {}  # by the stamp of the view

    @property
    def needs_image(self) -> bool:
        """Of the first driver's plan."""
        return self.first.needs_image

    def reset(self) -> None:
        """Before a new scenario."""
        self.first.reset()
        self.adviser.reset()
        self.advice = {}

    def plan(self, view: View) -> DensePath:
        """The first driver's. Raises WorldError where neither has one."""
        advice: DensePath | None = None
        with contextlib.suppress(WorldError):  # of what it cannot judge it gives no advice
            advice = self.advice[view.stamp_ns] = self.adviser.plan(view)
        try:
            return self.first.plan(view)
        except WorldError:
            if advice is None:
                raise
            return advice
