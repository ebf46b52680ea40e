"""No fault at all: the whole system drives, and lock-step does it the same way twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from vavam_world.contracts import START_NS, MapSpec, RouteSpec, Scenario, TrafficSpec
from vavam_world.live.run import PRIME_S, LiveSystem, drive_live

from vavam_ros.core.contracts import NS_PER_S

pytestmark = [pytest.mark.ros, pytest.mark.slow]
STRAIGHT = Scenario(
    name="straight", map=MapSpec(kind="straight", lanes=2), route=RouteSpec(length_m=110.0), traffic=TrafficSpec(parked=0.0), cruise_mps=3.5, time_limit_s=22.0
)


def test_two_drives_of_the_whole_system_are_equal_bit_for_bit(practice_model: Path) -> None:
    system = LiveSystem(model=practice_model)
    said: list[list[str]] = [[], []]
    with ThreadPoolExecutor(2) as pool:  # side by side, so that neither has the machine for itself
        runs = [pool.submit(drive_live, STRAIGHT, system, on_line=lines.append) for lines in said]
        first, second = (run.result() for run in runs)
    way = np.array([(s.ego.x_m, s.ego.y_m) for s in first.states])
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).sum() >= 60.0
    assert first.finished in ("time", "off_road")  # the model goes straight on blindly: how soon it leaves the road lies in the last bits of its weights
    for lines in said:
        assert any("ACTIVE" in line for line in lines)
        assert not any("STOP" in line for line in lines)
    a, b = ([astuple(s.ego) for s in run.states] for run in (first, second))
    differs = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)  # not `a == b`: its report takes minutes
    assert differs is None
    assert len(a) == len(b)
    # whoever lost a picture while the nodes found each other planned otherwise, in the last bits, until its window was renewed
    plans = [{p.stamp_ns: p.xyz_m for p in run.plans if p.stamp_ns >= START_NS + (PRIME_S - 0.5) * NS_PER_S} for run in (first, second)]
    assert plans[0].keys() == plans[1].keys()
    assert len(plans[0]) >= 30
    assert all(np.array_equal(xyz_m, plans[1][stamp]) for stamp, xyz_m in plans[0].items())
