"""`world record`: drives of the expert as mcap bags for training, from parallel processes, with a manifest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from vavam_ros.core.planning.command import RULES
from vavam_world.cli.checks import out_folder
from vavam_world.contracts import Backend
from vavam_world.drivers import PLANNER_HELP
from vavam_world.drivers.evasion import BERTH_M
from vavam_world.drivers.loop import COMMAND_RULE
from vavam_world.record.bag import ADVICE_TOPIC
from vavam_world.record.drives import IMAGE_HZ, IMAGE_RATES_HZ, MANIFEST, RecordConfig, record
from vavam_world.scenarios.drives import INTRUDER_KINDS, INTRUDERS, PEDESTRIANS
from vavam_world.scenarios.families import FAMILIES, HELD_OUT, check_families


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `world record`."""
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--drives", type=int, default=0, help="how many")
    amount.add_argument("--hours", type=float, default=0.0, help="or as many as make so many hours")
    parser.add_argument("--seconds", type=float, default=60.0, help="longest drive (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other drives (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s; 0: in this one)")
    parser.add_argument(
        "--image-hz", type=int, choices=IMAGE_RATES_HZ, default=IMAGE_HZ, help="pictures a second (default %(default)s; a model that looks at 2 Hz needs 2)"
    )
    parser.add_argument("--command-rule", choices=sorted(RULES), default=COMMAND_RULE, help="of the recorded driving commands (default %(default)s)")
    parser.add_argument("--labels", action="store_true", help="semantic classes of every picture too, as PNG")
    parser.add_argument("--perturb", action="store_true", help="push the vehicle aside now and then, so that there is recovering to learn from")
    parser.add_argument(
        "--intruders",
        type=float,
        default=INTRUDERS,
        metavar="SHARE",
        help="of the drives on straight and curved roads, those in which someone gets in the way; they are short (default %(default)s)",
    )
    parser.add_argument(
        "--intruder-kinds",
        nargs="+",
        choices=INTRUDER_KINDS,
        default=INTRUDER_KINDS,
        metavar="KIND",
        help=f"of {', '.join(INTRUDER_KINDS)}: those who get in the way are drawn from these (default: all)",
    )
    parser.add_argument(
        "--pedestrians",
        type=int,
        nargs=2,
        default=PEDESTRIANS,
        metavar=("LEAST", "MOST"),
        help="of a drive where there are crosswalks (default: {} {})".format(*PEDESTRIANS),
    )
    parser.add_argument("--at-bends", action="store_true", help="who gets in the way on a curved road does so where it bends, if it does soon enough")
    parser.add_argument(
        "--sight-m",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="the driver sees others only so far, for each drive another distance between the two (default: everybody): "
        "it then reacts when they can be seen in a picture, and as hard as is needed by then",
    )
    parser.add_argument(
        "--in-picture",
        action="store_true",
        help="the driver knows only of those who have been in the camera's picture within the last seconds: nobody learns to react to what is not shown",
    )
    parser.add_argument(
        "--berth-m",
        type=float,
        default=BERTH_M,
        metavar="DISTANCE",
        help="clearance that the driver wishes for beside whom it passes (default %(default)s): a wider one leaves room for who imitates it less exactly",
    )
    parser.add_argument(
        "--lead-in",
        type=Path,
        metavar="MODEL",
        help="model directory: it drives the first seconds of each drive, and the recording begins where the expert takes over, "
        "so that there is learning from where the model itself gets to",
    )
    parser.add_argument(
        "--advised",
        type=Path,
        metavar="MODEL",
        help="model directory: it drives all the way, and what the expert would do is recorded at each of its pictures, to be learned instead "
        f"of what was driven ({ADVICE_TOPIC}, with `vavam-train data import --option advice_topic={ADVICE_TOPIC}`); drives that end badly are kept, too",
    )
    planner_help = f"of a model that leads in or is advised: {PLANNER_HELP}"
    parser.add_argument("--planner", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=planner_help)
    parser.add_argument(
        "--exclude",
        nargs="*",
        default=sorted(HELD_OUT),
        metavar="FAMILY",
        help=f"families to leave out, of {', '.join(FAMILIES)} (default: those held out for tests, {', '.join(sorted(HELD_OUT))}; none after it: all are in)",
    )
    parser.add_argument("--backend", choices=get_args(Backend), default="auto", help="of the renderer (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder; what is in it already is kept")


def run(args: argparse.Namespace) -> int:
    """0 when all is recorded, 1 where drives ended with an error. Raises VavamError."""
    config = RecordConfig(
        out=out_folder(args.out),
        drives=args.drives,
        hours=args.hours,
        seconds=args.seconds,
        seed=args.seed,
        workers=args.workers,
        labels=args.labels,
        exclude=tuple(sorted(check_families(args.exclude))),
        perturb=args.perturb,
        backend=args.backend,
        image_hz=args.image_hz,
        command_rule=args.command_rule,
        intruders=args.intruders,
        intruder_kinds=tuple(args.intruder_kinds),
        pedestrians=(args.pedestrians[0], args.pedestrians[1]),
        at_bends=args.at_bends,
        sight_m=None if args.sight_m is None else (args.sight_m[0], args.sight_m[1]),
        in_picture=args.in_picture,
        berth_m=args.berth_m,
        lead_in=args.lead_in,
        advised=args.advised,
        planner=tuple(args.planner),
    )
    totals = record(config)["totals"]
    amount = f"{totals['drives']} drives, {totals['seconds'] / 60:.1f} min, {totals['pictures']} pictures, {totals['bytes'] / 1e6:.0f} MB"
    print(f"{amount}; left out {totals['left_out']}")
    if "led" in totals:
        others = totals["drives"] - totals["led"]
        print(f"{totals['led']} drives were led by {args.lead_in}; in the other {others} it found no plan, and the expert drove from the start")
    print(f"manifest: {args.out / MANIFEST}")
    return int("error" in totals["ends"])
