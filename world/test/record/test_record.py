"""Recordings: the bag says what the world did, `vavam replay` reads it, and an ended recording goes on."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from vavam_world.contracts import (
    LABELS,
    START_NS,
    TICK_NS,
    U8,
    WORLD_CAMERA,
    Control,
    EgoState,
    MapSpec,
    RouteSpec,
    Scenario,
    Trace,
    Vehicle,
    WorldError,
    WorldState,
)
from vavam_world.record import bag, drives
from vavam_world.record.drives import MANIFEST, Drive, DriveJob, RecordConfig, record
from vavam_world.render import panda
from vavam_world.report.evaluate import EvaluateConfig, evaluate
from vavam_world.roads import build_map, plan_route
from vavam_world.roads.route_tools import pose_at
from vavam_world.scenarios.drives import drive_scenario
from vavam_world.scenarios.families import HELD_OUT, families_of
from vavam_world.scenarios.suites import suites_named

from vavam_ros.bags import BagReader
from vavam_ros.cli import replay
from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.contracts import ConfigError, InputError
from vavam_ros.core.geometry import shift_origin
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.replay import messages

SCENARIO = Scenario(name="drive/0/000000", map=MapSpec(kind="curves", seed=3), route=RouteSpec(length_m=150.0, seed=1))
TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=64, layers=2, head_size=32, vocabulary=65, grid_h=9, grid_w=16, mup_base_width=32),
    action=ActionSpec(width=32, mup_base_width=16),
)


class Painter:
    """Stands in for a renderer: the tick as a grey level, and one class per column."""

    def render(self, state: WorldState) -> dict[str, U8]:
        return {WORLD_CAMERA.name: np.full((144, 256, 3), 40 + state.tick, np.uint8)}

    def labels(self, state: WorldState, camera_name: str) -> U8:
        assert camera_name == WORLD_CAMERA.name
        return np.tile((np.arange(256) % len(LABELS)).astype(np.uint8), (144, 1))


@lru_cache(maxsize=1)
def trace() -> Trace:
    route = plan_route(build_map(SCENARIO.map), SCENARIO.route)
    states = []
    for i in range(121):
        x, y, yaw = pose_at(route, 5.0 + 0.4 * i)
        ego = EgoState(x_m=x, y_m=y, yaw_rad=yaw, speed_mps=8.0, accel_mps2=0.0, yaw_rate_radps=0.1, steer_rad=0.0, control=Control())
        states.append(WorldState(tick=i, stamp_ns=START_NS + i * TICK_NS, ego=ego, actors=()))
    return Trace(scenario=SCENARIO, driver="expert", states=tuple(states), plans=(), collisions=(), finished="time")


def write(path: Path, *, labels: bool = False) -> int:
    return bag.write_drive(path, trace(), plan_route(build_map(SCENARIO.map), SCENARIO.route), WORLD_CAMERA, Painter(), labels=labels)


def test_the_bag_holds_what_the_world_did(tmp_path: Path) -> None:
    assert write(tmp_path / "d.mcap", labels=True) == 61
    with BagReader(tmp_path / "d.mcap") as reader:
        counts = {t.name: t.count for t in reader.topics.values()}
        assert counts[bag.ODOMETRY_TOPIC] == 121
        assert counts[bag.IMAGE_TOPIC] == counts[bag.CAMERA_INFO_TOPIC] == counts[bag.COMMAND_TOPIC] == counts[bag.LABEL_TOPIC] == 61
        assert reader.topics[bag.ROUTE_TOPIC].latched
        assert reader.topics["/tf_static"].latched
        odometry = [messages.odometry_from(reader.decode(m)) for m in reader.messages([bag.ODOMETRY_TOPIC])]
        for sample, state in zip(odometry[::40], trace().states[::40], strict=True):
            axle = shift_origin(sample, -Vehicle().actor_origin_x_m)  # as the nodes do it
            assert np.allclose(axle.T_odom_ego[:2, 3], (state.ego.x_m, state.ego.y_m), atol=1e-9)
            assert np.allclose(axle.linear_mps, (8.0, 0.0, 0.0), atol=1e-9)
        label = next(reader.messages([bag.LABEL_TOPIC]))
        classes = cv2.imdecode(np.asarray(reader.decode(label).data), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(classes, Painter().labels(trace().states[0], WORLD_CAMERA.name))
        image = messages.image_from(reader.decode(next(reader.messages([bag.IMAGE_TOPIC]))), messages.COMPRESSED_IMAGE)
        assert abs(int(image.rgb[70, 100, 0]) - 40) <= 1
        mount = messages.transforms_from(reader.decode(next(reader.messages(["/tf_static"]))))[bag.CAMERA_FRAME]
        assert mount[0] == bag.ROLE
        assert np.allclose(mount[1][:3, 3], (1.70 - 1.4, 0.0, 1.51))
        assert np.allclose(mount[1][:3, 2], (1.0, 0.0, 0.0))  # the optical axis looks ahead


def test_vavam_replay_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "d.mcap")
    random_artifact(tmp_path / "model", TINY, camera=WORLD_CAMERA.name)
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    words = [str(tmp_path / "d.mcap"), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "plans.mcap"), "--device", "cpu", "--samples", "2"]
    result = replay.replay(parser.parse_args([*words, f"--rear-axle-x-m={-Vehicle().actor_origin_x_m}"]))
    assert result.tally.plans == 13  # 6 s at 2 Hz
    assert result.log.canonical
    assert result.evaluation is not None
    assert result.evaluation.scores[-1].count > 0


def fake_drive(job: DriveJob) -> Drive:
    if job.index == 1:
        raise RuntimeError("the disk is full")
    usable = job.index != 2
    scenario = job.make_scenario()
    if usable:
        job.path.write_bytes(b"x" * (10 + job.index))
    return Drive(
        index=job.index,
        file=job.path.name if usable else None,
        sha256="",
        bytes=10 + job.index,
        seconds=8.0 if usable else 2.0,
        pictures=80,
        distance_m=50.0,
        finished="time" if usable else "collision",
        detail="",
        seed=scenario.map.seed,
        scenario=scenario.to_dict(),
    )


def test_a_recording_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def counted(job: DriveJob) -> Drive:
        done.append(job.index)
        return fake_drive(job)

    monkeypatch.setattr(drives, "record_drive", counted)
    config = RecordConfig(out=tmp_path, drives=4, seconds=8.0, workers=0, exclude=tuple(sorted(HELD_OUT)))
    manifest = record(config)
    assert done == [0, 1, 2, 3]
    assert (manifest["backend"], manifest["rear_axle_x_m"], manifest["labels"]) == ("tiny", -1.4, None)
    assert manifest["totals"] | {"bytes": 0} == {
        "drives": 2,
        "left_out": 2,
        "ends": {"time": 2, "error": 1, "collision": 1},
        "seconds": 16.0,
        "pictures": 160,
        "distance_m": 100.0,
        "bytes": 0,
    }
    (tmp_path / "drive-000003.mcap").write_bytes(b"half")
    (tmp_path / "drive-000009.mcap.partial-x1").mkdir()
    done.clear()
    record(config)
    assert done == [1, 3]  # the one that failed, and the one whose bag is not whole; what collided is not driven again
    assert not list(tmp_path.glob("*.partial*"))
    with pytest.raises(ConfigError, match="the same settings, or another folder"):
        record(RecordConfig(out=tmp_path, drives=4, seconds=9.0, workers=0))
    assert json.loads((tmp_path / MANIFEST).read_text())["drives"][2]["scenario"]["name"] == "drive/0/000002"


def test_hours_are_filled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drives, "record_drive", fake_drive)
    manifest = record(RecordConfig(out=tmp_path, hours=30.0 / 3600.0, seconds=8.0, workers=0, exclude=tuple(sorted(HELD_OUT))))
    assert manifest["totals"]["seconds"] == 32.0  # four drives of 8 s; two more gave nothing
    with pytest.raises(ConfigError, match="one of the two: --drives or --hours"):
        RecordConfig(out=tmp_path)


def test_fewer_pictures_a_second(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a whole number of ticks apart"):
        RecordConfig(out=tmp_path, drives=1, image_hz=3)
    manifest = record(RecordConfig(out=tmp_path, drives=1, seconds=5.0, workers=0, image_hz=2))
    [entry] = manifest["drives"]
    assert entry["pictures"] == 11  # 0.0, 0.5 … 5.0 s
    with pytest.raises(ConfigError, match="the same settings"):
        record(RecordConfig(out=tmp_path, drives=1, seconds=5.0, workers=0))
    with pytest.raises(ConfigError, match="the same settings"):
        record(RecordConfig(out=tmp_path, drives=1, seconds=5.0, workers=0, image_hz=2, command_rule="lookahead"))
    with pytest.raises(ConfigError, match="command rule"):
        RecordConfig(out=tmp_path, drives=1, command_rule="guess")


def test_drives_are_their_number_and_leave_families_out() -> None:
    found = [drive_scenario(0, i, seconds=20.0, perturb=True) for i in range(6)]
    assert not any(families_of(s) & HELD_OUT for s in found)
    assert found[3] == drive_scenario(0, 3, seconds=20.0, perturb=True)
    assert len({s.map.seed for s in found}) == 6
    assert found[3].map.seed != drive_scenario(1, 3, seconds=20.0).map.seed
    assert all(bool(s.perturbations) != (s.intruder is not None) for s in found)
    assert not any(s.stop_at_end for s in found)
    short = next(s for i in range(40) if (s := drive_scenario(0, i, seconds=60.0)).intruder is not None)
    assert short.time_limit_s < 30.0  # the meeting, and a little after it


def test_a_share_of_intruders_is_the_share_asked_for() -> None:
    def met(share: float) -> list[bool]:
        found = [drive_scenario(0, i, seconds=20.0, intruders=share) for i in range(40)]
        return [s.intruder is not None for s in found if s.map.kind in ("straight", "curves")]

    assert all(met(1.0))
    assert not any(met(0.0))
    with pytest.raises(ConfigError, match=r"got intruders 1\.5, expected a share from 0 to 1"):
        RecordConfig(out=Path("unused"), drives=1, intruders=1.5)


def test_intruders_are_of_the_kinds_asked_for(tmp_path: Path) -> None:
    found = [drive_scenario(3, i, seconds=20.0, intruders=1.0, intruder_kinds=("frontal", "frontal", "side")) for i in range(60)]
    kinds = [s.intruder.kind for s in found if s.intruder is not None]
    assert set(kinds) == {"frontal", "side"}
    assert kinds.count("frontal") > kinds.count("side")
    config = RecordConfig(out=tmp_path, drives=1, intruder_kinds=("frontal",))
    assert config.content["intruder_kinds"] == ["frontal"]
    assert "intruder_kinds" not in RecordConfig(out=tmp_path, drives=1).content  # recordings of before go on
    with pytest.raises(ConfigError, match=r"got intruder_kinds \('sideways',\), expected one or more of stationary, frontal, side"):
        RecordConfig(out=tmp_path, drives=1, intruder_kinds=("sideways",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"got intruder_kinds \(\)"):
        RecordConfig(out=tmp_path, drives=1, intruder_kinds=())


def test_the_drives_of_a_seed_are_those_of_before() -> None:
    """Recordings that were begun go on with them."""
    found = [drive_scenario(3, i, seconds=20.0, perturb=True).to_dict() for i in range(30)]
    assert hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16] == "78725f4408b93022"


def test_so_many_pedestrians_as_asked_for_where_there_are_crosswalks(tmp_path: Path) -> None:
    found = [drive_scenario(3, i, seconds=20.0, pedestrians=(8, 12)) for i in range(60)]
    crossed = {s.traffic.pedestrians for s in found if s.map.kind in ("town", "t_junction")}
    assert crossed == {8, 9, 10, 11, 12}
    assert {s.traffic.pedestrians for s in found if s.map.kind in ("straight", "curves")} == {0}
    assert RecordConfig(out=tmp_path, drives=1, pedestrians=(8, 12)).content["pedestrians"] == [8, 12]
    assert "pedestrians" not in RecordConfig(out=tmp_path, drives=1).content
    with pytest.raises(ConfigError, match="got pedestrians without roads that have crosswalks"):
        RecordConfig(out=tmp_path, drives=1, pedestrians=(8, 12), exclude=("town", "t_junction", "crossroads"))
    for wrong in ((3, 2), (-1, 2), (0, 51)):
        with pytest.raises(ConfigError, match=r"got pedestrians .*, expected two numbers from 0 to 50"):
            RecordConfig(out=tmp_path, drives=1, pedestrians=wrong)


def test_intruders_are_met_at_bends_if_asked_for(tmp_path: Path) -> None:
    how: dict[str, Any] = {"seconds": 20.0, "intruders": 1.0, "exclude": ("crossroads", "fog", "industrial", "t_junction", "town")}

    def turned_rad(scenario: Scenario) -> float:
        assert scenario.intruder is not None
        route = plan_route(build_map(scenario.map), scenario.route)
        before, behind = (pose_at(route, scenario.intruder.meet_s_m + m)[2] for m in (-10.0, 25.0))
        return abs(math.remainder(behind - before, 2.0 * math.pi))

    pairs = [(drive_scenario(4, i, **how), drive_scenario(4, i, at_bends=True, **how)) for i in range(24)]
    for anywhere, bend in pairs:
        assert anywhere.intruder is not None
        assert bend.intruder is not None
        assert replace(bend, intruder=anywhere.intruder, time_limit_s=anywhere.time_limit_s) == anywhere, "nothing else may change"
        assert anywhere.map.kind == "curves" or bend == anywhere
    curved = [(a, b) for a, b in pairs if a.map.kind == "curves"]
    assert sum(turned_rad(b) >= 0.2 for _, b in curved) > max(sum(turned_rad(a) >= 0.2 for a, _ in curved), 0.7 * len(curved))
    assert RecordConfig(out=tmp_path, drives=1, at_bends=True).content["at_bends"] is True
    for nobody in ({"intruders": 0.0}, {"exclude": ("curves",)}):
        with pytest.raises(ConfigError, match="got at_bends without intruders on curved roads"):
            RecordConfig(out=tmp_path, drives=1, at_bends=True, **nobody)  # type: ignore[arg-type]
    assert RecordConfig(out=tmp_path, drives=1, in_picture=True).content["in_picture"] is True
    assert RecordConfig(out=tmp_path, drives=1, berth_m=1.0).content["berth_m"] == 1.0
    with pytest.raises(ConfigError, match=r"got berth_m 0\.0, expected a distance above 0"):
        RecordConfig(out=tmp_path, drives=1, berth_m=0.0)
    with pytest.raises(ConfigError, match="got planner samples=4 without a model, expected one that leads in or one that is advised"):
        RecordConfig(out=tmp_path, drives=1, planner=("samples=4",))
    assert not {"at_bends", "in_picture", "berth_m"} & set(RecordConfig(out=tmp_path, drives=1).content)  # recordings of before go on


def test_each_drive_has_a_sight_of_its_own_between_the_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def noted(job: DriveJob) -> Drive:
        seen.append(job.sight_m)
        return replace(fake_drive(job), sight_m=job.sight_m)

    monkeypatch.setattr(drives, "record_drive", noted)
    config = RecordConfig(out=tmp_path, drives=4, seconds=8.0, workers=0, sight_m=(20.0, 30.0))
    manifest = record(config)
    assert len(set(seen)) == 4
    assert all(20.0 <= m <= 30.0 for m in seen)
    assert manifest["content"]["sight_m"] == [20.0, 30.0]
    assert [d["sight_m"] for d in manifest["drives"]] == [seen[0], None, *seen[2:]]  # drive 1 was lost to an error
    again = record(config)  # goes on: the settings read from JSON are the same
    assert seen[4:] == [seen[1]]
    assert again["totals"]["drives"] == 2
    with pytest.raises(ConfigError, match="same settings"):
        record(replace(config, sight_m=None))
    with pytest.raises(ConfigError, match=r"got sight_m \(30\.0, 20\.0\), expected two distances"):
        RecordConfig(out=tmp_path, drives=1, sight_m=(30.0, 20.0))


def test_intruders_come_askew(tmp_path: Path) -> None:
    found = [s.intruder for i in range(60) if (s := drive_scenario(3, i, seconds=20.0, intruders=1.0)).intruder is not None]
    for kind in ("stationary", "frontal", "side"):
        angles = [i.angle_rad for i in found if i.kind == kind]
        assert len(set(angles)) == len(angles) > 3
    assert RecordConfig(out=tmp_path, drives=1, intruders=1.0).content != RecordConfig(out=tmp_path, drives=1).content


def test_a_recording_that_cannot_succeed_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(job: DriveJob) -> Drive:
        raise OSError("no space left")

    monkeypatch.setattr(drives, "record_drive", fails)
    with pytest.raises(InputError, match=r"10 drives in a row ended with an error, the last by OSError: no space left"):
        record(RecordConfig(out=tmp_path, hours=1.0, seconds=8.0, workers=0))
    assert len(json.loads((tmp_path / MANIFEST).read_text())["drives"]) == 10


def test_without_a_renderer_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panda, "missing_libraries", lambda backend: ["libX11.so.6"])
    with pytest.raises(WorldError, match="apt-get install libx11-6"):
        record(RecordConfig(out=tmp_path, drives=1, seconds=8.0, workers=0))
    with pytest.raises(WorldError, match="apt-get install libx11-6"):
        evaluate(["lane_follower"], suites_named("curves", "test"), EvaluateConfig(out=tmp_path, limit=1, workers=0, media="none"))
    assert not list(tmp_path.rglob("*.json"))
