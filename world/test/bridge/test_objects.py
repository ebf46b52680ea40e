"""The objects file: what is read, and what is refused by name."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from vavam_world.bridge.objects import default_document, default_objects, parse_objects, read_objects
from vavam_world.contracts import WORLD_CAMERA, Vehicle

from vavam_ros.core.camera.camera_model import CANONICAL_CAMERAS
from vavam_ros.core.contracts import ConfigError


def test_default_is_the_worlds_own_camera() -> None:
    (camera,) = default_objects().cameras
    spec = camera.spec
    assert (spec.width, spec.height, spec.z_m) == (WORLD_CAMERA.width, WORLD_CAMERA.height, WORLD_CAMERA.z_m)
    assert spec.fx == pytest.approx(WORLD_CAMERA.fx)
    assert spec.x_m == pytest.approx(WORLD_CAMERA.x_m)
    canonical = CANONICAL_CAMERAS["world_front_256"]
    assert (spec.width, spec.height) == (canonical.width, canonical.height)
    assert spec.fx == pytest.approx(canonical.fx, abs=1e-4)
    assert spec.x_m == pytest.approx(canonical.mount.x_m)
    assert spec.z_m == pytest.approx(canonical.mount.z_m)


def test_shipped_file_is_the_default(repo_root: Path) -> None:
    assert json.loads((repo_root / "config" / "world_objects.json").read_text()) == default_document()


def test_carla_file_sees_as_the_released_models_camera(repo_root: Path) -> None:
    objects = read_objects(repo_root / "config" / "carla_objects.json")
    (camera,) = objects.cameras
    canonical = CANONICAL_CAMERAS["nuscenes_cam_front"]
    assert (camera.spec.width, camera.spec.height) == (canonical.width, canonical.height)
    assert camera.spec.fx == pytest.approx(canonical.fx, rel=1e-3)
    assert camera.spec.x_m == pytest.approx(canonical.mount.x_m)
    assert camera.spec.z_m == pytest.approx(canonical.mount.z_m)
    assert objects.tf
    assert objects.odometry == "odometry"
    assert objects.speedometer == "speedometer"


def test_mounting_is_moved_from_the_origin_to_the_rear_axle() -> None:
    document = default_document("hero")
    document["objects"][0]["sensors"][0]["spawn_point"] = {"x": 1.0, "y": -0.5, "z": 2.0, "pitch": 10.0, "yaw": 90.0}
    vehicle = Vehicle(actor_origin_x_m=1.1)
    (camera,) = parse_objects(document, vehicle).cameras
    assert (camera.spec.x_m, camera.spec.y_m, camera.spec.z_m) == (pytest.approx(2.1), -0.5, 2.0)
    assert camera.spec.pitch_rad == pytest.approx(math.radians(10.0))
    assert camera.spec.yaw_rad == pytest.approx(math.pi / 2)
    assert camera.xyz_m == (1.0, -0.5, 2.0)


def test_pseudo_sensors_that_are_not_there_are_none() -> None:
    document = default_document()
    del document["objects"][0]["sensors"][1:]
    objects = parse_objects(document)
    assert objects.odometry is None
    assert objects.speedometer is None
    assert not objects.tf


@pytest.mark.parametrize(
    ("where", "key", "value", "says"),
    [
        ("camera", "fov", "wide", "fov 'wide'"),
        ("camera", "fov", 0.0, "fov 0"),
        ("camera", "image_size_x", 10.5, "image_size 10.5"),
        ("camera", "sensor_tick", 0.12, "sensor_tick 0.12"),
        ("camera", "id", "front/left", "front/left"),
        ("camera", "type", "sensor.lidar.ray_cast", "sensor.lidar.ray_cast"),
        ("camera", "spawn_point", {"x": float("nan")}, "got x nan"),
        ("vehicle", "id", "1st", "'1st'"),
        ("vehicle", "type", "walker.pedestrian.0001", "0 vehicles"),
    ],
)
def test_what_cannot_be_meant_is_named(where: str, key: str, value: Any, says: str) -> None:
    document = copy.deepcopy(default_document())
    vehicle = document["objects"][0]
    (vehicle if where == "vehicle" else vehicle["sensors"][0])[key] = value
    with pytest.raises(ConfigError, match=says):
        parse_objects(document)


def test_an_id_twice_and_a_file_that_is_none_are_named(tmp_path: Path) -> None:
    document = default_document()
    document["objects"][0]["sensors"].append(document["objects"][0]["sensors"][0])
    with pytest.raises(ConfigError, match="twice"):
        parse_objects(document)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ConfigError, match=r"a\.json: no JSON"):
        read_objects(tmp_path / "a.json")
    with pytest.raises(ConfigError, match=r"b\.json"):
        read_objects(tmp_path / "b.json")
