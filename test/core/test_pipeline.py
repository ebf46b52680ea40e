"""From pictures and poses to plans: what a plan says and depends on, that the way there changes no plan, and that nothing leaks over a reset."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline_parts import CPU, START_NS, TINY, encoder, frames, picture, planner, plans, pose, scheduler, windows

from vavam_ros.core.artifact import LoadedArtifact, load_artifact, random_artifact
from vavam_ros.core.camera import CANONICAL_CAMERAS, ViewTransform
from vavam_ros.core.contracts import NS_PER_S, Command, ConfigError, TokenError, Waiting, WaitReason, Window
from vavam_ros.core.history.token_ring import RingConfig
from vavam_ros.core.pipeline import FrameEncoder, Planner, PlannerConfig
from vavam_ros.core.planning.validation import Limits

pytestmark = pytest.mark.usefixtures("nothing_without_a_device")


def test_a_drive_is_planned_at_the_plan_rate_from_a_growing_context(tiny: LoadedArtifact) -> None:
    found = windows(tiny, frames(tiny, 3.0))
    assert [(w.newest.stamp_ns - START_NS) / NS_PER_S for w in found] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [len(w.frames) for w in found] == [1, 2, 3, 4, 4, 4, 4]
    assert [f.stamp_ns for f in found[-1].frames] == [START_NS + round(t * NS_PER_S) for t in (1.5, 2.0, 2.5, 3.0)]


def test_tokens_say_what_they_are(tiny: LoadedArtifact) -> None:
    frame = encoder(tiny).step(picture(0.0), pose(0.0))
    assert frame.tokens.shape == (2, 4)
    assert frame.tokens.dtype == np.uint16
    assert len(set(frame.tokens.ravel().tolist())) > 1
    assert (frame.tokenizer_id, frame.codebook_size) == (tiny.card.tokenizer_id, 64)
    assert (frame.camera_id, frame.canonical) == ("resize:512x288", False)


def test_a_plan_says_where_it_comes_from(tiny: LoadedArtifact) -> None:
    window = windows(tiny, frames(tiny, 1.0))[-1]
    plan = planner(tiny, samples=5).step(window, Command.LEFT)
    assert plan.xy_ego_m.shape == (5, 6, 2)
    assert plan.xy_ego_m.dtype == np.float32
    assert (plan.stamp_ns, plan.model_id, plan.command) == (window.newest.stamp_ns, tiny.card.model_id, Command.LEFT)
    assert plan.context_stamps_ns == tuple(f.stamp_ns for f in window.frames)
    assert len(plan.context_stamps_ns) == 3
    assert not plan.canonical
    assert plan.pose is window.newest.pose
    assert plan.stage_ms == ()
    np.testing.assert_array_equal(plan.selected_xy_ego_m, plan.xy_ego_m[plan.selection.index])


def test_the_same_drive_gives_the_same_plans_bit_for_bit(tiny: LoadedArtifact) -> None:
    found = windows(tiny, frames(tiny, 3.0))
    for a, b in zip(plans(tiny, found), plans(tiny, windows(tiny, frames(tiny, 3.0))), strict=True):
        assert a.xy_ego_m.tobytes() == b.xy_ego_m.tobytes()
        assert a.selection.index == b.selection.index


def test_command_seed_and_stamp_each_change_the_plan(tiny: LoadedArtifact) -> None:
    window = windows(tiny, frames(tiny, 1.0))[-1]
    base = planner(tiny).step(window, Command.STRAIGHT).xy_ego_m
    assert not np.array_equal(base, planner(tiny).step(window, Command.LEFT).xy_ego_m)
    assert not np.array_equal(base, planner(tiny, seed=1).step(window, Command.STRAIGHT).xy_ego_m)
    later = replace(window, frames=(*window.frames[:-1], replace(window.newest, stamp_ns=window.newest.stamp_ns + 1)))
    assert not np.array_equal(base, planner(tiny).step(later, Command.STRAIGHT).xy_ego_m)


def test_noise_that_is_held_leaves_plans_to_what_is_seen(tiny: LoadedArtifact) -> None:
    window = windows(tiny, frames(tiny, 1.0))[-1]
    later = replace(window, frames=(*window.frames[:-1], replace(window.newest, stamp_ns=window.newest.stamp_ns + 1)))
    now, then = (planner(tiny, noise="held").step(w, Command.STRAIGHT).xy_ego_m for w in (window, later))
    assert np.array_equal(now, then), "the same pictures a moment later: the same plan"
    assert not np.array_equal(now, planner(tiny, noise="held", seed=1).step(window, Command.STRAIGHT).xy_ego_m)
    other = windows(tiny, frames(tiny, 1.5))[-1]
    assert not np.array_equal(now, planner(tiny, noise="held").step(other, Command.STRAIGHT).xy_ego_m)
    with pytest.raises(ConfigError, match="noise: got 'new', expected 'fresh' or 'held'"):
        PlannerConfig(noise="new")  # type: ignore[arg-type]


def test_commands_reach_the_network_under_its_own_numbers(tiny: LoadedArtifact) -> None:
    """The reference's numbers, unless the model's card says others."""
    assert tiny.card.command_ids == {Command.RIGHT: 0, Command.LEFT: 1, Command.STRAIGHT: 2}
    swapped = replace(tiny.card, command_map={"right": 1, "left": 0, "straight": 2})
    window = windows(tiny, frames(tiny, 1.0))[-1]
    other = Planner(tiny.model, model_id="x", command_ids=swapped.command_ids, config=PlannerConfig(), device=CPU)
    left, right = (planner(tiny).step(window, command).xy_ego_m for command in (Command.LEFT, Command.RIGHT))
    plan = other.step(window, Command.LEFT)
    assert plan.command is Command.LEFT
    assert plan.xy_ego_m.tobytes() == right.tobytes() != left.tobytes()


def test_only_a_drivable_plan_is_continued(tiny: LoadedArtifact) -> None:
    found = windows(tiny, frames(tiny, 1.0))
    drivable = Limits(**dict.fromkeys((f.name for f in fields(Limits)), 1e9))
    assert [x.selection.reason for x in plans(tiny, found, selection="continuity", limits=drivable)] == ["medoid, no previous plan", "continuity", "continuity"]
    reasons = [x.selection.reason for x in plans(tiny, found, selection="continuity", limits=replace(drivable, max_speed_mps=1e-6))]
    assert reasons == ["medoid, no previous plan, no sample is valid"] * 3


def test_a_late_frame_fills_the_ring_but_is_not_planned_from(tiny: LoadedArtifact) -> None:
    early, late, newest = frames(tiny, 1.0, rate_hz=2.0)
    s = scheduler(tiny)
    assert isinstance(s.push(early), Window)
    window = s.push(newest)
    assert isinstance(window, Window)
    assert len(window.frames) == 1  # a hole at 0.5 s
    assert s.push(late) is None
    assert s.push(newest) is None, "the same message again is no news"
    again = s.ring.window(newest.stamp_ns)
    assert isinstance(again, Window)
    assert [f.stamp_ns for f in again.frames] == [early.stamp_ns, late.stamp_ns, newest.stamp_ns]


def test_a_reset_schedule_begins_with_one_frame(tiny: LoadedArtifact) -> None:
    s = scheduler(tiny)
    *before, after = frames(tiny, 1.0, rate_hz=2.0)
    assert [len(w.frames) for w in map(s.push, before) if isinstance(w, Window)] == [1, 2]
    s.reset()
    window = s.push(after)
    assert isinstance(window, Window)
    assert (len(window.frames), s.resets) == (1, 1)


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 5e-3), (torch.float16, 5e-4)])
def test_a_network_in_half_precision_plans_the_same_way(tiny: LoadedArtifact, tmp_path: Path, dtype: torch.dtype, share: float) -> None:
    """From picture to plan: the same tokens but for near-ties, waypoints off by centimetres per ten metres at most, and not rounded to the network's format."""
    random_artifact(tmp_path / "tiny", TINY, seed=1)
    half = load_artifact(tmp_path / "tiny", CPU, dtype=dtype)
    view = ViewTransform(CANONICAL_CAMERAS["world_front"], (32, 64), "resize", None)
    encoders = encoder(tiny), FrameEncoder(half.tokenizer, view, device=CPU, dtype=dtype)
    full_tokens, half_tokens = (np.stack([e.step(picture(t), pose(t)).tokens for t in (0.0, 0.1, 0.2, 0.3)]) for e in encoders)
    assert (full_tokens == half_tokens).mean() > 0.9
    found = windows(tiny, frames(tiny, 2.0))
    for exact, plan in zip(plans(tiny, found), plans(half, found), strict=True):
        assert plan.xy_ego_m.dtype == np.float32
        worst, largest = np.abs(plan.xy_ego_m - exact.xy_ego_m).max(), np.abs(exact.xy_ego_m).max()
        assert 0 < worst <= share * largest
        xy = torch.from_numpy(plan.xy_ego_m)
        assert not torch.equal(xy.to(dtype).float(), xy)


