"""What the parameters name: scenario, objects, awaited answers. No ROS."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vavam_ros.core.contracts import NS_PER_S, ConfigError
from vavam_world.bridge.objects import Objects, default_objects, read_objects
from vavam_world.bridge.sync import Awaits, ControlRule
from vavam_world.contracts import MapSpec, RouteSpec, Scenario, Vehicle

if TYPE_CHECKING:
    from vavam_ros.nodes.parameters import Parameters

EMPTY_ROAD = Scenario(name="empty_road", map=MapSpec(kind="straight"), route=RouteSpec(length_m=400.0))


def read_scenario(text: str) -> Scenario:
    """A JSON file or JSON itself → Scenario; empty: an empty straight road. Raises ConfigError."""
    if not text.strip():
        return EMPTY_ROAD
    what = "scenario"
    if not text.lstrip().startswith("{"):
        path = Path(text).expanduser()
        what = f"scenario {path}"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"{what}: {e.strerror or e}; expected a JSON file of a Scenario, or JSON itself") from e
    try:
        values = json.loads(text)
    except json.JSONDecodeError as e:
        raise ConfigError(f"{what}: no JSON, {e}") from e
    if not isinstance(values, dict):
        raise ConfigError(f"{what}: got {type(values).__name__}, expected an object with the fields of a Scenario")
    return Scenario.from_dict(values)


def choose_objects(file: str, role_name: str, vehicle: Vehicle) -> Objects:
    """The objects file, or the default; `role_name`, where given, is the vehicle's name in place of the file's. Raises ConfigError."""
    if role_name and not role_name.isidentifier():
        raise ConfigError(f"role_name: got {role_name!r}, expected a name that can stand in a topic")
    objects = read_objects(file, vehicle) if file else default_objects(role_name or "ego_vehicle", vehicle)
    return replace(objects, role_name=role_name) if role_name else objects


def check_result_file(file: str) -> None:
    """Raises ConfigError where a result could not be written, at the start rather than at the end of a run. Empty: none is wanted."""
    if not file:
        return
    path = Path(file).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as e:
        raise ConfigError(f"result_file {path}: {e.strerror or e}; name a file that can be written") from e
    if path.is_dir():
        raise ConfigError(f"result_file {path}: is a folder; name a file that can be written")


def awaits_of(p: Parameters | None, objects: Objects, start_ns: int) -> Awaits:
    """What lock-step awaits; None: nothing. Raises ConfigError where something is awaited that answers to a topic that is not there."""
    if p is None:
        return Awaits()
    wants_plans = bool(p.text("tokens_topic") or p.text("samples_topic"))
    if wants_plans and not objects.cameras:
        raise ConfigError("tokens_topic, samples_topic: got an objects file without a camera, expected one: plans answer to pictures")
    rule = cast("ControlRule", p.text("await_control"))
    if rule != "none" and not objects.odometry:
        raise ConfigError("await_control: got an objects file without sensor.pseudo.odom, expected one: controls answer to odometry; or set it to none")
    return Awaits(
        tokens=bool(p.text("tokens_topic")),
        samples=bool(p.text("samples_topic")),
        followed=bool(p.text("followed_topic")),
        gated=bool(p.text("path_seen_topic")),
        control=rule,
        tokenize_rate_hz=p.number("tokenize_rate_hz"),
        plan_rate_hz=p.number("plan_rate_hz"),
        plans_from_ns=start_ns + round(p.number("plans_from_s") * NS_PER_S),
        followed_when_invalid=p.flag("followed_when_invalid"),
    )
