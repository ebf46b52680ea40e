"""What the picture shows lies where `project` says, for any camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
from vavam_world.contracts import (
    WORLD_CAMERA,
    ActorState,
    CameraSpec,
    Control,
    EgoState,
    LookSpec,
    MapSpec,
    Marking,
    Prop,
    RoadMap,
    WorldState,
)
from vavam_world.render.camera import FAR_M, T_map_body, ground_distance_m, in_sight, project, sight
from vavam_world.render.meshes import LABEL
from vavam_world.render.renderer import Renderer

from vavam_ros.core.contracts import ConfigError

EGO = EgoState(x_m=203.0, y_m=-41.0, yaw_rad=0.7, speed_mps=0.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
STATE = WorldState(tick=0, stamp_ns=1, ego=EGO, actors=())
CAMERAS = (
    WORLD_CAMERA,
    CameraSpec.from_fov(64.6, 1600, 900, name="wide", x_m=1.6, z_m=1.6),
    CameraSpec(
        name="skew", width=320, height=200, fx=190.0, fy=240.0, cx=131.0, cy=118.0, x_m=1.2, y_m=0.4, z_m=1.9, roll_rad=0.06, pitch_rad=0.11, yaw_rad=-0.2
    ),
)
MARKS = ((9.0, 0.0), (8.0, -3.0), (14.0, 4.0), (18.0, -1.5))  # ahead, left of the ego
SIDE = 0.9


def in_map(ahead: float, left: float, z: float = 0.0) -> tuple[float, float, float]:
    c, s = math.cos(EGO.yaw_rad), math.sin(EGO.yaw_rad)
    return EGO.x_m + c * ahead - s * left, EGO.y_m + s * ahead + c * left, z


def square(ahead: float, left: float) -> np.ndarray:
    h = SIDE / 2
    return np.array([in_map(ahead + a * h, left + b * h) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


def area(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def scene(markings: tuple[Marking, ...] = (), props: tuple[Prop, ...] = ()) -> RoadMap:
    road = area(EGO.x_m - 80, EGO.y_m - 80, EGO.x_m + 80, EGO.y_m + 80)
    return RoadMap(
        spec=MapSpec(),
        lanes={},
        road=((road,),),
        sidewalk=(),
        markings=markings,
        crosswalks=(),
        props=props,
        bounds_m=(EGO.x_m - 90, EGO.y_m - 90, EGO.x_m + 90, EGO.y_m + 90),
    )


def centroid(corners: np.ndarray) -> np.ndarray:
    """Of a polygon's area: perspective shifts it from the middle of the corners."""
    x, y = corners.T
    xn, yn = np.roll(x, -1), np.roll(y, -1)
    cross = x * yn - xn * y
    return np.array([((x + xn) * cross).sum(), ((y + yn) * cross).sum()]) / (3.0 * cross.sum())


@pytest.mark.parametrize("spec", CAMERAS, ids=lambda s: s.name)
def test_marks_on_the_ground_are_where_they_are_projected_to(spec: CameraSpec) -> None:
    look = LookSpec(weather="overcast")
    renderer = Renderer(scene(), look, [spec])
    try:
        bare = renderer.render(STATE)[spec.name].astype(float)
        seen = 0
        for mark in MARKS:
            corners = square(*mark)
            expected = project(spec, EGO, corners)
            if not ((expected > 3).all() and (expected < np.array([spec.width, spec.height]) - 3).all()):
                continue
            seen += 1
            renderer.load(scene((Marking(kind="stop", xy_m=corners[:, :2]),)), look)
            weight = np.abs(renderer.render(STATE)[spec.name].astype(float) - bare).sum(axis=2)
            assert weight.max() > 100.0
            v, u = np.indices(weight.shape) + 0.5
            found = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
            assert np.abs(found - centroid(expected)).max() < 0.75, (mark, found, centroid(expected))
        assert seen >= 2
    finally:
        renderer.close()


@pytest.mark.parametrize("spec", CAMERAS, ids=lambda s: s.name)
def test_a_pole_stands_from_its_foot_to_its_height(spec: CameraSpec) -> None:
    ahead, left, height = 15.0, 1.0, 2.6
    x, y, _ = in_map(ahead, left)
    pole = Prop(kind="pole", x_m=x, y_m=y, yaw_rad=0.0, length_m=0.2, width_m=0.2, height_m=height, variant=0)
    renderer = Renderer(scene(props=(pole,)), LookSpec(), [spec])
    try:
        v, u = np.nonzero(renderer.labels(STATE, spec.name) == LABEL["object"])
    finally:
        renderer.close()
    rim = in_map(ahead - 0.09, left)
    top, foot, near = project(spec, EGO, np.array([[x, y, height], [x, y, 0.0], rim]))
    assert abs(v.min() - top[1]) <= 1.0
    assert foot[1] - 1.0 <= v.max() + 1 <= near[1] + 1.0
    upper = u[v <= v.min() + 2]
    assert abs(upper.mean() + 0.5 - top[0]) <= 1.0


