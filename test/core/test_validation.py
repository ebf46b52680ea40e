"""Each limit is tested by a trajectory that breaks only it."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.planning.metrics import constant_turn_rate, constant_velocity
from vavam_ros.core.planning.validation import Limits, validate

DT = 0.5
LIMITS = Limits()


def checks(xy, speed, previous=None, limits=LIMITS):
    return [v.check for v in validate(xy, DT, speed, limits, previous)]


def at_speeds(*speeds):
    """Straight on, one speed per segment."""
    x = np.cumsum(speeds) * DT
    return np.stack([x, np.zeros(len(x))], axis=1)


@pytest.mark.parametrize(("speed", "yaw_rate"), [(0.0, 0.0), (1.0, 0.2), (5.0, 0.6), (12.0, 0.3), (30.0, 0.1), (50.0, 0.0)])
def test_ordinary_driving_is_drivable(speed, yaw_rate):
    assert checks(constant_turn_rate(speed, yaw_rate, 6, DT), speed) == []


def test_standing_still_with_jitter_is_drivable():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert checks(rng.normal(0, 0.03, (6, 2)), 0.0) == []


def test_braking_to_a_stop_and_pulling_away_are_drivable():
    assert checks(at_speeds(9.0, 7.0, 5.0, 3.0, 1.0, 0.0), 10.0) == []
    assert checks(at_speeds(0.5, 1.5, 2.5, 3.5, 4.5, 5.5), 0.0) == []


def test_not_finite():
    xy = constant_velocity(10.0, 6, DT)
    xy[2, 1] = np.nan
    assert checks(xy, 10.0) == ["finite"]
    assert checks(constant_velocity(10.0, 6, DT), float("nan")) == ["finite"]


def test_start():
    assert checks(constant_velocity(10.0, 6, DT), 10.0 - 5.0) == []  # 2.5 m off, 2.5 m allowed at 5 m/s
    assert checks(constant_velocity(10.0, 6, DT), 2.0) == ["start"]


def test_start_allowance_grows_with_speed():
    assert checks(constant_velocity(36.0, 6, DT), 30.0) == []  # 3 m beyond, 5 m allowed
    assert checks(constant_velocity(36.0, 6, DT), 30.0, limits=Limits(max_start_error_s=0.01)) == ["start"]


def test_speed():
    assert checks(constant_velocity(61.0, 6, DT), 61.0) == ["speed"]


def test_reverse():
    assert checks(constant_velocity(-1.0, 6, DT), -1.0) == ["reverse"]


def test_longitudinal_acceleration():
    assert checks(at_speeds(5.0, 8.5, 8.5, 8.5, 8.5, 8.5), 5.0) == ["lon_accel"]


def test_longitudinal_deceleration():
    assert checks(at_speeds(20.0, 14.0, 14.0, 14.0, 14.0, 14.0), 20.0) == ["lon_decel"]
    assert checks(at_speeds(20.0, 15.5, 11.0, 6.5, 2.0, 0.0), 20.0) == [], "an emergency stop is drivable"


def test_curvature():
    assert checks(constant_turn_rate(2.0, 0.8, 6, DT), 2.0) == ["curvature"]


def test_lateral_acceleration():
    assert checks(constant_turn_rate(25.0, 0.5, 6, DT), 25.0) == ["lat_accel"]


def test_cusp_is_a_bend_not_a_straight_line():
    forth_and_back = np.array([[0.5, 0], [1.0, 0], [1.5, 0], [1.0, 0], [0.5, 0], [0.0, 0]])
    assert checks(forth_and_back, 1.0) == ["curvature"]


def test_jump():
    xy = constant_velocity(10.0, 6, DT)
    previous = xy + np.array([0.0, 5.5])
    assert checks(xy, 10.0, previous) == ["jump"]
    previous[1:] = np.nan
    previous[0] = xy[0]
    assert checks(xy, 10.0, previous) == []
    assert checks(xy, 10.0, np.full((6, 2), np.nan)) == []


def test_to_stop_short_of_where_one_was_going_is_never_a_fault():
    going = constant_velocity(12.0, 6, DT)
    for first_mps in (0.0, 1.0, 4.0):
        stop = at_speeds(first_mps, *[0.0] * 5)
        assert checks(stop, 12.0, going) == [], "something stepped into the road"
    bend = constant_turn_rate(8.0, 0.4, 6, DT)
    assert checks(at_arc(bend, 0.4), 8.0, bend) == []  # along the bend, nearer
    assert checks(at_speeds(*[1.5] * 6) + np.array([0.0, 5.5]), 12.0, going)[-1] == "jump"  # nearer, but beside the way
    assert checks(at_speeds(*[0.5] * 6) + np.array([0.0, 3.5]), 10.0)[0] == "start"  # likewise


def test_to_go_on_where_the_last_plan_stopped_is_no_jump():
    stop = at_speeds(4.0, 2.0, 0.0, 0.0, 0.0, 0.0)
    assert checks(constant_velocity(6.0, 6, DT), 6.0, stop) == [], "what was in the way is gone"
    standing = np.zeros((6, 2))
    assert checks(at_speeds(0.5, 1.5, 2.5, 3.5, 4.5, 5.5), 0.0, standing) == []
    assert checks(constant_velocity(8.0, 6, DT), 0.0, standing) == ["start"]  # with speed, out of nothing
    jitter = np.array([[-0.1, 0.1], [-0.2, 0.0], [-0.3, 0.1], [-0.2, 0.2], [-0.3, 0.1], [-0.4, 0.0]])
    assert checks(at_speeds(1.0, 3.0, 5.0, 6.0, 7.0, 8.0), 0.0, jitter) == [], "a standing plan has no direction"
    turned = constant_velocity(6.0, 6, DT)[:, ::-1].copy()  # a frame error: ahead has become left
    assert "jump" in checks(constant_velocity(6.0, 6, DT), 6.0, turned)


def at_arc(xy: np.ndarray, share: float) -> np.ndarray:
    """The same curve, gone only `share` as far at each time."""
    way = np.vstack([np.zeros((1, 2)), xy])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    return np.stack([np.interp(share * length[1:], length, way[:, axis]) for axis in range(2)], axis=1)


def test_violation_says_value_limit_and_unit():
    (violation,) = validate(constant_turn_rate(2.0, 0.8, 6, DT), DT, 2.0, LIMITS)
    assert violation.value == pytest.approx(0.4)
    assert str(violation) == "curvature: 0.4 1/m (limit 0.3)"
    (violation,) = validate(constant_turn_rate(25.0, 0.5, 6, DT), DT, 25.0, LIMITS)
    assert violation.value == pytest.approx(0.5 * 25.0, rel=0.02)


def test_each_limit_is_a_parameter():
    assert checks(constant_turn_rate(2.0, 0.8, 6, DT), 2.0, limits=Limits(max_curvature_1pm=0.5)) == []
    assert checks(at_speeds(5.0, 8.5, 8.5, 8.5, 8.5, 8.5), 5.0, limits=Limits(max_lon_accel_mps2=8.0)) == []
    with pytest.raises(ConfigError, match="max_jump_m"):
        Limits(max_jump_m=0.0)


def test_shape_is_checked():
    with pytest.raises(ConfigError, match="shape"):
        validate(np.zeros((2, 6, 2)), DT, 0.0, LIMITS)
