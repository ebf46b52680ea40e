"""The bag that a replay writes: samples, tokens, paths, and the odometry they belong to. Topics are named as those of a node called `vavam`."""

from __future__ import annotations

from vavam_ros.bags import BagReader, BagWriter
from vavam_ros.core.contracts import Waiting
from vavam_ros.core.geometry import place_path
from vavam_ros.replay import messages
from vavam_ros.replay.inputs import BagInputs
from vavam_ros.replay.runner import Step

SAMPLES_TOPIC = "/vavam/samples"
TOKENS_TOPIC = "/vavam/tokens"
PATH_RAW_TOPIC = "/vavam/path_raw"
PATH_TOPIC = "/vavam/path"


class PlanBag:
    """Writes steps into an open bag. `path` is placed at the image stamp (age 0): a replay has no other present."""

    def __init__(self, writer: BagWriter, inputs: BagInputs, start_ns: int, ego_frame_id: str = "ego") -> None:
        self._writer, self._inputs, self._ego_frame_id = writer, inputs, ego_frame_id
        if inputs.pose_quality is not None:
            writer.write_pose_quality(start_ns, inputs.pose_quality)
        writer.add_topic(SAMPLES_TOPIC, messages.TRAJECTORY_SAMPLES)
        writer.add_topic(TOKENS_TOPIC, messages.FRAME_TOKENS)
        writer.add_topic(PATH_RAW_TOPIC, messages.PATH)
        writer.add_topic(PATH_TOPIC, messages.PATH)
        writer.add_topic(inputs.odometry.name, messages.ODOMETRY)

    def write(self, step: Step) -> None:
        """One picture's tokens and, if there is one, its plan. An invalid plan's samples are written, its path is not."""
        writer, plan = self._writer, step.plan
        writer.write(TOKENS_TOPIC, step.log_ns, messages.frame_tokens(writer, step.frame, self._ego_frame_id))
        if plan is None:
            return
        writer.write(SAMPLES_TOPIC, step.log_ns, messages.trajectory_samples(writer, plan, self._ego_frame_id))
        writer.write(PATH_RAW_TOPIC, step.log_ns, messages.path_raw(writer, plan, self._ego_frame_id))
        placed = place_path(plan, plan.stamp_ns)
        if not plan.violations and not isinstance(placed, Waiting):
            writer.write(PATH_TOPIC, step.log_ns, messages.path(writer, placed))

    def copy_odometry(self, reader: BagReader, stop_ns: int | None) -> None:
        """Append the odometry as it was recorded, so that the bag can be looked at by itself."""
        for message in reader.messages([self._inputs.odometry.name]):
            if stop_ns is not None and message.log_ns > stop_ns:
                break
            self._writer.write_raw(message.topic, message.log_ns, message.data)
