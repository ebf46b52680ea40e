"""One traffic vehicle, and the car-following law (Intelligent Driver Model)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vavam_world.contracts import TICK_S, ActorState
from vavam_world.sim.tracks import Tracks

ACCEL_MPS2, COMFORT_MPS2, HEADWAY_S, GAP_M = 1.5, 2.0, 1.3, 2.0
LINE_GAP_M = 0.3  # kept before a line to stop at, instead of GAP_M behind a bumper
FREE_BRAKE_MPS2, HARD_BRAKE_MPS2 = 2.5, 8.0  # braking for a lower desired speed; the most there is
JERK_MPS3 = 12.0  # how fast the acceleration changes, but for hard braking
BRAKE_LIGHT_MPS2 = 0.6

Kind = Literal["car", "van", "truck"]
KINDS: tuple[tuple[Kind, float, float, float, float], ...] = (  # share of traffic, length, width, height
    ("car", 0.76, 4.5, 1.85, 1.5),
    ("van", 0.16, 5.2, 2.0, 2.1),
    ("truck", 0.08, 7.0, 2.3, 2.9),
)


def idm(speed: float, desired: float, gap: float, closing: float, gap_m: float = GAP_M) -> float:
    """Acceleration towards a desired speed behind something `gap` ahead that is approached with `closing` (its speed less than the own)."""
    free = ACCEL_MPS2 * (1.0 - (speed / max(desired, 0.1)) ** 4)
    if speed > desired:  # firmer than the law has it, so that bends are met at their speed
        free = max(-FREE_BRAKE_MPS2, 3.0 * (desired - speed))
    if gap == math.inf:
        return free
    wanted = gap_m + max(0.0, speed * HEADWAY_S + speed * closing / (2.0 * math.sqrt(ACCEL_MPS2 * COMFORT_MPS2)))
    return max(-HARD_BRAKE_MPS2, free - ACCEL_MPS2 * (wanted / max(gap, 0.05)) ** 2)


@dataclass(slots=True, kw_only=True)
class Car:
    """Where a vehicle is, what it is and where it goes. `path` holds the lanes ahead, the present one first."""

    id: int
    kind: Kind
    length: float
    width: float
    height: float
    variant: int
    temper: float  # share of the allowed speed that it drives
    rng: np.random.Generator
    path: list[int]
    s: float
    speed: float
    behind: int | None = None  # the lane it came from
    accel: float = 0.0
    wanted: float = 0.0  # acceleration decided in this tick
    held: list[int] = field(default_factory=list)  # connecting lanes it may drive on
    stood: int = 0  # ticks at standstill

    @property
    def lane(self) -> int:
        """Lane that its middle is on."""
        return self.path[0]

    def plan(self, tracks: Tracks, reach_m: float) -> None:
        """Chooses lanes until the path reaches so far ahead; it ends earlier where a road does."""
        total = sum(tracks[lane].length for lane in self.path) - self.s
        while total < reach_m:
            ways = tracks[self.path[-1]].lane.successors
            if not ways:
                return
            self.path.append(ways[int(self.rng.integers(len(ways)))])
            total += tracks[self.path[-1]].length

    def move(self, tracks: Tracks) -> None:
        """One tick at the acceleration decided, with bounded jerk unless braking hard; never backwards."""
        change = JERK_MPS3 * TICK_S
        self.accel = self.wanted if self.wanted < -COMFORT_MPS2 else min(max(self.wanted, self.accel - change), self.accel + change)
        before = self.speed
        self.speed = max(0.0, before + self.accel * TICK_S)
        if self.speed == 0.0:
            self.accel = max(0.0, self.accel)
        self.stood = self.stood + 1 if self.speed < 0.3 else 0
        self.s += 0.5 * (before + self.speed) * TICK_S
        while self.s > tracks[self.lane].length and len(self.path) > 1:
            self.s -= tracks[self.lane].length
            self.behind = self.path.pop(0)

    def state(self, tracks: Tracks) -> ActorState:
        """As others see it. The heading is that of the chord between the axles' places on the path: never faster than the path bends."""
        here = tracks[self.lane]
        x, y, _ = here.at(self.s)
        reach = 0.3 * self.length
        x0, y0, _ = self._place(tracks, self.s - reach)
        x1, y1, _ = self._place(tracks, self.s + reach)
        return ActorState(
            id=self.id,
            kind=self.kind,
            x_m=x,
            y_m=y,
            yaw_rad=math.atan2(y1 - y0, x1 - x0),
            speed_mps=self.speed,
            length_m=self.length,
            width_m=self.width,
            height_m=self.height,
            variant=self.variant,
            braking=self.accel < -BRAKE_LIGHT_MPS2 or self.speed < 0.1,
            lane_id=self.lane,
            s_m=self.s,
        )

    def _place(self, tracks: Tracks, s: float) -> tuple[float, float, float]:
        here = tracks[self.lane]
        if s < 0.0 and self.behind is not None:
            before = tracks[self.behind]
            return before.at(before.length + s)
        if s > here.length and len(self.path) > 1:
            return tracks[self.path[1]].at(s - here.length)
        return here.at(s)
