"""What a replay reads from a bag: which topics, which camera, mounted where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vavam_ros.bags import BagMessage, BagReader, TopicInfo
from vavam_ros.core.camera import CameraModel, CanonicalCamera, Mount, ViewTransform, choose_mount
from vavam_ros.core.contracts import F64, BagError, CameraError, ConfigError, FrameError, PoseQuality
from vavam_ros.replay import messages

IMAGE_KINDS = (messages.IMAGE, messages.COMPRESSED_IMAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraChoice:
    """How pictures are brought to the model's view."""

    mode: Literal["warp", "resize"] = "warp"
    camera_yaml: Path | None = None  # intrinsics, and the mount if it has one; else CameraInfo
    mount: Mount | None = None  # before TF, before the YAML
    min_coverage: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicChoice:
    """Topics by name; None: the only one of its kind."""

    image: str | None = None
    odometry: str | None = None
    camera_info: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureInputs:
    """The camera of a bag, and its fixed transforms."""

    image: TopicInfo
    camera_info: TopicInfo | None
    base_frame: str  # of the odometry; "" where there is none
    static_transforms: dict[str, tuple[str, F64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BagInputs(PictureInputs):
    """The topics of a bag that a replay uses, and its fixed transforms."""

    odometry: TopicInfo
    command: TopicInfo | None
    pose_quality: str | None  # as the bag states it

    @property
    def topics(self) -> set[str]:
        """All topics to read."""
        return {t.name for t in (self.image, self.odometry, self.camera_info, self.command) if t is not None}

    @property
    def quality(self) -> PoseQuality:
        """Quality of the odometry: measured unless the bag says otherwise."""
        return PoseQuality.ESTIMATED if self.pose_quality == "estimated" else PoseQuality.MEASURED


def find_pictures(reader: BagReader, choice: TopicChoice) -> PictureInputs:
    """The camera's topics; odometry, if there is any, only names the frame that the camera is mounted in.

    Raises BagError for an empty bag and for what is missing or ambiguous."""
    reader.require_messages()
    image = reader.topic_of(IMAGE_KINDS, wanted=choice.image, what="camera's pictures", option="--image-topic")
    if image is None:
        raise BagError(f"{reader.path}: no pictures (Image or CompressedImage) in this bag; it has {_topics(reader)}")
    odometry = next((t for t in reader.topics.values() if t.type_name == messages.ODOMETRY and t.count and choice.odometry in (None, t.name)), None)
    return PictureInputs(
        image=image,
        camera_info=_camera_info_of(reader, image, choice.camera_info),
        base_frame="" if odometry is None else _child_frame(reader, odometry),
        static_transforms=_static_transforms(reader),
    )


def find_inputs(reader: BagReader, choice: TopicChoice) -> BagInputs:
    """Find the topics. Raises BagError for an empty bag and for what is missing or ambiguous."""
    pictures = find_pictures(reader, choice)
    odometry = reader.topic_of((messages.ODOMETRY,), wanted=choice.odometry, what="odometry", option="--odometry-topic")
    if odometry is None:
        raise BagError(f"{reader.path}: no nav_msgs/Odometry in this bag; it has {_topics(reader)}")
    return BagInputs(
        image=pictures.image,
        odometry=odometry,
        camera_info=pictures.camera_info,
        command=reader.topic_of((messages.DRIVING_COMMAND,), wanted=choice.command, what="driving command", option="--command-topic"),
        base_frame=_child_frame(reader, odometry),
        static_transforms=pictures.static_transforms,
        pose_quality=reader.pose_quality(),
    )


def _topics(reader: BagReader) -> str:
    return ", ".join(f"{t.name} [{t.type_name}]" for t in reader.topics.values())


def _child_frame(reader: BagReader, odometry: TopicInfo) -> str:
    return str(reader.decode(next(reader.messages([odometry.name]))).child_frame_id)


def _static_transforms(reader: BagReader) -> dict[str, tuple[str, F64]]:
    transforms: dict[str, tuple[str, F64]] = {}
    if "/tf_static" in reader.topics:
        for message in reader.messages(["/tf_static"]):
            transforms.update(messages.transforms_from(reader.decode(message)))
    return transforms


def _camera_info_of(reader: BagReader, image: TopicInfo, wanted: str | None) -> TopicInfo | None:
    """The named CameraInfo, else the image topic's sibling, else the only one, else none."""
    if wanted is None:
        parents = [image.name.rsplit("/", n)[0] for n in (1, 2)]
        siblings = [reader.topics[f"{p}/camera_info"] for p in parents if f"{p}/camera_info" in reader.topics]
        if siblings:
            return siblings[0]
    return reader.topic_of((messages.CAMERA_INFO,), wanted=wanted, what="camera_info", option="--camera-info-topic")


class CameraSource:
    """The transform from this bag's pictures to the model's view; made anew when CameraInfo changes."""

    def __init__(self, choice: CameraChoice, inputs: PictureInputs, canonical: CanonicalCamera, out_hw: tuple[int, int], rear_axle_x_m: float) -> None:
        self._choice, self._inputs, self._canonical, self._out_hw = choice, inputs, canonical, out_hw
        self._T_ego_base = np.eye(4)
        self._T_ego_base[0, 3] = -rear_axle_x_m
        self._yaml = CameraModel.from_yaml(choice.camera_yaml) if choice.camera_yaml is not None else None
        self.camera: CameraModel | None = None
        self.notes: list[str] = []

    def first_view(self, reader: BagReader) -> ViewTransform:
        """The view for the first picture. Raises CameraError (CoverageError), ConfigError, BagError."""
        info = None
        if self._yaml is None and self._inputs.camera_info is not None:
            info = next(reader.messages([self._inputs.camera_info.name]), None)
        if self._yaml is not None:
            self.camera = self._mounted(self._yaml, self._yaml.frame_id)
        elif info is not None:
            self.camera = self._from_info(reader, info)
        elif self._choice.mode == "warp":
            raise ConfigError(
                f"{reader.path}: no camera_info in the bag, and warp needs the camera's calibration: give --camera FILE.yaml, or choose --camera-mode resize"
            )
        return self._view()

    def updated_view(self, reader: BagReader, message: BagMessage) -> ViewTransform | None:
        """A new view if this CameraInfo describes another camera than before, else None."""
        if self._yaml is not None:
            return None
        camera = self._from_info(reader, message)
        if camera is None or (self.camera is not None and self.camera.same_as(camera)):
            return None
        self.camera = camera
        return self._view()

    def _view(self) -> ViewTransform:
        return ViewTransform(self._canonical, self._out_hw, mode=self._choice.mode, source=self.camera, min_coverage=self._choice.min_coverage)

    def _from_info(self, reader: BagReader, message: BagMessage) -> CameraModel | None:
        try:
            decoded = reader.decode(message)
            return self._mounted(messages.camera_from(decoded, None), decoded.header.frame_id)
        except CameraError as e:
            if self._choice.mode == "warp":
                raise
            self._note(f"camera_info not used: {e}")
            return None

    def _mounted(self, camera: CameraModel, frame_id: str) -> CameraModel:
        """With its mount: from the option, else /tf_static, else its YAML."""
        tf = None
        try:
            tf = self._T_ego_base @ messages.chain_transform(self._inputs.static_transforms, self._inputs.base_frame, frame_id)
        except FrameError as e:
            self._note(str(e))
        mount = choose_mount(parameter=self._choice.mount.T_ego_camera if self._choice.mount else None, tf=tf, yaml=camera.T_ego_camera)
        if mount is not None:
            self._note(f"camera mount from {mount.source}")
        return camera if mount is None else camera.mounted(mount.T_ego_camera)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@dataclass(slots=True)
class Tally:
    """What became of the input: nothing is left out without a number here."""

    images: int = 0
    not_due: int = 0
    tokenized: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # pictures without tokens, by reason
    odometry: int = 0
    odometry_outcomes: dict[str, int] = field(default_factory=dict)
    odometry_errors: dict[str, int] = field(default_factory=dict)
    plans: int = 0
    plans_invalid: int = 0
    no_plan: dict[str, int] = field(default_factory=dict)  # plans that were due and could not be made, by reason
    resets: int = 0
    command_reasons: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def add(counts: dict[str, int], key: str) -> None:
        """Count one."""
        counts[key] = counts.get(key, 0) + 1

    def lines(self) -> list[str]:
        """For people: every picture is in exactly one of these."""
        out = [
            f"{self.images} pictures: {self.tokenized} tokenised, {self.not_due} between the ticks of the tokenise rate, {sum(self.skipped.values())} skipped"
        ]
        out += [f"  skipped {n}: {why}" for why, n in sorted(self.skipped.items())]
        out.append(f"{self.odometry} odometry messages: " + ", ".join(f"{n} {what}" for what, n in sorted(self.odometry_outcomes.items())))
        out += [f"  odometry refused {n}: {why}" for why, n in sorted(self.odometry_errors.items())]
        out.append(f"{self.plans} plans, {self.plans_invalid} of them break a limit; {sum(self.no_plan.values())} due but not made; {self.resets} resets")
        out += [f"  no plan {n}: {why}" for why, n in sorted(self.no_plan.items())]
        out += [f"  command {why}: {n}" for why, n in sorted(self.command_reasons.items())]
        return out
