"""The objects file of carla_spawn_objects: which vehicle drives, and which sensors sit on it.

The same file serves CARLA and the built-in world. What the world has not (lidar, radar, other vehicles) is an error with its name, not left out silently.
Mounting in the file is from the vehicle's origin, degrees, ROS handedness: roll, pitch, yaw about fixed x, y, z; a positive pitch looks down.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vavam_ros.core.contracts import ConfigError
from vavam_world.contracts import IMAGE_EVERY_TICKS, TICK_S, CameraSpec, Vehicle

WORLD_FOV_DEG = 80.0
CAMERA_TYPES = ("sensor.camera.rgb",)
PSEUDO_TYPES = ("sensor.pseudo.odom", "sensor.pseudo.tf", "sensor.pseudo.speedometer", "actor.pseudo.control")
UNSERVED_TYPES = ("sensor.pseudo.objects", "sensor.pseudo.markers", "sensor.pseudo.actor_list", "sensor.pseudo.traffic_lights", "sensor.pseudo.opendrive_map")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraObject:
    """One camera. `spec` is mounted in the ego frame (rear axle), `xyz_m` and `rpy_rad` are the file's (vehicle's origin)."""

    id: str
    spec: CameraSpec
    fov_deg: float
    xyz_m: tuple[float, float, float]
    rpy_rad: tuple[float, float, float]
    every_ticks: int = IMAGE_EVERY_TICKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What is spawned. A pseudo sensor's id is its topic name; None: it is not there, and neither is its topic."""

    role_name: str
    vehicle_type: str = "vehicle.tesla.model3"
    cameras: tuple[CameraObject, ...] = ()
    odometry: str | None = None
    speedometer: str | None = None
    tf: bool = False
    unserved: tuple[str, ...] = field(default=())  # types that CARLA has and this world does not publish


def read_objects(path: str | Path, vehicle: Vehicle | None = None) -> Objects:
    """Read a file. Raises ConfigError that names the object and the key."""
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"objects_definition_file {path}: {e.strerror or e}; name a JSON file as carla_spawn_objects reads it") from e
    try:
        return parse_objects(json.loads(text), vehicle)
    except json.JSONDecodeError as e:
        raise ConfigError(f"objects_definition_file {path}: no JSON, {e}") from e
    except ConfigError as e:
        raise ConfigError(f"objects_definition_file {path}: {e}") from e


def default_objects(role_name: str = "ego_vehicle", vehicle: Vehicle | None = None) -> Objects:
    """The world's own camera and all pseudo sensors."""
    return parse_objects(default_document(role_name), vehicle)


def default_document(role_name: str = "ego_vehicle") -> dict[str, Any]:
    """The default as the file's JSON. x is from the vehicle's origin: 1.70 m ahead of the rear axle."""
    camera = {
        "type": "sensor.camera.rgb",
        "id": "front",
        "spawn_point": {"x": 0.30, "y": 0.0, "z": 1.51, "roll": 0.0, "pitch": 0.0, "yaw": 0.0},
        "image_size_x": 256,
        "image_size_y": 144,
        "fov": WORLD_FOV_DEG,
        "sensor_tick": IMAGE_EVERY_TICKS * TICK_S,
    }
    names = {"sensor.pseudo.odom": "odometry", "sensor.pseudo.tf": "tf", "sensor.pseudo.speedometer": "speedometer", "actor.pseudo.control": "control"}
    pseudo = [{"type": kind, "id": name} for kind, name in names.items()]
    return {"objects": [{"type": "vehicle.tesla.model3", "id": role_name, "sensors": [camera, *pseudo]}]}


