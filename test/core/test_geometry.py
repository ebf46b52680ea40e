"""Rigid motions, plan splines and dense paths, against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vavam_ros.core import geometry as g
from vavam_ros.core.contracts import Command, ConfigError, DensePath, EgoPose, InputError, OdometrySample, Plan, Selection, Waiting, WaitReason

S = 1_000_000_000
RNG = np.random.default_rng(0)


def random_T(rng):
    q = rng.normal(size=4)
    return g.pose_matrix(rng.normal(size=3) * 10, q / np.linalg.norm(q))


def ego(T=None, speed=10.0, yaw_rate=0.0, stamp_ns=100 * S):
    T = np.eye(4) if T is None else T
    return EgoPose(
        stamp_ns=stamp_ns, odom_frame_id="odom", T_odom_ego=T, linear_mps=np.array([speed, 0, 0]), angular_radps=np.array([0, 0, yaw_rate])
    )


def plan(xy, pose=None):
    pose = ego() if pose is None else pose
    return Plan(
        stamp_ns=pose.stamp_ns,
        epoch=0,
        model_id="m",
        command=Command.STRAIGHT,
        xy_ego_m=np.asarray(xy, dtype=np.float32)[None],
        dt_s=0.5,
        selection=Selection(index=0, reason="first", spread_m=np.zeros(3, dtype=np.float32)),
        violations=(),
        context_stamps_ns=(pose.stamp_ns,),
        pose=pose,
        canonical=True,
    )


def straight(speed=10.0):
    return np.stack([speed * 0.5 * np.arange(1, 7), np.zeros(6)], axis=1)


# ── rigid motions


def test_ros_quaternions_have_their_scalar_last():
    quarter_left = g.pose_matrix((1, 2, 3), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))
    assert np.allclose(quarter_left @ [1, 0, 0, 1], [1, 3, 3, 1])  # forward becomes left
    assert g.yaw_of(quarter_left) == pytest.approx(np.pi / 2)
    xyz, xyzw = g.to_xyz_quat_xyzw(quarter_left)
    assert np.allclose(xyz, (1, 2, 3))
    assert np.allclose(xyzw, (0, 0, np.sqrt(0.5), np.sqrt(0.5)))


def test_pose_round_trip_over_all_orientations():
    for _ in range(200):
        T = random_T(RNG)
        assert np.allclose(g.pose_matrix(*g.to_xyz_quat_xyzw(T)), T, atol=1e-9)
        assert np.allclose(g.invert(T) @ T, np.eye(4), atol=1e-12)


@pytest.mark.parametrize("quat", [(0, 0, 0, 0), (0, 0, 0, 2.0), (0, 0, 0, 0.9), (np.nan, 0, 0, 1), (np.inf, 0, 0, 1)])
def test_unusable_quaternions_are_named(quat):
    with pytest.raises(InputError, match="quaternion"):
        g.pose_matrix((0, 0, 0), quat)


def test_not_a_number_in_a_position_is_named():
    with pytest.raises(InputError, match="not finite"):
        g.pose_matrix((0, np.nan, 0), (0, 0, 0, 1))


def test_rounded_quaternion_gives_a_rotation():
    T = g.pose_matrix((0, 0, 0), (0, 0, 0.707, 0.707))
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)


def test_rotation_vector_inverts_the_exponential_even_when_tiny():
    for scale in (1e-12, 1e-6, 1e-2, 1.0, 3.1):
        axis = RNG.normal(size=3)
        v = axis / np.linalg.norm(axis) * scale
        assert np.allclose(g.rotation_vector(g.rotation_matrix(v)), v, rtol=1e-6, atol=1e-15)


def test_interpolation_takes_the_short_way_over_the_seam():
    a, b = g.planar_T(0, 0, np.radians(170)), g.planar_T(2, 0, np.radians(-170))
    middle = g.interpolate_pose(a, b, 0.5)
    assert abs(g.yaw_of(middle)) == pytest.approx(np.pi)
    assert middle[0, 3] == pytest.approx(1.0)
    assert np.allclose(g.interpolate_pose(a, b, 0.0), a)
    assert np.allclose(g.interpolate_pose(a, b, 1.0), b)


def test_constant_twist_is_a_circle():
    T = g.integrate_twist(np.eye(4), np.array([5.0, 0, 0]), np.array([0, 0, 0.5]), 2.0)
    assert np.allclose(T, g.planar_T(10 * np.sin(1.0), 10 * (1 - np.cos(1.0)), 1.0), atol=1e-12)


def test_a_twist_is_that_of_the_moving_frame():
    """Facing left at (10, 0), forward goes left in the world, whatever lies at its origin; and the turn is about the vehicle."""
    facing_left = g.planar_T(10.0, 0.0, np.pi / 2)
    assert np.allclose(g.integrate_twist(facing_left, np.array([2.0, 0, 0]), np.zeros(3), 1.5), g.planar_T(10.0, 3.0, np.pi / 2), atol=1e-12)
    assert np.allclose(g.integrate_twist(facing_left, np.zeros(3), np.array([0, 0, 0.5]), 1.0), g.planar_T(10.0, 0.0, np.pi / 2 + 0.5), atol=1e-12)


def test_constant_twist_equals_many_small_steps_and_composes():
    v, w = np.array([1.0, 2.0, 3.0]), np.array([0.3, -0.2, 0.5])
    T = random_T(RNG)
    steps = T
    for _ in range(1000):  # small enough for the series
        steps = g.integrate_twist(steps, v, w, 1e-4)
    assert np.allclose(steps, g.integrate_twist(T, v, w, 0.1), rtol=0, atol=1e-10)
    assert np.allclose(g.integrate_twist(g.integrate_twist(T, v, w, 0.1), v, w, -0.1), T, atol=1e-12)


def test_lever_arm_moves_pose_and_velocity():
    """A base 1.4 m ahead of the rear axle, turning left, sweeps left: the axle itself does not."""
    sample = OdometrySample(
        stamp_ns=1,
        odom_frame_id="map",
        base_frame_id="ego_vehicle",
        T_odom_base=g.planar_T(10, 20, np.pi / 2),
        linear_mps=np.array([5.0, 1.4 * 0.3, 0]),
        angular_radps=np.array([0, 0, 0.3]),
    )
    pose = g.shift_origin(sample, -1.4)
    assert np.allclose(pose.T_odom_ego, g.planar_T(10, 20 - 1.4, np.pi / 2))
    assert np.allclose(pose.linear_mps, (5.0, 0, 0))
    assert np.allclose(sample.T_odom_base, g.planar_T(10, 20, np.pi / 2)), "the message itself must not change"


# ── splines


def test_spline_reproduces_cubics():
    t = 0.5 * np.arange(7)
    fine = np.linspace(0, 3, 61)
    cubic = lambda t: np.stack([1 + 2 * t - t**2 + 0.3 * t**3, -t + 0.5 * t**3], axis=1)  # noqa: E731
    slope = lambda t: np.stack([2 - 2 * t + 0.9 * t**2, -1 + 1.5 * t**2], axis=1)  # noqa: E731
    for start in (None, slope(np.zeros(1))[0]):
        position, velocity = g.fit_spline(cubic(t), 0.5, start)(fine)
        assert np.allclose(position, cubic(fine), atol=1e-12)
        assert np.allclose(velocity, slope(fine), atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("clamped", [False, True])
def test_spline_meets_its_points_and_conditions(n, clamped):
    points, v = RNG.normal(size=(n, 2)), np.array([3.0, -1.0])
    spline = g.fit_spline(points, 0.5, v if clamped else None)
    knots = 0.5 * np.arange(n)
    assert np.allclose(spline(knots)[0], points, atol=1e-12)
    if clamped:
        assert np.allclose(spline(np.zeros(1))[1][0], v, atol=1e-12)
    for knot in knots[1:-1]:  # velocity is continuous, and so is its slope
        before, after = spline(np.array([knot - 1e-9]))[1], spline(np.array([knot + 1e-9]))[1]
        assert np.allclose(before, after, atol=1e-6)
        slope = [(spline(np.array([knot + e]))[1] - spline(np.array([knot]))[1]) / e for e in (-1e-4, 1e-4)]
        assert np.allclose(*slope, atol=1e-1)
    if n >= 4:  # not-a-knot at the end: the last two pieces are one cubic
        assert np.allclose(np.diff(spline.bend[-3:], axis=0)[0], np.diff(spline.bend[-3:], axis=0)[1], atol=1e-9)


def test_spline_refuses_a_single_point():
    with pytest.raises(ConfigError, match="two points"):
        g.fit_spline(np.zeros((1, 2)), 0.5)


def test_start_is_clamped_to_a_believable_twist_only():
    at_start = lambda twist: g.plan_spline(straight(10.0), 0.5, np.array([twist, 0.0]))(np.zeros(1))[1][0, 0]  # noqa: E731
    assert at_start(11.0) == pytest.approx(11.0)
    assert at_start(0.0) == pytest.approx(10.0), "odometry without a twist must not bend the path"


# ── headings


def test_standing_still_invents_no_heading():
    jitter = RNG.normal(0, 0.01, (6, 2))
    path = g.place_path(plan(jitter, ego(g.planar_T(5, 5, 0.7), speed=0.0)), 100 * S)
    assert isinstance(path, DensePath)
    assert np.allclose(path.yaw_rad, 0.7)


def test_heading_is_held_through_a_halt_also_when_the_path_is_cut_in_it():
    quarter = np.array([[2, 0], [3.5, 1], [4, 2.5], [4, 2.6], [4, 2.6], [4, 2.6]])
    whole = g.place_path(plan(quarter, ego(speed=4.0)), 100 * S)
    late = g.place_path(plan(quarter, ego(speed=4.0)), 100 * S + 2_700_000_000)
    assert isinstance(whole, DensePath)
    assert isinstance(late, DensePath)
    assert late.yaw_rad[-1] == pytest.approx(whole.yaw_rad[-1])
    assert late.yaw_rad[-1] > 1.2


def test_reversing_keeps_the_heading_and_says_so_in_the_speed():
    yaw, speed = g.headings(np.array([[1.0, 0.0], [0.1, 0.0], [-1.0, 0.1], [-1.0, 0.1]]))
    assert np.all(np.abs(yaw) < 0.2)
    assert np.allclose(speed, [1.0, 0.1, -1.005, -1.005], atol=1e-2)


# ── dense paths


def test_path_starts_exactly_now_and_ends_with_the_plan():
    now = 100 * S + 333_000_000
    path = g.place_path(plan(straight(10.0), ego(g.planar_T(3, 4, np.pi / 2))), now)
    assert isinstance(path, DensePath)
    assert (path.stamps_ns[0], path.stamps_ns[-1], path.stamp_ns, path.frame_id) == (now, 103 * S, now, "odom")
    assert np.allclose(path.xyz_m[0], (3, 4 + 3.33, 0))
    assert np.allclose(path.xyz_m[-1], (3, 34, 0))
    assert np.allclose(path.yaw_rad, np.pi / 2)
    assert np.allclose(path.speed_mps, 10.0)
    assert path.age_s == pytest.approx(0.333)


def test_rows_recur_from_one_publication_to_the_next_and_keep_apart():
    p = plan(straight())
    rows = [g.place_path(p, 100 * S + ms * 1_000_000) for ms in range(0, 2950, 7)]
    whole = set(rows[0].stamps_ns.tolist())
    assert rows[0].stamps_ns.tolist() == [100 * S + i * S // 10 for i in range(31)]
    for row in rows:
        assert set(row.stamps_ns[1:].tolist()) <= whole
        steps = np.diff(row.stamps_ns)[:-1]
        assert len(row.stamps_ns) >= 2
        assert (len(steps) == 0 or (steps.min() >= S // 20 and steps.max() <= 3 * S // 20))


def test_a_step_that_does_not_divide_the_horizon_still_ends_with_it():
    path = g.place_path(plan(straight()), 100 * S, step_s=0.7)
    assert path.stamps_ns[-1] == 103 * S
    assert np.all(np.diff(path.stamps_ns) >= 0.34 * S)


@pytest.mark.parametrize("now_ns", [103 * S, 110 * S, 99 * S])
def test_past_its_end_or_far_before_its_picture_there_is_no_path(now_ns):
    waiting = g.place_path(plan(straight()), now_ns)
    assert isinstance(waiting, Waiting)
    assert waiting.reason is WaitReason.PLAN_EXPIRED


def test_age_limit():
    p = plan(straight())
    assert isinstance(g.place_path(p, 101 * S, max_plan_age_s=1.0), Waiting)
    assert isinstance(g.place_path(p, 101 * S - 1, max_plan_age_s=1.0), DensePath)


def test_a_clock_slightly_behind_gets_the_path_from_its_beginning():
    path = g.place_path(plan(straight()), 100 * S - 200_000_000)
    assert isinstance(path, DensePath)
    assert path.stamps_ns[0] == 100 * S
    assert path.age_s == pytest.approx(-0.2)


def test_path_on_a_slope_follows_the_vehicle_plane():
    pitch = g.pose_matrix((0, 0, 0), (0, np.sin(-0.05), 0, np.cos(-0.05)))  # nose up by 0.1 rad
    path = g.place_path(plan(straight(), ego(pitch)), 100 * S)
    assert isinstance(path, DensePath)
    assert path.xyz_m[-1, 2] == pytest.approx(30 * np.sin(0.1))
    assert np.allclose(path.yaw_rad, 0.0)


def test_base_link_view_is_the_same_points():
    T = g.planar_T(1, 2, 0.4)
    path = g.place_path(plan(straight(), ego(g.planar_T(3, 4, 1.0))), 100 * S)
    assert isinstance(path, DensePath)
    local = g.to_base_link(path, T, "base_link")
    assert local.frame_id == "base_link"
    assert np.array_equal(local.stamps_ns, path.stamps_ns)
    assert np.allclose(g.transform_points(T, local.xyz_m), path.xyz_m)
    assert np.allclose(local.yaw_rad, 0.6)


def test_expected_positions_are_carried_by_the_odometry():
    """Driving straight on as planned, half a second later the old plan lies on the new axis, one waypoint shorter."""
    previous = plan(straight(10.0), ego(g.planar_T(0, 0, 0.3)))
    later = ego(g.planar_T(5 * np.cos(0.3), 5 * np.sin(0.3), 0.3), stamp_ns=100 * S + S // 2)
    expected = g.expected_waypoints(previous, later, 0.5)
    assert np.allclose(expected[:5], straight(10.0)[:5], atol=1e-6)
    assert np.isnan(expected[5]).all()
    assert np.isnan(g.expected_waypoints(previous, replace(later, odom_frame_id="map"), 0.5)).all()
    assert np.isnan(g.expected_waypoints(previous, replace(later, stamp_ns=90 * S), 0.5)).all(), "a plan of the future says nothing"


# ── stopping


def test_stop_takes_the_distance_physics_says():
    path = g.stop_path(ego(g.planar_T(1, 2, np.pi / 2), speed=10.0), 5 * S, 2.0)
    assert path.stamps_ns[0] == 5 * S
    assert path.stamps_ns[-1] == 10 * S
    assert np.allclose(path.xyz_m[0], (1, 2, 0))
    assert np.allclose(path.xyz_m[-1], (1, 2 + 25.0, 0))
    assert path.speed_mps[0] == 10.0
    assert path.speed_mps[-1] == 0.0
    assert np.allclose(np.diff(path.speed_mps)[:-1], -0.2)
    assert np.allclose(path.yaw_rad, np.pi / 2)


def test_stop_in_a_bend_stays_in_it():
    path = g.stop_path(ego(speed=10.0, yaw_rate=0.5), 5 * S, 2.0)
    radius = np.linalg.norm(path.xyz_m[:, :2] - (0, 20), axis=1)
    assert np.allclose(radius, 20.0)
    assert path.yaw_rad[-1] == pytest.approx(25 / 20)


def test_stop_follows_the_last_path_and_joins_it_smoothly():
    arc = np.linspace(0, 1.2, 60)
    circle = np.stack([30 * np.sin(arc), 30 * (1 - np.cos(arc)), 0 * arc], axis=1)
    last = DensePath(stamp_ns=0, frame_id="odom", stamps_ns=np.arange(60), xyz_m=circle, yaw_rad=arc, speed_mps=0 * arc, age_s=0.0)
    path = g.stop_path(ego(g.planar_T(3.0, 0.5, 0.1), speed=10.0), 5 * S, 2.0, last=last)
    assert np.allclose(path.xyz_m[0], (3.0, 0.5, 0))
    assert np.linalg.norm(path.xyz_m[-1, :2] - (0, 30)) == pytest.approx(30, abs=0.01)
    far = g.stop_path(ego(g.planar_T(3.0, 9.0, 0.1), speed=10.0), 5 * S, 2.0, last=last)
    assert np.allclose(far.yaw_rad, 0.1), "a path elsewhere is not followed"


def test_standing_vehicle_stays():
    path = g.stop_path(ego(g.planar_T(1, 2, 0.3), speed=0.0, yaw_rate=0.1), 5 * S, 2.0)
    assert len(path.stamps_ns) >= 2
    assert np.all(path.speed_mps == 0)
    assert np.allclose(path.xyz_m, (1, 2, 0))
    assert np.allclose(path.yaw_rad, 0.3)


def test_reversing_vehicle_stops_backwards():
    path = g.stop_path(ego(speed=-2.0), 5 * S, 2.0)
    assert path.xyz_m[-1, 0] == pytest.approx(-1.0)
    assert path.speed_mps[0] == -2.0
    assert path.speed_mps[-1] == 0.0


def test_stop_needs_a_deceleration():
    with pytest.raises(ConfigError, match="decel"):
        g.stop_path(ego(), 5 * S, 0.0)


# ── polylines


def test_projection_on_a_polyline():
    xy = np.array([[0.0, 0], [10, 0], [10, 0], [10, 10]])  # with a duplicate
    assert g.project(xy, np.array([4.0, 3.0])) == (4.0, 3.0)
    assert g.project(xy, np.array([12.0, 5.0])) == (15.0, 2.0)
    assert g.project(xy, np.array([-3.0, 4.0])) == (0.0, 5.0)
