"""Who drives, who is asked, and what of it a recording keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vavam_world.contracts import TICK_NS, Intruder, MapSpec, RouteSpec, Scenario, TrafficSpec, View, WorldError
from vavam_world.drivers import ConstantVelocity, Expert
from vavam_world.drivers.advised import Advised
from vavam_world.drivers.loop import drive
from vavam_world.record import drives
from vavam_world.record.bag import ADVICE_TOPIC, IMAGE_TOPIC
from vavam_world.record.drives import DriveJob, RecordConfig, record_drive
from vavam_world.report.run import close_studio
from vavam_world.scenarios.drives import advised

from vavam_ros.bags import BagReader
from vavam_ros.core.contracts import ConfigError, DensePath
from vavam_ros.replay.messages import stamp_ns_of

IN_THE_WAY = Scenario(
    name="test", map=MapSpec(kind="straight", seed=3), route=RouteSpec(length_m=150.0, seed=1), traffic=TrafficSpec(parked=0.0), start_speed_mps=8.0,
    cruise_mps=8.0, time_limit_s=20.0, stop_at_end=False, intruder=Intruder(kind="stationary", meet_s_m=40.0),
)  # fmt: skip
MODEL = Path(__file__).parents[3] / "models" / "world"


class Rarely(ConstantVelocity):
    """Goes straight on whatever comes, and plans twice a second."""

    name = "rarely"
    plan_every_ticks = 10


class Lost(Rarely):
    """Never knows where to go."""

    def plan(self, view: View) -> DensePath:
        raise WorldError("no drivable plan")


def test_nobody_listens_to_the_advice() -> None:
    both = Advised(Rarely(), Expert())
    trace = drive(IN_THE_WAY, both)
    alone = drive(IN_THE_WAY, Rarely())
    assert trace.states == alone.states
    assert trace.finished == "collision"
    first = trace.states[0].stamp_ns
    assert [(t - first) // TICK_NS for t in both.advice] == list(range(0, len(trace.states) - 1, 10))
    last = both.advice[max(both.advice)]
    assert last.speed_mps[-1] < 0.5 < last.speed_mps[0]  # it would have stopped
    both.reset()
    assert not both.advice


def test_the_advice_is_driven_where_there_is_nothing_else() -> None:
    both = Advised(Lost(), Expert())
    trace = drive(IN_THE_WAY, both)
    assert not trace.collisions
    assert all(a is b for a, b in zip(both.advice.values(), trace.plans, strict=True))


def test_neither_has_a_plan() -> None:
    assert drive(IN_THE_WAY, Advised(Lost(), Lost())).finished == "driver_error"


def test_a_recording_keeps_what_the_expert_would_have_done_up_to_the_collision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drives, "make", lambda name, **_: Expert() if name == "expert" else Rarely())
    job = DriveJob(index=1, make_scenario=lambda: IN_THE_WAY, path=tmp_path / "d.mcap", labels=False, backend="auto", image_hz=2, advised=MODEL)
    try:
        found = record_drive(job)
    finally:
        close_studio()
    assert (found.finished, found.file, found.lead_in_s) == ("collision", "d.mcap", 0.0)
    assert found.advice == found.pictures
    with BagReader(tmp_path / "d.mcap") as reader:
        pictures = [m.log_ns for m in reader.messages([IMAGE_TOPIC])]
        paths = [reader.decode(m) for m in reader.messages([ADVICE_TOPIC])]
    assert [stamp_ns_of(p) for p in paths] == pictures
    x, y = (np.array([getattr(p.pose.position, axis) for p in paths[-1].poses]) for axis in "xy")
    assert np.hypot(np.diff(x), np.diff(y))[-1] < 0.05  # at a stand at the end
    assert stamp_ns_of(paths[-1].poses[-1]) - pictures[-1] == 3_000_000_000


def test_an_advised_drive_ends_soon_after_the_meeting() -> None:
    assert advised(IN_THE_WAY).time_limit_s == 10.0
    free: Any = Scenario(name="free", map=MapSpec(kind="straight"), time_limit_s=30.0)
    assert advised(free) == free


def test_a_model_leads_in_or_is_advised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of the two"):
        RecordConfig(out=tmp_path, drives=1, lead_in=MODEL, advised=MODEL)
    assert RecordConfig(out=tmp_path, drives=1, advised=MODEL).content["advised"].startswith("world-small-")
