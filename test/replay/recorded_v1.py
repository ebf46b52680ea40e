"""The drive behind test/replay/recorded_v1.mcap, which `python test/replay/recorded_v1.py` wrote with schema version 1 of the messages.

That file is never written again: a later version of the messages must still read it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vavam_ros.bags import BagWriter
from vavam_ros.core.contracts import Command, EgoPose, Plan, PoseQuality, Selection, TokenFrame, Violation
from vavam_ros.core.geometry import planar_T
from vavam_ros.replay import messages

FILE = Path(__file__).with_name("recorded_v1.mcap")
STAMP_NS = 1_700_000_000_250_000_000
POSE = EgoPose(
    stamp_ns=STAMP_NS,
    odom_frame_id="odom",
    T_odom_ego=planar_T(12.5, -3.25, 0.5),
    linear_mps=np.array([8.0, 0.25, 0.0]),
    angular_radps=np.array([0.0, 0.0, 0.125]),
    quality=PoseQuality.EXTRAPOLATED,
)
FRAME = TokenFrame(
    stamp_ns=STAMP_NS,
    epoch=3,
    camera_frame_id="camera",
    tokens=np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000,
    codebook_size=65536,
    tokenizer_id="vq16-0123456789abcdef",
    camera_id="nuscenes_cam_front",
    canonical=True,
    coverage=0.96875,
    pose=POSE,
)
PLAN = Plan(
    stamp_ns=STAMP_NS,
    epoch=3,
    model_id="model-0123456789ab",
    command=Command.LEFT,
    xy_ego_m=np.arange(24, dtype=np.float32).reshape(2, 6, 2) / 4,
    dt_s=0.5,
    selection=Selection(index=1, reason="medoid", spread_m=np.array([0.5, 1.0, 1.5], np.float32)),
    violations=(Violation(check="speed", value=61.0, limit=60.0, unit="m/s"),),
    context_stamps_ns=(STAMP_NS - 500_000_000, STAMP_NS),
    pose=POSE,
    canonical=True,
    stage_ms=(("context", 12.5), ("denoise", 4.25)),
)


def write(path: Path) -> None:
    """All three messages of the package, once each."""
    with BagWriter(path) as writer:
        writer.add_topic("/vavam/tokens", messages.FRAME_TOKENS)
        writer.add_topic("/vavam/samples", messages.TRAJECTORY_SAMPLES)
        writer.add_topic("/vavam/command", messages.DRIVING_COMMAND)
        writer.write("/vavam/tokens", STAMP_NS, messages.frame_tokens(writer, FRAME, "ego"))
        writer.write("/vavam/samples", STAMP_NS + 1, messages.trajectory_samples(writer, PLAN, "ego"))
        writer.write("/vavam/command", STAMP_NS + 2, messages.driving_command(writer, STAMP_NS, Command.LEFT))


if __name__ == "__main__":
    if FILE.exists():
        sys.exit(f"{FILE} is there: a recording is not renewed")
    write(FILE)
