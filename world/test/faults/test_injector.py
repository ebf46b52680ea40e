"""Faults on messages, without a world: what goes in, what comes out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from vavam_world.bridge import messages
from vavam_world.bridge.objects import default_objects
from vavam_world.bridge.outgoing import Outbox, Outgoing, Sent
from vavam_world.bridge.stamps import stamp_ns
from vavam_world.contracts import START_NS, TICK_NS, Control, EgoState, Vehicle, WorldState
from vavam_world.faults.injector import EFFECTS, Begun, Injector
from vavam_world.faults.spec import KINDS, Fault, read_faults

from vavam_ros.core.contracts import ConfigError, EncodingError
from vavam_ros.nodes import convert

pytestmark = pytest.mark.ros
CAMERA = default_objects("ego_vehicle", Vehicle()).cameras[0]
H, W = 144, 256


def _state(tick: int) -> WorldState:
    ego = EgoState(x_m=0.2 * tick, y_m=0.0, yaw_rad=0.0, speed_mps=4.0, accel_mps2=0.0, yaw_rate_radps=0.0, steer_rad=0.0, control=Control())
    return WorldState(tick=tick, stamp_ns=START_NS + tick * TICK_NS, ego=ego, actors=())


def _messages(tick: int) -> list[tuple[str, str, Any]]:
    state, ns = _state(tick), START_NS + tick * TICK_NS
    made = [("clock", "/clock", messages.clock(ns)), ("odometry", "/odometry", messages.odometry(state, Vehicle(), "ego"))]
    made.append(("tf", "/tf", messages.vehicle_tf(state, Vehicle(), "ego")))
    if tick % 2 == 0:
        rgb = np.random.default_rng(tick).integers(0, 255, (H, W, 3), np.uint8)
        made.append(("camera_info", "/info", messages.camera_info(CAMERA, "ego", ns)))
        made.append(("image", "/image", messages.image(rgb, CAMERA, "ego", ns)))
        made.append(("compressed", "/image/compressed", messages.compressed_image(rgb, CAMERA, "ego", ns)))
    return made


class Wire:
    """A run of some ticks through an outbox: (tick it went out at, kind, message, answered)."""

    def __init__(self, injector: Injector, ticks: int = 40) -> None:
        self.sent: list[tuple[int, str, Any, bool]] = []
        self.originals: dict[tuple[int, str], Any] = {}
        self._tick = 0
        box = Outbox(self._publish, injector)
        for self._tick in range(ticks):
            box.begin(self._tick)
            for kind, topic, message in _messages(self._tick):
                self.originals[self._tick, kind] = message
                box.send(Outgoing(tick=self._tick, kind=kind, topic=topic, message=message))
        self.counts = box.counts

    def _publish(self, sent: Sent) -> None:
        self.sent.append((self._tick, sent.kind, sent.message, sent.answered))

    def of(self, kind: str) -> dict[int, Any]:
        return {tick: m for tick, k, m, _ in self.sent if k == kind}


def _wire(name: str, begin_s: float = 0.5, length_s: float = 0.5, **parameters: float) -> Wire:
    return Wire(Injector([Fault(name=name, begin_s=begin_s, length_s=length_s, parameters=parameters, seed=3)]))


@pytest.mark.parametrize("name", KINDS)
def test_only_the_faults_own_ticks_are_touched_and_nothing_in_place(name: str) -> None:
    fault = Fault(name=name, begin_s=0.5, length_s=0.5)
    begun: list[Begun] = []
    wire = Wire(Injector([fault], begun.append))
    assert [b.tick for b in begun] == [12 if name == "image_drop" else 10]  # the first that chance takes
    for (tick, kind), original in wire.originals.items():
        assert original == {k: m for k, _, m in _messages(tick)}[kind]  # never changed in place
        if not fault.begin_tick <= tick < fault.end_tick:
            assert wire.of(kind)[tick] is original or name == "image_delay"
    assert set(EFFECTS) == set(KINDS)


def test_a_frozen_picture_is_the_last_good_one_under_new_stamps() -> None:
    wire = _wire("image_freeze")
    for kind in ("image", "compressed"):
        for tick in (10, 14, 18):
            m = wire.of(kind)[tick]
            assert m.data == wire.originals[8, kind].data
            assert m.data != wire.originals[tick, kind].data
            assert stamp_ns(m.header) == START_NS + tick * TICK_NS
        assert wire.of(kind)[20].data == wire.originals[20, kind].data


def test_black_pictures_can_be_decoded_and_are_black() -> None:
    wire = _wire("image_black")
    for kind in ("image", "compressed"):
        assert convert.camera_image(wire.of(kind)[8]).rgb.max() > 200
        assert convert.camera_image(wire.of(kind)[12]).rgb.max() == 0


def test_drops_are_seeded_and_hit_both_forms_of_a_picture() -> None:
    wires = [Wire(Injector([Fault(name="image_drop", begin_s=0.0, seed=seed)]), 400) for seed in (1, 1, 2)]
    kept = [sorted(w.of("image")) for w in wires]
    assert kept[0] == kept[1] != kept[2]
    assert kept[0] == sorted(wires[0].of("compressed"))
    assert 75 <= len(kept[0]) <= 125
    assert len(wires[0].of("camera_info")) == 200
    assert not Wire(Injector([Fault(name="image_drop", begin_s=0.0, parameters={"share": 1.0})])).of("image")


def test_a_lost_camera_says_nothing() -> None:
    wire = _wire("image_loss")
    for kind in ("image", "compressed", "camera_info"):
        assert sorted(wire.of(kind)) == [t for t in range(0, 40, 2) if not 10 <= t < 20]
    assert len(wire.of("odometry")) == 40


def test_late_pictures_keep_their_stamps_and_are_not_waited_for() -> None:
    wire = _wire("image_delay", delay_s=0.3, jitter_s=0.1)
    late = [(tick - (stamp_ns(m.header) - START_NS) // TICK_NS, answered) for tick, kind, m, answered in wire.sent if kind == "image"]
    delayed = [d for d, _ in late if d]
    assert len(delayed) == 5
    assert all(4 <= d <= 8 for d in delayed)
    assert len(set(delayed)) > 1
    assert all(answered == (d == 0) for d, answered in late)
    assert {tick - (stamp_ns(m.header) - START_NS) // TICK_NS for tick, m in wire.of("camera_info").items()} == {0}


@pytest.mark.parametrize("name", ["image_encoding", "image_truncated"])
def test_spoilt_pictures_are_refused_by_name(name: str) -> None:
    wire = _wire(name)
    for kind in ("image", "compressed"):
        with pytest.raises(EncodingError, match="mono16|uint16" if name == "image_encoding" else "truncated|bytes"):
            convert.camera_image(wire.of(kind)[10])
        convert.camera_image(wire.of(kind)[20])


def test_truncated_data_keeps_the_share_asked_for() -> None:
    wire = _wire("image_truncated", share=0.25)
    assert len(wire.of("image")[10].data) == H * W * 4 // 4


def test_camera_info_gets_another_focal_length_and_nothing_else() -> None:
    wire = _wire("camera_info_change", factor=1.3)
    was, now = wire.originals[10, "camera_info"], wire.of("camera_info")[10]
    ratio = np.divide(now.k, was.k, out=np.ones(9), where=np.asarray(was.k) != 0)
    assert ratio.tolist() == pytest.approx([1.3, 1, 1, 1, 1.3, 1, 1, 1, 1])
    assert now.p[0] / was.p[0] == now.p[5] / was.p[5] == pytest.approx(1.3)
    assert (now.width, now.header) == (was.width, was.header)


def test_a_jump_stays_and_its_odometry_is_still_answered() -> None:
    wire = _wire("odometry_jump", length_s=0.1, metres=7.0)
    for tick in (9, 10, 39):
        moved = wire.of("odometry")[tick].pose.pose.position.x - wire.originals[tick, "odometry"].pose.pose.position.x
        assert moved == pytest.approx(7.0 if tick >= 10 else 0.0)
    assert all(answered for _, kind, _, answered in wire.sent if kind == "odometry")


def test_nan_is_in_the_pose_and_the_twist() -> None:
    wire = _wire("odometry_nan")
    assert math.isnan(wire.of("odometry")[12].pose.pose.position.x)
    assert math.isnan(wire.of("odometry")[12].twist.twist.linear.x)
    assert wire.of("odometry")[20].pose.pose.position.x == wire.originals[20, "odometry"].pose.pose.position.x


def test_the_clock_jumps_back_once_and_takes_every_stamp_along() -> None:
    wire = _wire("clock_jump", seconds=1.0)
    for tick in range(40):
        want = START_NS + tick * TICK_NS - (1_000_000_000 if tick >= 10 else 0)
        clock = wire.of("clock")[tick].clock
        assert clock.sec * 1_000_000_000 + clock.nanosec == want
        assert stamp_ns(wire.of("odometry")[tick].header) == want
        assert stamp_ns(wire.of("tf")[tick].transforms[0].header) == want
        if tick % 2 == 0:
            assert {stamp_ns(wire.of(kind)[tick].header) for kind in ("image", "compressed", "camera_info")} == {want}


def test_faults_add_up() -> None:
    faults = [Fault(name="clock_jump", begin_s=0.2), Fault(name="odometry_nan", begin_s=0.5), Fault(name="image_freeze", begin_s=0.5)]
    wire = Wire(Injector(faults))
    assert math.isnan(wire.of("odometry")[12].pose.pose.position.x)
    assert stamp_ns(wire.of("odometry")[12].header) == START_NS + 12 * TICK_NS - 5_000_000_000
    assert wire.of("image")[12].data == wire.originals[8, "image"].data
    assert stamp_ns(wire.of("image")[12].header) == START_NS + 12 * TICK_NS - 5_000_000_000


def test_a_request_counts_from_the_tick_that_takes_it_in() -> None:
    begun: list[Begun] = []
    injector = Injector((), begun.append)

    class Asking(Wire):
        def _publish(self, sent: Sent) -> None:
            super()._publish(sent)
            if self._tick == 5 and sent.kind == "odometry":
                injector.request([Fault(name="odometry_loss", begin_s=0.2, length_s=0.1)])

    assert sorted(set(range(40)) - set(Asking(injector).of("odometry"))) == [10, 11]
    assert begun[0].tick == 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"name": "image_frost", "begin_s": 1}]', "got name 'image_frost', expected one of image_freeze"),
        ('[{"name": "image_drop"}]', "begin_s missing"),
        ('[{"name": "image_drop", "begin_s": 1, "len": 3}]', "unknown len"),
        ('[{"name": "image_drop", "begin_s": -1}]', "got begin_s -1"),
        ('[{"name": "image_drop", "begin_s": "1"}]', "got begin_s '1'"),
        ('[{"name": "image_drop", "begin_s": 1, "length_s": 0}]', "got length_s 0"),
        ('[{"name": "image_drop", "begin_s": 1, "seed": 1.5}]', "got seed 1.5"),
        ('[{"name": "image_drop", "begin_s": 1, "parameters": {"share": 1.5}}]', "got share 1.5, expected 0 to 1"),
        ('[{"name": "image_black", "begin_s": 1, "parameters": {"share": 0.5}}]', "got parameter 'share', expected none"),
        ('[{"name": "image_drop", "begin_s": 1, "parameters": 3}]', "got parameters 3"),
        ("[1]", "number 1: got int"),
        ("[", "no JSON"),
        ("no_such_file.json", "no_such_file.json"),
    ],
)
def test_faults_are_read_strictly(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_faults(text)


def test_faults_come_back_as_they_were_written(tmp_path: Path) -> None:
    faults = (Fault(name="image_drop", begin_s=1.0, length_s=2.0, parameters={"share": 0.25}, seed=7), Fault(name="clock_jump", begin_s=3.0))
    text = json.dumps([f.to_dict() for f in faults])
    (tmp_path / "faults.json").write_text(text)
    assert read_faults(text) == read_faults(str(tmp_path / "faults.json")) == faults
    assert read_faults(json.dumps(faults[0].to_dict())) == faults[:1]


def test_the_grey_png_is_one() -> None:
    data = _wire("image_encoding").of("compressed")[10].data
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).dtype == np.uint16
