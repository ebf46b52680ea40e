"""`vavam-train evaluate`: what a model is worth: trajectories, video, semantics; with the world's command, the closed loop. JSON and one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from vavam_training.evaluation.closed_loop import DRIVERS
from vavam_training.windows import RULES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train evaluate`."""
    parser.add_argument("model", type=Path, help="run, checkpoint, model directory or upstream .pt")
    parser.add_argument("--out", type=Path, required=True, help="folder for evaluation.json and index.html")
    parser.add_argument("--device", default="cpu", help="default %(default)s")
    parser.add_argument("--batch", type=int, default=8, help="windows at a time (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of noise, bootstrap and memory (default %(default)s)")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="for pictures; a model directory has its own, a run its recipe's")
    parser.add_argument("--grid", metavar="HxW", help="token grid of an upstream file whose frames have not 576 tokens")
    data = parser.add_argument_group("data")
    data.add_argument("--data", action="append", default=[], metavar="SET|YAML", help="token set, or a recipe; may be repeated (default: the run's own)")
    data.add_argument("--drives", help="names with commas between (default: those that the run held out; of a set it never saw, all)")
    data.add_argument("--held-out-share", type=float, help="instead: the share that a run with this share holds out")
    data.add_argument("--held-out-seed", type=int, default=0, help="of that share (default %(default)s)")
    data.add_argument("--every-s", type=float, default=0.0, help="seconds between windows of a drive (default: all windows)")
    loop = parser.add_argument_group("trajectories")
    loop.add_argument("--samples", type=int, default=10, metavar="K", help="of a window, k of minADE_k (default %(default)s)")
    loop.add_argument("--steps", type=int, help="Euler steps (default: the model's)")
    loop.add_argument("--command-rule", choices=sorted(RULES), help="how commands are made (default: the run's, or what the card means; else horizon_3s)")
    loop.add_argument("--max-sideways-m", type=float, metavar="M", help="leave out trajectories on which the vehicle was moved by hand (default: as the run)")
    loop.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default %(default)s)")
    video = parser.add_argument_group("video")
    video.add_argument("--windows", type=int, default=64, help="windows whose second half is generated (default %(default)s; 0: none)")
    video.add_argument("--shown", type=int, default=4, help="windows and labelled pictures to show (default %(default)s)")
    video.add_argument("--features", action="append", metavar="NAME", help="of the Fréchet distance: tokenizer, pixels, module:callable; may be repeated")
    semantic = parser.add_argument_group("semantics")
    semantic.add_argument("--labels", action="append", default=[], type=Path, metavar="DIR", help="labelled pictures; twice: memory, then queries")
    semantic.add_argument("--class-names", default="", help="with commas between")
    semantic.add_argument("--pictures", type=int, default=500, help="of memory and of queries, at most (default %(default)s)")
    semantic.add_argument("--layer", type=int, help="of the video model, from 0 (default: the middle)")
    semantic.add_argument("--neighbours", type=int, default=30, help="default %(default)s")
    semantic.add_argument("--patches", type=int, default=10, help="remembered of a picture (default %(default)s)")
    closed = parser.add_argument_group("closed loop")
    closed.add_argument("--closed-loop", metavar="SUITES", help="drive a model directory by `world evaluate --suite SUITES`")
    closed.add_argument("--driver", choices=DRIVERS, default=DRIVERS[0], help="through the live nodes, or by the core's pipeline (default %(default)s)")
    planner = "of the planner, as `world evaluate --planner`: plan_rate_hz=10 selection=cautious is how the demo drives (default: the planner's own)"
    closed.add_argument("--planner", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=planner)
    closed.add_argument("--world", type=Path, metavar="PATH", help="the world's command (default: beside this Python, else on PATH)")
    closed.add_argument("--limit", type=int, default=0, help="scenarios of a suite (default: all)")
    closed.add_argument("--workers", type=int, default=2, help="of the world (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """0. Raises VavamError."""
    from vavam_ros.core.contracts import ConfigError
    from vavam_ros.core.upstream.checkpoints import parse_grid
    from vavam_training.evaluation.closed_loop import ClosedLoopConfig
    from vavam_training.evaluation.evaluate import EvaluateConfig, evaluate
    from vavam_training.evaluation.frechet import OWN
    from vavam_training.evaluation.held_out import HeldOutChoice
    from vavam_training.evaluation.open_loop import OpenLoopConfig
    from vavam_training.evaluation.semantics import RetrievalConfig

    closed = None
    if args.closed_loop:
        closed = ClosedLoopConfig(
            suites=args.closed_loop, driver=args.driver, planner=tuple(args.planner), world=args.world, limit=args.limit, workers=args.workers
        )
    elif args.planner:
        raise ConfigError(f"--planner {' '.join(args.planner)}: got no --closed-loop, expected --closed-loop SUITES, whose driver it sets")
    found = evaluate(
        EvaluateConfig(
            model=args.model,
            out=args.out,
            data=tuple(args.data),
            choice=HeldOutChoice(drives=_names(args.drives), share=args.held_out_share, seed=args.held_out_seed),
            grid_hw=parse_grid(args.grid),
            tokenizer=args.tokenizer,
            command_rule=args.command_rule,
            max_sideways_m=args.max_sideways_m,
            every_s=args.every_s,
            device=args.device,
            open_loop=OpenLoopConfig(samples=args.samples, steps=args.steps, seed=args.seed, batch=args.batch),
            resamples=args.resamples,
            windows=args.windows,
            shown=args.shown,
            features=tuple(args.features or OWN),
            labelled=tuple(args.labels),
            class_names=_names(args.class_names),
            pictures=args.pictures,
            layer=args.layer,
            retrieval=RetrievalConfig(neighbours=args.neighbours, patches=args.patches, seed=args.seed),
            closed_loop=closed,
        )
    )
    if found.open_loop:
        o = found.open_loop
        m = o.scores.overall.metrics
        ade, fde, turn = (m[k].value for k in ("min_ade_m", "min_fde_m", "ctrv_ade_m"))
        print(f"minADE_{o.k} {ade:.3f} m, minFDE_{o.k} {fde:.3f} m over {o.horizon_s:g} s, seed {args.seed}; constant turn rate: ADE {turn:.3f} m")
    print(f"next-token loss {found.losses[0].loss.value:.4f} nats; page: {args.out / 'index.html'}")
    return 0


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (n.strip() for n in (text or "").split(","))))
