"""Who drives when, who is asked for pictures when, and what of it a recording keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vavam_world.cli.main import main
from vavam_world.contracts import WORLD_CAMERA, MapSpec, RouteSpec, Scenario, TrafficSpec, View, WorldError
from vavam_world.drivers import ConstantVelocity, Expert
from vavam_world.drivers.handed_over import HandedOver
from vavam_world.drivers.loop import drive
from vavam_world.record import drives
from vavam_world.record.drives import Drive, DriveJob, RecordConfig, record_drive
from vavam_world.report.run import close_studio
from vavam_world.scenarios.drives import drive_scenario, hand_over

from vavam_ros.bags import BagReader
from vavam_ros.core.contracts import ArtifactError, ConfigError, DensePath

SCENARIO = Scenario(
    name="test", map=MapSpec(kind="curves", seed=3), route=RouteSpec(length_m=150.0, seed=1), traffic=TrafficSpec(parked=0.0),
    start_speed_mps=6.0, cruise_mps=6.0, time_limit_s=8.0, stop_at_end=False,
)  # fmt: skip


class Looking(ConstantVelocity):
    """Plans twice a second, from pictures, and goes where a blind driver goes."""

    name = "looking"
    needs_image = True
    plan_every_ticks = 10

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []

    def plan(self, view: View) -> DensePath:
        assert view.image is not None
        assert view.world is not None
        self.shown.append(view.world.state.tick)
        return super().plan(view)


class Eyes:
    """A grey picture, and how often somebody looked."""

    def __init__(self) -> None:
        self.looks = 0

    def render(self, state: Any) -> dict[str, Any]:
        self.looks += 1
        return {WORLD_CAMERA.name: np.full((144, 256, 3), 90, np.uint8)}


def test_the_first_drives_until_the_hand_over_and_only_its_plans_need_pictures() -> None:
    first, eyes = Looking(), Eyes()
    both = drive(SCENARIO, HandedOver(first, Expert(), 40), renderer=eyes)
    assert first.shown == [0, 10, 20, 30]
    assert eyes.looks == 4
    alone = drive(SCENARIO, Looking(), renderer=Eyes())
    assert both.states[:41] == alone.states[:41]  # the same until then, bit for bit
    assert both.states[60] != alone.states[60]
    assert both.finished in ("time", "route")
    assert drive(SCENARIO, HandedOver(Looking(), Expert(), 40), renderer=Eyes()).states == both.states


def test_who_drives_second_takes_over_as_soon_as_the_first_has_nothing_to_drive_on() -> None:
    class Lost(Looking):
        def plan(self, view: View) -> DensePath:
            if view.world is not None and view.world.state.tick == 20:
                raise WorldError("no drivable plan")
            return super().plan(view)

    both = HandedOver(Lost(), Expert(), 40)
    trace = drive(SCENARIO, both, renderer=Eyes())
    assert both.at_tick == 20
    assert trace.finished in ("time", "route")
    assert trace.states == drive(SCENARIO, HandedOver(Looking(), Expert(), 20), renderer=Eyes()).states
    both.reset()
    assert both.at_tick == 40


@pytest.mark.parametrize("tick", [-10, 4, 15])
def test_a_hand_over_is_where_both_plan(tick: int) -> None:
    with pytest.raises(ConfigError, match=f"got tick {tick}, expected a multiple of 10 and 2"):
        HandedOver(Looking(), Expert(), tick)


def test_hand_overs_come_before_the_meeting_and_end_the_drive_soon() -> None:
    for i in range(30):
        scenario = drive_scenario(5, i, seconds=60.0, intruders=1.0)
        at, shorter = hand_over(scenario)
        assert at == hand_over(scenario)[0]
        assert math.isclose(at % 0.5, 0.0)
        if scenario.intruder is None:
            assert 2.0 <= at <= 10.0
            assert shorter.time_limit_s == min(scenario.time_limit_s, at + 12.0)
        else:
            assert at <= scenario.intruder.meet_s_m / scenario.cruise_mps + 0.25
            assert shorter == scenario


def test_a_recording_begins_where_the_expert_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drives, "make", lambda name, **_: Expert() if name == "expert" else Looking())
    scenario = drive_scenario(5, 1, seconds=20.0, intruders=0.0)
    job = DriveJob(index=1, make_scenario=lambda: scenario, path=tmp_path / "d.mcap", labels=False, backend="auto", image_hz=2, lead_in=tmp_path)
    try:
        found = record_drive(job)
    finally:
        close_studio()
    at, _ = hand_over(scenario)
    assert found.lead_in_s == at
    assert found.file == "d.mcap"
    with BagReader(tmp_path / "d.mcap") as reader:
        stamps = [m.log_ns for m in reader.messages(["/carla/ego_vehicle/rgb_front/image/compressed"])]
        assert len(stamps) == found.pictures == round(found.seconds / 0.5) + 1
    assert found.seconds <= 12.0
    with pytest.raises(ArtifactError):
        RecordConfig(out=tmp_path, drives=1, lead_in=tmp_path / "nothing")


def test_a_recording_says_how_many_drives_were_led(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def driven(job: DriveJob) -> Drive:
        job.path.write_bytes(b"x")
        values: dict[str, Any] = {"seconds": 8.0, "pictures": 16, "distance_m": 50.0, "finished": "time", "detail": "", "seed": 1, "scenario": {}}
        return Drive(index=job.index, file=job.path.name, sha256="", bytes=1, lead_in_s=0.0 if job.index == 1 else 2.5, **values)

    monkeypatch.setattr(drives, "record_drive", driven)
    model = Path(__file__).parents[3] / "models" / "world"
    assert main(["record", "--drives", "3", "--seconds", "8", "--workers", "0", "--lead-in", str(model), "--out", str(tmp_path / "led")]) == 0
    assert json.loads((tmp_path / "led" / "manifest.json").read_text())["totals"]["led"] == 2
    assert f"2 drives were led by {model}; in the other 1 it found no plan" in capsys.readouterr().out
