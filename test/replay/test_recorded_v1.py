"""A bag recorded with schema version 1 of this package's messages is still read, offline and by the nodes' own conversion."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vavam_ros.bags import BagReader

_spec = importlib.util.spec_from_file_location("recorded_v1", Path(__file__).with_name("recorded_v1.py"))
assert _spec is not None
assert _spec.loader is not None
recorded: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recorded)


def test_offline() -> None:
    with BagReader(recorded.FILE) as reader:
        tokens, samples, command = (reader.decode(m) for m in reader.messages())
    assert (tokens.schema_version, samples.schema_version, command.schema_version) == (1, 1, 1)
    np.testing.assert_array_equal(np.asarray(tokens.tokens).reshape(3, 4), recorded.FRAME.tokens)
    np.testing.assert_array_equal(np.asarray(samples.xy).reshape(2, 6, 2), recorded.PLAN.xy_ego_m)
    assert [s.sec * 10**9 + s.nanosec for s in samples.context_stamps] == list(recorded.PLAN.context_stamps_ns)
    assert (samples.selected, samples.valid, samples.violations) == (1, False, ["speed: 61 m/s (limit 60)"])
    assert command.command == 1


def test_by_the_nodes() -> None:
    serialization = pytest.importorskip("rclpy.serialization")
    from vavam_ros.msg import DrivingCommand, FrameTokens, TrajectorySamples

    from vavam_ros.nodes import convert

    with BagReader(recorded.FILE) as reader:
        raw = [m.data for m in reader.messages()]
    frame = convert.token_frame(serialization.deserialize_message(raw[0], FrameTokens))
    np.testing.assert_array_equal(frame.tokens, recorded.FRAME.tokens)
    np.testing.assert_allclose(frame.pose.T_odom_ego, recorded.POSE.T_odom_ego, atol=1e-12)
    np.testing.assert_array_equal(frame.pose.linear_mps, recorded.POSE.linear_mps)
    for name in ("stamp_ns", "epoch", "camera_frame_id", "codebook_size", "tokenizer_id", "camera_id", "canonical", "coverage"):
        assert getattr(frame, name) == getattr(recorded.FRAME, name), name
    assert frame.pose.quality is recorded.POSE.quality
    samples = serialization.deserialize_message(raw[1], TrajectorySamples)
    assert (samples.num_samples, samples.horizon, samples.dt_s, samples.model_id) == (2, 6, 0.5, "model-0123456789ab")
    assert convert.command(serialization.deserialize_message(raw[2], DrivingCommand)).name == "LEFT"
