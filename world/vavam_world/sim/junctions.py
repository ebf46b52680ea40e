"""Who may enter a junction.

A vehicle holds the connecting lane it drives on from the moment it may enter until its rear has left it. It may enter when

1. nobody holds a lane that meets its own (`Tracks.meets`) and has not yet left the stretch that both need (likewise the ego, where it is in the junction),
2. nobody on the way to a lane that goes first would get there before it is through and `MARGIN_S` more has passed,
3. it finds room behind the junction.

Rule 1 rules out collisions whatever the order; rule 2 is the priority. A vehicle that has stood for `PATIENCE_S` no longer claims its
priority, so that those who wait for each other in a circle go one after another, in the order of their ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vavam_world.contracts import TICK_S
from vavam_world.sim.tracks import Tracks

MARGIN_S = 1.5
PATIENCE_S = 2.0
STANDING_MPS = 0.3
EGO_ID = 0


@dataclass(slots=True, kw_only=True)
class Holder:
    """Where on a connecting lane its holder is: front and rear bumper as arc lengths of that lane (negative before it)."""

    id: int
    front_s: float
    rear_s: float
    waits: bool = False  # stands of its own will, as an ego does that gives way inside the junction


@dataclass(slots=True, kw_only=True)
class Claim:
    """Someone on the way to a connecting lane."""

    id: int
    arrives_s: float


class Junctions:
    """Holders and claims of this tick, by connecting lane."""

    def __init__(self, tracks: Tracks) -> None:
        self._tracks = tracks
        self.holders: dict[int, list[Holder]] = {}
        self.claims: dict[int, list[Claim]] = {}

    def begin(self) -> None:
        """Forgets the last tick."""
        self.holders, self.claims = {}, {}

    def hold(self, lane: int, holder: Holder) -> None:
        """Enters a holder."""
        self.holders.setdefault(lane, []).append(holder)

    def claim(self, lane: int, who: int, distance_m: float, speed_mps: float, stood_ticks: int) -> None:
        """Enters someone who is `distance_m` before a lane, unless it has stood too long to be waited for."""
        if stood_ticks * TICK_S < PATIENCE_S:
            self.claims.setdefault(lane, []).append(Claim(id=who, arrives_s=max(0.0, distance_m) / max(speed_mps, 3.0)))

    def release(self, lane: int, who: int) -> None:
        """Takes a holder off a lane that it has not entered."""
        self.holders[lane] = [h for h in self.holders.get(lane, []) if h.id != who]

    def ego_in_way(self, lane: int) -> bool:
        """Whether the ego drives on a conflicting way and has not left the common stretch."""
        return any(h.id == EGO_ID and self._in_way(other, lane, h) for other in self._tracks.meets(lane) for h in self.holders.get(other, ()))

    def taken(self, lane: int, who: int) -> bool:
        """Rule 1: whether a conflicting way is in use."""
        others = self._tracks.meets(lane)
        return any(h.id != who and self._in_way(other, lane, h) for other in others for h in self.holders.get(other, ()))

    def _in_way(self, other: int, lane: int, holder: Holder) -> bool:
        start, end = self._tracks.zone(other, lane)
        return holder.rear_s < end and not (holder.waits and holder.front_s < start)

    def overruled(self, lane: int, who: int, distance_m: float, speed_mps: float, length_m: float) -> bool:
        """Rule 2: whether someone who goes first would arrive too soon."""
        track = self._tracks[lane]
        for other in track.lane.yields_to:
            if claims := self.claims.get(other):
                end = self._tracks.zone(lane, other)[1]
                if end == -math.inf:
                    continue
                through = (distance_m + end + length_m) / max(0.5 * (speed_mps + track.speed[0]), 2.5)
                if any(c.id != who and c.arrives_s < through + MARGIN_S for c in claims):
                    return True
        return False
