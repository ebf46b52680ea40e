"""Pictures: the same from the same, different from the different, and never blank."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from panda3d import core as p3
from vavam_world.contracts import LABELS, TEXTURE_SETS, WEATHERS, WORLD_CAMERA, ActorState, Control, EgoState, LookSpec, MapSpec, WorldError, WorldState
from vavam_world.render import bodies, panda
from vavam_world.render import renderer as renderer_module
from vavam_world.render.meshes import LABEL
from vavam_world.render.renderer import Renderer
from vavam_world.roads import build_map

from vavam_ros.core.contracts import ConfigError

NAME = WORLD_CAMERA.name
WHOLE = build_map(MapSpec(kind="crossroads", seed=2))
LANE = next(lane for lane in WHOLE.lanes.values() if lane.junction is None)
HERE = LANE.xy_m[40]
MAP = replace(WHOLE, props=tuple(p for p in WHOLE.props if math.hypot(p.x_m - HERE[0], p.y_m - HERE[1]) < 60.0))  # less to build: quicker


def make_state(tick: int = 0, ahead: float = 40.0, actors: tuple[str, ...] = ("car", "pedestrian", "truck", "van")) -> WorldState:
    i = int(np.searchsorted(LANE.s_m, ahead))
    (x, y), yaw = LANE.xy_m[i], float(LANE.yaw_rad[i])
    sizes = {"car": (4.4, 1.8, 1.45), "van": (5.2, 2.0, 2.3), "truck": (8.5, 2.5, 3.4), "pedestrian": (0.5, 0.5, 1.75)}
    c, s = math.cos(yaw), math.sin(yaw)
    made = []
    for k, kind in enumerate(actors):
        f, left = 14.0 + 5.0 * k, -2.0 + 3.0 * (k % 3)
        length, width, height = sizes[kind]
        made.append(
            ActorState(
                id=k,
                kind=kind,  # type: ignore[arg-type]
                x_m=x + c * f - s * left,
                y_m=y + s * f + c * left,
                yaw_rad=yaw + k,
                speed_mps=1.0,
                length_m=length,
                width_m=width,
                height_m=height,
                variant=k,
            )
        )
    ego = EgoState(x_m=float(x), y_m=float(y), yaw_rad=yaw, speed_mps=0.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
    return WorldState(tick=tick, stamp_ns=1, ego=ego, actors=tuple(made))


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(MAP, LookSpec(), [WORLD_CAMERA])
    yield made
    made.close()


def test_a_picture_depends_on_the_state_alone(renderer: Renderer) -> None:
    for weather in ("clear", "rain"):
        renderer.load(MAP, LookSpec(weather=weather, seed=4))
        first = renderer.render(make_state())[NAME]
        for tick, ahead in ((1, 41.3), (2, 70.0), (7, 12.0)):
            renderer.render(make_state(tick, ahead, ("truck",)))
        renderer.labels(make_state(3, 44.0), NAME)
        again = renderer.render(make_state())[NAME]
        assert first.shape == (144, 256, 3)
        assert first.dtype == np.uint8
        assert digest(first) == digest(again)
        renderer.load(MAP, LookSpec(seed=9))
        renderer.load(MAP, LookSpec(weather=weather, seed=4))
        assert digest(renderer.render(make_state())[NAME]) == digest(first)


def test_the_scene_that_is_there_is_not_built_again(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    look = LookSpec(weather="rain", seed=6)
    renderer.load(MAP, look)
    first = renderer.render(make_state(3, 44.0))[NAME]
    with monkeypatch.context() as within:
        within.setattr(renderer_module, "Scene", lambda *_: pytest.fail("built again"))
        renderer.load(MAP, LookSpec(weather="rain", seed=6))
    assert digest(renderer.render(make_state(3, 44.0))[NAME]) == digest(first)
    renderer.load(MAP, LookSpec(weather="clear", seed=6))
    assert digest(renderer.render(make_state(3, 44.0))[NAME]) != digest(first)


def test_another_process_draws_the_same(renderer: Renderer) -> None:
    renderer.load(MAP, LookSpec(weather="dusk", textures="city", seed=5))
    here = digest(renderer.render(make_state())[NAME]) + digest(renderer.labels(make_state(), NAME))
    code = (
        "import runpy, sys\n"
        f"m = runpy.run_path({__file__!r})\n"
        "r = m['Renderer'](m['MAP'], m['LookSpec'](weather='dusk', textures='city', seed=5), [m['WORLD_CAMERA']])\n"
        "s = m['make_state']()\n"
        "print(m['digest'](r.render(s)[m['NAME']]) + m['digest'](r.labels(s, m['NAME'])))\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here
    assert there.stderr == ""


def test_every_look_shows_a_scene_of_its_own(renderer: Renderer) -> None:
    state, seen, brightness = make_state(), set(), {}
    for textures, weather in product(TEXTURE_SETS, WEATHERS):
        renderer.load(MAP, LookSpec(textures=textures, weather=weather, seed=1))
        picture = renderer.render(state)[NAME]
        upper, lower = picture[:48], picture[96:]
        assert lower.std() > 8.0, (textures, weather)
        assert 30.0 < picture.mean() < 225.0, (textures, weather)
        assert abs(upper.mean() - lower.mean()) > 15.0, (textures, weather)
        seen.add(digest(picture))
        brightness[weather] = float(picture.mean())
    assert len(seen) == len(TEXTURE_SETS) * len(WEATHERS)
    assert brightness["dusk"] < brightness["clear"]
    renderer.load(MAP, LookSpec(textures=textures, weather=weather, seed=2))
    assert digest(renderer.render(state)[NAME]) not in seen


def test_haze_hides_the_far_and_not_the_near(renderer: Renderer) -> None:
    near = make_state(actors=("truck",))
    far = replace(
        near, actors=(replace(near.actors[0], x_m=near.ego.x_m + 100 * math.cos(near.ego.yaw_rad), y_m=near.ego.y_m + 100 * math.sin(near.ego.yaw_rad)),)
    )
    none = replace(near, actors=())

    def strongest(weather: str, state: WorldState) -> float:
        renderer.load(MAP, LookSpec(weather=weather, seed=3))
        empty = renderer.render(none)[NAME].astype(int)
        return float(np.abs(renderer.render(state)[NAME] - empty).max())

    assert strongest("fog", near) > 60.0
    assert strongest("fog", far) < 0.6 * strongest("clear", far)


def test_labels_are_exact_and_where_the_actors_are(renderer: Renderer) -> None:
    renderer.load(MAP, LookSpec(weather="fog", seed=3))
    full, empty = make_state(), make_state(actors=())
    labels = renderer.labels(full, NAME)
    assert labels.shape == (144, 256)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= set(range(len(LABELS)))
    for name in ("sky", "ground", "road", "marking", "sidewalk", "building", "vehicle", "pedestrian"):
        assert (labels == LABEL[name]).sum() > 10, name
    bare = renderer.labels(empty, NAME)
    assert not np.isin(bare, [LABEL["vehicle"], LABEL["pedestrian"]]).any()
    actors = np.isin(labels, [LABEL["vehicle"], LABEL["pedestrian"]])
    assert np.array_equal(labels[~actors], bare[~actors])
    assert (labels[-1] == LABEL["road"]).mean() > 0.4
    assert not (labels[:20] == LABEL["road"]).any()


def test_a_brake_light_shines(renderer: Renderer) -> None:
    renderer.load(MAP, LookSpec(seed=3))
    state = make_state(actors=("car",))
    car = replace(state.actors[0], yaw_rad=state.ego.yaw_rad)
    off = renderer.render(replace(state, actors=(car,)))[NAME].astype(int)
    on = renderer.render(replace(state, actors=(replace(car, braking=True),)))[NAME].astype(int)
    assert (on - off)[:, :, 0].max() > 60
    assert np.abs(on - off)[:, :, 1].max() < 60
    assert np.array_equal(renderer.render(replace(state, actors=(car,)))[NAME], off)


def test_nothing_piles_up_over_many_scenes(renderer: Renderer) -> None:
    state = make_state()

    def nodes() -> int:
        scene = renderer._scene
        assert scene is not None
        return len(scene.root.find_all_matches("**")) + len(scene.label_root.find_all_matches("**"))

    def round_trip(seed: int) -> None:
        renderer.load(MAP, LookSpec(seed=seed % 3))
        renderer.render(state)

    for i in range(3):
        round_trip(i)
    before, kept = nodes(), p3.RenderState.get_num_states()
    for i in range(6):
        round_trip(i)
    for i in range(40):
        renderer.render(replace(make_state(i, 20.0 + 1.5 * i), tick=i))
    after = nodes()
    walking = 3 * bodies.PHASES  # body, shadow and its mesh of one walker, once for each phase of a stride
    assert after - before <= walking
    assert p3.RenderState.get_num_states() <= kept + 10


def test_one_renderer_at_a_time_and_named_cameras(renderer: Renderer) -> None:
    with pytest.raises(WorldError, match="one at a time"):
        Renderer(MAP, LookSpec(), [WORLD_CAMERA])
    with pytest.raises(ConfigError, match="weather: got 'hail', expected one of clear"):
        renderer.load(MAP, LookSpec(weather="hail"))
    renderer.load(MAP, LookSpec())
    with pytest.raises(ConfigError, match="got camera 'rear'"):
        renderer.labels(make_state(), "rear")


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(panda.ctypes, "CDLL", gone)
    with pytest.raises(WorldError, match=r"'tiny': got no libX11.so.6.*apt-get install libx11-6$"):
        panda.open_pipe("tiny")
    with pytest.raises(WorldError, match=r"libX11.so.6.*libx11-6; backend 'egl': got no libEGL.so.1.*libegl1"):
        panda.open_pipe("auto")
    with pytest.raises(WorldError, match="got backend 'vulkan', expected one of auto, tiny, egl"):
        panda.open_pipe("vulkan")  # type: ignore[arg-type]
