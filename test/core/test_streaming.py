"""Streaming contexts: the schedule as drawn, its work bounded in counted operations, and every plan that of the exact model on the frames it names."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from vavam_ros.core.contracts import NS_PER_S, Command, ConfigError, EgoPose, Plan, TokenFrame, Window
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.model import fast
from vavam_ros.core.model.fast import FastVaVAM
from vavam_ros.core.model.flow import plan_noise
from vavam_ros.core.model.network import VaVAM, init_weights
from vavam_ros.core.model.streaming import Chunk, StreamSchedule, Tick, append_flops
from vavam_ros.core.pipeline import Planner, PlannerConfig
from vavam_ros.core.spec import PRESETS, VAVAM_S, ActionSpec, FlowSpec, ModelSpec, VideoSpec

CPU = torch.device("cpu")


def spec_of(frames: int) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=frames, grid_h=2, grid_w=3, mup_base_width=16),
        action=ActionSpec(width=8, horizon=3, mup_base_width=4),
        flow=FlowSpec(steps=3),
    )


# ---------------------------------------------------------------------------------------------------------------------------- the schedule


def drawn(ticks: Sequence[Tick], tokens_per_frame: int) -> list[str]:
    """Frames planned from, and frames of the next context after the tick."""
    built = [0 if t.build is None else t.build.held + t.build.added for t in ticks]
    return [f"{t.frames}{'*' if t.swapped else ''} {b / tokens_per_frame:g}" for t, b in zip(ticks, built, strict=True)]


@pytest.mark.parametrize(
    ("frames", "keep", "expected"),
    [
        (4, 2, ["1 0", "2 0", "3 1", "4 2", "3* 1", "4 2", "3* 1"]),
        (4, 3, ["1 0", "2 0", "3 0", "4 3", "4* 3", "4* 3"]),
        (5, 3, ["1 0", "2 0", "3 0", "4 1.5", "5 3", "4* 1.5", "5 3"]),
        (8, None, ["1 0", "2 0", "3 0", "4 0", "5 1", "6 2", "7 3", "8 4", "5* 1", "6 2", "7 3", "8 4", "5* 1"]),
    ],
)
def test_two_contexts_take_turns_as_drawn(frames: int, keep: int | None, expected: list[str]) -> None:
    spec = spec_of(frames).video
    schedule = StreamSchedule(spec, keep)
    assert drawn([schedule.tick() for _ in expected], spec.tokens_per_frame) == expected


@pytest.mark.parametrize("keep", [4, 5, 6, 7])
def test_each_context_is_built_without_a_hole_and_never_from_frames_to_come(keep: int) -> None:
    spec = VAVAM_S.video
    schedule, s, held, built = StreamSchedule(spec, keep), spec.tokens_per_frame, 0, 0
    for _ in range(40):
        tick = schedule.tick()
        if tick.swapped:
            assert built == keep * s
            held, built = built, 0
        assert tick.append == Chunk(held=held, added=s)
        held += s
        assert held == tick.frames * s
        if tick.build is not None:
            assert tick.build.held == built
            built += tick.build.added
            come = tick.frames - (spec.frames - keep)  # of the next one's frames
            assert built <= come * s


@pytest.mark.parametrize("name", PRESETS)
def test_the_worst_tick_is_within_a_fifth_of_the_median(name: str) -> None:
    """Counted operations, steady state; an exact context costs three times the median or more."""
    spec = PRESETS[name].video
    for keep in range(4, 8):
        schedule = StreamSchedule(spec, keep)
        for _ in range(spec.frames):
            schedule.tick()
        work = [schedule.tick().flops(spec) for _ in range(12 * (spec.frames - keep))]
        assert max(work) <= 1.2 * statistics.median(work)
        if keep == 4:
            assert append_flops(spec, 0, spec.frames * spec.tokens_per_frame) >= 3 * statistics.median(work)


def test_operations_are_those_of_the_specification() -> None:
    """VaVAM-S: 2.26 TFLOP for a whole context, 0.38 for one more frame behind seven; growing frame by frame adds up to the whole."""
    v = VAVAM_S.video
    s = v.tokens_per_frame
    whole = append_flops(v, 0, 8 * s)
    assert whole / 1e12 == pytest.approx(2.26, abs=0.01)
    assert append_flops(v, 7 * s, s) / 1e12 == pytest.approx(0.38, abs=0.02)
    assert sum(append_flops(v, i * s, s) for i in range(8)) == whole


def test_a_window_that_continues_nothing_begins_with_its_newest_frames() -> None:
    spec = spec_of(8).video
    for available, frames in ((1, 1), (4, 4), (5, 5), (8, 5)):
        schedule = StreamSchedule(spec)
        tick = schedule.begin(available)
        assert (tick.frames, tick.append) == (frames, Chunk(held=0, added=frames * 6))
        assert tick.build == (Chunk(held=0, added=6) if frames == 5 else None)
        assert schedule.tick().frames == frames + 1


@pytest.mark.parametrize(("frames", "keep"), [(8, 3), (8, 8), (1, None), (5, 2)])
def test_impossible_numbers_of_frames_are_refused(frames: int, keep: int | None) -> None:
    with pytest.raises(ConfigError, match=rf"expected {(frames + 1) // 2} to {frames - 1} \(the model holds {frames}\)"):
        StreamSchedule(spec_of(frames).video, keep)


# --------------------------------------------------------------------------------------------------------------------------------- plans


def frame(i: int, *, epoch: int = 0) -> TokenFrame:
    """The i-th frame of a drive, one every half second."""
    stamp_ns = (100 + i) * NS_PER_S // 2
    pose = EgoPose(
        stamp_ns=stamp_ns, odom_frame_id="odom", T_odom_ego=planar_T(4.0 * i, 0.0, 0.0), linear_mps=np.array([8.0, 0.0, 0.0]), angular_radps=np.zeros(3)
    )
    tokens = np.random.default_rng((i, epoch)).integers(0, 64, (2, 3), dtype=np.uint16)
    fixed = {"camera_frame_id": "", "codebook_size": 64, "tokenizer_id": "", "camera_id": "", "canonical": True, "coverage": 1.0}
    return TokenFrame(stamp_ns=stamp_ns, epoch=epoch, tokens=tokens, pose=pose, **fixed)  # type: ignore[arg-type]


def window(frames: Sequence[TokenFrame]) -> Window:
    return Window(frames=tuple(frames), slot_error_s=(0.0,) * len(frames))


def sliding(first: int, count: int, size: int, epoch: int = 0) -> list[Window]:
    """Windows of a drive that begins with frame `first`."""
    frames = [frame(i, epoch=epoch) for i in range(first, first + count)]
    return [window(frames[max(0, end - size) : end]) for end in range(1, count + 1)]


@pytest.fixture(scope="module")
def models() -> dict[int, VaVAM]:
    made = {}
    for frames in (4, 5):
        made[frames] = VaVAM(spec_of(frames), device="cpu")
        init_weights(made[frames], torch.Generator("cpu").manual_seed(0), video_std=0.4, action_std=0.4, zero_query=False, readout_std=0.4)
    return made


def planner(model: VaVAM, **config: object) -> Planner:
    settings = PlannerConfig(samples=3, context="streaming", **config)  # type: ignore[arg-type]
    return Planner(model, model_id="m", command_ids={c: int(c) for c in Command}, config=settings, device=CPU)


@torch.inference_mode()
def check_exact(model: VaVAM, plan: Plan, given: Window) -> None:
    """The plan is network.py's for the newest frames of the window, those whose stamps it names."""
    used = given.frames[-len(plan.context_stamps_ns) :]
    assert plan.context_stamps_ns == tuple(f.stamp_ns for f in used)
    context = model.context(torch.from_numpy(np.stack([f.tokens.astype(np.int64) for f in used])).unsqueeze(0))
    noise = plan_noise(0, plan.stamp_ns, (3, 3, 2), device="cpu")
    expected = model.sample(context, noise, torch.tensor(int(plan.command), device="cpu")).numpy()
    np.testing.assert_allclose(plan.xy_ego_m, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("ahead", [True, False], ids=["prepared", "not prepared"])
@pytest.mark.parametrize(("frames", "keep", "lengths"), [(4, 2, [1, 2, 3, 4, 3, 4, 3, 4, 3]), (4, 3, [1, 2, 3, 4, 4, 4, 4]), (5, 3, [1, 2, 3, 4, 5, 4, 5, 4])])
def test_every_plan_is_the_exact_models_on_its_frames(models: dict[int, VaVAM], frames: int, keep: int, lengths: list[int], ahead: bool) -> None:
    p = planner(models[frames], keep_frames=keep)
    found = []
    for given in sliding(0, len(lengths), frames):
        found.append(p.step(given, Command.LEFT))
        check_exact(models[frames], found[-1], given)
        again = p.step(given, Command.RIGHT)  # from the same window: nothing moves on
        check_exact(models[frames], again, given)
        if ahead:
            p.prepare()
    assert [len(x.context_stamps_ns) for x in found] == lengths


def test_two_runs_are_equal_bit_for_bit_prepared_or_not(models: dict[int, VaVAM]) -> None:
    runs = []
    for ahead in (True, True, False):
        p, xy = planner(models[5]), []
        for given in sliding(0, 9, 5):
            xy.append(p.step(given, Command.STRAIGHT).xy_ego_m.tobytes())
            if ahead:
                p.prepare()
        runs.append(xy)
    assert runs[0] == runs[1] == runs[2]


def test_the_network_gets_the_tokens_that_the_schedule_counts(models: dict[int, VaVAM], monkeypatch: pytest.MonkeyPatch) -> None:
    """So that counted work is the work done. The plan waits for one frame only; the rest is done ahead of the next."""
    sizes: list[int] = []
    original = FastVaVAM._append
    monkeypatch.setattr(FastVaVAM, "_append", lambda self, buffer, n, tokens: (sizes.append(tokens.shape[1]), original(self, buffer, n, tokens))[1])  # type: ignore[func-returns-value]
    p, schedule, s = planner(models[5]), StreamSchedule(models[5].spec.video), models[5].spec.video.tokens_per_frame
    for given in sliding(0, 11, 5):
        tick = schedule.tick()
        sizes.clear()
        p.step(given, Command.STRAIGHT)
        assert sizes == [s]
        sizes.clear()
        p.prepare()
        assert sum(sizes) == (0 if tick.build is None else tick.build.added)


def test_no_more_than_two_contexts_exist_for_each_phase(models: dict[int, VaVAM]) -> None:
    model = models[4]
    v = model.spec.video
    one = v.layers * 2 * v.width * (v.frames * v.tokens_per_frame + 3 * model.spec.action.horizon) * 4
    p = planner(model, max_contexts=2)
    even, odd = sliding(0, 9, 4), sliding(1000, 9, 4)  # two phases in turn, as when planning at twice the frame grid
    for a, b in zip(even, odd, strict=True):
        for given in (a, b):
            check_exact(model, p.step(given, Command.LEFT), given)
            p.prepare()
    assert p.buffer_bytes == 4 * one
    single = planner(model)
    for given in [*even, *sliding(50, 9, 4, epoch=1)]:
        check_exact(model, single.step(given, Command.LEFT), given)
        single.prepare()
    assert single.buffer_bytes == 2 * one


def test_a_window_with_other_frames_begins_anew_within_bounds(models: dict[int, VaVAM]) -> None:
    """A gap shortens the window; a late frame changes it; another epoch ends it. Nothing of before is used."""
    model = models[4]
    p = planner(model)
    drive = sliding(0, 6, 4)
    for given in drive:
        p.step(given, Command.LEFT)
    after_gap = window([frame(7)])
    other_past = window([frame(20), frame(21), frame(23), frame(24)])
    new_epoch = window([frame(24, epoch=1), frame(25, epoch=1)])
    for given, frames in ((after_gap, 1), (other_past, 3), (new_epoch, 2)):
        plan = p.step(given, Command.LEFT)
        check_exact(model, plan, given)
        assert len(plan.context_stamps_ns) == frames


def test_work_ahead_is_timed_as_a_stage_of_its_own(models: dict[int, VaVAM]) -> None:
    ticks = iter(range(1000))
    settings = PlannerConfig(samples=3, context="streaming")
    p = Planner(models[4], model_id="m", command_ids={c: int(c) for c in Command}, config=settings, device=CPU, clock=lambda: float(next(ticks)))
    stages = []
    for given in sliding(0, 4, 4):
        p.step(given, Command.STRAIGHT)
        stages.append(p.prepare())
    assert stages == [(), (), (("prepare", 1000.0),), (("prepare", 1000.0),)]


def test_warming_up_leaves_no_trace(models: dict[int, VaVAM]) -> None:
    p, fresh = planner(models[4]), planner(models[4])
    p.warm_up()
    for given in sliding(0, 6, 4):
        assert p.step(given, Command.LEFT).xy_ego_m.tobytes() == fresh.step(given, Command.LEFT).xy_ego_m.tobytes()


class Counted:
    """In place of a CUDA graph: only how many were recorded."""

    made = 0

    def __init__(self, body: Callable[..., Tensor | None], inputs: Sequence[Tensor], device: torch.device, pool: object) -> None:
        Counted.made += 1
        self._body = body

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        return self._body(*inputs)


@pytest.mark.parametrize("phases", [1, 2])
@pytest.mark.parametrize("context", ["exact", "streaming"])
def test_on_a_gpu_warming_up_records_all_that_a_drive_replays(
    models: dict[int, VaVAM], monkeypatch: pytest.MonkeyPatch, context: Literal["exact", "streaming"], phases: int
) -> None:
    """Recording takes a while and must not fall into a drive. A stand-in, so that it is shown without a GPU."""
    monkeypatch.setattr(fast, "Recording", Counted)
    settings = PlannerConfig(samples=3, context=context, max_contexts=phases)
    p = Planner(models[4], model_id="m", command_ids={c: int(c) for c in Command}, config=settings, device=CPU)
    assert isinstance(p._model, FastVaVAM)
    p._model._graphs = p._on_gpu = True
    p.warm_up()
    recorded = Counted.made
    assert recorded > 0
    for together in zip(*(sliding(1000 * i, 11, 4) for i in range(phases)), strict=True):
        for given in together:
            check_exact(models[4], p.step(given, Command.LEFT), given)
            p.prepare()
    assert Counted.made == recorded