def test_a_new_epoch_shares_nothing_with_the_old_one(tiny: LoadedArtifact) -> None:
    before, after = frames(tiny, 1.0), [replace(f, epoch=1, stamp_ns=f.stamp_ns + 2 * NS_PER_S) for f in frames(tiny, 1.0)]
    s, p = scheduler(tiny), planner(tiny)
    found = [w for w in map(s.push, [*before, *after]) if isinstance(w, Window)]
    assert [len(w.frames) for w in found] == [1, 2, 3, 1, 2, 3]
    assert s.resets == 1
    with_history = [p.step(w, Command.STRAIGHT) for w in found][3:]
    for a, b in zip(with_history, plans(tiny, found[3:]), strict=True):
        assert a.xy_ego_m.tobytes() == b.xy_ego_m.tobytes()
        assert a.selection.reason == b.selection.reason


def test_a_bag_loop_starts_the_schedule_anew(tiny: LoadedArtifact) -> None:
    s = scheduler(tiny)
    clip = frames(tiny, 1.2)
    first = [w for w in map(s.push, clip) if isinstance(w, Window)]
    again = [w for w in map(s.push, clip) if isinstance(w, Window)]
    assert [w.newest.stamp_ns for w in first] == [w.newest.stamp_ns for w in again]
    assert [len(w.frames) for w in again] == [1, 2, 3]


