"""`vavam profile`: where the time goes from camera stamp to Path, in a recorded live run or in live nodes, as a table and as a trace for Perfetto."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vavam_ros.core.contracts import ConfigError
from vavam_ros.replay.profile import Journey, read_profile, table, write_trace

if TYPE_CHECKING:
    from vavam_ros.cli.live_nodes import Live
    from vavam_ros.measure.trend import Slope

WARM_UP_S = 2.0
SAMPLE_S = 0.25
SECONDS, IMAGE, RATE_HZ = 20.0, "1600x900", 30.0  # defaults; the arguments' own is None, so that one that was given can be told
OF_THE_FEEDER = ("--model", "--image", "--rate", "--compressed", "--set")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam profile`."""
    bag_help = "recording of a live run: camera, ~/tokens, ~/samples, ~/path_raw, ~/path (ros2 bag record); not with --live or --attach"
    parser.add_argument("bag", type=Path, nargs="?", help=bag_help)
    parser.add_argument("--live", action="store_true", help="start the nodes, feed them, and measure")
    parser.add_argument("--attach", metavar="NAMESPACE", help="measure the nodes that run in this namespace (of vavam launch: vavam) and are fed")
    parser.add_argument("--trace", type=Path, help="JSON file to write, in Chrome's trace event format (ui.perfetto.dev opens it)")
    parser.add_argument("--image-topic", help="of a recording; default: the only one of its type")
    either = parser.add_argument_group("with --live or --attach")
    either.add_argument("--seconds", type=float, help=f"how long to measure, after the first Path and a moment (default {SECONDS:g})")
    either.add_argument("--json", type=Path, help="JSON file to write, with all figures")
    live = parser.add_argument_group("with --live")
    live.add_argument("--model", type=Path, help="model directory (default: a small one with random weights, on the CPU)")
    live.add_argument("--image", metavar="WxH", help=f"size of the pictures (default {IMAGE})")
    live.add_argument("--rate", type=float, help=f"pictures per second (default {RATE_HZ:g})")
    live.add_argument("--compressed", action="store_true", help="JPEG pictures")
    set_help = "launch argument of `vavam launch vavam`, e.g. tokenize_rate_hz:=0, plan_rate_hz:=10, composed:=false; may be repeated"
    live.add_argument("--set", action="append", default=[], metavar="name:=value", dest="assignments", help=set_help)


def run(args: argparse.Namespace) -> int:
    """Print the tables; 0 when there were plans. Raises BagError, LiveError, ConfigError."""
    if sum((args.bag is not None, args.live, args.attach is not None)) != 1:
        raise ConfigError("vavam profile: expected one of a recording, --live and --attach NAMESPACE")
    if args.bag is None:
        return run_live(args)
    refuse(args, ("--seconds", "--json"), "a recording", "--live or --attach")
    refuse(args, OF_THE_FEEDER, "a recording", "--live")
    profile = read_profile(args.bag, args.image_topic)
    print(f"{args.bag}: {len(profile.journeys)} plans; {profile.unplanned} pictures were not planned from")
    print(table(profile))
    print("times are those at which the recorder heard each message; stages are durations that the nodes sent with their samples")
    if args.trace is not None:
        write_trace(args.trace, profile.journeys)
        print(f"trace: {args.trace}")
    return 0 if profile.journeys else 1


def refuse(args: argparse.Namespace, options: Sequence[str], got: str, expected: str) -> None:
    """Raises ConfigError where one of the options was given."""
    values = {option: getattr(args, {"--set": "assignments"}.get(option, option[2:].replace("-", "_"))) for option in options}
    given = [option for option, value in values.items() if not (value is None or value is False or value == [])]
    if given:
        it = "it" if len(given) == 1 else "them"
        raise ConfigError(f"{', '.join(given)}: got {it} with {got}, expected {it} with {expected}")


# ── live ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def image_size(text: str) -> tuple[int, int]:
    """`1600x900` as (width, height). Raises ConfigError."""
    found = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text)
    if found is None:
        raise ConfigError(f"--image: got {text!r}, expected WIDTHxHEIGHT, such as 1600x900")
    return int(found[1]), int(found[2])


