"""READ FIRST. One scenario, stepped tick by tick."""

from __future__ import annotations

from vavam_world.contracts import Scenario


class Simulation:
    """State and step of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
