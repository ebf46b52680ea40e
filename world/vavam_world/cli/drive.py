"""`world drive`: one scenario, to watch. A live line, then a video and a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from vavam_ros.core.contracts import ConfigError, DensePath
from vavam_world.cli.checks import out_folder
from vavam_world.contracts import TICK_S, U8, Backend, Scenario
from vavam_world.drivers import NAMES
from vavam_world.report.page import Evaluation, outcome, write_page
from vavam_world.report.run import MODEL_DRIVERS, MODEL_HELP, RunJob, check_drivers, close_studio, direct_model, do_nothing, do_run, live_system
from vavam_world.scenarios.suites import SPLITS, Split, Suite, check_frozen, suite
from vavam_world.scoring.ncap import ncap_score, ncap_table
from vavam_world.scoring.routes import route_table
from vavam_world.sim.simulation import Simulation

SCENARIO = "turns/000-left"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `world drive`."""
    # not %(default)s: argparse takes a positional's default away while options may stand before it
    parser.add_argument("scenario", nargs="?", default=SCENARIO, help=f"as `world suites --names` lists them (default {SCENARIO})")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default %(default)s")
    parser.add_argument("--driver", default="expert", help=f"one of {', '.join((*NAMES, *MODEL_DRIVERS))} (default %(default)s)")
    parser.add_argument("--backend", choices=get_args(Backend), default="auto", help="of the renderer (default %(default)s)")
    parser.add_argument("--latency-ticks", type=int, default=0, help="a plan is used so many ticks of 0.05 s after its picture (default %(default)s)")
    parser.add_argument("--model", type=Path, help=MODEL_HELP)
    parser.add_argument("--out", type=Path, default=Path("out/drive"), help="folder of video and report (default %(default)s)")


def find(name: str, split: Split) -> tuple[Suite, Scenario]:
    """A scenario by its name. Raises ConfigError with some that are there."""
    among = suite(name.split("/")[0], split)
    for scenario in among.scenarios:
        if scenario.name == name:
            return among, scenario
    raise ConfigError(f"scenario: got {name!r}, expected one like {among.scenarios[0].name}: `world suites --names` lists them")


def live(sim: Simulation, path: DensePath | None, image: U8 | None) -> None:
    """One line about the run so far, over itself, twice a second of driving."""
    if sim.state.tick % 10 == 0:
        ego = sim.state.ego
        text = f"{sim.state.tick * TICK_S:6.1f} s  {3.6 * ego.speed_mps:5.1f} km/h  {sim.route_s:6.1f} of {sim.route.length_m:.0f} m  {sim.route_d:+5.2f} m off"
        print(f"\r{text}", end="", flush=True, file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    """0 when the run is done, however it ended. Raises VavamError."""
    check_drivers([args.driver], args.model)
    if args.latency_ticks < 0:
        raise ConfigError(f"--latency-ticks: got {args.latency_ticks}, expected 0 or more")
    among, scenario = find(args.scenario, args.split)
    job = RunJob(
        scenario=scenario,
        suite=among.name,
        split=among.split,
        kind=among.kind,
        suite_sha256=check_frozen(among),
        driver=args.driver,
        folder=out_folder(args.out),
        backend=args.backend,
        latency_ticks=args.latency_ticks,
        live=live_system(args.driver, args.model, args.latency_ticks),
        direct=direct_model(args.driver, args.model),
    )
    done = do_run(job, on_tick=live, on_line=print)
    close_studio()
    print(file=sys.stderr)
    reference = {scenario.name: do_nothing(job)} if among.kind == "safety" else {}
    score = done.score
    print(f"{scenario.name}, {args.driver}: {outcome(done)} after {score.duration_s:.1f} s, {score.completion:.0%} of the route")
    if reference:
        print(f"NeuroNCAP score {ncap_score(score.first_impact_mps, reference[scenario.name]):.2f} of 5")
    routes = {args.driver: () if reference else route_table([score])}
    safety = {args.driver: ncap_table([score], reference) if reference else ()}
    evaluation = Evaluation(
        settings={"split": among.split, "latency": f"{args.latency_ticks * TICK_S:.2f} s", "backend": args.backend},
        suites={f"{among.name}/{among.split}": job.suite_sha256},
        drivers=(args.driver,),
        runs=[(args.out, done)],
        routes=routes,
        safety=safety,
    )
    write_page(args.out / "index.html", evaluation)
    print(f"video: {args.out / str(done.media.get('video', 'none'))}\nreport: {args.out / 'index.html'}")
    return 0
