"""A camera that repeats its picture is noticed at the same picture live and in replay."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from vavam_ros.bags import BagReader, BagWriter
from vavam_ros.cli import replay
from vavam_ros.core.artifact import random_artifact
from vavam_ros.core.contracts import NS_PER_S, WaitReason
from vavam_ros.core.history.token_ring import FrozenDetector
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.nodes import convert
from vavam_ros.replay import messages
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

pytestmark = pytest.mark.ros
TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=64, layers=1, head_size=32, vocabulary=65, grid_h=9, grid_w=16, mup_base_width=32),
    action=ActionSpec(width=32, mup_base_width=16),
)
PICTURES, FROZEN_FROM, FROZEN_TO = 30, 8, 22


def picture(i: int) -> np.ndarray:
    """(18, 32, 3) noise; between FROZEN_FROM and FROZEN_TO the same, but for one byte that a fingerprint of samples does not look at."""
    frozen = FROZEN_FROM <= i < FROZEN_TO
    data = np.random.default_rng(FROZEN_FROM if frozen else i).integers(0, 256, (18, 32, 3), dtype=np.uint8)
    if frozen:
        data.reshape(-1)[3] = i
    return data


def write(path: Path, *, compressed: bool) -> None:
    clip = RoadClip(RoadClipConfig(duration_s=3.0, width=32, height=18))
    start = clip.config.start_ns
    with BagWriter(path) as writer:
        writer.add_topic("/odometry", messages.ODOMETRY)
        writer.add_topic("/image", messages.COMPRESSED_IMAGE if compressed else messages.IMAGE)
        rows: list[tuple[int, Any]] = [(s.stamp_ns, messages.odometry(writer, s)) for s in clip.odometry()]
        for i in range(PICTURES):
            stamp = start + i * NS_PER_S // 10
            message: Any
            if compressed:  # whether the bytes are a JPEG does not matter to the fingerprint
                message = messages.compressed_image(writer, stamp, "camera", picture(i).tobytes(), "jpeg")
            else:
                fields = {"height": 18, "width": 32, "encoding": "rgb8", "is_bigendian": 0, "step": 96, "data": picture(i).reshape(-1)}
                message = writer.message(messages.IMAGE, header=messages.header(writer, stamp, "camera"), **fields)
            rows.append((stamp, message))
        for stamp, message in sorted(rows, key=lambda row: row[0]):
            writer.write("/odometry" if hasattr(message, "child_frame_id") else "/image", stamp, message)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_frozen_camera_is_noticed_at_the_same_pictures_live_and_in_replay(compressed: bool, tmp_path: Path) -> None:
    write(tmp_path / "drive.mcap", compressed=compressed)
    random_artifact(tmp_path / "model", TINY)
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    options = ["--model", tmp_path / "model", "--out", tmp_path / "plan.mcap", "--samples", 1, "--device", "cpu", "--camera-mode", "resize"]
    result = replay.replay(parser.parse_args([str(tmp_path / "drive.mcap"), *map(str, options)]))

    kind, detector = CompressedImage if compressed else Image, FrozenDetector()
    with BagReader(tmp_path / "drive.mcap") as reader:
        live = [deserialize_message(m.data, kind) for m in reader.messages(["/image"])]
    frozen = [detector.update(convert.data_digest(m), convert.stamp_ns(m.header), 8.0) for m in live]

    skipped = result.tally.skipped.get(WaitReason.IMAGE_FROZEN.value, 0)
    assert skipped == sum(frozen)
    assert sum(frozen) == (0 if compressed else FROZEN_TO - FROZEN_FROM - 5), "the fifth repetition is the first that counts; of compressed bytes each one does"
    if not compressed:
        stamps = {step_stamp for step_stamp, is_frozen in zip((convert.stamp_ns(m.header) for m in live), frozen, strict=True) if is_frozen}
        assert not stamps & {p.stamp_ns for p in result.log.plans}
