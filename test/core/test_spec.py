"""The specification of a model: its sizes check each other, and nothing of it is lost or guessed on the way through a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vavam_ros.core.contracts import ConfigError, DivisorError
from vavam_ros.core.spec import PRESETS, SMALL, ActionSpec, FlowSpec, ModelSpec, VideoSpec


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_specification_survives_a_file(name: str) -> None:
    spec = PRESETS[name]
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_divisors_and_horizon_of_the_presets() -> None:
    divisors = {n: (s.video.readout_divisor, s.action.readout_divisor) for n, s in PRESETS.items()}
    assert divisors == {"small": (2.0, 2.0), "S": (3.0, 3.0), "B": (4.0, 4.0), "L": (8.0, 8.0)}
    assert all(s.horizon_s == 3.0 for s in PRESETS.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, video=replace(s.video, layers=0)), r"video\.layers: got 0, expected a positive number"),
        (lambda s: replace(s, action=replace(s.action, horizon=-1)), r"action\.horizon: got -1"),
        (lambda s: replace(s, flow=replace(s.flow, action_scale_m=float("nan"))), r"flow\.action_scale_m: got nan"),
        (lambda s: replace(s, video=replace(s.video, head_size=60)), "256 is not a multiple of video.head_size 60"),
        (lambda s: replace(s, action=replace(s.action, width=65)), "65 must be even"),
        (lambda s: replace(s, action=replace(s.action, action_dim=3)), "got 3, expected 2"),
        (lambda s: replace(s, frame_dt_s=0.0), "frame_dt_s 0.0"),
    ],
)
def test_sizes_that_cannot_be_meant_are_refused(change: Callable[[ModelSpec], ModelSpec], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change(SMALL)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.pop("flow"), ConfigError, "lacks the section 'flow'"),
        (lambda d: d.pop("name"), ConfigError, "name missing"),
        (lambda d: d.update(frame_rate_hz=2), ConfigError, r"unknown keys \['frame_rate_hz'\]"),
        (lambda d: d["video"].pop("width"), ConfigError, r"section video: missing \['width'\]"),
        (lambda d: d["action"].update(bias=True), ConfigError, r"section action: missing \[\], unknown \['bias'\]"),
        (lambda d: d["video"].pop("readout_divisor"), DivisorError, "video.readout_divisor is missing"),
        (lambda d: d["action"].update(readout_divisor=1.0), DivisorError, "action.readout_divisor: got 1.0, but width / mup_base_width is 2.0"),
    ],
)
def test_a_file_must_hold_exactly_what_it_should(change: Callable[[dict[str, Any]], object], error: type[Exception], message: str) -> None:
    d = SMALL.to_dict()
    change(d)
    with pytest.raises(error, match=message):
        ModelSpec.from_dict(d)


def test_base_widths_need_not_divide_the_width() -> None:
    spec = ModelSpec(name="odd", video=VideoSpec(width=96, head_size=32, mup_base_width=64), action=ActionSpec(width=10, mup_base_width=4), flow=FlowSpec())
    assert (spec.video.readout_divisor, spec.action.readout_divisor) == (1.5, 2.5)
    assert ModelSpec.from_dict(spec.to_dict()) == spec
