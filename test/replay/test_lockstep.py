"""The live nodes in lock-step and the offline replay plan the same samples, bit for bit, at the same stamps."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from vavam_ros.cli import demo, replay
from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.artifact.model_card import read_card
from vavam_ros.core.camera import CanonicalCamera
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.replay.clip_bag import clip_for, write_clip

pytestmark = pytest.mark.ros
TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=64, layers=2, head_size=32, vocabulary=65, grid_h=9, grid_w=16, mup_base_width=32),
    action=ActionSpec(width=32, mup_base_width=16),
)


def test_nodes_and_replay_plan_the_same(tmp_path: Path) -> None:
    model, drive = tmp_path / "model", tmp_path / "drive.mcap"
    random_artifact(model, TINY)
    write_clip(drive, clip_for(CanonicalCamera.from_dict(read_card(model).canonical_camera), width=320, duration_s=10.0))
    heard, status = demo.play_live(model, drive, "warp", 30.0)
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    options = ["--model", str(model), "--out", str(tmp_path / "plan.mcap"), "--samples", str(demo.SAMPLES), "--device", "cpu", "--camera-mode", "warp"]
    plans = replay.replay(parser.parse_args([str(drive), *options])).log.plans
    assert status == 0
    assert len(heard.paths) > 0
    assert len(plans) == 21
    equal = [p.stamp_ns for p in plans if p.stamp_ns in heard.samples and np.array_equal(heard.samples[p.stamp_ns], p.xy_ego_m)]
    assert len(equal) >= 0.95 * len(plans), f"bit-equal at {len(equal)} of {len(plans)} stamps; live had {len(heard.samples)}"
    assert set(heard.samples) <= {p.stamp_ns for p in plans}