def test_a_vehicle_fills_the_projection_of_its_box() -> None:
    x, y, _ = in_map(13.0, 1.5)
    car = ActorState(id=1, kind="car", x_m=x, y_m=y, yaw_rad=EGO.yaw_rad + 0.5, speed_mps=0.0, length_m=4.4, width_m=1.8, height_m=1.5, variant=3)
    renderer = Renderer(scene(), LookSpec(), [WORLD_CAMERA])
    try:
        labels = renderer.labels(WorldState(tick=0, stamp_ns=1, ego=EGO, actors=(car,)), WORLD_CAMERA.name)
    finally:
        renderer.close()
    v, u = np.nonzero(labels == LABEL["vehicle"])
    c, s = math.cos(car.yaw_rad), math.sin(car.yaw_rad)
    corners = np.array([(x + c * a * 2.2 - s * b * 0.9, y + s * a * 2.2 + c * b * 0.9, z) for a in (-1, 1) for b in (-1, 1) for z in (0.0, 1.5)])
    box = project(WORLD_CAMERA, EGO, corners)
    assert u.min() >= box[:, 0].min() - 2.5  # mirrors and wheels stand out a little
    assert u.max() <= box[:, 0].max() + 2.5
    assert u.max() - u.min() > 0.8 * (box[:, 0].max() - box[:, 0].min())
    assert v.min() >= box[:, 1].min() - 1.5
    assert v.max() <= box[:, 1].max() + 1.5


def test_projection_follows_the_pinhole_by_hand() -> None:
    spec = CameraSpec(width=100, height=80, fx=50.0, fy=60.0, cx=48.0, cy=41.0, x_m=1.0, z_m=1.5)
    ego = EgoState(x_m=10.0, y_m=5.0, yaw_rad=math.pi / 2, speed_mps=0.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
    points = np.array([[10.0, 16.0, 1.5], [8.0, 16.0, 0.5], [10.0, 5.0, 1.5]])  # ahead; 2 m left and 1 m below; behind
    px = project(spec, ego, points)
    assert px[:2] == pytest.approx(np.array([[48.0, 41.0], [48.0 - 50.0 * 0.2, 41.0 + 60.0 * 0.1]]))
    assert np.isnan(px[2]).all()
    down = CameraSpec(width=100, height=80, fx=50.0, fy=60.0, cx=48.0, cy=41.0, x_m=1.0, z_m=1.5, pitch_rad=0.1)
    assert project(down, ego, points[:1])[0, 1] == pytest.approx(41.0 - 60.0 * math.tan(0.1))  # looks down: the point rises


@pytest.mark.parametrize("spec", CAMERAS, ids=lambda s: s.name)
def test_in_sight_is_what_the_picture_can_show(spec: CameraSpec) -> None:
    points = np.random.default_rng(5).uniform(-1.5 * FAR_M, 1.5 * FAR_M, (4000, 3)) * (1.0, 1.0, 0.2) + (EGO.x_m, EGO.y_m, 0.0)
    T = T_map_body(spec, EGO)
    (u, v), forward = project(spec, EGO, points).T, (points - T[:3, 3]) @ T[:3, 0]
    shown = (u >= 0.0) & (u <= spec.width) & (v >= 0.0) & (v <= spec.height) & (forward <= FAR_M)  # NaN behind the camera
    assert 50 < shown.sum() < 2000
    planes = [sight(spec, T)]
    assert np.array_equal(in_sight(planes, points, np.zeros(len(points))), shown)
    aside = np.random.default_rng(6).normal(size=points.shape)
    aside *= 20.0 / np.linalg.norm(aside, axis=1, keepdims=True)
    assert in_sight(planes, points + aside, np.full(len(points), 20.001))[shown].all()  # balls that hold a point that is shown


def test_ground_distance_is_that_of_the_projected_point() -> None:
    spec = CAMERAS[2]
    point = np.array([in_map(12.0, 0.5)])
    u, v = project(spec, EGO, point)[0]
    c, s = math.cos(EGO.yaw_rad), math.sin(EGO.yaw_rad)
    eye = np.array([EGO.x_m + c * spec.x_m - s * spec.y_m, EGO.y_m + s * spec.x_m + c * spec.y_m, spec.z_m])
    assert ground_distance_m(spec, spec.width, spec.height)[int(v), int(u)] == pytest.approx(float(np.linalg.norm(point[0] - eye)), rel=0.01)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"fx": -1.0}, {"pitch_rad": math.nan}])
def test_a_camera_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="camera 'x'"):
        Renderer(scene(), LookSpec(), [CameraSpec(name="x", **wrong)])  # type: ignore[arg-type]
