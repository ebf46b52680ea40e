"""What several tests of the workspace share: a tiny tokenizer, and small bags of a car that drives a curve."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vavam_ros.bags import BagWriter
from vavam_ros.core.artifact.directory import random_artifact
from vavam_ros.core.camera import CANONICAL_CAMERAS
from vavam_ros.core.contracts import F64, Command, DensePath, EgoPose, OdometrySample, PoseQuality, TokenFrame
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.spec import SMALL
from vavam_ros.core.tokenizer.vq16 import TokenizerSpec
from vavam_ros.replay import messages

sys.path.insert(0, str(Path(__file__).parent))  # what tests share: tiny.py

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

TINY_VQ = TokenizerSpec(
    channels=8, encoder_multipliers=(1, 1, 1, 1, 1), decoder_multipliers=(1, 1, 1, 1, 1), res_blocks=1, latent=8, codebook_size=32, groups=4, image_hw=(32, 64)
)
AXLE_X_M = -1.4  # of the rear axle in the odometry's frame
PERIOD_NS, START_NS = 50_000_000, 1_000_000_000_000


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights and a tokenizer of 2 × 4 tokens, 32 codes."""
    video = replace(SMALL.video, vocabulary=TINY_VQ.codebook_size + 1, grid_h=2, grid_w=4, layers=1)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    random_artifact(folder, replace(SMALL, video=video), tokenizer=TINY_VQ)
    return folder


def rear_axle(t_s: float) -> tuple[float, float, float]:
    """x, y, yaw of the rear axle on a circle of 20 m at 5 m/s."""
    angle = t_s * 5.0 / 20.0
    return 20.0 * np.sin(angle), 20.0 * (1.0 - np.cos(angle)), angle


def odometry_at(stamp_ns: int, *, jump_m: float = 0.0) -> OdometrySample:
    """Of a point 1.4 m ahead of the rear axle."""
    x, y, yaw = rear_axle((stamp_ns - START_NS) / 1e9)
    T = planar_T(x + jump_m, y, yaw) @ planar_T(-AXLE_X_M, 0.0, 0.0)
    rate = 5.0 / 20.0
    return OdometrySample(
        stamp_ns=stamp_ns,
        odom_frame_id="map",
        base_frame_id="ego",
        T_odom_base=T,
        linear_mps=np.array([5.0, rate * -AXLE_X_M, 0.0]),
        angular_radps=np.array([0.0, 0.0, rate]),
    )


def picture(i: int) -> F64:
    """A picture that changes from frame to frame, as JPEG bytes."""
    rng = np.random.default_rng(i)
    camera = CANONICAL_CAMERAS["world_front"]
    coarse = rng.integers(0, 256, (4, 8, 3), np.uint8)
    rgb = cv2.resize(coarse, (camera.width, camera.height), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", rgb)[1]


def write_bag(
    path: Path, pictures: int = 8, *, picture_offset_ns: int = 20_000_000, jump_at: int | None = None, stated_axle: bool = True, label_topic: bool = False,
    advice_frame: str | None = None,
) -> Path:
    """Odometry at 20 Hz, pictures at 10 Hz between two odometry messages, a command at each; the pose jumps before picture `jump_at`.

    `advice_frame`: a path on /advice for each picture but the second, east at 8 m/s from wherever the vehicle is; that of the third ends after a second."""
    camera = CANONICAL_CAMERAS["world_front"]
    model = camera.model()
    mount = model.T_ego_camera.copy()
    mount[0, 3] += AXLE_X_M  # in the odometry's frame
    custom = {"rear_axle_x_m": str(AXLE_X_M)} if stated_axle else {}
    with BagWriter(path, overwrite=True, custom_data=custom) as writer:
        writer.add_topic("/tf_static", messages.TF_MESSAGE, latched=True)
        writer.write("/tf_static", START_NS, messages.static_transform(writer, START_NS, "ego", "camera", mount))
        writer.add_topic("/odom", messages.ODOMETRY)
        writer.add_topic("/cam/camera_info", messages.CAMERA_INFO)
        writer.add_topic("/cam/image", messages.COMPRESSED_IMAGE)
        writer.add_topic("/command", messages.DRIVING_COMMAND)
        if label_topic:
            writer.add_topic("/classes/image", messages.COMPRESSED_IMAGE)
        if advice_frame is not None:
            writer.add_topic("/advice", messages.PATH)
        for tick in range(2 * pictures + 1):
            now = START_NS + tick * PERIOD_NS
            jumped = jump_at is not None and tick >= 2 * jump_at
            writer.write("/odom", now, messages.odometry(writer, odometry_at(now, jump_m=100.0 if jumped else 0.0)))
            if tick % 2 or tick == 2 * pictures:
                continue
            stamp = now + picture_offset_ns
            writer.write("/command", stamp, messages.driving_command(writer, now, Command(tick // 2 % 3)))
            writer.write("/cam/camera_info", stamp, messages.camera_info(writer, stamp, "camera", camera.width, camera.height, model.K, np.zeros(5)))
            image = messages.compressed_image(writer, stamp, "camera", picture(tick // 2).tobytes(), "rgb8; jpeg compressed bgr8")
            writer.write("/cam/image", stamp, image)
            if advice_frame is not None and tick // 2 != 1:
                times = np.arange(11 if tick // 2 == 2 else 31) * 0.1
                here = odometry_at(stamp).T_odom_base[:3, 3]
                east = DensePath(
                    stamp_ns=stamp, frame_id=advice_frame, stamps_ns=stamp + np.round(times * 1e9).astype(np.int64), yaw_rad=np.zeros(len(times)),
                    xyz_m=here + np.stack([8.0 * times, 0 * times, 0 * times], axis=-1), speed_mps=np.full(len(times), 8.0), age_s=0.0,
                )  # fmt: skip
                writer.write("/advice", stamp, messages.path(writer, east))
            if label_topic:
                classes = cv2.imencode(".png", np.full((camera.height, camera.width), tick // 2 % 3, np.uint8))[1].tobytes()
                writer.write("/classes/image", stamp, messages.compressed_image(writer, stamp, "camera", classes, "mono8; png compressed "))
    return path


@pytest.fixture(scope="session")
def make_bag() -> Callable[..., Path]:
    """`write_bag`, for tests in other folders."""
    return write_bag


def write_token_bag(path: Path, epochs: list[int]) -> Path:
    """FrameTokens at 10 Hz of a car at 10 m/s; every token of frame i is i."""
    with BagWriter(path) as writer:
        writer.add_topic("/tokens", messages.FRAME_TOKENS)
        for i, epoch in enumerate(epochs):
            stamp = START_NS + i * 100_000_000
            pose = EgoPose(
                stamp_ns=stamp,
                odom_frame_id="map",
                T_odom_ego=planar_T(float(i), 2.0, 0.5),
                linear_mps=np.array([10.0, 0.0, 0.0]),
                angular_radps=np.zeros(3),
                quality=PoseQuality.MEASURED,
            )
            frame = TokenFrame(
                stamp_ns=stamp,
                epoch=epoch,
                camera_frame_id="camera",
                tokens=np.full((2, 4), i, np.uint16),
                codebook_size=32,
                tokenizer_id="vq16-x",
                camera_id="world_front",
                canonical=True,
                coverage=1.0,
                pose=pose,
            )
            writer.write("/tokens", stamp, messages.frame_tokens(writer, frame, "ego"))
    return path


@pytest.fixture(scope="session")
def token_bag() -> Callable[..., Path]:
    """`write_token_bag`, for tests in other folders."""
    return write_token_bag
