"""`vavam dream`: what a video model expects next on a recorded drive, beside what happened, as a film and one picture. No ROS graph, no odometry needed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from vavam_ros.bags import BagReader
from vavam_ros.cli.replay import pick_device
from vavam_ros.core.artifact import load_video_artifact
from vavam_ros.core.artifact.model_card import ModelCard
from vavam_ros.core.camera import CanonicalCamera, Mount
from vavam_ros.core.model.number_format import NUMBER_FORMATS
from vavam_ros.replay.dream import Dream, DreamConfig, agreement, choose_moments, dream, picture_stamps, read_pictures
from vavam_ros.replay.dream_film import Labels, check_suffix, write_film
from vavam_ros.replay.dream_sheet import write_sheet
from vavam_ros.replay.inputs import CameraChoice, CameraSource, TopicChoice, find_pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam dream`."""
    parser.add_argument("bag", type=Path, help="rosbag2 directory, .mcap or .db3, with pictures")
    parser.add_argument("--model", type=Path, required=True, help="model directory, of a VaVAM or of a video model alone")
    parser.add_argument("--out", type=Path, required=True, help="film to write: NAME.gif or NAME.mp4; NAME.png beside it shows all frames at once")
    what = parser.add_argument_group("what")
    what.add_argument("--moments", type=int, default=4, help="how many, spread over the drive (default %(default)s)")
    what.add_argument("--at", type=float, nargs="+", metavar="S", help="these moments instead, in seconds from the first picture")
    what.add_argument("--frames", type=int, default=4, help="frames made up at each moment (default %(default)s; past the window it goes on from its own)")
    what.add_argument("--seen", type=int, help="frames that the model sees before (default: what fits into its window beside --frames, half of it at least)")
    what.add_argument("--top-k", type=int, default=1, help="draw each token from so many likeliest; 1: always the likeliest, 0: from all (default %(default)s)")
    what.add_argument("--temperature", type=float, default=1.0, help="of the draw (default %(default)s)")
    what.add_argument("--seed", type=int, default=0, help="of the draw (default %(default)s)")
    camera = parser.add_argument_group("camera")
    camera.add_argument("--camera", type=Path, help="ROS calibration YAML, with a mount block if the bag has no /tf_static (default: CameraInfo of the bag)")
    camera.add_argument(
        "--camera-mode", choices=("warp", "resize"), default="warp", help="look through the model's camera, or only resize (default %(default)s)"
    )
    camera.add_argument("--mount", type=float, nargs=6, metavar=("X", "Y", "Z", "ROLL", "PITCH", "YAW"), help="camera in the ego frame, metres and radians")
    camera.add_argument("--min-coverage", type=float, default=0.9, help="smallest share of the canonical view that the camera must see (default %(default)s)")
    for name in ("image", "odometry", "camera-info"):
        camera.add_argument(f"--{name}-topic", help="where several could be meant")
    run_ = parser.add_argument_group("run")
    run_.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default %(default)s)")
    run_.add_argument("--dtype", choices=tuple(NUMBER_FORMATS), default="float32", help="of the networks (default %(default)s)")
    run_.add_argument("--threads", type=int, help="CPU threads of torch")


def run(args: argparse.Namespace) -> int:
    """0 when the film is written. Raises VavamError."""
    check_suffix(args.out)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    config = DreamConfig(
        moments=args.moments, generated=args.frames, seen=args.seen, at_s=None if args.at is None else tuple(args.at), top_k=args.top_k or None,
        temperature=args.temperature, seed=args.seed,
    )  # fmt: skip
    artifact = load_video_artifact(args.model, device, NUMBER_FORMATS[args.dtype])
    card = artifact.card
    seen, dt_s = config.frames_seen(card.spec.video.frames), card.spec.frame_dt_s
    with BagReader(args.bag) as reader:
        inputs = find_pictures(reader, TopicChoice(image=args.image_topic, odometry=args.odometry_topic, camera_info=args.camera_info_topic))
        source = CameraSource(_camera_choice(args), inputs, CanonicalCamera.from_dict(card.canonical_camera), card.tokenizer.image_hw, 0.0)
        with tqdm(total=inputs.image.count, desc="stamps", unit="picture", disable=None) as bar:
            stamps = picture_stamps(reader, inputs.image.name, bar.update)
        moments = choose_moments(stamps, config, seen=seen, dt_s=dt_s)
        wanted = {s for m in moments for s in m}
        with tqdm(total=len(wanted), desc="pictures", unit="picture", disable=None) as bar:
            pictures, view = read_pictures(reader, inputs, source, wanted, bar.update)
    with tqdm(desc="dreaming", unit="token", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        dreams = dream(
            artifact.video, artifact.tokenizer, moments, pictures, config, seen=seen, dt_s=dt_s, start_ns=stamps[0], device=device, progress=progress
        )  # fmt: skip
    labels = Labels(model=f"{card.model_id}: what it expects next", bag=args.bag.resolve().name, how=_how(config), warning=_warning(card, view.canonical))
    count = write_film(args.out, dreams, labels)
    write_sheet(args.out.with_suffix(".png"), dreams, labels)
    _print(args.out, count, dreams, labels, source.notes)
    return 0


def _camera_choice(args: argparse.Namespace) -> CameraChoice:
    mount = None
    if args.mount is not None:
        x, y, z, roll, pitch, yaw = args.mount
        mount = Mount(x_m=x, y_m=y, z_m=z, roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw)
    mode: Literal["warp", "resize"] = "resize" if args.camera_mode == "resize" else "warp"
    return CameraChoice(mode=mode, camera_yaml=args.camera, mount=mount, min_coverage=args.min_coverage)


def _how(config: DreamConfig) -> str:
    if config.top_k == 1:
        return "likeliest tokens"
    return "drawn from all tokens" if config.top_k is None else f"drawn from the {config.top_k} likeliest"


def _warning(card: ModelCard, canonical: bool) -> str:
    found = []
    if not card.trained or card.domain == "random":
        found.append("untrained weights: what it expects means nothing")
    elif card.domain == "synthetic_world":
        found.append("trained in a synthetic world only")
    if not canonical:
        found.append("pictures were only resized, not brought to the model's camera")
    return " · ".join(found)


def _print(out: Path, count: int, dreams: list[Dream], labels: Labels, notes: list[str]) -> None:
    moments = ", ".join(f"{d.at_s:.1f}" for d in dreams)
    print(f"{out}: {count} frames, {out.stat().st_size / 1e6:.1f} MB, {len(dreams)} moments: {moments} s; all at once: {out.with_suffix('.png')}")
    expected, held = agreement(dreams)
    dt_s = dreams[0].dt_s
    for i, (a, b) in enumerate(zip(np.atleast_1d(expected), np.atleast_1d(held), strict=True)):
        print(f"  {(i + 1) * dt_s:+.1f} s: {a:.1%} of the tokens as they came (if nothing moved: {b:.1%})")
    for line in (*notes, *([labels.warning] if labels.warning else [])):
        print(f"  note: {line}")