def parse_objects(document: Any, vehicle: Vehicle | None = None) -> Objects:
    """The file's content → Objects. Raises ConfigError."""
    vehicle = vehicle or Vehicle()
    objects = document.get("objects") if isinstance(document, Mapping) else None
    if not isinstance(objects, list):
        raise ConfigError('got no list "objects", expected {"objects": [{"type": "vehicle.…", "id": …, "sensors": […]}]}')
    vehicles = [o for o in objects if str(_need(o, "type", "an object")).startswith("vehicle.")]
    others = [str(o["type"]) for o in objects if o not in vehicles]
    if len(vehicles) != 1:
        raise ConfigError(f"got {len(vehicles)} vehicles, expected one: the world has one ego (other traffic comes from the scenario)")
    role = _name(_need(vehicles[0], "id", "the vehicle"), "the vehicle's id")
    cameras: list[CameraObject] = []
    pseudo: dict[str, str] = {}
    unserved = [t for t in others if t in UNSERVED_TYPES]
    for other in others:
        if other not in UNSERVED_TYPES:
            raise ConfigError(f"object of type {other!r}: the world spawns one vehicle with cameras and pseudo sensors")
    seen: set[tuple[str, str]] = set()
    for sensor in vehicles[0].get("sensors", []):
        kind = str(_need(sensor, "type", f"a sensor of {role}"))
        name = _name(_need(sensor, "id", f"a {kind} of {role}"), f"the id of a {kind}")
        if (kind, name) in seen:
            raise ConfigError(f"{kind} {name!r} is there twice: each needs an id of its own")
        seen.add((kind, name))
        if kind in CAMERA_TYPES:
            cameras.append(_camera(sensor, name, vehicle))
        elif kind in PSEUDO_TYPES:
            pseudo[kind] = name
        elif kind in UNSERVED_TYPES:
            unserved.append(kind)
        else:
            served = ", ".join((*CAMERA_TYPES, *PSEUDO_TYPES))
            raise ConfigError(f"sensor {name!r} is of type {kind!r}, which the world does not have; it has {served}. Leave it out")
    return Objects(
        role_name=role,
        vehicle_type=str(vehicles[0]["type"]),
        cameras=tuple(cameras),
        odometry=pseudo.get("sensor.pseudo.odom"),
        speedometer=pseudo.get("sensor.pseudo.speedometer"),
        tf="sensor.pseudo.tf" in pseudo,
        unserved=tuple(unserved),
    )


def _camera(sensor: Mapping[str, Any], name: str, vehicle: Vehicle) -> CameraObject:
    what = f"camera {name!r}"
    width = _number(sensor, "image_size_x", what, 800.0)  # the defaults are CARLA's
    height = _number(sensor, "image_size_y", what, 600.0)
    fov = _number(sensor, "fov", what, 90.0)
    if not (16 <= width <= 4096 and 16 <= height <= 4096 and width == int(width) and height == int(height)):
        raise ConfigError(f"{what}: got image_size {width:g} × {height:g}, expected whole numbers from 16 to 4096")
    if not 1.0 <= fov <= 150.0:
        raise ConfigError(f"{what}: got fov {fov:g}, expected 1 to 150 degrees")
    tick_s = _number(sensor, "sensor_tick", what, IMAGE_EVERY_TICKS * TICK_S)
    every = max(1, round(tick_s / TICK_S))
    if tick_s < 0.0 or (tick_s > 0.0 and abs(every * TICK_S - tick_s) > 1e-6):
        raise ConfigError(f"{what}: got sensor_tick {tick_s:g} s, expected a multiple of the step, {TICK_S:g} s, or 0 for every step")
    point = sensor.get("spawn_point", {})
    if not isinstance(point, Mapping):
        raise ConfigError(f"{what}: got spawn_point {point!r}, expected an object with x, y, z, roll, pitch, yaw")
    x, y, z = (_number(point, k, f"{what} spawn_point", 0.0) for k in "xyz")
    roll, pitch, yaw = (math.radians(_number(point, k, f"{what} spawn_point", 0.0)) for k in ("roll", "pitch", "yaw"))
    mount = {"x_m": x + vehicle.actor_origin_x_m, "y_m": y, "z_m": z, "roll_rad": roll, "pitch_rad": pitch, "yaw_rad": yaw}
    spec = CameraSpec.from_fov(fov, int(width), int(height), name=name, **mount)
    return CameraObject(id=name, spec=spec, fov_deg=fov, xyz_m=(x, y, z), rpy_rad=(roll, pitch, yaw), every_ticks=every)


def _need(values: Any, key: str, what: str) -> Any:
    if not isinstance(values, Mapping) or key not in values:
        raise ConfigError(f"{what}: {key!r} is missing")
    return values[key]


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(f"{what}: got {value!r}, expected a name that can stand in a topic: letters, digits, underscores, no digit first")
    return value


def _number(values: Mapping[str, Any], key: str, what: str, default: float) -> float:
    value = values.get(key, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ConfigError(f"{what}: got {key} {value!r}, expected a number")
    return number
