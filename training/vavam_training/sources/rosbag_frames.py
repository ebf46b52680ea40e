"""What a bag's messages become: where drives begin and end, pictures with the pose of their stamp, commands, recorded tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from vavam_ros.bags import BagMessage, BagReader
from vavam_ros.core.contracts import F64, NS_PER_S, U8, BagError, EgoPose, InputError, PoseQuality, Waiting, WaitReason
from vavam_ros.core.geometry import pose_matrix, to_xyz_quat_xyzw
from vavam_ros.core.history.odometry import OdometryConfig, OdometryHistory
from vavam_ros.replay import messages
from vavam_ros.replay.inputs import BagInputs
from vavam_ros.replay.playback import header_stamp_ns
from vavam_training.contracts import ADVICE_DT_S, ADVICE_STEPS, NO_COMMAND, Frame

WAIT_NS = 2 * NS_PER_S  # of recording, for the odometry to reach a picture's stamp
COMMAND_HOLDS_NS = 2 * NS_PER_S
FOREVER_NS = 2**62
Span = tuple[int, int]  # recording times: from, to before


class OdometryTrack:
    """Core's odometry history, fed from a bag."""

    def __init__(self, rear_axle_x_m: float) -> None:
        self.history = OdometryHistory(OdometryConfig(), rear_axle_x_m)

    def push(self, reader: BagReader, message: BagMessage, quality: PoseQuality) -> str | None:
        """Take in one message; says why where it is refused."""
        try:
            self.history.push(messages.odometry_from(reader.decode(message), quality))
        except InputError as error:
            return str(error)
        return None


def drives_of_odometry(reader: BagReader, inputs: BagInputs, rear_axle_x_m: float) -> list[Span]:
    """Where the time or the pose jumps, one drive ends and another begins."""
    history = OdometryHistory(OdometryConfig(), rear_axle_x_m)
    cuts = []
    for message in reader.messages([inputs.odometry.name]):
        try:
            outcome = history.push(messages.odometry_from(reader.decode(message), inputs.quality))
        except InputError:
            continue  # counted when the frames are read
        if outcome.was_reset:
            cuts.append(message.log_ns)
    return _spans(reader, cuts)


def drives_of_tokens(reader: BagReader, topic: str) -> list[Span]:
    """Where the epoch changes, one drive ends and another begins."""
    cuts, epoch = [], None
    for message in reader.messages([topic]):
        found = int(reader.decode(message).epoch)
        if epoch is not None and found != epoch:
            cuts.append(message.log_ns)
        epoch = found
    return _spans(reader, cuts)


def _spans(reader: BagReader, cuts: list[int]) -> list[Span]:
    edges = [reader.start_ns, *cuts, reader.end_ns + 1]
    return [(a, b) for a, b in pairwise(edges) if b > a]


class Commands:
    """Driving commands by stamp; each holds until the next, or for a bounded time."""

    def __init__(self) -> None:
        self._known: deque[tuple[int, int]] = deque(maxlen=100)

    def push(self, decoded: Any) -> None:
        """Take in a DrivingCommand."""
        self._known.append((messages.stamp_ns_of(decoded), int(decoded.command)))

    def at(self, stamp_ns: int) -> int:
        """The command that held at a stamp; NO_COMMAND without one."""
        for when, command in reversed(self._known):
            if when <= stamp_ns:
                return command if stamp_ns - when <= COMMAND_HOLDS_NS and command in (0, 1, 2) else NO_COMMAND
        return NO_COMMAND


class Classes:
    """Semantic classes by stamp, where a topic of them is asked for: pictures of one channel, kept encoded until they are wanted."""

    def __init__(self, reader: BagReader, topic: str | None) -> None:
        self._encoded: dict[int, BagMessage] = {}
        self._reader, self._topic = reader, topic
        if topic is not None:
            if topic not in reader.topics:
                raise BagError(f"{reader.path}: no topic {topic} with classes; it has {', '.join(sorted(reader.topics))}")
            self._encoded = {header_stamp_ns(m.data): m for m in reader.messages([topic])}

    def at(self, stamp_ns: int) -> U8 | None:
        """(H, W) classes of the picture with this stamp; None where none are asked for. Raises BagError where it has none."""
        if self._topic is None:
            return None
        message = self._encoded.get(stamp_ns)
        data = None if message is None else cv2.imdecode(np.frombuffer(bytes(self._reader.decode(message).data), np.uint8), cv2.IMREAD_UNCHANGED)
        if data is None or data.ndim != 2 or data.dtype != np.uint8:
            raise BagError(f"{self._reader.path}: no classes (PNG of one channel) on {self._topic} for the picture at {stamp_ns}")
        return data.astype(np.uint8, copy=False)


