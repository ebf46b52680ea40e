"""The seams: scenarios through JSON, and the world's camera as the core knows it."""

from __future__ import annotations

import json

import pytest
from vavam_world.contracts import WORLD_CAMERA, Intruder, LookSpec, Perturbation, RouteSpec, Scenario

from vavam_ros.core.camera import CANONICAL_CAMERAS
from vavam_ros.core.contracts import ConfigError


def test_a_scenario_survives_json() -> None:
    scenario = Scenario(
        name="all",
        route=RouteSpec(turns=("left", "right")),
        intruder=Intruder(kind="side", meet_s_m=40.0),
        perturbations=(Perturbation(at_s=1.0, yaw_rad=0.1),),
    )
    assert Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario


def test_what_a_scenario_cannot_be_is_named() -> None:
    with pytest.raises(ConfigError, match=r"look\.weather 'hail'"):
        Scenario(name="x", look=LookSpec(weather="hail"))
    with pytest.raises(ConfigError, match="unknown colour"):
        Scenario.from_dict({"name": "x", "look": {"colour": "red"}})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("map", 3, "map: got 3, expected an object"),
        ("map", {"seed": 1.5}, r"map\.seed: got 1\.5, expected a whole number"),
        ("route", [1], r"route: got \[1\], expected an object"),
        ("route", {"turns": "left"}, r"route\.turns: got 'left', expected a list"),
        ("route", {"length_m": 1e9}, "expected at most 10000 m"),
        ("traffic", {"vehicles": "a"}, r"traffic\.vehicles: got 'a', expected a whole number"),
        ("traffic", {"vehicles": -3}, "expected no negative number"),
        ("traffic", {"parked": 7}, "expected a share"),
        ("perturbations", [3], "perturbations: got 3, expected an object"),
        ("intruder", 5, "intruder: got 5, expected an object"),
        ("cruise_mps", "8", r"scenario\.cruise_mps: got '8', expected a finite number"),
        ("start_offset_m", float("nan"), "expected a finite number"),
        ("start_speed_mps", -4.0, "expected 0 or more"),
        ("stop_at_end", 1, "expected true or false"),
        ("name", 5, "expected a text"),
    ],
)
def test_values_from_a_file_are_of_the_type_that_they_must_be(field: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Scenario.from_dict({"name": "x", field: value})


def test_the_camera_is_the_canonical_one_of_its_name() -> None:
    known = CANONICAL_CAMERAS[WORLD_CAMERA.name]
    ours = (WORLD_CAMERA.width, WORLD_CAMERA.height, WORLD_CAMERA.cx, WORLD_CAMERA.cy, WORLD_CAMERA.x_m, WORLD_CAMERA.z_m)
    assert ours == (known.width, known.height, known.cx, known.cy, known.mount.x_m, known.mount.z_m)
    assert abs(WORLD_CAMERA.fx - known.fx) < 1e-4
