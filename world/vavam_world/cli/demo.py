"""`world demo`: a drive through live ROS 2 nodes in the built-in world, its video and its report, from a fresh checkout.

Everything is live but the wheels: the world speaks the CARLA bridge's topics, a model or a driver of the world plans from them, path_follower_node and the
gate (watchdog_node) bring its path to the vehicle. Where a driver of the world drives, a model with random weights plans beside it, and nobody follows that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import vavam_ros.core
from vavam_ros.core.artifact import random_artifact, read_card
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.spec import SMALL
from vavam_world.cli.checks import out_folder
from vavam_world.contracts import WORLD_CAMERA
from vavam_world.drivers.model_driver import as_set
from vavam_world.live.run import LiveSystem
from vavam_world.report.page import Evaluation, outcome, write_page
from vavam_world.report.run import LIVE_SETTINGS, MODEL_DRIVER, RunJob, close_studio, do_run, live_system
from vavam_world.scenarios.suites import check_frozen, suite
from vavam_world.scoring.routes import route_table

ROUTE = {"expert": "turns/000-left", "lane_follower": "curves/000", "model": "turns/000-left"}
# In a checkout. By the core's place: `vavam_ros` itself may be that of the generated messages.
BUNDLED = Path(vavam_ros.core.__file__).resolve().parents[2] / "models" / "world"
# Of who drives: from every picture, braking where a quarter of the samples do (docs/decisions/0019, 0020).
PLANNER = ("plan_rate_hz=10", "samples=8", "selection=cautious")
UNTRAINED = "untrained model, not followed"
# An untrained plan is little more than its noise times the action scale: at the usual 70 m it would lie outside of every picture.
ACTION_SCALE_M = 12.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `world demo`."""
    who = "who drives: the expert, who knows all; the lane follower, who sees lines alone; a trained model (default %(default)s)"
    parser.add_argument("--driver", choices=sorted(ROUTE), default="model" if BUNDLED.is_dir() else "expert", help=who)
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model directory, for --driver model (default: the bundled one)")
    parser.add_argument(
        "--planner",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help=f"other settings of the planner of --driver model, of {', '.join(LIVE_SETTINGS)}; without: {' '.join(PLANNER)}",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write (default %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="show everything the nodes say")


def run(args: argparse.Namespace) -> int:
    """0 when the vehicle came to the end of its route. Raises VavamError."""
    if args.planner and args.driver != "model":
        raise ConfigError(f"--planner {' '.join(args.planner)}: got driver {args.driver}, expected model, whose planner it sets")
    out = out_folder(args.out)
    system = _trained(args.model, (*PLANNER, *args.planner)) if args.driver == "model" else _untrained(out / "model", args.driver)
    name = ROUTE[args.driver]
    among = suite(name.split("/")[0], "test")
    scenario = next(s for s in among.scenarios if s.name.startswith(name))
    job = RunJob(
        scenario=scenario,
        suite=among.name,
        split=among.split,
        kind=among.kind,
        suite_sha256=check_frozen(among),
        driver=args.driver,
        folder=out,
        live=system,
    )
    heard = {"lines": 0}

    def on_line(line: str) -> None:
        heard["lines"] += 1
        if args.verbose or "watchdog_node" in line or "world_node" in line:
            print(f"  {line}"[:200], flush=True)

    done = do_run(job, on_line=on_line)
    close_studio()
    print(f"{scenario.name}: {outcome(done)} after {done.score.duration_s:.1f} s, {done.score.completion:.0%} of the route")
    evaluation = Evaluation(
        settings={
            "nodes": "live, in lock-step at the wall clock's pace",
            "model": system.beside_name or str(args.model),
            "driver": args.driver,
            **({"planner": " ".join(as_set((*PLANNER, *args.planner)))} if args.driver == "model" else {}),
        },
        suites={f"{among.name}/{among.split}": job.suite_sha256},
        drivers=(args.driver,),
        runs=[(out, done)],
        routes={args.driver: route_table([done.score])},
        safety={args.driver: ()},
    )
    write_page(out / "index.html", evaluation)
    print(f"video: {out / str(done.media.get('video', 'none'))}\nreport: {out / 'index.html'}\nmodel: {system.model}")
    if not done.score.success:
        print("demo: the vehicle did not come to the end of its route; run it with --verbose to see what the nodes say", file=sys.stderr)
    return int(not done.score.success)


def _trained(model: Path, planner: Sequence[str]) -> LiveSystem:
    """The model drives. Raises ArtifactError where there is none."""
    card = read_card(model)
    print(f"world demo: {card.model_id} drives, by what it sees. It was trained in this world ({card.licence}).")
    system = live_system(MODEL_DRIVER, model, planner=planner)
    assert system is not None  # of that driver there is one
    return replace(system, arguments={**system.arguments, "world_rate": "1.0"}, beside_name="")


def _untrained(model: Path, driver: str) -> LiveSystem:
    """A driver of the world drives, and a model with random weights plans beside it."""
    print(f"world demo: {driver.replace('_', ' ')} drives. The model's weights are UNTRAINED (random): its paths mean nothing, and nobody follows them.")
    random_artifact(model, replace(SMALL, flow=replace(SMALL.flow, action_scale_m=ACTION_SCALE_M)), camera=WORLD_CAMERA.name)
    return LiveSystem(model=model, driver=driver, config="carla,cpu,untrained", arguments={"world_rate": "1.0"}, beside_name=UNTRAINED)
