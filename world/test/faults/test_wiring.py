"""Faults in a world_node of its own process: those of its parameter, and those that are asked for while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vavam_world.contracts import MapSpec, RouteSpec, Scenario
from vavam_world.faults import apart
from vavam_world.faults.observer import Observer
from vavam_world.faults.spec import Fault
from vavam_world.render.renderer import Renderer

pytestmark = pytest.mark.ros
ROAD = Scenario(name="empty", map=MapSpec(kind="straight"), route=RouteSpec(length_m=200.0), start_speed_mps=5.0, time_limit_s=10.0)


def _world(folder: Path, faults: str, **params: Any) -> list[str]:
    objects = folder / "objects.json"
    sensors = [{"type": "sensor.pseudo.odom", "id": "odometry"}, {"type": "sensor.pseudo.speedometer", "id": "speedometer"}]
    objects.write_text(json.dumps({"objects": [{"type": "vehicle.tesla.model3", "id": "ego_vehicle", "sensors": sensors}]}))
    values = {"scenario": f"'{json.dumps(ROAD.to_dict())}'", "objects_definition_file": objects, "faults": f"'{faults}'", "result_file": folder / "result.json"}
    command = [sys.executable, "-m", "vavam_world.bridge.world_node", "--ros-args"]
    for name, value in {**values, **params}.items():
        command += ["-p", f"{name}:={value}"]
    return command


def test_a_scheduled_fault_and_one_asked_for(tmp_path: Path) -> None:
    eyes = Observer(int(os.environ["ROS_DOMAIN_ID"]))
    scheduled = Fault(name="odometry_loss", begin_s=0.5, length_s=0.2)
    process = subprocess.Popen(_world(tmp_path, json.dumps([scheduled.to_dict()])), env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert eyes.until(lambda: eyes.tick >= 15, 30.0)
        eyes.inject([Fault(name="odometry_nan", begin_s=0.0, length_s=0.1)])
        assert process.wait(30.0) == 0
    finally:
        process.kill()
        eyes.close()
    assert [name for name, _ in eyes.begun] == ["odometry_loss", "odometry_nan"]
    assert eyes.begun[0][1] == scheduled.begin_tick
    counts = json.loads((tmp_path / "result.json").read_text())["outgoing"]
    assert (counts["dropped"], counts["altered"]) == (4, 2)


def test_faults_that_cannot_be_meant_end_the_world_with_an_error(tmp_path: Path) -> None:
    ended = subprocess.run(_world(tmp_path, '[{"name": "image_frost", "begin_s": 1}]'), capture_output=True, text=True, timeout=60.0, check=False)
    assert ended.returncode == 1
    assert "got name 'image_frost', expected one of image_freeze" in ended.stderr


def test_the_bag_that_is_looped_leaves_no_renderer_behind(tmp_path: Path) -> None:
    assert apart._bag(tmp_path).stat().st_size > 10_000
    assert Renderer._living is None
