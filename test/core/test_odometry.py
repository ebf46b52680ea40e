"""The odometry history: interpolation against known motion, and a defined outcome for each kind of bad message."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError, EgoPose, OdometrySample, PoseQuality, Waiting, WaitReason
from vavam_ros.core.geometry import integrate_twist, planar_T, pose_matrix, rotation_vector, yaw_of
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory, PushOutcome

S = 1_000_000_000
T0 = 1_700_000_000 * S
V, W = np.array([10.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.4])


def at(t: float, **changes) -> OdometrySample:
    """On a circle: 10 m/s, 0.4 rad/s."""
    sample = OdometrySample(
        stamp_ns=T0 + round(t * S),
        odom_frame_id="odom",
        base_frame_id="base_link",
        T_odom_base=integrate_twist(np.eye(4), V, W, t),
        linear_mps=V,
        angular_radps=W,
    )
    return replace(sample, **changes)


def filled(times, config=None, rear_axle_x_m=0.0, **changes):
    history = OdometryHistory(config, rear_axle_x_m)
    for t in times:
        history.push(at(float(t), **changes))
    return history


def stamp(t):
    return T0 + round(t * S)


@pytest.mark.parametrize("rate_hz", [10, 20, 100])
@pytest.mark.parametrize(("kind", "position_m", "yaw_rad"), [("hermite", 2e-6, 1e-9), ("linear", 1e-2, 1e-9)])
def test_interpolation_on_a_circle_at_irregular_stamps(rate_hz, kind, position_m, yaw_rad):
    rng = np.random.default_rng(1)
    times = np.sort(np.arange(1.0, 4.0, 1 / rate_hz) + rng.uniform(-0.02, 0.02, 3 * rate_hz))
    history = filled(times, OdometryConfig(interpolation=kind))
    for t in rng.uniform(1.2, 3.8, 100):
        pose = history.pose_at(stamp(t))
        assert isinstance(pose, EgoPose)
        truth = integrate_twist(np.eye(4), V, W, (pose.stamp_ns - T0) / S)
        assert np.linalg.norm(pose.T_odom_ego[:3, 3] - truth[:3, 3]) < position_m
        assert abs(yaw_of(pose.T_odom_ego) - yaw_of(truth)) < yaw_rad
        assert np.allclose(pose.linear_mps, V)
        assert np.allclose(pose.angular_radps, W)
        assert (pose.stamp_ns, pose.quality, pose.odom_frame_id) == (stamp(t), PoseQuality.MEASURED, "odom")


def test_interpolation_follows_a_changing_turn_in_three_dimensions():
    """Rotation at a growing rate about a tilted axis: the Hermite curve keeps to it, spherical interpolation would not."""
    axis = np.array([0.2, -0.3, 0.93])
    axis /= np.linalg.norm(axis)
    history = OdometryHistory()
    angle = lambda t: 0.3 * t + 0.5 * t**2  # noqa: E731
    for t in (1.0, 1.1):
        T = pose_matrix((0, 0, 0), (*(axis * np.sin(angle(t) / 2)), np.cos(angle(t) / 2)))
        history.push(at(t, T_odom_base=T, linear_mps=np.zeros(3), angular_radps=axis * (0.3 + t)))
    pose = history.pose_at(stamp(1.05))
    truth = pose_matrix((0, 0, 0), (*(axis * np.sin(angle(1.05) / 2)), np.cos(angle(1.05) / 2)))
    assert isinstance(pose, EgoPose)
    assert np.allclose(pose.T_odom_ego, truth, atol=1e-9)


def test_interpolation_when_the_axis_of_rotation_changes():
    """Yaw and pitch together: the rates at the end of the bracket are not those of the rotation vector, and that is allowed for."""

    def rotation(t):
        yaw, pitch = 1.2 * t, 0.9 * t**2
        return pose_matrix((0, 0, 0), (0, 0, np.sin(yaw / 2), np.cos(yaw / 2))) @ pose_matrix((0, 0, 0), (0, np.sin(pitch / 2), 0, np.cos(pitch / 2)))

    def rate(t):
        return rotation_vector(rotation(t - 1e-5)[:3, :3].T @ rotation(t + 1e-5)[:3, :3]) / 2e-5

    history = OdometryHistory()
    for t in (1.0, 1.1):
        history.push(at(t, T_odom_base=rotation(t), linear_mps=np.zeros(3), angular_radps=rate(t)))
    for t in (1.02, 1.05, 1.08):
        error = rotation_vector(rotation(t)[:3, :3].T @ history.pose_at(stamp(t)).T_odom_ego[:3, :3])
        assert np.linalg.norm(error) < 3e-5


@pytest.mark.parametrize("missing", [{"linear_mps": np.zeros(3)}, {"angular_radps": np.zeros(3)}, {"linear_mps": np.zeros(3), "angular_radps": np.zeros(3)}])
def test_odometry_without_a_twist_falls_back_to_linear(missing):
    history = filled([1.0, 1.1], **missing)
    a, b = at(1.0).T_odom_base[:3, 3], at(1.1).T_odom_base[:3, 3]
    pose = history.pose_at(stamp(1.025))
    assert isinstance(pose, EgoPose)
    assert np.allclose(pose.T_odom_ego[:3, 3], 0.75 * a + 0.25 * b)


def test_lever_arm_gives_the_rear_axle():
    history = filled([1.0, 1.1], rear_axle_x_m=-1.4)
    pose = history.pose_at(stamp(1.0))
    assert isinstance(pose, EgoPose)
    assert np.allclose(pose.T_odom_ego, at(1.0).T_odom_base @ planar_T(-1.4, 0, 0))
    assert np.allclose(pose.linear_mps, (10, -1.4 * 0.4, 0))
    base = history.base_at(stamp(1.0))
    assert isinstance(base, OdometrySample)
    assert np.allclose(base.T_odom_base, at(1.0).T_odom_base)


def test_nothing_yet():
    history = OdometryHistory()
    for answer in (history.pose_at(stamp(1)), history.pose_now(stamp(1)), history.base_now(stamp(1))):
        assert isinstance(answer, Waiting)
        assert answer.reason is WaitReason.NO_ODOMETRY
    assert history.newest_stamp_ns is None


def test_stamp_before_and_after_the_history_and_in_a_gap():
    history = filled([1.0, 1.1, 1.5, 1.6])
    reason = lambda t: history.pose_at(stamp(t)).reason  # noqa: E731
    assert reason(0.99) is WaitReason.STAMP_BEFORE_HISTORY
    assert reason(1.3) is WaitReason.ODOMETRY_GAP
    assert reason(1.61) is WaitReason.ODOMETRY_BEHIND
    for t in (1.0, 1.1, 1.5, 1.6):  # a message at the very stamp needs no bracket
        assert isinstance(history.pose_at(stamp(t)), EgoPose)


def test_late_bracket_arrives_and_the_pose_is_measured():
    history = filled([1.0, 1.1])
    assert history.pose_at(stamp(1.15)).reason is WaitReason.ODOMETRY_BEHIND
    extrapolated = history.pose_at(stamp(1.15), allow_extrapolation_s=0.1)
    history.push(at(1.2))
    measured = history.pose_at(stamp(1.15), allow_extrapolation_s=0.1)
    assert extrapolated.quality is PoseQuality.EXTRAPOLATED
    assert measured.quality is PoseQuality.MEASURED
    assert np.allclose(extrapolated.T_odom_ego, measured.T_odom_ego, atol=1e-5)


def test_extrapolation_is_bounded_by_the_caller_and_by_the_config():
    history = filled(np.arange(1.0, 2.01, 0.1), OdometryConfig(max_extrapolation_s=0.2))
    assert history.pose_at(stamp(2.15), allow_extrapolation_s=0.1).reason is WaitReason.ODOMETRY_BEHIND
    assert history.pose_at(stamp(2.25), allow_extrapolation_s=5.0).reason is WaitReason.ODOMETRY_BEHIND
    pose, stale = history.pose_now(stamp(2.19)), history.pose_now(stamp(2.21))
    assert np.allclose(pose.T_odom_ego, integrate_twist(np.eye(4), V, W, 2.19), atol=1e-9)
    assert stale.reason is WaitReason.ODOMETRY_STALE
    assert "0.2 s" in str(stale)
    assert history.pose_now(stamp(1.95)).quality is PoseQuality.MEASURED


def test_present_pose_follows_the_trend_of_the_twist():
    history = OdometryHistory()
    for t in np.arange(0.1, 1.01, 0.1):  # from rest at 2 m/s²
        history.push(at(t, T_odom_base=planar_T(t**2, 0, 0), linear_mps=np.array([2 * t, 0, 0]), angular_radps=np.zeros(3)))
    pose = history.pose_now(stamp(1.15))
    assert pose.T_odom_ego[0, 3] == pytest.approx(1.15**2)
    assert pose.linear_mps[0] == pytest.approx(2.3)


def test_one_twist_alone_makes_no_trend():
    pose = filled([1.0]).pose_now(stamp(1.1))
    assert np.allclose(pose.T_odom_ego, integrate_twist(np.eye(4), V, W, 1.1), atol=1e-12)


def test_noise_of_two_neighbouring_twists_makes_no_trend():
    history = OdometryHistory()
    for t, noise in ((1.0, 0.0), (1.01, 0.2)):
        history.push(at(t, T_odom_base=planar_T(10 * t, 0, 0), linear_mps=np.array([10 + noise, 0, 0]), angular_radps=np.zeros(3)))
    assert history.pose_now(stamp(1.11)).linear_mps[0] == pytest.approx(10.2)


@pytest.mark.parametrize("first_is_estimated", [True, False])
def test_one_estimated_neighbour_makes_the_pose_estimated(first_is_estimated):
    history = filled([1.0], quality=PoseQuality.ESTIMATED if first_is_estimated else PoseQuality.MEASURED)
    history.push(at(1.1, quality=PoseQuality.MEASURED if first_is_estimated else PoseQuality.ESTIMATED))
    assert history.pose_at(stamp(1.05)).quality is PoseQuality.ESTIMATED


def test_estimated_odometry_stays_estimated():
    history = filled([1.0, 1.1], quality=PoseQuality.ESTIMATED)
    assert history.pose_at(stamp(1.05)).quality is PoseQuality.ESTIMATED
    assert history.pose_now(stamp(1.15)).quality is PoseQuality.ESTIMATED


def test_order_of_arrival_does_not_matter():
    times = np.arange(1.0, 2.0, 0.05)
    shuffled = times.copy()
    np.random.default_rng(3).shuffle(shuffled)
    ordered, mixed = filled(times), filled(shuffled)
    assert mixed.counters[PushOutcome.OUT_OF_ORDER] > 0
    for t in np.linspace(1.0, 1.95, 50):
        a, b = ordered.pose_at(stamp(t)), mixed.pose_at(stamp(t))
        assert isinstance(a, EgoPose)
        assert isinstance(b, EgoPose)
        assert np.array_equal(a.T_odom_ego, b.T_odom_ego)


def test_outcomes_are_named_and_counted():
    history = filled([1.0, 1.1])
    assert history.push(at(1.1, T_odom_base=planar_T(99, 0, 0))) is PushOutcome.DUPLICATE
    assert history.push(at(1.2, linear_mps=np.array([np.nan, 0, 0]))) is PushOutcome.REJECTED_NONFINITE
    bad = at(1.2).T_odom_base.copy()
    bad[0, 3] = np.inf
    assert history.push(at(1.2, T_odom_base=bad)) is PushOutcome.REJECTED_NONFINITE
    assert history.push(at(1.2, stamp_ns=0)) is PushOutcome.REJECTED_NO_STAMP
    assert len(history) == 2
    assert history.newest_stamp_ns == stamp(1.1)
    assert np.allclose(history.pose_at(stamp(1.1)).T_odom_ego, at(1.1).T_odom_base), "the first of two messages with one stamp counts"
    assert history.counters[PushOutcome.DUPLICATE] == 1
    assert history.counters[PushOutcome.REJECTED_NONFINITE] == 2
    assert history.counters[PushOutcome.ACCEPTED] == 2


def test_time_that_jumps_back_begins_anew():
    history = filled(np.arange(1.0, 5.0, 0.1))
    outcome = history.push(at(0.5))
    assert outcome is PushOutcome.TIME_JUMPED_BACK
    assert outcome.was_reset
    assert len(history) == 1
    assert history.newest_stamp_ns == stamp(0.5)


def test_another_frame_begins_anew():
    history = filled([1.0, 1.1])
    assert history.push(at(1.2, odom_frame_id="map")) is PushOutcome.FRAME_CHANGED
    assert len(history) == 1
    assert history.pose_at(stamp(1.2)).odom_frame_id == "map"
    assert history.push(at(1.3, odom_frame_id="map", base_frame_id="rear")) is PushOutcome.FRAME_CHANGED


def test_a_respawn_is_noticed_and_a_pause_is_not_taken_for_one():
    history = filled([1.0, 1.1])
    assert history.push(at(2.1)) is PushOutcome.ACCEPTED
    assert history.push(at(2.2, T_odom_base=planar_T(500, 0, 0))) is PushOutcome.POSE_JUMPED
    assert len(history) == 1


def test_memory_is_bounded_in_time():
    history = filled(np.arange(1.0, 30.0, 0.05), OdometryConfig(keep_s=3.0))
    assert len(history) <= 62
    assert history.oldest_stamp_ns >= stamp(26.9)


def test_reset_keeps_the_counters():
    history = filled([1.0, 1.1])
    history.reset()
    assert len(history) == 0
    assert history.counters[PushOutcome.ACCEPTED] == 2


@pytest.mark.parametrize("bad", [{"keep_s": 0.0}, {"max_gap_s": -1.0}, {"max_extrapolation_s": -0.1}, {"keep_s": 0.5}, {"interpolation": "cubic"}])
def test_config_is_checked(bad):
    with pytest.raises(ConfigError, match="odometry"):
        OdometryConfig(**bad)


# ── twists and poses


@pytest.mark.parametrize("rate_hz", [10, 20, 200])
def test_twists_that_fit_their_poses_are_not_complained_about_and_noise_is_no_contradiction(rate_hz):
    rng = np.random.default_rng(2)
    history = OdometryHistory()
    for t in np.arange(0.0, 2.0, 1 / rate_hz):
        sample = at(float(t))
        T = sample.T_odom_base.copy()
        T[:3, 3] += rng.normal(0.0, 0.01, 3)
        history.push(replace(sample, T_odom_base=T, linear_mps=V + rng.normal(0.0, 0.2, 3)))
    assert history.contradiction() is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"linear_mps": np.zeros(3)}, r"poses move at 9\.\d+ m/s, the twists say 0\.00"),
        ({"linear_mps": V * 3.6}, "the twists say 3"),  # km/h
        ({"linear_mps": np.array([0.0, 10.0, 0.0])}, "differ by 1"),  # another frame
        ({"angular_radps": np.zeros(3)}, r"poses turn at 0\.40 rad/s, the twists say 0\.00"),
        ({"angular_radps": np.degrees(W)}, r"the twists say 22\.92"),
    ],
)
def test_a_twist_that_contradicts_the_poses_is_named(changes, text):
    history = filled(np.arange(0.0, 1.5, 0.05), **changes)
    why = history.contradiction()
    assert why is not None
    assert re.search(text, why), why


def test_nothing_is_claimed_from_too_little():
    assert OdometryHistory().contradiction() is None
    assert filled([0.0, 0.1, 0.2], linear_mps=np.zeros(3)).contradiction() is None, "too short"
    assert filled([0.0, 0.1, 0.9, 1.0], linear_mps=np.zeros(3)).contradiction() is None, "across a gap"
    standing = filled(np.arange(0.0, 1.5, 0.05), T_odom_base=np.eye(4), linear_mps=np.zeros(3), angular_radps=np.zeros(3))
    assert standing.contradiction() is None
