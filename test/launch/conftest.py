"""What the tests of bring-up share."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest

from vavam_ros.bags import BagWriter
from vavam_ros.core.artifact import random_artifact
from vavam_ros.replay import messages
from vavam_ros.replay.road_clip import RoadClip, RoadClipConfig

sys.path.insert(0, str(Path(__file__).parent))  # what tests share: system_parts.py


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A card of a model that was trained on real drives."""
    (tmp_path / "model.yaml").write_text("domain: real\ntrained: true\n")
    return str(tmp_path)


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model and a bag of a drawn drive of 4 s."""
    folder = tmp_path_factory.mktemp("drive")
    random_artifact(folder / "model")
    clip = RoadClip(RoadClipConfig(duration_s=4.0))
    pictures = [(stamp, 1, None) for stamp in clip.image_stamps()]
    samples = [(sample.stamp_ns, 0, sample) for sample in clip.odometry()]
    with BagWriter(folder / "drive.mcap") as writer:
        writer.add_topic("/odometry", messages.ODOMETRY)
        writer.add_topic("/camera/image/compressed", messages.COMPRESSED_IMAGE)
        for stamp, _, sample in sorted([*pictures, *samples], key=lambda row: row[:2]):
            if sample is None:
                jpeg = cv2.imencode(".jpg", clip.picture(stamp)[..., ::-1])[1].tobytes()
                writer.write("/camera/image/compressed", stamp, messages.compressed_image(writer, stamp, "camera", jpeg, "jpeg"))
            else:
                writer.write("/odometry", stamp, messages.odometry(writer, sample))
    return folder
