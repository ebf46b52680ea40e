"""A model driven by the core's pipeline in this process, and the controls that show whether a driver looks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vavam_world.contracts import U8, WORLD_CAMERA, MapSpec, RouteSpec, Scenario, WorldState
from vavam_world.drivers import make
from vavam_world.drivers.loop import drive
from vavam_world.drivers.model_driver import ModelDriver, checked_settings, planner_config
from vavam_world.drivers.shown import image_filter

from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.pipeline import PlannerConfig
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec

RUN = Scenario(
    name="run", map=MapSpec(kind="straight", seed=1), route=RouteSpec(length_m=120.0, seed=1), start_speed_mps=3.5, time_limit_s=12.0, stop_at_end=False
)


class Painter:
    """Stands in for a renderer: the tick as a grey level."""

    def render(self, state: WorldState) -> dict[str, U8]:
        return {WORLD_CAMERA.name: np.full((WORLD_CAMERA.height, WORLD_CAMERA.width, 3), state.tick % 250, np.uint8)}


def test_a_model_drives_as_its_plans_say(practice_model: Path) -> None:
    driver = make("vavam_direct", model=practice_model)
    trace = drive(RUN, driver, renderer=Painter())
    assert trace.finished == "time"
    assert len(trace.plans) == 24  # 12 s at 2 Hz
    assert all(p.stamp_ns == trace.states[10 * i].stamp_ns for i, p in enumerate(trace.plans))
    last = trace.states[-1].ego
    assert last.speed_mps == pytest.approx(3.5, abs=0.6)
    again = drive(RUN, driver, renderer=Painter())  # reset: nothing is left of the first run
    assert [s.ego for s in again.states] == [s.ego for s in trace.states]


def test_plans_may_come_oftener_than_the_frames_of_a_context(practice_model: Path) -> None:
    driver = ModelDriver(practice_model, planner=["plan_rate_hz=10"])
    contexts = []

    def seen(_sim: object, _path: object, image: U8 | None) -> None:
        if image is not None and driver.plan_made is not None:
            contexts.append(driver.plan_made.context_stamps_ns)

    trace = drive(replace(RUN, time_limit_s=4.0), driver, renderer=Painter(), on_tick=seen)
    assert len(trace.plans) == 40
    gaps_s = {round((b - a) / 1e9, 3) for stamps in contexts[15:] for a, b in pairwise(stamps)}  # before, the oldest may lie within the ring's tolerance
    assert gaps_s == {0.5}, "a context's frames are as far apart as the model knows them"
    assert checked_settings(["plan_rate_hz=10", "samples=3"], 0.5) == (PlannerConfig(samples=3), 2)
    assert checked_settings(["plan_rate_hz=2.0"], 0.5) == checked_settings([], 0.5) == (PlannerConfig(), 10)
    for wrong in ("plan_rate_hz=5", "plan_rate_hz=20", "plan_rate_hz=0", "plan_rate_hz=often"):
        with pytest.raises(ConfigError, match=rf"got {wrong}, expected one of 10, 2: pictures come at 10 Hz and the model's frames are 0.5 s apart"):
            ModelDriver(practice_model, planner=[wrong])


def test_a_shorter_context(practice_model: Path) -> None:
    short = drive(replace(RUN, time_limit_s=6.0), ModelDriver(practice_model, frames=1), renderer=Painter())
    whole = drive(replace(RUN, time_limit_s=6.0), ModelDriver(practice_model), renderer=Painter())
    assert np.array_equal(short.plans[0].xyz_m, whole.plans[0].xyz_m)  # one picture is all there is
    assert not np.array_equal(short.plans[-1].xyz_m, whole.plans[-1].xyz_m)
    with pytest.raises(ConfigError, match="frames: got 99, expected 1 to"):
        ModelDriver(practice_model, frames=99)


def test_an_untrained_model_ends_the_run_and_says_why(tmp_path: Path) -> None:
    tiny = ModelSpec(
        name="tiny",
        video=VideoSpec(width=64, layers=2, head_size=32, vocabulary=65, grid_h=9, grid_w=16, mup_base_width=32),
        action=ActionSpec(width=32, mup_base_width=16),
    )
    random_artifact(tmp_path, tiny, camera=WORLD_CAMERA.name)
    trace = drive(RUN, ModelDriver(tmp_path), renderer=Painter())
    assert trace.finished == "driver_error"
    assert "no drivable plan since the start" in trace.detail


@pytest.mark.parametrize("shown", ["black", "frozen", "shuffled"])
def test_controls(shown: str) -> None:
    pictures = [np.full((2, 2, 3), i, np.uint8) for i in range(1, 30)]
    change = image_filter(shown, seed=3)  # type: ignore[arg-type]
    assert change is not None
    seen = [int(change(i, p)[0, 0, 0]) for i, p in enumerate(pictures)]
    if shown == "black":
        assert set(seen) == {0}
    elif shown == "frozen":
        assert set(seen) == {1}
    else:
        assert all(s <= i + 1 for i, s in enumerate(seen))  # nothing from the future
        assert len(set(seen)) > 8
        assert seen != sorted(seen)
    assert image_filter("as_taken") is None


def test_settings_of_the_planner_are_named() -> None:
    config = planner_config(["samples=16", "selection=medoid", "steps=5"])
    assert (config.samples, config.selection, config.steps, config.seed) == (16, "medoid", 5, PlannerConfig().seed)
    assert planner_config([]) == PlannerConfig()
    streaming = planner_config(["context=streaming", "keep_frames=3"])
    assert (streaming.context, streaming.keep_frames) == ("streaming", 3)
    assert planner_config(["noise=held"]).noise == "held"
    for wrong, said in (("sample=16", "got sample, expected some of samples"), ("samples=many", "whole numbers"), ("selection=best", "got selection=best"),
                        ("context=all", "context: got 'all'"), ("noise=none", "noise: got 'none', expected 'fresh' or 'held'")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            planner_config([wrong])
