"""Overlap of oriented boxes against shapely, and who counts as a partner."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from vavam_world.contracts import ActorState, Control, EgoState, Prop, Vehicle
from vavam_world.sim.collision import CollisionCheck, box, corners, ego_box, overlap


def ego(x: float = 0.0, y: float = 0.0, yaw: float = 0.0, speed: float = 0.0) -> EgoState:
    return EgoState(x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())


def actor(x: float, y: float, **changes: object) -> ActorState:
    car = ActorState(id=7, kind="car", x_m=x, y_m=y, yaw_rad=0.0, speed_mps=0.0, length_m=4.0, width_m=2.0, height_m=1.5, variant=0)
    return replace(car, **changes)  # type: ignore[arg-type]


def prop(kind: str, x: float, y: float, size: float = 1.0) -> Prop:
    return Prop(kind=kind, x_m=x, y_m=y, yaw_rad=0.5, length_m=size, width_m=size, height_m=2.0, variant=0)  # type: ignore[arg-type]


def test_overlap_agrees_with_shapely() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(2000):
        a, b = (box(*rng.uniform(-4.0, 4.0, 2), rng.uniform(-7.0, 7.0), *rng.uniform(0.2, 6.0, 2)) for _ in range(2))
        area = shapely.Polygon(corners(a)).intersection(shapely.Polygon(corners(b))).area
        if area == 0.0 or area > 1e-9:
            assert overlap(a, b) == (area > 0.0)
            assert overlap(b, a) == overlap(a, b)
            seen.add(area > 0.0)
    assert seen == {True, False}


def test_corners_are_counter_clockwise_from_front_left() -> None:
    np.testing.assert_allclose(corners(box(1.0, 2.0, math.pi / 2.0, 4.0, 2.0)), [[0.0, 4.0], [0.0, 0.0], [2.0, 0.0], [2.0, 4.0]], atol=1e-12)


def test_the_body_lies_about_the_rear_axle_as_the_vehicle_says() -> None:
    vehicle = Vehicle()
    xs = corners(ego_box(ego(), vehicle))[:, 0]
    assert xs.min() == pytest.approx(-vehicle.rear_overhang_m)
    assert xs.max() == pytest.approx(vehicle.length_m - vehicle.rear_overhang_m)


def test_each_partner_counts_once_with_the_difference_of_velocities() -> None:
    check = CollisionCheck([], Vehicle())
    others = [actor(4.5, 0.0, yaw_rad=math.pi / 2.0, speed_mps=3.0), actor(5.0, 0.5, id=8, yaw_rad=math.pi, speed_mps=2.0), actor(50.0, 0.0, id=9)]
    first = check.new(3, ego(speed=4.0), others)
    assert [(c.tick, c.with_id) for c in first] == [(3, 7), (3, 8)]
    assert [c.impact_mps for c in first] == pytest.approx([5.0, 6.0])
    assert check.new(4, ego(speed=4.0), others) == []


def test_a_tree_stops_with_its_trunk_not_its_crown() -> None:
    tree = Prop(kind="tree", x_m=2.0, y_m=0.0, yaw_rad=0.0, length_m=6.0, width_m=6.0, height_m=10.0, variant=0)
    assert CollisionCheck([tree], Vehicle()).new(0, ego(y=2.0), []) == []
    assert len(CollisionCheck([tree], Vehicle()).new(0, ego(y=1.1), [])) == 1


def test_solid_props_count_and_soft_or_distant_ones_do_not() -> None:
    props = [prop("bush", 2.0, 0.0), prop("tree", 30.0, 0.0), prop("pole", 2.0, 0.5), prop("parking", 2.0, 0.0), prop("house", 200.0, 0.0, 60.0)]
    check = CollisionCheck(props, Vehicle())
    assert [(c.with_id, c.kind, c.impact_mps) for c in check.new(0, ego(speed=-2.0), [])] == [(-3, "pole", 2.0)]
    assert [c.with_id for c in check.new(1, ego(x=168.0, yaw=0.0), [])] == [-5]  # a large one is found from cells far from its middle
