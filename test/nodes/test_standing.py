"""A clock that stands, odometry that has stopped: neither makes a good camera look broken."""

from __future__ import annotations

import time
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from vavam_ros.nodes.tokenizing import Tokenizing
from vavam_ros.nodes.topic_monitor import since_s

pytestmark = pytest.mark.ros
NS = 1_000_000_000


def _node(now_ns: int, simulated: bool, odometry_ns: int = 0, max_gap_s: float = 0.25) -> Any:
    states: dict[str, bool] = {}
    return SimpleNamespace(
        now_ns=now_ns,
        get_parameter=lambda name: SimpleNamespace(value=simulated),
        odometry=SimpleNamespace(newest=SimpleNamespace(stamp_ns=odometry_ns, linear_mps=np.array([5.0, 0.0, 0.0]))),
        parameters=SimpleNamespace(number=lambda name: max_gap_s),
        board=SimpleNamespace(state=lambda code, on, **_: states.__setitem__(code, on)),
        states=states,
    )


def test_nothing_gets_old_while_a_simulated_clock_stands() -> None:
    an_hour_ago_s = time.monotonic() - 3600.0
    assert since_s(_node(100 * NS, simulated=True), an_hour_ago_s, 100 * NS) == 0.0
    assert since_s(_node(103 * NS, simulated=True), an_hour_ago_s, 100 * NS) == 3.0
    assert since_s(_node(40 * NS, simulated=True), an_hour_ago_s, 100 * NS) == 60.0  # a clock that jumped back hides nothing
    assert since_s(_node(100 * NS, simulated=False), an_hour_ago_s, 100 * NS) >= 3600.0


@pytest.mark.parametrize(("odometry_stands", "frozen"), [(False, True), (True, False)])
def test_an_old_speed_does_not_make_a_standing_camera_a_frozen_one(odometry_stands: bool, frozen: bool) -> None:
    node = _node(0, simulated=True, odometry_ns=100 * NS)
    part = Tokenizing(node)
    data = array("B", bytes(12))
    for i in range(10):
        stamp = 101 * NS + i * NS // 10
        if not odometry_stands:
            node.odometry.newest.stamp_ns = stamp
        part._is_frozen(Image(height=2, width=2, encoding="rgb8", step=6, data=data), stamp)
    assert node.states["image_frozen"] is frozen
