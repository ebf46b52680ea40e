"""The driver that looks: on painted pictures whose lane is known, and once on rendered ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from vavam_world.contracts import (
    U8,
    WORLD_CAMERA,
    CameraSpec,
    Control,
    EgoState,
    LookSpec,
    MapSpec,
    RouteSpec,
    Scenario,
    Trace,
    TrafficSpec,
    View,
    WorldError,
    WorldState,
)
from vavam_world.drivers.lane_follower import LaneFollower
from vavam_world.drivers.lane_picture import GroundPicture
from vavam_world.drivers.lane_tracker import LaneShape, find_lane
from vavam_world.drivers.loop import drive
from vavam_world.render.renderer import Renderer
from vavam_world.roads import build_map

from vavam_ros.core.contracts import Command

EGO = EgoState(x_m=0.0, y_m=0.0, yaw_rad=0.0, speed_mps=8.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())


def painted(shape: LaneShape, camera: CameraSpec = WORLD_CAMERA, *, dashed_left: bool = True) -> U8:
    """Grey road with the two lines of a lane, each pixel by where its ray meets the ground."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    left, down = (camera.cx - u) / camera.fx, (v - camera.cy) / camera.fy
    down = down * np.cos(camera.pitch_rad) + np.sin(camera.pitch_rad)
    depth = camera.z_m / np.where(down > 1e-3, down, np.nan)  # pitch is taken as small
    x, y = camera.x_m + depth, depth * left
    s = np.arange(0.5, 60.0, 0.1)
    cx, cy, yaw = shape.at(s)
    image = np.full((camera.height, camera.width, 3), 90, np.uint8)
    image += np.random.default_rng(0).integers(0, 8, image.shape, dtype=np.uint8)
    for side in (1.0, -1.0):
        half = side * 0.5 * shape.width_m
        lx, ly = cx - half * np.sin(yaw), cy + half * np.cos(yaw)
        keep = (s % 6.0 < 3.0) if side > 0 and dashed_left else np.ones(len(s), bool)
        for i in range(camera.height):
            if np.isfinite(x[i, 0]) and x[i, 0] < 50.0:
                near = np.argmin(np.abs(lx - x[i, 0]))
                if keep[near]:
                    width = max(0.075, 0.5 * depth[i, 0] / camera.fx) / np.cos(yaw[near])
                    image[i, np.abs(y[i] - ly[near]) < width] = (225, 225, 220)
    return image


@pytest.mark.parametrize(
    "shape",
    [
        LaneShape(),
        LaneShape(offset_m=0.5, heading_rad=-0.05),
        LaneShape(offset_m=-0.3, curvature_1pm=0.02),
        LaneShape(heading_rad=0.04, curvature_1pm=-0.015, width_m=3.3),
    ],
)
def test_finds_the_lane_it_was_painted(shape: LaneShape) -> None:
    ground = GroundPicture(WORLD_CAMERA)
    sighting = find_lane(ground, ground.paint(painted(shape)), LaneShape(), tracked=False)
    assert sighting.right > 0.5
    assert sighting.support > 0.35
    assert sighting.shape.offset_m == pytest.approx(shape.offset_m, abs=0.1)
    s = np.array([5.0, 10.0, 15.0])
    np.testing.assert_allclose(sighting.shape.at(s)[1], shape.at(s)[1], atol=0.25)


def test_another_camera_sees_the_same_lane() -> None:
    shape = LaneShape(offset_m=0.4, curvature_1pm=0.01)
    camera = CameraSpec.from_fov(64.6, 640, 360, name="other", z_m=1.7)
    ground = GroundPicture(camera)
    found = find_lane(ground, ground.paint(painted(shape, camera)), LaneShape(), tracked=False).shape
    assert found.offset_m == pytest.approx(0.4, abs=0.12)
    assert found.at(np.array([5.0, 10.0, 15.0]))[1][2] == pytest.approx(shape.at(np.array([5.0, 10.0, 15.0]))[1][2], abs=0.3)


