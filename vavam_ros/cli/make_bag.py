"""`vavam make-bag`: a folder of pictures and a CSV of the motion → a rosbag2 (layout and columns: vavam_ros/replay/folder.py)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vavam_ros.bags import POSE_QUALITIES, BagWriter
from vavam_ros.core.camera.camera_model import Mount
from vavam_ros.core.contracts import F64, NS_PER_S, Command
from vavam_ros.replay import messages
from vavam_ros.replay.folder import (
    PICTURE_SUFFIXES,
    EgoTable,
    FolderCamera,
    FolderError,
    find_ego_csv,
    find_pictures,
    read_camera,
    read_ego_csv,
    read_json,
)

ASSUMED_MOUNT_X_M = 1.7  # camera ahead of the rear axle, where nothing is stated
ASSUMED_MOUNT_Z_M = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BagLayout:
    """Names of topics and frames in the bag."""

    image_topic: str = "/camera/image/compressed"
    camera_info_topic: str = "/camera/camera_info"
    odometry_topic: str = "/odometry"
    command_topic: str = "/vavam/command"
    odom_frame: str = "odom"
    base_frame: str = "base_link"
    camera_frame: str = "camera_optical"


@dataclass(frozen=True, slots=True, kw_only=True)
class BagSummary:
    """What went into the bag, and what did not."""

    pictures: int
    odometry: int
    pictures_without_row: int
    rows_without_picture: int
    duration_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam make-bag`."""
    names = BagLayout()
    parser.add_argument("folder", type=Path, help="folder with frames/, an ego CSV and, if there are, camera.json and meta.json")
    parser.add_argument("--out", type=Path, required=True, help="bag to write: NAME.mcap, NAME.db3, or a directory")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="storage of a bag directory (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bag")
    parser.add_argument("--ego", type=Path, help="CSV of the motion (default: ego.csv, or the only ego*.csv of the folder)")
    parser.add_argument(
        "--pose-quality", choices=POSE_QUALITIES, help="where the poses come from (default: meta.json, else `estimated` if the CSV's name says so)"
    )
    parser.add_argument("--start-ns", type=int, help="stamp of t = 0 where the source has no stamps (default: t0_boot_s of meta.json, else 1 s)")
    parser.add_argument("--planar", action="store_true", help="drop z, roll and pitch")
    parser.add_argument(
        "--mount",
        type=float,
        nargs=6,
        metavar=("X", "Y", "Z", "ROLL", "PITCH", "YAW"),
        help="camera in base_link, metres and radians, pitch nose down positive",
    )
    parser.add_argument("--no-camera-info", action="store_true", help="leave out CameraInfo and the mount even if camera.json is there")
    parser.add_argument("--command", choices=[c.name.lower() for c in Command], help="write this driving command once a second")
    parser.add_argument("--image-topic", default=names.image_topic, help="default %(default)s")
    parser.add_argument("--camera-info-topic", default=names.camera_info_topic, help="default %(default)s")
    parser.add_argument("--odometry-topic", default=names.odometry_topic, help="default %(default)s")


def run(args: argparse.Namespace) -> int:
    """Make the bag; 0 when it is there. Raises VavamError."""
    ego_csv = args.ego or find_ego_csv(args.folder)
    meta = read_json(args.folder / "meta.json")
    start_ns = args.start_ns if args.start_ns is not None else round(float(meta.get("t0_boot_s", 1.0)) * NS_PER_S)
    table = read_ego_csv(ego_csv, start_ns=start_ns, planar=args.planar)
    camera = None if args.no_camera_info else read_camera(args.folder / "camera.json")
    quality = args.pose_quality or meta.get("pose_quality") or ("estimated" if "estimated" in ego_csv.stem else "measured")
    if quality not in POSE_QUALITIES:
        raise FolderError(f"{args.folder / 'meta.json'}: pose_quality {quality!r}, expected one of {', '.join(POSE_QUALITIES)}")
    T_base_camera, mount_note = _mount(args.mount, camera)
    layout = BagLayout(image_topic=args.image_topic, camera_info_topic=args.camera_info_topic, odometry_topic=args.odometry_topic)
    pictures = find_pictures(args.folder)
    command = Command[args.command.upper()] if args.command else None
    with BagWriter(args.out, storage=args.storage, overwrite=args.overwrite, custom_data={"source": str(meta.get("source", args.folder.name))}) as writer:
        summary = write_bag(writer, layout, table, pictures, camera, T_base_camera, quality, command)
    print(f"{args.out}: {summary.pictures} pictures, {summary.odometry} odometry, {summary.duration_s:.2f} s; odometry is {quality}")
    print(f"  stamps from {table.stamp_source}")
    for note in (*table.notes, *(camera.notes if camera else ("no CameraInfo written: replay needs --camera or --camera-mode resize",)), mount_note):
        print(f"  note: {note}")
    print(f"  left out: {summary.pictures_without_row} pictures without a row; rows without a picture: {summary.rows_without_picture}")
    return 0


