"""rosbag2 recordings (mcap or sqlite3) as drives: camera and odometry of any vehicle, recordings of the driving world, and recorded FrameTokens.

Poses are of the rear axle at the stamp of the picture, interpolated in core's odometry history, never carried on past the last message: a label must be
measured. A recording in which the time or the pose jumps is several drives, `NAME`, `NAME+1`, ….

Where the odometry's frame is not at the rear axle, `rear_axle_x_m` says where that lies in it. Unless given it is what the recording states (its custom
data, or the `manifest.json` of a folder that `world record` made), else 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from vavam_ros.bags import BagMessage, BagReader
from vavam_ros.core.camera import CameraModel, Mount, choose_mount, mount_from_dict
from vavam_ros.core.contracts import F64, BagError, CameraError, FrameError, InputError, VavamError
from vavam_ros.core.history.pacing import RateGate
from vavam_ros.replay import messages
from vavam_ros.replay.inputs import IMAGE_KINDS, BagInputs, TopicChoice, find_inputs
from vavam_training.contracts import DataError, Domain, DriveRef, Frame, Skipped
from vavam_training.sources.left_out import LeftOut
from vavam_training.sources.rosbag_frames import (
    Advice,
    Classes,
    Commands,
    OdometryTrack,
    Outcome,
    PictureQueue,
    drives_of_odometry,
    drives_of_tokens,
    token_frame,
)

WORLD_MANIFEST = "manifest.json"
TokensFrom = Literal["auto", "recorded", "pictures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One drive of a bag: what was recorded from `start_ns` to before `end_ns`."""

    bag: Path
    start_ns: int
    end_ns: int
    recorded_tokens: bool


