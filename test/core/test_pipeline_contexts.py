"""Contexts of the planner: when one is extended, made anew, reused or dropped, and that none of it changes a plan."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from pipeline_parts import frames, planner, plans, windows

from vavam_ros.core.artifact import LoadedArtifact
from vavam_ros.core.contracts import Command
from vavam_ros.core.model import Context, VaVAM
from vavam_ros.core.model.fast import FastContext, FastVaVAM
from vavam_ros.core.planning.validation import Limits

pytestmark = pytest.mark.usefixtures("nothing_without_a_device")


def test_growing_a_context_gives_the_plan_of_computing_it_whole(tiny: LoadedArtifact) -> None:
    found = windows(tiny, frames(tiny, 1.5))
    for grown, window in zip(plans(tiny, found), found, strict=True):
        whole = planner(tiny).step(window, Command.STRAIGHT)
        np.testing.assert_allclose(grown.xy_ego_m, whole.xy_ego_m, atol=1e-5 * np.abs(whole.xy_ego_m).max())


def watched(monkeypatch: pytest.MonkeyPatch, model: type[VaVAM] | type[FastVaVAM] = FastVaVAM) -> list[str]:
    """What the planner has computed: "context 3" or "extend 1", with the number of frames."""
    made: list[str] = []
    for name in ("context", "extend"):
        original = getattr(model, name)
        monkeypatch.setattr(model, name, lambda *a, _f=original, _n=name: (made.append(f"{_n} {a[-1].shape[1]}"), _f(*a))[1])  # type: ignore[func-returns-value]
    return made


@pytest.mark.parametrize("inference", ["fast", "plain"])
def test_contexts_are_extended_while_they_grow_and_made_anew_when_the_window_slides(
    tiny: LoadedArtifact, monkeypatch: pytest.MonkeyPatch, inference: str
) -> None:
    made = watched(monkeypatch, FastVaVAM if inference == "fast" else VaVAM)
    plans(tiny, windows(tiny, frames(tiny, 3.0)), inference=inference)
    assert made == ["context 1", "extend 1", "extend 1", "extend 1", "context 4", "context 4", "context 4"]


def test_each_phase_of_a_faster_plan_rate_keeps_a_context_of_its_own(tiny: LoadedArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    made = watched(monkeypatch)
    found = windows(tiny, frames(tiny, 1.4), plan_rate_hz=4.0)
    plans(tiny, found, max_contexts=2)
    assert len(found) == 6
    assert [x for x in made if x.startswith("context")] == ["context 1"] * 2


@pytest.mark.parametrize("inference", ["fast", "plain"])
def test_a_full_context_is_gone_before_the_next_is_made(tiny: LoadedArtifact, monkeypatch: pytest.MonkeyPatch, inference: str) -> None:
    """Two of them at once would be the peak of the memory that planning needs."""
    found = windows(tiny, frames(tiny, 3.0))
    gc.collect()
    model, kind = (FastVaVAM, FastContext) if inference == "fast" else (VaVAM, Context)
    before = {id(x) for x in gc.get_objects() if type(x) is kind}
    counts: list[int] = []
    original = model.context

    def making(self: object, tokens: torch.Tensor) -> object:
        counts.append(sum(type(x) is kind and id(x) not in before for x in gc.get_objects()))
        return original(self, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "context", making)
    plans(tiny, found[3:], inference=inference)  # all of them full
    assert counts == [0, 0, 0, 0]


def test_no_more_contexts_are_kept_than_asked_for(tiny: LoadedArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two phases take turns: with room for one context each displaces the other's, and both are made anew every time."""
    made = watched(monkeypatch)
    plans(tiny, windows(tiny, frames(tiny, 1.4), plan_rate_hz=4.0), max_contexts=1)
    assert made == [f"context {n}" for n in (1, 1, 2, 2, 3, 3)]


def test_frames_of_another_epoch_do_not_continue_a_context(tiny: LoadedArtifact) -> None:
    """The same stamps with other tokens, as after a bag loop, without a drivable plan in between that would show the change of epoch."""
    first, *_, longer = windows(tiny, frames(tiny, 0.5))
    other = tuple(replace(f, epoch=1, tokens=(f.tokens + 1) % 64) for f in longer.frames)
    tight = Limits(max_speed_mps=1e-6)  # nothing is drivable
    p = planner(tiny, limits=tight)
    assert p.step(first, Command.STRAIGHT).violations
    got = p.step(replace(longer, frames=other), Command.STRAIGHT)
    alone = planner(tiny, limits=tight).step(replace(longer, frames=other), Command.STRAIGHT)
    assert got.xy_ego_m.tobytes() == alone.xy_ego_m.tobytes()


def test_planning_again_from_the_same_window_reuses_the_context(tiny: LoadedArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    window = windows(tiny, frames(tiny, 2.0))[-1]
    p = planner(tiny)
    p.step(window, Command.STRAIGHT)
    monkeypatch.setattr(FastVaVAM, "context", lambda *_: pytest.fail("computed again"))
    assert p.step(window, Command.LEFT).command is Command.LEFT
