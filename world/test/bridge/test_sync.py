"""Lock-step's bookkeeping, patience, run state and pace, without ROS and without waiting."""

import pytest
from vavam_world.bridge.run_state import PAUSE, PLAY, STEP_ONCE, Pace, RunState
from vavam_world.bridge.sync import Awaits, Lockstep, Patience
from vavam_world.contracts import IMAGE_EVERY_TICKS, START_NS, TICK_NS

from vavam_ros.core.contracts import ConfigError


def stamp(tick: int) -> int:
    return START_NS + tick * TICK_NS


ALL = Awaits(tokens=True, samples=True, followed=True, control="stamped")


def test_a_plan_is_awaited_each_half_second_whatever_else_comes() -> None:
    lockstep = Lockstep(ALL)
    planned = []
    for tick in range(0, 60, IMAGE_EVERY_TICKS):
        lockstep.image_goes_out(stamp(tick))
        if due := lockstep.outstanding("plan"):
            planned.append(tick)
            assert due == (("followed", stamp(tick)), ("samples", stamp(tick)), ("tokens", stamp(tick)))
            lockstep.tokens_came(stamp(tick))
            lockstep.samples_came(stamp(tick - 2))  # another one's
            lockstep.samples_came(stamp(tick))
            assert lockstep.outstanding("plan") == (("followed", stamp(tick)),)
            lockstep.followed_came(stamp(tick))
            assert not lockstep.outstanding("plan")
    assert planned == [0, 10, 20, 30, 40, 50]


def test_an_answer_before_the_picture_counts_within_its_tick() -> None:
    lockstep = Lockstep(Awaits(samples=True, followed=True))
    lockstep.new_tick()
    lockstep.followed_came(stamp(0))
    lockstep.image_goes_out(stamp(0))
    assert lockstep.outstanding("plan") == (("samples", stamp(0)),)
    lockstep.samples_came(stamp(0))
    lockstep.followed_came(stamp(10))  # nobody can know that one: by the next tick it is forgotten
    lockstep.new_tick()
    for tick in range(2, 12, 2):
        lockstep.image_goes_out(stamp(tick))
    assert lockstep.outstanding("plan") == (("followed", stamp(10)), ("samples", stamp(10)))


def test_plans_are_awaited_from_a_time_on_and_tokens_before() -> None:
    lockstep = Lockstep(Awaits(tokens=True, samples=True, plans_from_ns=stamp(10)))
    lockstep.image_goes_out(stamp(0))
    assert lockstep.outstanding("plan") == (("tokens", stamp(0)),)
    lockstep.tokens_came(stamp(0))
    for tick in range(2, 12, 2):
        lockstep.image_goes_out(stamp(tick))
    assert {what for what, _ in lockstep.outstanding("plan")} == {"tokens", "samples"}


def test_a_spoilt_picture_is_not_waited_for_and_keeps_the_grid() -> None:
    lockstep = Lockstep(ALL)
    for tick in range(0, 22, 2):
        lockstep.image_goes_out(stamp(tick), answered=tick != 10)
        for what, at in lockstep.outstanding("plan"):
            assert at != stamp(10)
            getattr(lockstep, f"{what}_came")(at)
    lockstep = Lockstep(ALL)
    for tick in range(0, 22, 2):
        lockstep.image_goes_out(stamp(tick), answered=tick != 10)
    assert {at for _, at in lockstep.outstanding("plan")} == {stamp(0), stamp(20)}


def test_an_invalid_plan_is_not_acknowledged_unless_it_is_published() -> None:
    for published in (False, True):
        lockstep = Lockstep(Awaits(samples=True, followed=True, followed_when_invalid=published))
        lockstep.image_goes_out(stamp(0))
        lockstep.samples_came(stamp(0), valid=False)
        assert bool(lockstep.outstanding("plan")) is published


def test_only_the_control_of_this_stamp_counts() -> None:
    lockstep = Lockstep(ALL)
    lockstep.odometry_goes_out(stamp(3))
    assert not lockstep.control_came(stamp(2))
    assert lockstep.outstanding("control") == (("control", stamp(3)),)
    assert lockstep.control_came(stamp(3))
    assert not lockstep.outstanding("control")
    assert lockstep.control_settled
    lockstep.new_tick()
    lockstep.odometry_goes_out(stamp(4))
    lockstep.suspended = True
    assert not lockstep.outstanding("control")
    assert not lockstep.control_settled


def test_any_control_counts_where_that_is_asked_for() -> None:
    lockstep = Lockstep(Awaits(control="any"))
    lockstep.odometry_goes_out(stamp(3))
    assert lockstep.control_came(0)
    assert not lockstep.outstanding("control")


def test_patience_shortens_for_who_has_died_and_recovers() -> None:
    patience = Patience(10.0)
    asked = (("samples", 1), ("control", 1))
    for _ in range(3):
        assert patience.seconds((("samples", 1),)) == 10.0
        patience.note(asked, (("samples", 1),))  # type: ignore[arg-type]
    assert patience.seconds((("samples", 1),)) == Patience.SHORT_S
    assert patience.seconds((("samples", 1), ("control", 1))) == 10.0
    patience.note(asked, ())  # type: ignore[arg-type]
    assert patience.seconds((("samples", 1),)) == 10.0
    assert "samples of stamp 100.500 s on /vavam/samples" in patience.text((("samples", stamp(10)),), {"samples": "/vavam/samples"})


def test_a_single_step_ends_in_a_pause() -> None:
    state, said = RunState(), []
    state.command(STEP_ONCE)
    assert state.before_tick(said.append, lambda: True)
    lives = iter([True, False])
    assert not state.before_tick(said.append, lambda: next(lives))
    assert not state.running
    state.command(PAUSE)
    state.command(PLAY)  # of several the last counts
    assert state.before_tick(said.append, lambda: True)
    assert state.running
    assert said == [False, True]
    with pytest.raises(ConfigError, match="command 3"):
        state.command(3)


def test_pace_sleeps_to_the_grid_and_says_when_it_falls_behind() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    pace = Pace(2.0, lambda: now[0], sleep)
    for _ in range(3):
        assert pace.wait() == 0.0
        now[0] += 0.01
    assert slept == [0.015, 0.015]
    now[0] += 3.0
    assert pace.wait() == pytest.approx(3.0 - 0.015)
    assert pace.behind_s > 2.9
    assert pace.wait() == 0.0  # not caught up
    assert Pace(0.0, lambda: now[0], sleep).wait() == 0.0
