"""`world evaluate`: drivers over suites of scenarios. Tables, JSON, one HTML report, a video per run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from vavam_world.cli.checks import out_folder
from vavam_world.contracts import Backend
from vavam_world.drivers import DIRECT, NAMES, PLANNER_HELP
from vavam_world.drivers.shown import Shown
from vavam_world.report.evaluate import EvaluateConfig, evaluate, text_tables
from vavam_world.report.run import LIVE_SETTINGS, MODEL_DRIVER, MODEL_DRIVERS, MODEL_HELP, Media
from vavam_world.scenarios.suites import GROUPS, SPLITS, SUITES, suites_named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `world evaluate`."""
    parser.add_argument("--driver", required=True, help=f"one or more of {', '.join((*NAMES, *MODEL_DRIVERS))}, with commas between")
    parser.add_argument("--suite", default="all", help=f"one or more of {', '.join((*SUITES, *GROUPS))} (default %(default)s)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default %(default)s")
    parser.add_argument("--limit", type=int, default=0, help="scenarios of each suite, of safety: of each kind of road (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s; 0: in this one)")
    parser.add_argument("--media", choices=get_args(Media), default="all", help="runs that get pictures, plots and a video (default %(default)s)")
    parser.add_argument("--backend", choices=get_args(Backend), default="auto", help="of the renderer (default %(default)s)")
    parser.add_argument("--latency-ticks", type=int, default=0, help="a plan is used so many ticks of 0.05 s after its picture (default %(default)s)")
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--frames", type=int, default=0, help=f"longest context of {DIRECT}, in pictures (default: the model's)")
    planner_help = f"{PLANNER_HELP}; {MODEL_DRIVER} takes {', '.join(LIVE_SETTINGS)} alone"
    parser.add_argument("--planner", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=planner_help)
    parser.add_argument("--pictures", choices=get_args(Shown), default="as_taken", help="what they are shown: do they look? (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder; what is in it already is not driven again")


def run(args: argparse.Namespace) -> int:
    """0 when every run is done, 1 where runs were lost to an error. Raises VavamError."""
    drivers = list(dict.fromkeys(filter(None, (d.strip() for d in args.driver.split(",")))))
    config = EvaluateConfig(
        out=out_folder(args.out),
        limit=args.limit,
        workers=args.workers,
        media=args.media,
        backend=args.backend,
        latency_ticks=args.latency_ticks,
        model=args.model,
        frames=args.frames,
        planner=tuple(args.planner),
        pictures=args.pictures,
    )
    evaluation = evaluate(drivers, suites_named(args.suite, args.split), config)
    print(text_tables(evaluation))
    print(f"report: {args.out / 'index.html'}")
    return int(any(run.trace for _, run in evaluation.runs))