def test_waiting_for_a_full_context_says_so(tiny: LoadedArtifact) -> None:
    s = scheduler(tiny, ring=RingConfig(warmup="wait"))
    found = [x for x in map(s.push, frames(tiny, 2.0)) if x is not None]
    assert [isinstance(x, Waiting) and x.reason is WaitReason.CONTEXT_SHORT for x in found] == [True, True, True, False, False]


def test_foreign_tokens_are_refused_by_name(tiny: LoadedArtifact) -> None:
    frame = frames(tiny, 0.0)[0]
    with pytest.raises(TokenError, match="same model directory"):
        scheduler(tiny).push(replace(frame, tokenizer_id="another"))


def test_another_camera_begins_a_new_epoch(tiny: LoadedArtifact) -> None:
    enc = encoder(tiny)
    first = enc.step(picture(0.0), pose(0.0))
    enc.set_view(enc.view)
    assert enc.step(picture(0.1), pose(0.1)).epoch == first.epoch + 1


def test_warming_up_leaves_no_trace(tiny: LoadedArtifact) -> None:
    found = windows(tiny, frames(tiny, 1.0))
    p = planner(tiny)
    p.warm_up()
    for a, b in zip([p.step(w, Command.STRAIGHT) for w in found], plans(tiny, found), strict=True):
        assert a.xy_ego_m.tobytes() == b.xy_ego_m.tobytes()
        assert a.selection.reason == b.selection.reason
    enc = encoder(tiny)
    enc.warm_up()
    assert enc.step(picture(0.0), pose(0.0)).epoch == 0


