"""`vavam profile`: where the time went from camera stamp to Path in a recorded live run, as a table and as a trace for Perfetto."""

from __future__ import annotations

import argparse
from pathlib import Path

from vavam_ros.replay.profile import read_profile, table, write_trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam profile`."""
    parser.add_argument("bag", type=Path, help="recording of a live run: camera, ~/tokens, ~/samples, ~/path_raw, ~/path (ros2 bag record)")
    parser.add_argument("--trace", type=Path, help="JSON file to write, in Chrome's trace event format (ui.perfetto.dev opens it)")
    parser.add_argument("--image-topic", help="default: the only one of its type")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 when there were plans. Raises BagError."""
    profile = read_profile(args.bag, args.image_topic)
    print(f"{args.bag}: {len(profile.journeys)} plans; {profile.unplanned} pictures were not planned from")
    print(table(profile))
    print("times are those at which the recorder heard each message; the planner's stages are durations that it sent with its samples")
    if args.trace is not None:
        write_trace(args.trace, profile.journeys)
        print(f"trace: {args.trace}")
    return 0 if profile.journeys else 1
