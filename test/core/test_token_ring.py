"""The token ring: the model's time grid from real-life stamps, and a defined outcome for each kind of bad frame."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError, EgoPose, TokenError, TokenFrame, Waiting, WaitReason, Window
from vavam_ros.core.history.pacing import RateGate
from vavam_ros.core.history.token_ring import FrozenDetector, RingConfig, RingOutcome, TokenRing, image_digest
from vavam_ros.core.spec import SMALL

S = 1_000_000_000
T0 = 1_700_000_000 * S
POSE = EgoPose(stamp_ns=T0, odom_frame_id="odom", T_odom_ego=np.eye(4), linear_mps=np.zeros(3), angular_radps=np.zeros(3))
FRAME = TokenFrame(
    stamp_ns=T0,
    epoch=3,
    camera_frame_id="camera",
    tokens=np.full((9, 16), 1023, dtype=np.uint16),
    codebook_size=1024,
    tokenizer_id="abc",
    camera_id="canonical",
    canonical=True,
    coverage=1.0,
    pose=POSE,
)


def at(t: float, **changes) -> TokenFrame:
    return replace(FRAME, stamp_ns=T0 + round(t * S), **changes)


def ring_of(times=(), **config):
    ring = TokenRing(SMALL, RingConfig(**config), "abc", 1024)
    for t in times:
        ring.push(at(float(t)))
    return ring


def seconds(window):
    assert isinstance(window, Window), str(window)
    return [round((f.stamp_ns - T0) / S, 3) for f in window.frames]


def camera(rate_hz, jitter_s, duration_s=120, seed=0):
    n = int(rate_hz * duration_s)
    return 1.0 + np.arange(n) / rate_hz + np.random.default_rng(seed).uniform(-jitter_s, jitter_s, n)


# ── the grid


def test_full_context_on_an_even_grid():
    window = ring_of(np.arange(0.1, 6.01, 0.1)).window()
    assert seconds(window) == [2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0]
    assert window.newest is window.frames[-1]
    assert window.shrunk_by is None
    assert max(map(abs, window.slot_error_s)) < 1e-9


def test_nearest_frame_and_its_error():
    ring = ring_of([0.46, 0.52, 1.0], anchor_rate_hz=0.1)
    window = ring.window()
    assert seconds(window) == [0.52, 1.0]
    assert window.slot_error_s == pytest.approx((0.02, 0.0))


def test_window_of_an_older_frame():
    ring = ring_of(np.arange(0.1, 6.01, 0.1))
    assert seconds(ring.window(T0 + round(5.3 * S)))[-2:] == [4.8, 5.3]
    missing = ring.window(T0 + round(5.35 * S))
    assert isinstance(missing, Waiting)
    assert missing.reason is WaitReason.NO_TOKENS


@pytest.mark.parametrize("jitter_s", [0.0, 0.02])
@pytest.mark.parametrize("rate_hz", [8, 10, 12, 15, 20, 30])
def test_at_two_plans_a_second_the_same_frames_recur(rate_hz, jitter_s):
    """The context of each plan is that of the one before with one frame appended and the oldest dropped."""
    ring, gate = ring_of(), RateGate(2.0)
    windows = []
    for t in camera(rate_hz, jitter_s):
        frame = at(t)
        ring.push(frame)
        due = gate.due(frame.stamp_ns)
        assert due == ring.is_anchor(frame.stamp_ns), "the ring's gate and a node's agree"
        if due:
            windows.append(ring.window(frame.stamp_ns))
    full = windows[7:]
    assert len(full) > 220
    assert all(len(w.frames) == 8 for w in full)
    assert max(abs(e) for w in full for e in w.slot_error_s) <= 0.1 + 1e-9
    recurring = sum([f.stamp_ns for f in b.frames[:-1]] == [f.stamp_ns for f in a.frames[1:]] for a, b in pairwise(full))
    assert recurring >= 0.98 * (len(full) - 1)


@pytest.mark.parametrize("rate_hz", [9.98, 10.02])
def test_a_camera_that_drifts_through_the_grid_recurs_nearly_always(rate_hz):
    ring = ring_of()
    windows = []
    for t in camera(rate_hz, 0.02):
        ring.push(at(t))
        if ring.is_anchor(at(t).stamp_ns):
            windows.append(ring.window(at(t).stamp_ns))
    full = windows[7:]
    assert all(len(w.frames) == 8 for w in full)
    assert max(abs(e) for w in full for e in w.slot_error_s) <= 0.1 + 1e-9
    recurring = sum(b.frames[-2] is a.frames[-1] for a, b in pairwise(full))
    assert recurring >= 0.9 * (len(full) - 1)


def test_plans_between_the_anchors_take_the_nearest_frames():
    ring = ring_of(camera(30, 0.0, 10))
    newest = ring.newest.stamp_ns
    assert not ring.is_anchor(newest)
    assert max(map(abs, ring.window(newest).slot_error_s)) < 1e-6


def test_context_does_not_depend_on_the_windows_asked_for():
    times = camera(15, 0.02, 30)
    asked, silent = ring_of(), ring_of()
    for t in times:
        asked.push(at(t))
        asked.window()
        silent.push(at(t))
    assert seconds(asked.window()) == seconds(silent.window())


# ── holes and warm-up


def test_context_grows_from_the_first_frame():
    ring = ring_of()
    assert ring.window().reason is WaitReason.NO_TOKENS
    ring.push(at(0.5))
    assert seconds(ring.window()) == [0.5]
    assert ring.window().shrunk_by is WaitReason.CONTEXT_SHORT
    ring.push(at(1.0))
    assert seconds(ring.window()) == [0.5, 1.0]


def test_a_hole_leaves_the_frames_after_it():
    ring = ring_of([*np.arange(0.5, 2.01, 0.1), *np.arange(3.0, 4.01, 0.1)])
    window = ring.window()
    assert seconds(window) == [3.0, 3.5, 4.0]
    assert window.shrunk_by is WaitReason.CONTEXT_GAP


def test_tolerance_is_what_makes_a_hole():
    assert seconds(ring_of([0.41, 1.0]).window()) == [0.41, 1.0]
    assert seconds(ring_of([0.39, 1.0]).window()) == [1.0]
    assert seconds(ring_of([0.59, 1.0]).window()) == [0.59, 1.0]
    assert seconds(ring_of([0.61, 1.0]).window()) == [1.0]
    assert seconds(ring_of([0.39, 1.0], tolerance_s=0.12).window()) == [0.39, 1.0]


def test_wait_policy_waits_for_all():
    ring = ring_of(np.arange(0.5, 3.6, 0.5), warmup="wait")
    answer = ring.window()
    assert isinstance(answer, Waiting)
    assert answer.reason is WaitReason.CONTEXT_SHORT
    assert "7 of 8" in str(answer)
    ring.push(at(4.0))
    assert len(ring.window().frames) == 8
    for t in (6.0, 6.5):
        ring.push(at(t))
    assert ring.window().reason is WaitReason.CONTEXT_GAP


def test_repeat_policy_repeats_the_oldest():
    window = ring_of([0.5, 1.0], warmup="repeat").window()
    assert seconds(window) == [0.5] * 7 + [1.0]
    assert window.slot_error_s[-2:] == pytest.approx((0.0, 0.0))
    assert window.slot_error_s[0] == pytest.approx(3.0)
    assert window.shrunk_by is WaitReason.CONTEXT_SHORT


def test_memory_is_bounded():
    ring = ring_of(camera(30, 0.02, 60))
    assert len(ring) <= 30 * 3.6 + 2
    assert len(ring.window().frames) == 8


# ── frames that are not as they should be


def test_duplicate_is_ignored():
    ring = ring_of([0.5, 1.0])
    assert ring.push(at(1.0)) is RingOutcome.DUPLICATE
    assert ring.push(at(0.5)) is RingOutcome.DUPLICATE
    assert len(ring) == 2


def test_late_frame_takes_its_place():
    ring = ring_of([0.5, 1.5])
    assert seconds(ring.window()) == [1.5]
    assert ring.push(at(1.0)) is RingOutcome.LATE
    assert seconds(ring.window()) == [0.5, 1.0, 1.5]
    assert ring.counters[RingOutcome.LATE] == 1


def test_jump_back_begins_anew():
    ring = ring_of(np.arange(10.0, 15.0, 0.5))
    outcome = ring.push(at(3.0))
    assert outcome is RingOutcome.JUMPED_BACK
    assert outcome.was_reset
    assert len(ring) == 1
    assert ring.is_anchor(at(3.0).stamp_ns)


def test_new_epoch_begins_anew_and_the_old_one_is_refused():
    ring = ring_of([0.5, 1.0])
    assert ring.push(at(1.5, epoch=4)) is RingOutcome.EPOCH_RESET
    assert seconds(ring.window()) == [1.5]
    assert ring.epoch == 4
    ring.push(at(1.7, epoch=5))
    assert ring.is_anchor(at(1.7).stamp_ns), "the grid begins anew too"
    ring.reset()
    ring.push(at(1.5, epoch=4))
    assert ring.push(at(1.2)) is RingOutcome.REFUSED_EPOCH
    assert len(ring) == 1
    assert ring.counters[RingOutcome.REFUSED_EPOCH] == 1


def test_a_restarted_tokenizer_is_followed():
    ring = ring_of([0.5, 1.0])
    outcomes = [ring.push(at(t, epoch=0)) for t in (5.0, 5.1, 5.2, 5.3, 5.4)]
    assert outcomes == [RingOutcome.REFUSED_EPOCH] * 4 + [RingOutcome.EPOCH_RESET]
    assert ring.epoch == 0


def test_stragglers_between_new_frames_are_never_followed():
    ring = ring_of([0.5])
    for i in range(10):
        assert ring.push(at(1.0 + i, epoch=2)) is RingOutcome.REFUSED_EPOCH
        assert ring.push(at(1.0 + i)) is RingOutcome.ACCEPTED


def test_frame_without_a_stamp_is_refused():
    ring = ring_of([0.5])
    assert ring.push(replace(FRAME, stamp_ns=0)) is RingOutcome.REFUSED_NO_STAMP
    assert len(ring) == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tokenizer_id": "other"}, "tokenizer"),
        ({"tokens": np.zeros((9, 15), dtype=np.uint16)}, "token grid"),
        ({"tokens": np.full((9, 16), 1024, dtype=np.uint16)}, "1024"),
        ({"codebook_size": 2048}, "codebook"),
    ],
)
def test_foreign_tokens_are_refused_and_change_nothing(changes, text):
    ring = ring_of([0.5])
    with pytest.raises(TokenError, match=text):
        ring.push(at(1.0, **changes))
    assert len(ring) == 1
    assert sum(ring.counters.values()) == 1


def test_without_an_expected_tokenizer_the_first_one_counts():
    ring = TokenRing(SMALL)
    ring.push(at(0.5, tokenizer_id="x"))
    with pytest.raises(TokenError, match="tokenizer"):
        ring.push(at(1.0, tokenizer_id="y"))


def test_reset_forgets_frames_and_epoch():
    ring = ring_of([0.5, 1.0])
    ring.reset()
    assert len(ring) == 0
    assert ring.newest is None
    assert ring.push(at(0.2, epoch=0)) is RingOutcome.ACCEPTED


def test_config_is_checked():
    with pytest.raises(ConfigError, match="warmup"):
        RingConfig(warmup="maybe")
    with pytest.raises(ConfigError, match="positive"):
        RingConfig(tolerance_s=0.0)
    with pytest.raises(ConfigError, match="half of frame_dt_s"):
        TokenRing(SMALL, RingConfig(tolerance_s=0.25))


# ── frozen camera


def test_frozen_while_moving_until_the_first_new_picture():
    detector = FrozenDetector(after=3)
    answers = [detector.update(7, i, 5.0) for i in range(1, 6)]
    assert answers == [False, False, False, True, True]
    assert not detector.update(8, 6, 5.0)


def test_standing_still_or_not_knowing_proves_nothing():
    for speed in (0.0, 0.4, None):
        detector = FrozenDetector(after=3)
        assert not any(detector.update(7, i, speed) for i in range(1, 100))


def test_same_message_again_is_not_a_repetition():
    detector = FrozenDetector(after=2)
    assert not any(detector.update(7, 5, 5.0) for _ in range(10))


def test_frozen_detector_resets():
    detector = FrozenDetector(after=1)
    detector.update(7, 1, 5.0)
    detector.reset()
    assert not detector.update(7, 2, 5.0)


def test_digest_sees_sensor_noise_and_nothing_else():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 250, (90, 160, 3), dtype=np.uint8)
    noisy = picture + rng.integers(0, 2, picture.shape, dtype=np.uint8)
    for compressed in (False, True):
        assert image_digest(picture, compressed=compressed) == image_digest(picture.reshape(-1).copy(), compressed=compressed)
        assert image_digest(picture, compressed=compressed) != image_digest(noisy, compressed=compressed)
    changed = picture.copy()
    changed[3, 7, 1] ^= 1
    assert image_digest(changed, compressed=True) != image_digest(picture, compressed=True), "of compressed bytes each one counts"
