"""What is drawn lies where the world has it; films are whole; the page needs nothing else and shows failures first."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from vavam_world.contracts import START_NS, TICK_NS, U8, WORLD_CAMERA, Control, EgoState, MapSpec, RouteSpec, Scenario, Trace, Vehicle, WorldState
from vavam_world.drivers.paths import timed_path
from vavam_world.report import palette
from vavam_world.report.figures import key_states, over_time, trace_from_above
from vavam_world.report.film import FPS, HOLD_S, SIZE, Film, write_film
from vavam_world.report.from_above import RoadFromAbove
from vavam_world.report.on_camera import draw_path
from vavam_world.report.page import Evaluation, pick_cards, write_page
from vavam_world.report.run import Run
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.route_tools import pose_at
from vavam_world.scoring.ncap import ncap_table
from vavam_world.scoring.routes import route_table
from vavam_world.scoring.run_score import Contact, failed

from vavam_ros.core.contracts import ConfigError

SCENARIO = Scenario(name="curves/000", map=MapSpec(kind="curves", seed=3), route=RouteSpec(length_m=150.0, seed=1), cruise_mps=8.0)


def ego_at(x: float, y: float, yaw: float) -> EgoState:
    return EgoState(x_m=x, y_m=y, yaw_rad=yaw, speed_mps=8.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())


@lru_cache(maxsize=1)
def run() -> Trace:
    route = plan_route(build_map(SCENARIO.map), SCENARIO.route)
    states = tuple(WorldState(tick=i, stamp_ns=START_NS + i * TICK_NS, ego=ego_at(*pose_at(route, 5.0 + 0.4 * i)), actors=()) for i in range(41))
    along = np.array([pose_at(route, 5.0 + 0.8 * i) for i in range(31)])
    plan = timed_path(START_NS, along[:, 0], along[:, 1], along[:, 2], np.full(31, 8.0))
    return Trace(scenario=SCENARIO, driver="d", states=states, plans=(plan,), collisions=(), finished="time")


def painted(drawn: U8, before: U8) -> np.ndarray:
    return np.any(drawn != before, axis=-1)


def test_a_path_straight_ahead_is_a_ribbon_about_the_middle_below_the_horizon() -> None:
    ego = ego_at(10.0, -4.0, 0.7)
    far = 8.0 * 0.1 * np.arange(31)
    path = timed_path(START_NS, 10.0 + far * math.cos(0.7), -4.0 + far * math.sin(0.7), np.full(31, 0.7), np.full(31, 8.0))
    blank = np.zeros((144, 256, 3), np.uint8)
    mask = painted(draw_path(blank, WORLD_CAMERA, ego, path, START_NS), blank)
    rows = np.flatnonzero(mask.any(axis=1))
    # The path ends 24 m ahead of the axle, 22.3 m ahead of the camera, 1.51 m below it.
    assert rows[0] == pytest.approx(72.0 + 152.55 * 1.51 / 22.3, abs=1.5)
    at_row = np.flatnonzero(mask[120])
    depth = 152.55 * 1.51 / (120.5 - 72.0)
    assert at_row.mean() == pytest.approx(127.5, abs=0.6)
    assert np.ptp(at_row) == pytest.approx(152.55 * 1.8 / depth, abs=3.0)
    later = draw_path(blank, WORLD_CAMERA, ego, path, START_NS + 4_000_000_000)
    assert not painted(later, blank).any()  # the path is over


def test_from_above_the_ego_is_upright_and_its_road_under_it() -> None:
    trace = run()
    road_map = build_map(SCENARIO.map)
    view = RoadFromAbove(road_map, plan_route(road_map, SCENARIO.route), scale=6.0)
    frame = view.frame(trace.states[20], Vehicle(), None, (320, 360))
    body = np.all(frame == palette.EGO, axis=-1)
    ys, xs = np.nonzero(body)
    assert xs.mean() == pytest.approx(159.5, abs=1.0)
    assert np.ptp(ys) == pytest.approx(6.0 * 4.7 - 2.0, abs=3.0)  # within its outline
    assert np.ptp(xs) == pytest.approx(6.0 * 1.9 - 2.0, abs=3.0)
    beside = frame[int(0.7 * 360), 159 + int(6.0 * 1.5)].astype(int)  # 1.5 m to the right: still on the lane
    assert np.abs(beside - palette.ROAD).max() < 12


def test_plots_are_pictures_and_instants_lie_apart() -> None:
    trace = run()
    road_map = build_map(SCENARIO.map)
    route = plan_route(road_map, SCENARIO.route)
    for data in (trace_from_above(trace, road_map, route, Vehicle()), over_time(trace, route)):
        assert data.startswith(b"\x89PNG")
        assert len(data) > 10_000
    standing = replace(trace, states=(*trace.states[:5], *(replace(trace.states[4], tick=i) for i in range(5, 40))))
    assert [s.tick for s in key_states(standing)] == [39]


def test_a_film_has_a_frame_for_every_picture_and_holds_the_last(tmp_path: Path) -> None:
    trace = run()
    road_map = build_map(SCENARIO.map)
    film = Film(
        trace=trace,
        road_map=road_map,
        route=plan_route(road_map, SCENARIO.route),
        camera=WORLD_CAMERA,
        picture=lambda state: np.full((144, 256, 3), state.tick, np.uint8),
    )
    count = write_film(tmp_path / "run.mp4", film)
    assert count == 21 + round(HOLD_S * FPS)  # 41 ticks at 20 Hz are 21 pictures at 10 Hz
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "run.mp4"))
    assert frames == count
    assert seconds == pytest.approx(count / FPS, abs=0.11)
    meta = next(imageio_ffmpeg.read_frames(str(tmp_path / "run.mp4")))
    assert tuple(meta["size"]) == SIZE
    assert meta["codec"] == "h264"
    with pytest.raises(ConfigError, match="without states"):
        write_film(tmp_path / "none.mp4", replace(film, trace=replace(trace, states=())))
    assert [p.name for p in tmp_path.iterdir()] == ["run.mp4"]


def safety_run(name: str, impact: float | None, driver: str = "expert") -> Run:
    contacts = () if impact is None else (Contact(t_s=1.0, kind="car", with_id=1, impact_mps=impact, at_fault=True),)
    score = replace(failed(name, driver, ""), finished="time" if impact is None else "collision", contacts=contacts)
    return Run(suite=name.split("/")[0], split="test", kind="safety", suite_sha256="0", score=score, media={"frames": []})


def test_failures_come_first_and_every_suite_has_its_turn() -> None:
    runs = [safety_run(f"side/straight/{i:03d}", 3.0) for i in range(9)] + [safety_run("frontal/curve/000", 4.0), safety_run("frontal/curve/001", None)]
    shown = pick_cards(runs, 6)
    assert shown[:2] == [0, 9]
    assert shown[-1] == 10
    assert len(shown) == 6


def test_the_page_is_one_file(tmp_path: Path) -> None:
    runs = [safety_run("side/straight/000", None), safety_run("side/straight/001", 3.0)]
    scores = [r.score for r in runs]
    evaluation = Evaluation(
        settings={"limit": "none"},
        suites={"side/test": "ab" * 32},
        drivers=("expert",),
        runs=[(tmp_path, r) for r in runs],
        routes={"expert": route_table([replace(scores[0], scenario="curves/000")])},
        safety={"expert": ncap_table(scores, {s.scenario: 9.0 for s in scores})},
        banners=("<b>not markup</b>",),
    )
    write_page(tmp_path / "index.html", evaluation)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert page.index(">side/straight/001<") < page.index(">side/straight/000<")  # failures first
    assert "&lt;b&gt;not markup" in page
    assert f"{(5.0 + 4.0 * (1 - 3.0 / 9.0)) / 2:.2f}" in page
    assert "ab" * 32 in page
