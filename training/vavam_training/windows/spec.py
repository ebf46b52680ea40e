"""The grid of a window, and the rules by which its commands are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where the command is read off: `horizon_s` ahead in time, or `rows` recorded rows ahead, or not at all (`recorded`)."""

    horizon_s: float = 0.0
    rows: int = 0
    recorded: bool = False


RULES: dict[str, Rule] = {
    "horizon_3s": Rule(horizon_s=3.0),
    # The reference looks six rows ahead, whatever their rate: 3 s in nuScenes (2 Hz), 0.6 s in nuPlan (10 Hz), where nearly all becomes straight on.
    "reference": Rule(rows=6),
    "recorded": Rule(recorded=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """The grid of a window. `labelled`: trajectories and commands are wanted, so poses must reach H waypoints beyond the newest frame.

    `max_sideways_m`: further than this no vehicle's rear axle moves sideways between two recorded rows; where it does, somebody moved the vehicle (a push in a
    recording, a localisation that jumps), and a trajectory across that is no example: it becomes NaN and is not learned. None: as recorded."""

    frames: int = 8
    horizon: int = 6
    frame_dt_s: float = 0.5
    waypoint_dt_s: float = 0.5
    tolerance_s: float = 0.06  # how far a frame may lie from its place on the grid
    command_rule: str = "horizon_3s"
    labelled: bool = True
    max_sideways_m: float | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.horizon < 1:
            raise ConfigError(f"window: got {self.frames} frames and {self.horizon} waypoints, expected one or more of each")
        for name in ("frame_dt_s", "waypoint_dt_s", "tolerance_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"window {name}: got {getattr(self, name)}, expected a positive number of seconds")
        if self.tolerance_s >= self.frame_dt_s / 2:
            raise ConfigError(f"window tolerance_s: got {self.tolerance_s}, expected less than half of frame_dt_s, {self.frame_dt_s}: a frame has one place")
        if self.max_sideways_m is not None and not self.max_sideways_m > 0.0:
            raise ConfigError(f"window max_sideways_m: got {self.max_sideways_m}, expected a positive number of metres, or none")
        if self.command_rule not in RULES:
            raise ConfigError(f"window command_rule: got {self.command_rule!r}, expected one of {sorted(RULES)}")

    @classmethod
    def of(cls, spec: ModelSpec, *, labelled: bool, command_rule: str = "horizon_3s", max_sideways_m: float | None = None) -> WindowSpec:
        """The windows that a model of these sizes reads."""
        grid = {"frames": spec.video.frames, "horizon": spec.action.horizon, "frame_dt_s": spec.frame_dt_s, "waypoint_dt_s": spec.waypoint_dt_s}
        return cls(**grid, labelled=labelled, command_rule=command_rule, max_sideways_m=max_sideways_m)  # type: ignore[arg-type]

    @property
    def future_s(self) -> float:
        """How far poses must reach beyond a frame: waypoints, and where the command rule looks."""
        return max(self.horizon * self.waypoint_dt_s, RULES[self.command_rule].horizon_s) if self.labelled else 0.0