def test_stages_are_timed_by_the_callers_clock(tiny: LoadedArtifact) -> None:
    ticks = iter(range(1000))
    p = Planner(tiny.model, model_id="x", command_ids=tiny.card.command_ids, config=PlannerConfig(), device=CPU, clock=lambda: float(next(ticks)))
    plan = p.step(windows(tiny, frames(tiny, 0.0))[0], Command.STRAIGHT)
    assert plan.stage_ms == (("context", 1000.0), ("denoise", 1000.0), ("select", 1000.0))


def test_marks_of_a_clock_are_read_when_the_step_is_done(tiny: LoadedArtifact) -> None:
    """A GPU's marks are waited for where they are read: between the stages it would stand still."""
    taken: list[Any] = []

    class Mark:
        def __init__(self) -> None:
            self.at = len(taken)
            taken.append(self)

        def __sub__(self, earlier: Any) -> float:
            assert len(taken) == 4
            return float(self.at - earlier.at)

    p = Planner(tiny.model, model_id="x", command_ids=tiny.card.command_ids, config=PlannerConfig(), device=CPU, clock=Mark)
    assert p.step(windows(tiny, frames(tiny, 0.0))[0], Command.STRAIGHT).stage_ms == (("context", 1000.0), ("denoise", 1000.0), ("select", 1000.0))


def test_weights_that_are_not_finite_give_a_plan_that_says_so(tiny: LoadedArtifact) -> None:
    window = windows(tiny, frames(tiny, 0.0))[0]
    weight = tiny.model.action.readout.weight
    saved = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(float("nan"))
        plan = planner(tiny).step(window, Command.STRAIGHT)
    finally:
        with torch.no_grad():
            weight.copy_(saved)
    assert [v.check for v in plan.violations] == ["finite"]


@pytest.mark.parametrize("bad", [{"samples": 0}, {"steps": 0}, {"max_contexts": 0}, {"context": "some"}, {"context": "streaming", "inference": "plain"}])
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        PlannerConfig(**bad)  # type: ignore[arg-type]


def test_fast_plans_are_the_plain_ones(tiny: LoadedArtifact) -> None:
    found = windows(tiny, frames(tiny, 3.0))
    for fast, plain in zip(plans(tiny, found), plans(tiny, found, inference="plain"), strict=True):
        np.testing.assert_allclose(fast.xy_ego_m, plain.xy_ego_m, rtol=0, atol=3e-6 * np.abs(plain.xy_ego_m).max())
        assert (fast.selection.index, fast.selection.reason) == (plain.selection.index, plain.selection.reason)


def test_an_unknown_way_to_run_the_network_is_refused(tiny: LoadedArtifact) -> None:
    with pytest.raises(ConfigError, match="got 'quick', expected 'fast' or 'plain'"):
        planner(tiny, inference="quick")


def test_many_windows_at_once_give_the_plans_of_one_by_one(tiny: LoadedArtifact) -> None:
    """Lengths mixed, an epoch that changes on the way: samples equal up to rounding, the same one selected for the same reason."""
    before, after = frames(tiny, 2.5), [replace(f, epoch=1, stamp_ns=f.stamp_ns + 9 * NS_PER_S) for f in frames(tiny, 1.0)]
    s = scheduler(tiny)
    found = [w for w in map(s.push, [*before, *after]) if isinstance(w, Window)]
    commands = [Command(i % 3) for i in range(len(found))]
    p = planner(tiny)
    alone = [p.step(w, c) for w, c in zip(found, commands, strict=True)]
    for inference in ("fast", "plain"):
        together = planner(tiny, inference=inference).step_many(found, commands)
        assert [len(x.context_stamps_ns) for x in together] == [1, 2, 3, 4, 4, 4, 1, 2, 3]
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a.xy_ego_m, b.xy_ego_m, rtol=0, atol=3e-6 * np.abs(b.xy_ego_m).max())
            assert (a.selection.index, a.selection.reason, a.violations == ()) == (b.selection.index, b.selection.reason, b.violations == ())
            assert (a.stamp_ns, a.epoch, a.command, a.context_stamps_ns) == (b.stamp_ns, b.epoch, b.command, b.context_stamps_ns)
    with pytest.raises(ConfigError, match="got context 'streaming', expected 'exact'"):
        planner(tiny, context="streaming").step_many(found, commands)
