"""Who drives: the last of what came in on each way, and which of them counts. No ROS.

By order: manual override (a person), autopilot (the expert), ackermann_cmd or vehicle_control_cmd, whichever came last. A control stays in force until
the next one comes, as in CARLA, however old it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vavam_world.bridge.ackermann import SILENCE_NS, AckermannCommand, ackermann_control
from vavam_world.contracts import Control, Vehicle

Source = Literal["none", "control", "manual", "autopilot", "ackermann"]
SOURCES: tuple[Source, ...] = ("none", "control", "manual", "autopilot", "ackermann")


@dataclass(slots=True)
class Controls:
    """The inputs of one vehicle."""

    vehicle: Vehicle
    override: bool = False
    autopilot: bool = False
    applied: Control = field(default_factory=Control)
    source: Source = "none"
    _ackermann: AckermannCommand | None = None

    def control_came(self, control: Control, *, manual: bool) -> bool:
        """A CarlaEgoVehicleControl. As in the bridge it is lost if the override says otherwise; returns whether it counts."""
        if manual != self.override:
            return False
        self._ackermann = None
        self.applied, self.source = control, "manual" if manual else "control"
        return True

    def ackermann_came(self, command: AckermannCommand) -> bool:
        """An AckermannDrive. Returns whether it counts."""
        if self.override:
            return False
        self._ackermann = command
        return True

    def effective(self, now_ns: int, speed_mps: float, autopilot: Callable[[], Control]) -> tuple[Control, Source]:
        """What is applied in the step from `now_ns` on, and whose it is."""
        if self.autopilot and not self.override:
            self.applied, self.source = autopilot(), "autopilot"
        elif self._ackermann is not None and not self.override and now_ns - self._ackermann.came_ns < SILENCE_NS:
            self.applied, self.source = ackermann_control(self._ackermann, speed_mps, self.vehicle), "ackermann"
        return self.applied, self.source
