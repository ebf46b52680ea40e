"""`vavam-train scaling`: how the loss falls with parameters, data and compute: a power law with an offset, and how sure it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from vavam_ros.core.contracts import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vavam-train scaling`."""
    table = "a CSV (columns loss, and some of parameters, tokens, compute, name), or folders of runs"
    parser.add_argument("source", nargs="+", type=Path, help=table)
    parser.add_argument("--axis", action="append", choices=("parameters", "tokens", "compute"), help="may be repeated (default: all that are known)")
    parser.add_argument("--resamples", type=int, default=500, help="of the confidence bands (default %(default)s)")
    parser.add_argument("--reach", type=float, default=10.0, help="how many times beyond the largest the curve goes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for scaling.json and index.html")


def run(args: argparse.Namespace) -> int:
    """0. Raises VavamError."""
    from vavam_training.evaluation.page import write_json
    from vavam_training.evaluation.scaling import AXES, fit_law, point_of_run, read_points
    from vavam_training.evaluation.scaling_page import write_scaling_page

    if args.resamples < 1 or args.reach < 1.0:
        raise ConfigError(f"scaling: got {args.resamples} resamples, reach {args.reach}, expected one or more of each")
    points = [p for source in args.source for p in ([point_of_run(source)] if source.is_dir() else read_points(source))]
    known = [axis for axis in AXES if len({getattr(p, axis) for p in points if getattr(p, axis) > 0}) > 1]
    if not (args.axis or known):
        raise ConfigError(f"scaling: got {len(points)} points that do not differ in {', '.join(AXES)}; expected at least four different values of one")
    fits = [fit_law(axis, points, resamples=args.resamples, seed=args.seed, reach=args.reach) for axis in args.axis or known]
    write_json(args.out / "scaling.json", {"fits": [f.to_dict() for f in fits], "seed": args.seed, "resamples": args.resamples, "level": 0.95})
    write_scaling_page(args.out / "index.html", fits)
    for f in fits:
        print(f"{f.axis}: loss = {f.law.floor:.4g} + A · x^-{f.law.power:.3g} (E {f.floor[0]:.3g} to {f.floor[1]:.3g}, α {f.power[0]:.3g} to {f.power[1]:.3g})")
    print(f"page: {args.out / 'index.html'}")
    return 0