class RosbagSource:
    """A bag, or all bags below a folder. Options are those of the command line, by the same names."""

    name = "rosbag"

    def __init__(
        self,
        path: Path,
        *,
        licence: str = "",
        domain: Domain | None = None,
        image_topic: str | None = None,
        odometry_topic: str | None = None,
        camera_info_topic: str | None = None,
        command_topic: str | None = None,
        camera_yaml: Path | str | None = None,
        mount: Mount | Mapping[str, Any] | None = None,
        rear_axle_x_m: float | None = None,
        rate_hz: float = 0.0,
        tokens: TokensFrom = "auto",
        tokenizer_id: str = "",
        skip_bad: bool = False,
        label_topic: str | None = None,
        advice_topic: str | None = None,
    ) -> None:
        """`mount`: T_ego_camera before any other, or its keys as in a camera YAML. `rate_hz`: 0 for every picture. `tokens`: take recorded FrameTokens, or
        the pictures; auto: the former where they are of `tokenizer_id` or there are no pictures.
        `label_topic`: pictures (PNG, one channel) of semantic classes with the same stamps. `advice_topic`: nav_msgs/Path with the stamps of pictures, in the
        odometry's frame: what an adviser would have driven (its rear axle, each pose with its time). It is learned instead of what was driven, and taken with
        pictures only.

        Raises DataError where there is no bag. A bag that cannot be used is a DataError too, or an entry of `skipped` with `skip_bad`."""
        self.path, self.skipped = path, list[Skipped]()
        self._bags = find_bags(path)
        self._choice = TopicChoice(image=image_topic, odometry=odometry_topic, camera_info=camera_info_topic, command=command_topic)
        self._yaml = CameraModel.from_yaml(camera_yaml) if camera_yaml is not None else None
        self._mount = Mount.from_matrix(mount_from_dict(mount, "option mount")) if isinstance(mount, Mapping) else mount
        self._rear_axle_x_m, self._rate_hz = rear_axle_x_m, rate_hz
        if advice_topic is not None and tokens == "recorded":
            raise DataError(f"{path}: got advice_topic {advice_topic} and recorded tokens, expected pictures: advice has their stamps (--tokens pictures)")
        tokens = "pictures" if advice_topic is not None else tokens
        self._tokens, self._tokenizer_id, self._skip_bad, self._label_topic = tokens, tokenizer_id, skip_bad, label_topic
        self._advice_topic = advice_topic
        of_world = _world_manifest(self._bags[0].parent)
        self.licence: str = licence or str(of_world.get("licence", ""))
        self.domain: Domain = domain or ("synthetic_world" if of_world else "real")
        self._drives: list[DriveRef] | None = None
        self._parts: dict[str, _Part] = {}

    def drives(self) -> Sequence[DriveRef]:
        """All drives, by the names of their bags. Reads the odometry of every bag the first time, which finds where it jumps."""
        if self._drives is None:
            self._drives = []
            names = _names(self._bags, self.path)
            for bag in self._bags:
                try:
                    self._drives += self._drives_of(bag, names[bag])
                except VavamError as error:
                    if not self._skip_bad:
                        raise DataError(f"{error} (--skip-bad lists such bags in the manifest and goes on)") from error
                    self.skipped.append(Skipped(what=names[bag], why=str(error)))
        return self._drives

    def frames(self, drive: DriveRef) -> Iterator[Frame]:
        """Frames of one drive. Raises DataError for a bag that turns out damaged; what is left out is listed when the last frame was read."""
        part, left = self._parts[drive.name], LeftOut()
        gate = RateGate(self._rate_hz)
        newest_ns = 0
        try:
            with BagReader(part.bag) as reader:
                frames = self._token_frames(reader, part, left) if part.recorded_tokens else self._picture_frames(reader, part, left)
                for frame in frames:
                    if frame.stamp_ns <= newest_ns:
                        left.add("its stamp does not exceed the one before", frame.stamp_ns)
                    elif gate.due(frame.stamp_ns):
                        newest_ns = frame.stamp_ns
                        yield frame
        except VavamError as error:
            raise DataError(f"drive {drive.name!r}: {error}") from error
        self.skipped += left.entries(drive.name)

    # ── one bag ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drives_of(self, bag: Path, name: str) -> list[DriveRef]:
        with BagReader(bag) as reader:
            recorded = self._recorded_tokens(reader)
            if recorded is not None:
                spans, expected = drives_of_tokens(reader, recorded), reader.topics[recorded].count
                camera, (tokenizer_id, codes) = None, self._meaning_of_tokens(reader, recorded)
            else:
                inputs = find_inputs(reader, self._with_image(reader))
                spans, expected = drives_of_odometry(reader, inputs, self._axle(reader)), inputs.image.count
                camera, tokenizer_id, codes = self._camera(reader, inputs), "", 0
        total = sum(end - start for start, end in spans) or 1
        refs = []
        for i, (start, end) in enumerate(spans):
            full = name if i == 0 else f"{name}+{i}"
            self._parts[full] = _Part(bag=bag, start_ns=start, end_ns=end, recorded_tokens=recorded is not None)
            share = max(1, round(expected * (end - start) / total))
            refs.append(DriveRef(name=full, frames_expected=share, camera=camera, tokenizer_id=tokenizer_id, codebook_size=codes))
        return refs

    def _recorded_tokens(self, reader: BagReader) -> str | None:
        """The topic of the tokens to take; None: the pictures."""
        if self._tokens == "pictures":
            return None
        topic = reader.topic_of((messages.FRAME_TOKENS,), wanted=None, what="recorded tokens", option="--tokens pictures")
        if topic is None:
            if self._tokens == "recorded":
                raise BagError(f"{reader.path}: no FrameTokens in this bag; take its pictures (--tokens pictures)")
            return None
        if self._tokens == "auto":
            pictures = any(t.type_name in IMAGE_KINDS and t.count for t in reader.topics.values())
            if pictures and self._meaning_of_tokens(reader, topic.name)[0] != self._tokenizer_id:
                return None
        return topic.name

    def _meaning_of_tokens(self, reader: BagReader, topic: str) -> tuple[str, int]:
        """Tokenizer and number of codes."""
        first = reader.decode(next(reader.messages([topic])))
        return str(first.tokenizer_id), int(first.codebook_size)

    def _with_image(self, reader: BagReader) -> TopicChoice:
        """The choice; where several topics have pictures and one of them a camera_info beside it, that one is meant (labels have none)."""
        pictures = [t.name for t in reader.topics.values() if t.type_name in IMAGE_KINDS and t.count]
        if self._choice.image is not None or len(pictures) < 2:
            return self._choice
        calibrated = [p for p in pictures if any(f"{p.rsplit('/', n)[0]}/camera_info" in reader.topics for n in (1, 2))]
        image = calibrated[0] if len(calibrated) == 1 else None
        return TopicChoice(image=image, odometry=self._choice.odometry, camera_info=self._choice.camera_info, command=self._choice.command)

    def _axle(self, reader: BagReader) -> float:
        if self._rear_axle_x_m is not None:
            return self._rear_axle_x_m
        stated = reader.custom_data.get("rear_axle_x_m", _world_manifest(reader.path.parent).get("rear_axle_x_m", 0.0))
        try:
            return float(stated)
        except (TypeError, ValueError) as error:
            raise DataError(f"{reader.path}: states rear_axle_x_m {stated!r}, expected a length in metres: give --rear-axle-x") from error

    def _camera(self, reader: BagReader, inputs: BagInputs) -> CameraModel | None:
        """The camera with its mount: from the option, else /tf_static, else its file. None: no calibration, pictures are resized."""
        if self._yaml is not None:
            return self._mounted(self._yaml, self._yaml.frame_id, reader, inputs)
        if inputs.camera_info is None:
            return None
        info = reader.decode(next(reader.messages([inputs.camera_info.name])))
        return self._mounted(messages.camera_from(info, None), info.header.frame_id, reader, inputs)

    def _mounted(self, camera: CameraModel, frame_id: str, reader: BagReader, inputs: BagInputs) -> CameraModel:
        tf: F64 | None = None
        if inputs.base_frame and frame_id:
            try:
                tf = messages.chain_transform(inputs.static_transforms, inputs.base_frame, frame_id).copy()
                tf[0, 3] -= self._axle(reader)
            except FrameError:
                tf = None  # the next place to look is the camera's file
        found = choose_mount(parameter=self._mount.T_ego_camera if self._mount else None, tf=tf, yaml=camera.T_ego_camera)
        if found is None:
            where = f"give --mount, a camera file with a mount, or record /tf_static from {inputs.base_frame!r} to {frame_id!r}"
            raise CameraError(f"{reader.path}: where the camera is mounted is not known: {where}")
        return camera.mounted(found.T_ego_camera)

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _picture_frames(self, reader: BagReader, part: _Part, left: LeftOut) -> Iterator[Frame]:
        inputs = find_inputs(reader, self._with_image(reader))
        camera, track, commands = self._camera(reader, inputs), OdometryTrack(self._axle(reader)), Commands()
        queue = PictureQueue(track)
        classes, advice = Classes(reader, self._label_topic), Advice(reader, self._advice_topic, inputs.odometry.name)
        info_topic = inputs.camera_info.name if inputs.camera_info is not None and self._yaml is None else ""
        for message in _span(reader, inputs.topics, part):
            if message.topic == inputs.odometry.name:
                if (why := track.push(reader, message, inputs.quality)) is not None:
                    left.add(f"odometry refused: {why}", message.log_ns)
            elif message.topic == inputs.image.name:
                queue.push(message, left.add)
            elif message.topic == info_topic:
                if camera is not None and not camera.same_as(self._mounted(*_info(reader, message), reader, inputs)):
                    raise BagError(f"{reader.path}: the camera changes at {message.log_ns}: split the bag there, its pictures need another transform")
            elif inputs.command is not None and message.topic == inputs.command.name:
                commands.push(reader.decode(message))
            yield from self._ready(reader, queue.ready(message.log_ns), commands, classes, advice, left)
        yield from self._ready(reader, queue.rest(), commands, classes, advice, left)

    def _ready(
        self, reader: BagReader, outcomes: Iterator[Outcome], commands: Commands, classes: Classes, advice: Advice, left: LeftOut
    ) -> Iterator[Frame]:
        for found in outcomes:
            if found.pose is None:
                left.add(found.why, found.stamp_ns)
                continue
            try:
                picture = messages.image_from(reader.decode(found.message), found.message.type_name)
            except InputError as error:
                left.add(str(error), found.stamp_ns)
                continue
            yield found.frame(picture.rgb, commands.at(found.stamp_ns), classes.at(found.stamp_ns), advice.at(found.stamp_ns))

    def _token_frames(self, reader: BagReader, part: _Part, left: LeftOut) -> Iterator[Frame]:
        topic = self._recorded_tokens(reader)
        assert topic is not None
        command = reader.topic_of((messages.DRIVING_COMMAND,), wanted=self._choice.command, what="driving command", option="--command-topic")
        commands = Commands()
        for message in _span(reader, {topic} | ({command.name} if command else set()), part):
            decoded = reader.decode(message)
            if message.topic != topic:
                commands.push(decoded)
                continue
            frame = token_frame(decoded, commands)
            if isinstance(frame, str):
                left.add(frame, messages.stamp_ns_of(decoded))
            else:
                yield frame