def run_live(args: argparse.Namespace) -> int:
    """Measure live nodes."""
    from vavam_ros.cli.launch import parse_assignments
    from vavam_ros.cli.live_camera import CameraSettings
    from vavam_ros.cli.live_nodes import attached, started

    refuse(args, ("--image-topic",), "--attach" if args.attach is not None else "--live", "a recording")
    seconds, rate_hz = SECONDS if args.seconds is None else args.seconds, RATE_HZ if args.rate is None else args.rate
    if seconds <= 0.0 or rate_hz <= 0.0:
        raise ConfigError(f"got --seconds {seconds:g} and --rate {rate_hz:g}, expected numbers above 0")
    if args.attach is not None:
        refuse(args, OF_THE_FEEDER, "--attach", "--live: the nodes that run have their own model and arguments, and pictures of somebody else")
        what, nodes = f"nodes in /{args.attach.strip('/')}", attached(args.attach)
    else:
        width, height = image_size(IMAGE if args.image is None else args.image)
        camera = CameraSettings(width=width, height=height, rate_hz=rate_hz, compressed=args.compressed)
        what, nodes = f"{args.model or 'small model, random weights'}, {camera.text}", started(args.model, camera, parse_assignments(args.assignments))
    with nodes as live:
        print(f"{what}: waiting for the first Path", file=sys.stderr)
        live.wait_for_path()
        time.sleep(WARM_UP_S)
        journeys, took_s, cut = measure(live, seconds)
        figures = figures_of(live, journeys, what, took_s)
    print(report(figures, live, journeys, cut=cut))
    if args.trace is not None:
        from vavam_ros.measure.stages import live_spans

        write_trace(args.trace, journeys, live_spans)
        print(f"trace: {args.trace}")
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
        print(f"figures: {args.json}")
    return 0 if journeys else 1


def measure(live: Live, seconds: float) -> tuple[list[Journey], float, bool]:
    """Journeys of the pictures stamped from now on, for how long they were collected, and whether Ctrl-C cut it short. Raises LiveError."""
    live.listener.take()
    live.listener.gpu_mb.clear()
    began_ns, began_s, cut = time.time_ns(), time.monotonic(), False
    journeys: list[Journey] = []
    try:
        while time.monotonic() - began_s < seconds:
            live.check()
            live.sample()
            time.sleep(SAMPLE_S)
    except KeyboardInterrupt:
        cut = True
    took_s = time.monotonic() - began_s
    with live.listener.lock:
        journeys = [j for _, j in sorted(live.listener.made.items()) if j.samples_ns is not None and (live.camera is None or j.stamp_ns >= began_ns)]
    return journeys, took_s, cut


def figures_of(live: Live, journeys: Sequence[Journey], what: str, took_s: float) -> dict[str, Any]:
    """Everything that was measured, in plain types."""
    from vavam_ros.measure.stages import AFTER_THE_PATH, OF_THE_TOKENIZER, as_json, reported_rows, stage_rows
    from vavam_ros.measure.trend import slope

    rows = stage_rows(journeys)
    known = {r.name for r in rows}
    apart = [s for s in OF_THE_TOKENIZER if s not in known]
    reported, after = (
        [r for tasks in live.listener.timing.values() for r in reported_rows(tasks.get("timing", {}), stages)] for stages in (apart, AFTER_THE_PATH)
    )
    gpu = live.listener.gpu_mb
    return {
        "what": what,
        "seconds": took_s,
        "plans": len(journeys),
        "pictures_sent": live.camera.sent if live.camera is not None else None,
        "stages": as_json(rows),
        "stages_of_the_tokenizers_own_window": as_json(reported),
        "stages_after_the_path": as_json(after),
        "processes": [
            {
                "name": u.name,
                "pid": u.pid,
                "cores": u.cores,
                "own_mb": u.samples[-1].own_mb,
                "own_slope": _plain(u.slope(own=True)),
                "own_grows": u.grows(),
                "rss_mb": u.samples[-1].rss_mb,
                "rss_slope": _plain(u.slope()),
            }
            for u in live.usages
            if u.samples
        ],
        "gpu": {"reserved_mb": gpu[-1][1], "slope": _plain(slope([t for t, _ in gpu], [mb for _, mb in gpu]))} if gpu else None,
    }


def _plain(slope: Slope | None) -> dict[str, float] | None:
    return asdict(slope) if slope is not None else None


def report(figures: dict[str, Any], live: Live, journeys: Sequence[Journey], *, cut: bool) -> str:
    """The tables, for people."""
    from vavam_ros.measure.processes import usage_table
    from vavam_ros.measure.stages import Row, stage_table

    lines = [f"{figures['what']}: {figures['plans']} plans in {figures['seconds']:.1f} s{' (interrupted)' if cut else ''}"]
    after = [Row(**{**r, "name": f"{r['name']} (after the Path)"}) for r in figures["stages_after_the_path"]]
    lines.append(stage_table([*(Row(**r) for r in figures["stages"]), *after]))
    if after:
        lines.append("after the Path: work of a tick that its Path does not wait for, as the planner reports it of its newest ticks")
    if apart := figures["stages_of_the_tokenizers_own_window"]:
        lines += ["within tokens, as the tokenizer reports them of all its pictures:", stage_table([Row(**r) for r in apart])]
    if journeys and not any(r["name"] == "publish" for r in figures["stages"]):
        lines.append("publish and the whole are not known: the pictures' stamps are of another clock")
    lines += ["", usage_table(live.usages) if live.usages else "no process of these nodes on this machine"]
    if figures["gpu"] is not None:
        s = figures["gpu"]["slope"]
        trend = f"{s['per_h']:+.2f} ± {s['half']:.2f} MB/h" if s else "slope: too short to tell"
        lines.append(f"GPU memory reserved {figures['gpu']['reserved_mb']:.0f} MB, {trend}")
    return "\n".join(lines)
