"""Outlines of what moves, in map."""

from __future__ import annotations

import numpy as np

from vavam_world.contracts import F64, ActorState, EgoState, Vehicle


def box(x_m: float, y_m: float, yaw_rad: float, front_m: float, rear_m: float, width_m: float) -> F64:
    """(4, 2) corners of a box that reaches `front_m` ahead of and `rear_m` behind a point."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    local = np.array([[front_m, width_m / 2], [-rear_m, width_m / 2], [-rear_m, -width_m / 2], [front_m, -width_m / 2]])
    corners: F64 = local @ np.array([[c, s], [-s, c]]) + (x_m, y_m)
    return corners


def ego_box(ego: EgoState, vehicle: Vehicle) -> F64:
    """(4, 2) corners of the ego's body; front left, rear left, rear right, front right."""
    return box(ego.x_m, ego.y_m, ego.yaw_rad, vehicle.length_m - vehicle.rear_overhang_m, vehicle.rear_overhang_m, vehicle.width_m)


def actor_box(actor: ActorState) -> F64:
    """(4, 2) corners of another road user; a pedestrian is drawn no smaller than can be seen from above."""
    least = 0.8 if actor.kind == "pedestrian" else 0.0
    length, width = max(actor.length_m, least), max(actor.width_m, least)
    return box(actor.x_m, actor.y_m, actor.yaw_rad, length / 2, length / 2, width)
