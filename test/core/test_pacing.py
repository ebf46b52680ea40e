"""The rate gate: exact on average, no beat, deterministic, and over pauses and jumps."""

from __future__ import annotations

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.history.pacing import RateGate

S = 1_000_000_000


def stamps(rate_hz, seconds, jitter_s=0.0, seed=0):
    n = int(rate_hz * seconds)
    jitter = np.random.default_rng(seed).uniform(-1, 1, n) * min(jitter_s, 0.45 / rate_hz)
    return [int(s) for s in (100.0 + np.arange(n) / rate_hz + jitter) * S]


def taken(gate, stamps_ns):
    return [s for s in stamps_ns if gate.due(s)]


@pytest.mark.parametrize("camera_hz", [10, 12, 15, 20, 25, 29.97, 30, 60, 10.02])
@pytest.mark.parametrize("rate_hz", [2, 5, 10])
@pytest.mark.parametrize("jitter_s", [0.0, 0.02])
def test_rate_is_exact_on_average_and_steady(camera_hz, rate_hz, jitter_s):
    seconds = 300
    due = taken(RateGate(rate_hz), stamps(camera_hz, seconds, jitter_s))
    assert abs(len(due) - rate_hz * seconds) <= 2
    off = np.abs(np.diff(due) / S - 1 / rate_hz)
    assert off.max() <= 1.5 / camera_hz + 2 * jitter_s + 1e-9, "no beat: never off by more than the camera's own spacing"


@pytest.mark.parametrize("camera_hz", [3, 7, 9.98, 10])
def test_input_no_faster_than_the_rate_passes_nearly_whole(camera_hz):
    frames = stamps(camera_hz, 600, 0.02)
    assert len(taken(RateGate(10), frames)) >= len(frames) - 3


def test_even_input_gives_every_third_frame():
    frames = stamps(30, 10)
    assert taken(RateGate(10), frames) == frames[::3]


def test_jitter_does_not_change_the_choice():
    frames = stamps(30, 60, 0.005)
    assert {frames.index(s) % 3 for s in taken(RateGate(10), frames)} == {0}


def test_two_frames_about_as_near_do_not_take_turns():
    """A camera drifting slowly past the middle between ticks: one change of frame, not a flicker of ±100 ms for as long as jitter is larger than drift."""
    frames = stamps(10.02, 110, 0.02)
    steps = np.diff([frames.index(s) for s in taken(RateGate(2), frames)])
    assert len(steps) > 210
    assert np.count_nonzero(steps != 5) <= 6


def test_five_of_six():
    frames = stamps(12, 10)
    assert len(taken(RateGate(10), frames)) == len(frames) * 5 // 6


def test_same_stamps_same_schedule_and_after_reset_again():
    frames = stamps(30, 60, 0.01)
    gate = RateGate(10)
    first = taken(gate, frames)
    gate.reset()
    assert first == taken(gate, frames) == taken(RateGate(10), frames)


def test_jump_back_arms_anew():
    frames = stamps(30, 10)
    gate = RateGate(2)
    assert taken(gate, frames) == taken(gate, frames), "a bag loop has the same schedule each time"


def test_late_frames_and_duplicates_are_not_due_and_change_nothing():
    frames = stamps(30, 10)
    gate, disturbed = RateGate(10), RateGate(10)
    due = taken(gate, frames)
    noticed = []
    for i, s in enumerate(frames):
        if disturbed.due(s):
            noticed.append(s)
        if i % 7 == 3:
            assert not disturbed.due(s)
            assert not disturbed.due(s - S // 50)
    assert noticed == due


def test_after_a_pause_no_burst_catches_up():
    frames = stamps(30, 10)
    gate = RateGate(10)
    taken(gate, frames)
    later = [s + 60 * S for s in frames]
    due = taken(gate, later)
    assert due[0] == later[0]
    assert abs(len(due) - 100) <= 1
    assert np.diff(due).min() >= S // 20


def test_rate_zero_passes_everything_new():
    frames = stamps(30, 2)
    gate = RateGate(0)
    assert taken(gate, frames) == frames
    assert not gate.due(frames[-1])


@pytest.mark.parametrize(("rate", "tolerance"), [(-1, 0.25), (float("inf"), 0.25), (float("nan"), 0.25), (10, 0.5), (10, -0.1)])
def test_arguments_are_checked(rate, tolerance):
    with pytest.raises(ConfigError, match="rate"):
        RateGate(rate, tolerance)