def test_moved_carries_a_lane_along() -> None:
    lane = LaneShape(offset_m=0.3, heading_rad=0.02, curvature_1pm=0.01)
    x, y, yaw = lane.at(np.array([1.0, 2.0]))
    moved = lane.moved(float(x[1]), float(y[1]), float(yaw[1]))  # onto the lane, along it
    assert moved.offset_m == pytest.approx(0.0, abs=0.01)
    assert moved.heading_rad == pytest.approx(0.0, abs=0.002)


def test_steers_towards_the_lane_and_stops_without_one() -> None:
    driver = LaneFollower()
    image = painted(LaneShape(offset_m=0.6))
    view = View(stamp_ns=0, pose=EGO.pose(0), image=image, camera=WORLD_CAMERA, command=Command.STRAIGHT, cruise_mps=8.0)
    path = driver.plan(view)
    assert path.xyz_m[-1, 1] == pytest.approx(0.6, abs=0.15)
    assert path.xyz_m[0, 1] == pytest.approx(0.0, abs=0.02)
    assert path.speed_mps[-1] > 6.0
    for i in range(20):
        path = driver.plan(replace(view, stamp_ns=i * 100_000_000, image=np.zeros_like(image)))
    assert path.speed_mps[-1] < 3.0
    with pytest.raises(WorldError, match="without a picture"):
        driver.plan(replace(view, image=None))


RUN = Scenario(
    name="look",
    map=MapSpec(kind="curves", seed=206),
    look=LookSpec(textures="suburb", weather="overcast", seed=6),
    route=RouteSpec(length_m=100.0, seed=6),
    traffic=TrafficSpec(parked=0.3, seed=6),
    start_speed_mps=6.0,
    start_offset_m=0.2,
    cruise_mps=8.0,
    stop_at_end=False,
    time_limit_s=16.0,
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(build_map(RUN.map), RUN.look, [WORLD_CAMERA])
    yield made
    made.close()


def looked(renderer: Renderer, image_filter: Callable[[int, U8], U8] | None = None) -> tuple[Trace, float]:
    """The run, and how far from the lane centre it came at most."""
    offsets: list[float] = []
    trace = drive(RUN, LaneFollower(), renderer=renderer, image_filter=image_filter, on_tick=lambda sim, path, image: offsets.append(abs(sim.route_d)))
    return trace, max(offsets)


def test_keeps_its_lane_by_rendered_pictures(renderer: Renderer) -> None:
    trace, furthest = looked(renderer)
    assert trace.finished == "route"
    assert furthest < 0.5


def test_frozen_pictures_ruin_it(renderer: Renderer) -> None:
    first: dict[int, U8] = {}
    trace, furthest = looked(renderer, lambda tick, image: first.setdefault(0, image.copy()))
    assert trace.finished in ("collision", "off_road") or furthest > 2.0


def test_shuffled_pictures_ruin_it(renderer: Renderer) -> None:
    """The same pictures as in the good run, in another order."""
    pool: list[U8] = []
    looked(renderer, lambda tick, image: (pool.append(image.copy()), image)[1])
    order = np.random.default_rng(5).permutation(len(pool))
    trace, furthest = looked(renderer, lambda tick, image: pool[order[(tick // 2) % len(pool)]])
    assert trace.finished in ("collision", "off_road", "stuck", "time") or furthest > 2.0


def test_black_pictures_stop_it() -> None:
    class Dark:
        def render(self, state: WorldState) -> dict[str, U8]:
            return {WORLD_CAMERA.name: np.zeros((WORLD_CAMERA.height, WORLD_CAMERA.width, 3), np.uint8)}

    trace = drive(RUN, LaneFollower(), renderer=Dark())
    assert trace.finished != "route"
    assert trace.states[-1].ego.speed_mps < 0.5
