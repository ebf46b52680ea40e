"""K samples → one: which, why, and how far they disagree."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.core.contracts import Command, ConfigError, EgoPose, Plan, Selection, Violation
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.planning.metrics import constant_turn_rate
from vavam_ros.core.planning.selection import continuity_error_m, select, spread_m

S = 1_000_000_000


def fan(*yaw_rates, speed=8.0):
    return np.stack([constant_turn_rate(speed, w, 6, 0.5) for w in yaw_rates]).astype(np.float32)


def pose(T=None, stamp_ns=100 * S, frame="odom"):
    return EgoPose(
        stamp_ns=stamp_ns,
        odom_frame_id=frame,
        T_odom_ego=np.eye(4) if T is None else T,
        linear_mps=np.array([8.0, 0, 0]),
        angular_radps=np.zeros(3),
    )


def plan(xy, at, index=0, violations=()):
    return Plan(
        stamp_ns=at.stamp_ns,
        epoch=0,
        model_id="m",
        command=Command.STRAIGHT,
        xy_ego_m=xy,
        dt_s=0.5,
        selection=Selection(index=index, reason="first", spread_m=np.zeros(3, dtype=np.float32)),
        violations=violations,
        context_stamps_ns=(at.stamp_ns,),
        pose=at,
        canonical=True,
    )


def choose(xy, rule, previous=None, at=None, valid=None):
    at = pose() if at is None else at
    return select(xy, rule, previous, at, 0.5, valid)


def test_medoid_is_the_middle_one_and_never_between_two_modes():
    assert choose(fan(0.3, 0.0, -0.3), "medoid").index == 1
    two_modes = fan(0.30, 0.31, 0.32, -0.3, -0.31)
    assert choose(two_modes, "medoid").index == 0


def test_ties_go_to_the_lowest_index():
    assert choose(fan(0.1, -0.1), "medoid").index == 0
    assert choose(np.concatenate([fan(0.2), fan(0.0), fan(0.0), fan(0.0)]), "medoid").index == 1
    assert choose(fan(*[0.0] * 8), "cautious").index == 0


def test_first():
    selection = choose(fan(0.3, 0.0, -0.3), "first")
    assert (selection.index, selection.reason) == (0, "first")


def test_cautious_brakes_when_a_quarter_of_the_samples_do():
    straight_on, slower = fan(*[0.0] * 6), fan(0.0, 0.1, speed=3.0)
    assert choose(np.concatenate([straight_on, slower]), "cautious").index in (6, 7)
    assert choose(np.concatenate([straight_on, slower]), "medoid").index < 6
    assert choose(np.concatenate([straight_on, straight_on[:1], slower[:1]]), "cautious").index == 0  # one of eight is not enough
    turning = np.concatenate([fan(*[0.9] * 6, speed=6.0), fan(0.0, 0.0, speed=5.0)])  # the turning ones end nearer, and go further
    assert np.linalg.norm(turning[0, -1]) < np.linalg.norm(turning[6, -1])
    selection = choose(turning, "cautious")
    assert (selection.index in (6, 7), selection.reason) == (True, "cautious")


@pytest.mark.parametrize(("samples", "rank"), [(1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (16, 3)])
def test_cautious_is_the_lower_quartile_of_the_valid_ones(samples, rank):
    speeds = np.random.default_rng(samples).permutation(samples) + 3.0
    xy = np.concatenate([fan(0.0, speed=speed) for speed in speeds] + [fan(0.0, speed=0.5)])
    valid = np.array([True] * samples + [False])
    assert speeds[choose(xy, "cautious", valid=valid).index] == 3.0 + rank


def test_one_sample_is_its_own_medoid():
    selection = choose(fan(0.1), "medoid")
    assert selection.index == 0
    assert np.array_equal(selection.spread_m, np.zeros(3, dtype=np.float32))


def test_an_invalid_sample_loses_to_a_valid_one():
    samples = fan(0.3, 0.0, -0.3)
    for rule in ("medoid", "first"):
        selection = choose(samples, rule, valid=np.array([False, False, True]))
        assert selection.index == 2
        assert selection.reason == rule


def test_when_none_is_valid_the_reason_says_so():
    selection = choose(fan(0.3, 0.0, -0.3), "medoid", valid=np.zeros(3, dtype=bool))
    assert selection.index == 1
    assert selection.reason == "medoid, no sample is valid"


def test_samples_that_are_not_finite_are_never_chosen_and_do_not_spoil_the_rest():
    samples = fan(0.3, 0.0, -0.3, 0.0)
    samples[1, 3, 0] = np.nan
    selection = choose(samples, "medoid")
    assert selection.index == 3
    assert np.isfinite(selection.spread_m).all()
    samples[:] = np.inf
    assert choose(samples, "medoid").reason == "first, no sample is finite"


def test_continuity_keeps_to_the_previous_plan_seen_from_here():
    """Half a second ago: a left turn. Now, 4 m further and turned by it, the left sample goes on with it, though the medoid is straight."""
    before = pose(planar_T(10, 20, 1.0), 100 * S)
    previous = plan(fan(0.0, 0.3), before, index=1)
    x, y = constant_turn_rate(8.0, 0.3, 1, 0.5)[0]
    now = pose(planar_T(10, 20, 1.0) @ planar_T(x, y, 0.15), 100 * S + S // 2)
    samples = fan(-0.3, 0.0, 0.01, 0.3)
    selection = choose(samples, "continuity", previous, now)
    assert (selection.index, selection.reason) == (3, "continuity")
    assert choose(samples, "medoid", previous, now).index in (1, 2)
    # the same samples, with the vehicle not turned as planned, are another matter: the odometry decides
    unturned = pose(planar_T(10, 20, 1.0) @ planar_T(x, y, -0.45), 100 * S + S // 2)
    assert choose(fan(0.3, 0.6), "continuity", previous, unturned).index == 1


@pytest.mark.parametrize(
    ("previous", "at", "why"),
    [
        (None, pose(), "no previous plan"),
        (plan(fan(0.3), pose(), violations=(Violation(check="jump", value=9.0, limit=5.0, unit="m"),)), pose(), "was invalid"),
        (plan(fan(0.3), pose(frame="map")), pose(), "frame changed"),
        (plan(fan(0.3), pose(stamp_ns=90 * S)), pose(), "does not reach"),
        (plan(fan(0.3), pose(stamp_ns=110 * S)), pose(), "does not reach"),
    ],
)
def test_continuity_falls_back_to_the_medoid_and_says_why(previous, at, why):
    selection = choose(fan(0.3, 0.0, -0.3), "continuity", previous, at)
    assert selection.index == 1
    assert selection.reason.startswith("medoid, ")
    assert why in selection.reason


def test_continuity_error_counts_only_where_both_speak():
    expected = np.full((6, 2), np.nan)
    expected[:2] = [[4.0, 1.0], [8.0, 3.0]]
    assert continuity_error_m(fan(0.0)[0], expected) == pytest.approx(2.0)
    assert np.isnan(continuity_error_m(fan(0.0)[0], np.full((6, 2), np.nan)))


def test_spread_is_the_mean_distance_to_the_others_at_whole_seconds():
    samples = np.zeros((3, 6, 2), dtype=np.float32)
    samples[1, :, 1] = 0.5 * np.arange(1, 7)  # 1 m/s to the left
    samples[2, :, 1] = -1.5 * np.arange(1, 7)  # 3 m/s to the right
    assert np.allclose(spread_m(samples, 0, 0.5), [2.0, 4.0, 6.0])
    assert np.allclose(spread_m(samples, 1, 0.5), [2.5, 5.0, 7.5])
    assert spread_m(samples, 0, 0.5).dtype == np.float32


def test_spread_between_waypoints_and_for_other_horizons():
    ramp = np.stack([np.zeros((5, 2)), np.stack([np.arange(1, 6) * 0.4, np.zeros(5)], axis=1)])  # 1 m/s, dt 0.4, 2.0 s
    assert np.allclose(spread_m(ramp, 0, 0.4), [1.0, 2.0])
    assert spread_m(ramp, 0, 0.1).shape == (0,)


def test_selection_arguments_are_checked():
    with pytest.raises(ConfigError, match="rule"):
        choose(fan(0.0), "mean")
    with pytest.raises(ConfigError, match="shape"):
        choose(fan(0.0)[0], "medoid")
