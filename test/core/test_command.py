"""Route, message or setting → command, by each rule, on routes as they come."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.core.contracts import Command, ConfigError, EgoPose, FrameError, InputError
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.planning.command import RULES, CommandRule, CommandSource, command_from_lateral, command_from_route, explain_route, named_rule

S = 1_000_000_000
LEFT, RIGHT, STRAIGHT = Command.LEFT, Command.RIGHT, Command.STRAIGHT


def bend(distance_m, left=True, before_m=20.0):
    """Straight on, then a right angle `distance_m` ahead; 1 m spacing."""
    side = 1.0 if left else -1.0
    on = [[x, 0.0] for x in np.arange(-before_m, distance_m + 0.5)]
    return np.array(on + [[distance_m, side * y] for y in np.arange(1.0, 60.0)])


def pose(T=None, speed=10.0, frame="odom"):
    return EgoPose(
        stamp_ns=S,
        odom_frame_id=frame,
        T_odom_ego=np.eye(4) if T is None else T,
        linear_mps=np.array([speed, 0, 0]),
        angular_radps=np.zeros(3),
    )


def test_limit_itself_is_straight():
    assert [command_from_lateral(y, 2.0) for y in (2.0, 2.01, -2.0, -2.01, 0.0)] == [STRAIGHT, LEFT, STRAIGHT, RIGHT, STRAIGHT]


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("left", [True, False])
def test_every_rule_sees_a_turn_and_its_side(rule, left):
    assert command_from_route(bend(10.0, left), rule, 8.0) is (LEFT if left else RIGHT)
    assert command_from_route(bend(200.0, left), rule, 8.0) is STRAIGHT


def test_reference_looks_three_seconds_ahead_along_the_route():
    """Turn at 20 m: y passes 2 m at 22 m, reached in 3 s at 7.33 m/s."""
    assert command_from_route(bend(20.0), "reference", 7.2) is STRAIGHT
    assert command_from_route(bend(20.0), "reference", 7.5) is LEFT


def test_neuroncap_looks_at_least_six_metres_ahead():
    assert command_from_route(bend(3.0), "neuroncap", 0.0) is LEFT
    assert command_from_route(bend(3.0), "reference", 0.0) is STRAIGHT, "who stands is in 3 s where he is"
    assert command_from_route(bend(5.0), "neuroncap", 0.0) is STRAIGHT
    assert command_from_route(bend(5.0), "neuroncap", 2.5) is LEFT


def test_lookahead_looks_at_twenty_metres_whatever_the_speed():
    assert command_from_route(bend(18.0), "lookahead", 0.0) is LEFT  # √(18² + y²) ≥ 20 m at y ≥ 8.7 m
    assert command_from_route(bend(21.0), "lookahead", 30.0) is STRAIGHT
    assert command_from_route(bend(21.0), "lookahead", 0.0, distance_m=25.0) is LEFT
    assert command_from_route(bend(18.0), "lookahead", 0.0, lateral_m=10.0) is STRAIGHT


def test_a_route_beside_a_vehicle_that_hardly_moves_is_no_turn():
    beside = np.array([[-20.0, 3.0], [50.0, 3.0]])
    assert command_from_route(beside, "reference", 0.5) is STRAIGHT
    assert command_from_route(beside, "reference", 1.0) is LEFT, "in 3 s it will have changed over to it"


def test_thresholds_are_fields():
    assert command_from_route(bend(20.0), "reference", 7.5, lateral_m=3.0) is STRAIGHT
    assert command_from_route(bend(20.0), "reference", 6.0, horizon_s=4.0) is LEFT
    assert named_rule("neuroncap", min_speed_mps=1.0).min_speed_mps == 1.0


@pytest.mark.parametrize("bad", [("nonsense", {}), ("reference", {"nonsense": 1.0}), ("reference", {"lateral_m": 0.0}), ("reference", {"distance_m": 5.0})])
def test_rules_that_cannot_be_meant(bad):
    with pytest.raises(ConfigError, match="command rule"):
        named_rule(bad[0], **bad[1])


@pytest.mark.parametrize(
    ("route", "why"),
    [
        (np.zeros((0, 2)), "0 distinct"),
        (np.array([[5.0, 3.0]]), "1 distinct"),
        (np.array([[5.0, 3.0]] * 4), "1 distinct"),
        (np.array([[-30.0, 0.0], [-5.0, 0.0]]), "ends behind"),
        (np.array([[0.0, 50.0], [40.0, 50.0]]), "50.0 m away"),
    ],
)
def test_routes_that_say_nothing_are_straight_and_say_why(route, why):
    command, reason = explain_route(route, RULES["reference"], 10.0)
    assert command is STRAIGHT
    assert why in reason


def test_route_that_ends_early_counts_with_its_last_point():
    short = np.array([[0.0, 0.0], [8.0, 0.0], [10.0, 4.0]])
    for rule in RULES:
        assert command_from_route(short, rule, 10.0) is LEFT


def test_duplicate_points_change_nothing():
    route = bend(10.0)
    assert explain_route(np.repeat(route, 3, axis=0), RULES["reference"], 5.0) == explain_route(route, RULES["reference"], 5.0)


def test_at_a_crossing_the_branch_that_runs_our_way_counts():
    """A figure that crosses itself at the vehicle: first across (from the right to the left), later along, then right."""
    across = np.array([[0.2, y] for y in np.arange(-30.0, 31.0)])
    along = np.array([[x, 0.5] for x in np.arange(-30.0, 15.0)] + [[15.0, -y] for y in np.arange(0.0, 40.0)])
    assert command_from_route(np.vstack([across, along]), "reference", 8.0) is RIGHT


def test_closed_loop_goes_round_past_its_last_point():
    """A square of 40 m; the vehicle is 10 m before the corner at which the list of points begins and ends."""
    corners = np.array([[10.0, 0.0], [10.0, 40.0], [-30.0, 40.0], [-30.0, 0.0], [10.0, 0.0]])
    for points in (corners, np.vstack([corners[:-1], [[9.5, 0.0]]])):
        assert command_from_route(points, "reference", 6.0) is LEFT
    assert command_from_route(corners[1:], "reference", 6.0) is STRAIGHT, "an open one does not"


def test_not_a_number_in_a_route_is_named():
    with pytest.raises(InputError, match="finite"):
        command_from_route(np.array([[0.0, 0.0], [np.nan, 1.0]]), "reference", 5.0)
    with pytest.raises(InputError, match="shape"):
        command_from_route(np.zeros((3, 4)), "reference", 5.0)
    with pytest.raises(InputError, match="finite"):
        CommandSource("route").set_route(np.array([[0.0, np.inf]]), "odom")


def test_fixed():
    assert CommandSource("fixed", Command.RIGHT).at(5 * S, pose()) == (RIGHT, "fixed")


def test_topic_and_its_timeout():
    source = CommandSource("topic", timeout_s=2.0)
    assert source.at(S, pose()) == (STRAIGHT, "no command received")
    source.set_command(Command.LEFT, S)
    assert source.at(3 * S, pose()) == (LEFT, "topic")
    command, why = source.at(3 * S + 1, pose())
    assert command is STRAIGHT
    assert "timed out" in why
    assert "LEFT" in why
    source.set_command(Command.RIGHT, 4 * S)
    assert source.at(5 * S, pose())[0] is RIGHT
    source.reset()
    assert source.at(5 * S, pose())[0] is STRAIGHT


def test_topic_without_a_timeout():
    source = CommandSource("topic", timeout_s=0.0)
    source.set_command(Command.LEFT, S)
    assert source.at(10_000 * S, pose())[0] is LEFT


def test_route_is_seen_from_where_the_vehicle_is():
    source = CommandSource("route")
    assert source.at(S, pose()) == (STRAIGHT, "no route received")
    source.set_route(bend(20.0), "odom")
    assert source.at(S, pose(speed=5.0))[0] is STRAIGHT
    assert source.at(S, pose(planar_T(10, 0, 0), speed=5.0))[0] is LEFT
    assert source.at(S, pose(planar_T(20, 20, np.pi / 2), speed=5.0))[0] is STRAIGHT, "turned: the rest lies ahead"
    source.set_route(np.zeros((0, 2)), "odom")
    assert source.at(S, pose())[1] == "no route received"


def test_route_in_another_frame_needs_the_transform():
    T_odom_map = planar_T(100.0, -50.0, 2.0)
    T = T_odom_map @ planar_T(10, 0, 0)
    source = CommandSource("route")
    source.set_route(bend(20.0), "map")
    with pytest.raises(FrameError, match=r"'map'.*'odom'"):
        source.at(S, pose(T))
    assert source.route_frame_id == "map"
    assert source.at(S, pose(T, speed=5.0), T_odom_route=T_odom_map)[0] is LEFT


def test_route_timeout_only_where_asked_for():
    source = CommandSource("route", route_timeout_s=5.0)
    source.set_route(bend(10.0), "odom", stamp_ns=S)
    assert source.at(6 * S, pose())[0] is LEFT
    assert "timed out" in source.at(7 * S, pose())[1]


def test_source_arguments_are_checked():
    with pytest.raises(ConfigError, match="mode"):
        CommandSource("telepathy")
    with pytest.raises(ConfigError, match="timeout"):
        CommandSource(timeout_s=-1.0)
    assert CommandSource(rule=CommandRule(lateral_m=1.0, horizon_s=1.0)).rule.lateral_m == 1.0