def find_bags(path: Path) -> list[Path]:
    """The bag at a path, or all bags below a folder, in order of their paths. Raises DataError where there is none."""
    if path.is_file() or (path / "metadata.yaml").is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist: expected a bag (.mcap, .db3, a rosbag2 folder) or a folder with bags")
    folders = sorted(p.parent for p in path.rglob("metadata.yaml"))
    bare = (p for p in path.rglob("*") if p.suffix in (".mcap", ".db3") and p.is_file() and p.parent not in folders)
    found = sorted(p for p in (*folders, *bare) if ".partial" not in str(p.relative_to(path)))
    if not found:
        raise DataError(f"{path}: no bag in this folder (.mcap, .db3, or folders with a metadata.yaml; unfinished ones, *.partial*, do not count)")
    return found


def _names(bags: Sequence[Path], root: Path) -> dict[Path, str]:
    """A name for each bag: its own, with the folders above it where two have the same."""
    own = {bag: bag.stem if bag.is_file() else bag.name for bag in bags}
    twice = {n for n in own.values() if list(own.values()).count(n) > 1}
    long = {bag: "-".join((*bag.relative_to(root).parts[:-1], name)) if name in twice else name for bag, name in own.items()}
    return {bag: re.sub(r"[^A-Za-z0-9._=@-]", "_", name).lstrip("._=@-") or "bag" for bag, name in long.items()}


def _world_manifest(folder: Path) -> dict[str, Any]:
    """The manifest that `world record` leaves beside its bags; empty where there is none."""
    path = folder / WORLD_MANIFEST
    if not path.is_file():
        return {}
    return _manifest_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _manifest_of(path: Path, mtime_ns: int) -> dict[str, Any]:
    """Read once: it is asked for with each picture, and that of a long recording is megabytes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}  # another program's file of that name
    return content if isinstance(content, dict) and {"licence", "content", "camera", "drives"} <= set(content) else {}


def _span(reader: BagReader, topics: set[str], part: _Part) -> Iterator[BagMessage]:
    """Messages of one drive."""
    for message in reader.messages(topics, start_ns=part.start_ns):
        if message.log_ns >= part.end_ns:
            return
        yield message


def _info(reader: BagReader, message: BagMessage) -> tuple[CameraModel, str]:
    decoded = reader.decode(message)
    return messages.camera_from(decoded, None), str(decoded.header.frame_id)
