"""The closed loop in process: what is passed to whom and when."""

from __future__ import annotations

import numpy as np
import pytest
from vavam_world.contracts import U8, WORLD_CAMERA, MapSpec, RouteSpec, Scenario, TrafficSpec, View, WorldState
from vavam_world.drivers.constant_velocity import ConstantVelocity
from vavam_world.drivers.loop import drive
from vavam_world.sim.simulation import Simulation

from vavam_ros.core.contracts import Command, ConfigError, DensePath

RUN = Scenario(
    name="loop",
    map=MapSpec(kind="straight", seed=3),
    route=RouteSpec(length_m=60.0),
    traffic=TrafficSpec(parked=0.0),
    start_speed_mps=8.0,
    stop_at_end=False,
    time_limit_s=2.0,
)


class Recorder(ConstantVelocity):
    """Constant velocity that keeps the views it was shown."""

    needs_image = True

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.views: list[View] = []
        self.fails_at = fails_at

    def plan(self, view: View) -> DensePath:
        self.views.append(view)
        if len(self.views) == self.fails_at:
            raise ZeroDivisionError("no")
        return super().plan(view)


class Ticking:
    """A camera whose pictures hold the tick."""

    def render(self, state: WorldState) -> dict[str, U8]:
        return {WORLD_CAMERA.name: np.full((2, 3, 3), state.tick % 256, np.uint8)}


def test_holds_speed_and_heading() -> None:
    trace = drive(RUN, ConstantVelocity())
    first, last = trace.states[0].ego, trace.states[-1].ego
    assert trace.finished == "time"
    assert len(trace.states) == 41
    assert last.speed_mps == pytest.approx(8.0, abs=0.1)
    assert last.yaw_rad == pytest.approx(first.yaw_rad, abs=1e-3)
    assert np.hypot(last.x_m - first.x_m, last.y_m - first.y_m) == pytest.approx(16.0, abs=0.2)


def test_views_come_at_the_drivers_rate_with_the_picture_of_that_tick() -> None:
    driver = Recorder()
    shown: list[int] = []

    def brighter(tick: int, image: U8) -> U8:
        return image + np.uint8(100)

    trace = drive(RUN, driver, renderer=Ticking(), keep_images_every=4, image_filter=brighter, on_tick=lambda *a: shown.append(1))
    assert [v.stamp_ns for v in driver.views] == [trace.states[t].stamp_ns for t in (0, 10, 20, 30)]
    assert [int(v.image[0, 0, 0]) for v in driver.views if v.image is not None] == [100, 110, 120, 130]
    assert {t: int(i[0, 0, 0]) for t, i in trace.images.items()} == {t: 100 + t for t in range(0, 40, 4)}
    assert all(v.command is Command.STRAIGHT for v in driver.views)
    assert len(shown) == 40
    assert len(trace.plans) == 4


def test_a_plan_is_used_after_the_latency() -> None:
    paths: list[bool] = []

    def on_tick(sim: Simulation, path: DensePath | None, image: U8 | None) -> None:
        paths.append(path is not None)

    drive(RUN, ConstantVelocity(), latency_ticks=6, on_tick=on_tick)
    assert paths.index(True) == 6


def test_a_driver_that_fails_ends_the_run_and_says_why() -> None:
    trace = drive(RUN, Recorder(fails_at=2), renderer=Ticking())
    assert trace.finished == "driver_error"
    assert trace.detail == "tick 10: ZeroDivisionError: no"
    assert len(trace.states) == 11


def test_refuses_what_cannot_be_meant() -> None:
    with pytest.raises(ConfigError, match="needs pictures"):
        drive(RUN, Recorder())
    with pytest.raises(ConfigError, match="multiple of 2"):
        drive(RUN, Recorder(), renderer=Ticking(), keep_images_every=3)
    with pytest.raises(ConfigError, match="latency -1"):
        drive(RUN, ConstantVelocity(), latency_ticks=-1)