def _mount(stated: list[float] | None, camera: FolderCamera | None) -> tuple[F64, str]:
    """T_base_camera and what it rests on."""
    if stated is not None:
        x, y, z, roll, pitch, yaw = stated
        return Mount(x_m=x, y_m=y, z_m=z, roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw).T_ego_camera, f"mount as stated: {stated}"
    height = camera.height_above_ground_m if camera is not None else None
    down = camera.pitch_rad if camera is not None else None
    mount = Mount(x_m=ASSUMED_MOUNT_X_M, z_m=ASSUMED_MOUNT_Z_M if height is None else height, pitch_rad=0.0 if down is None else down)
    return mount.T_ego_camera, f"mount: x {mount.x_m} m assumed, z {mount.z_m} m {'assumed' if height is None else 'from camera.json'}"


def write_bag(
    writer: BagWriter,
    layout: BagLayout,
    table: EgoTable,
    pictures: dict[int, Path],
    camera: FolderCamera | None,
    T_base_camera: F64,
    quality: str,
    command: Command | None,
) -> BagSummary:
    """Write everything in stamp order: at equal stamps odometry before the picture, so that the pose is known when the picture comes."""
    first_ns = table.odometry[0].stamp_ns
    writer.write_pose_quality(first_ns, quality)
    writer.add_topic(layout.odometry_topic, messages.ODOMETRY)
    if pictures:
        writer.add_topic(layout.image_topic, messages.COMPRESSED_IMAGE)
    if camera is not None:
        writer.add_topic(layout.camera_info_topic, messages.CAMERA_INFO)
        writer.add_topic("/tf_static", messages.TF_MESSAGE, latched=True)
        writer.write("/tf_static", first_ns, messages.static_transform(writer, first_ns, layout.base_frame, layout.camera_frame, T_base_camera))
    if command is not None:
        writer.add_topic(layout.command_topic, messages.DRIVING_COMMAND)
    written, next_command_ns = set(), first_ns
    for frame, sample in zip(table.frames, table.odometry, strict=True):
        stamp_ns = sample.stamp_ns
        writer.write(layout.odometry_topic, stamp_ns, messages.odometry(writer, sample))
        if command is not None and stamp_ns >= next_command_ns:
            writer.write(layout.command_topic, stamp_ns, messages.driving_command(writer, stamp_ns, command))
            next_command_ns += NS_PER_S
        if frame in pictures:
            picture = pictures[frame]
            if camera is not None:
                info = messages.camera_info(writer, stamp_ns, layout.camera_frame, camera.width, camera.height, camera.K, np.asarray(camera.D))
                writer.write(layout.camera_info_topic, stamp_ns, info)
            fmt = PICTURE_SUFFIXES[picture.suffix.lower()]
            writer.write(layout.image_topic, stamp_ns, messages.compressed_image(writer, stamp_ns, layout.camera_frame, picture.read_bytes(), fmt))
            written.add(frame)
    return BagSummary(
        pictures=len(written),
        odometry=len(table.odometry),
        pictures_without_row=len(set(pictures) - written),
        rows_without_picture=len(set(table.frames) - written),
        duration_s=(table.odometry[-1].stamp_ns - first_ns) / NS_PER_S,
    )