class Advice:
    """What an adviser would have driven from a picture on, where a topic of it is asked for: paths in the odometry's frame with a time for each pose."""

    def __init__(self, reader: BagReader, topic: str | None, odometry: str) -> None:
        """Raises BagError where the bag has no such topic. `odometry`: the topic whose frame the paths have to be in."""
        self._paths: dict[int, BagMessage] = {}
        self._reader, self._topic, self._frame_id = reader, topic, ""
        if topic is not None:
            if topic not in reader.topics or reader.topics[topic].type_name != messages.PATH:
                raise BagError(f"{reader.path}: no nav_msgs/Path on {topic} with advice; it has {', '.join(sorted(reader.topics))}")
            self._paths = {header_stamp_ns(m.data): m for m in reader.messages([topic])}
            self._frame_id = str(reader.decode(next(reader.messages([odometry]))).header.frame_id)

    def at(self, stamp_ns: int) -> F64 | None:
        """(P, 2) positions at the times of `ADVICE_STEPS` after the picture; None where there is no path for it, or one that ends before.

        Raises BagError for a path in another frame, or with times that do not grow."""
        message = self._paths.get(stamp_ns)
        if message is None:
            return None
        path = self._reader.decode(message)
        if path.header.frame_id != self._frame_id:
            raise BagError(f"{self._reader.path}: advice on {self._topic} in frame {path.header.frame_id!r}, expected {self._frame_id!r}, the odometry's")
        times = np.array([messages.stamp_ns_of(p) for p in path.poses], np.int64) - stamp_ns
        wanted = np.round(np.arange(1, ADVICE_STEPS + 1) * ADVICE_DT_S * NS_PER_S).astype(np.int64)
        if len(times) < 2 or times[0] > wanted[0] or times[-1] < wanted[-1]:
            return None
        if (np.diff(times) <= 0).any():
            raise BagError(f"{self._reader.path}: advice on {self._topic} at {stamp_ns}: its times do not grow")
        xy = np.array([(p.pose.position.x, p.pose.position.y) for p in path.poses], np.float64)
        return np.stack([np.interp(wanted, times, xy[:, i]) for i in range(2)], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """A picture with its pose, or why it has none."""

    message: BagMessage
    stamp_ns: int
    pose: EgoPose | None
    why: str = ""

    def frame(self, rgb: U8, command: int, classes: U8 | None, advice_m: F64 | None = None) -> Frame:
        """The frame of a picture that has a pose."""
        assert self.pose is not None
        position, rotation = _parts(self.pose.T_odom_ego)
        return Frame(
            stamp_ns=self.stamp_ns,
            rgb=rgb,
            position_m=position,
            rotation_wxyz=rotation,
            speed_mps=float(self.pose.linear_mps[0]),
            command=command,
            classes=classes,
            advice_m=advice_m,
        )


class PictureQueue:
    """Pictures, still encoded, that wait for the odometry to reach their stamps."""

    def __init__(self, track: OdometryTrack) -> None:
        self._track = track
        self._waiting: deque[BagMessage] = deque()

    def push(self, message: BagMessage, leave_out: Callable[[str, int], None]) -> None:
        """Take in a picture."""
        if header_stamp_ns(message.data) > 0:
            self._waiting.append(message)
        else:
            leave_out("no header stamp", message.log_ns)

    def ready(self, log_ns: int) -> Iterator[Outcome]:
        """Pictures whose pose is known now, or will not be known any more."""
        while self._waiting:
            found = self._look(self._waiting[0])
            if found.pose is None and found.why.startswith(_BEHIND) and log_ns - self._waiting[0].log_ns < WAIT_NS:
                return
            self._waiting.popleft()
            yield found

    def rest(self) -> Iterator[Outcome]:
        """What still waits at the end."""
        return self.ready(FOREVER_NS)

    def _look(self, message: BagMessage) -> Outcome:
        stamp_ns = header_stamp_ns(message.data)
        pose = self._track.history.pose_at(stamp_ns)
        if isinstance(pose, Waiting):
            return Outcome(message=message, stamp_ns=stamp_ns, pose=None, why=pose.reason.value)
        return Outcome(message=message, stamp_ns=stamp_ns, pose=pose)


_BEHIND = (WaitReason.ODOMETRY_BEHIND.value, WaitReason.NO_ODOMETRY.value)


def token_frame(decoded: Any, commands: Commands) -> Frame | str:
    """FrameTokens → Frame, or why it cannot be used."""
    stamp_ns, h, w = messages.stamp_ns_of(decoded), int(decoded.grid_height), int(decoded.grid_width)
    tokens = np.asarray(decoded.tokens, np.uint16)
    if tokens.size != h * w or not tokens.size:
        return f"{tokens.size} tokens for a grid of {h}×{w}"
    if int(decoded.pose_quality) == PoseQuality.UNKNOWN:
        return "recorded without a pose"
    p, q, v = decoded.pose.position, decoded.pose.orientation, decoded.twist.linear
    try:
        T = pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    except InputError as error:
        return str(error)
    position, rotation = _parts(T)
    return Frame(
        stamp_ns=stamp_ns,
        tokens=tokens.reshape(h, w),
        position_m=position,
        rotation_wxyz=rotation,
        speed_mps=float(v.x),
        command=commands.at(stamp_ns),
    )


def _parts(T: F64) -> tuple[F64, F64]:
    """(4, 4) → position (3,), quaternion w x y z."""
    xyz, xyzw = to_xyz_quat_xyzw(T)
    return np.asarray(xyz, np.float64), np.asarray(xyzw, np.float64)[[3, 0, 1, 2]]
