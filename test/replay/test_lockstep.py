"""The live nodes in lock-step and the offline replay plan the same samples, bit for bit, at the same stamps."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

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


def test_networks_are_made_with_the_threads_that_they_run_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that the fast path computes when it is made are rounded by the number of threads, too: on some processors plans were others than the node's."""
    model, drive = tmp_path / "model", tmp_path / "drive.mcap"
    random_artifact(model, TINY)
    write_clip(drive, clip_for(CanonicalCamera.from_dict(read_card(model).canonical_camera), width=64, duration_s=1.0))
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    seen: list[int] = []
    make = replay.build_runner
    monkeypatch.setattr(replay, "build_runner", lambda *given: (seen.append(torch.get_num_threads()), make(*given))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        replay.replay(parser.parse_args([str(drive), "--model", str(model), "--out", str(tmp_path / "plan.mcap"), "--device", "cpu"]))
        assert seen == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
