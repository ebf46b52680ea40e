"""Who meets whom in a junction, and who goes first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import shapely

from vavam_world.contracts import Lane
from vavam_world.roads.curve import turn_of

if TYPE_CHECKING:
    from vavam_world.roads.network import Arm

SWEPT_HALF_WIDTH_M = 1.2  # of a vehicle on its lane, with a margin


def with_priority(lanes: Sequence[Lane], arms: Sequence[Arm]) -> list[Lane]:
    """Connecting lanes of one junction with `conflicts` and `yields_to` filled in. Lanes out of one lane part: they are no conflict.

    Of two lanes in conflict exactly one yields: from the minor road to the main road; else a left turn to what comes the other way; else to
    what comes from the right; else (two left turns that meet) the later id to the earlier."""
    side = {lane_id: i for i, arm in enumerate(arms) for lane_id in arm.incoming}
    swept = [shapely.LineString(lane.xy_m).buffer(SWEPT_HALF_WIDTH_M, cap_style="flat") for lane in lanes]
    conflicts: dict[int, list[int]] = {lane.id: [] for lane in lanes}
    yields: dict[int, list[int]] = {lane.id: [] for lane in lanes}
    for i, a in enumerate(lanes):
        for j in range(i + 1, len(lanes)):
            b = lanes[j]
            if side[a.predecessors[0]] == side[b.predecessors[0]] or not swept[i].intersects(swept[j]):
                continue
            conflicts[a.id].append(b.id)
            conflicts[b.id].append(a.id)
            waits, goes = (a, b) if _yields(a, side[a.predecessors[0]], b, side[b.predecessors[0]], arms) else (b, a)
            yields[waits.id].append(goes.id)
    return [replace(lane, conflicts=tuple(sorted(conflicts[lane.id])), yields_to=tuple(sorted(yields[lane.id]))) for lane in lanes]


def _yields(a: Lane, side_a: int, b: Lane, side_b: int, arms: Sequence[Arm]) -> bool:
    """Whether a waits for b."""
    arm_a, arm_b = arms[side_a], arms[side_b]
    if arm_a.main != arm_b.main:
        return arm_b.main
    from_a = _relative(arm_a, arm_b)
    if from_a == "opposite":
        return a.turn == "left" if (a.turn == "left") != (b.turn == "left") else a.id > b.id
    return from_a == "right"


def _relative(arm: Arm, other: Arm) -> str:
    """Where traffic from `other` comes from, seen by traffic that enters from `arm`."""
    turn = turn_of(arm.yaw_rad + math.pi, other.yaw_rad)
    return "opposite" if turn == "straight" else turn
