"""What streaming contexts do to the plans of a trained model: how far they lie from the exact ones, and what a swap of contexts does to the next plan.

    python bench/bench_swap.py BAG... --model DIR [--write]

Each bag is replayed twice, with `context: exact` and `context: streaming`, from the same tokens and noise. *Difference*: distance of the same waypoint of the
same sample in both, by the number of frames that streaming planned from. *Discontinuity*: distance of the chosen plan from where the plan before it, made
half a second earlier, wanted to be at the same times: of exact plans, of streaming plans whose context grew, and of those just after a swap.
`--write` renews the block `swap` of docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.page import ROOT, renew
from vavam_ros.cli import replay
from vavam_ros.core.artifact import read_card
from vavam_ros.core.contracts import F64, Plan
from vavam_ros.core.geometry import expected_waypoints

PAGE = ROOT / "docs" / "results" / "performance.md"


def plans_of(bag: Path, model: Path, context: str) -> list[Plan]:
    """All plans of a replay, in order."""
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        return replay.replay(parser.parse_args([str(bag), "--model", str(model), "--out", str(Path(folder) / "plans.mcap"), "--context", context])).log.plans


def discontinuity_m(plan: Plan, previous: Plan) -> F64:
    """(H − 1,) distance of the waypoints that both plans have."""
    expected = expected_waypoints(previous, plan.pose, plan.dt_s)
    away: F64 = np.linalg.norm(plan.selected_xy_ego_m - expected, axis=-1)
    return away[np.isfinite(away)]


def measure(bags: list[Path], model: Path) -> dict[str, list[F64]]:
    """Name of a row → distances in metres."""
    rows: dict[str, list[F64]] = {}
    for bag in bags:
        exact, streaming = plans_of(bag, model, "exact"), plans_of(bag, model, "streaming")
        if [p.stamp_ns for p in exact] != [p.stamp_ns for p in streaming]:
            raise SystemExit(f"{bag}: exact and streaming replays planned at different stamps: {len(exact)} and {len(streaming)} plans")
        full = max((len(p.context_stamps_ns) for p in exact), default=0)
        for a, b in zip(exact, streaming, strict=True):
            if len(a.context_stamps_ns) == full:
                distance = np.linalg.norm(a.xy_ego_m.astype(np.float64) - b.xy_ego_m, axis=-1).ravel()
                rows.setdefault(f"difference, {len(b.context_stamps_ns)} of {full} frames", []).append(distance)
        for before, plan in pairwise(exact):
            rows.setdefault("discontinuity, exact", []).append(discontinuity_m(plan, before))
        for before, plan in pairwise(streaming):
            swapped = len(plan.context_stamps_ns) < len(before.context_stamps_ns) + 1 and len(before.context_stamps_ns) == full
            rows.setdefault(f"discontinuity, streaming, {'after a swap' if swapped else 'grown'}", []).append(discontinuity_m(plan, before))
    return dict(sorted(rows.items()))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bags", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    rows = measure(args.bags, args.model)
    lines = [f"{len(args.bags)} drives, model {read_card(args.model).model_id}", f"{'centimetres':44} {'plans':>6} {'median':>8} {'mean':>8} {'p95':>8}"]
    for name, parts in rows.items():
        cm = 100 * np.concatenate(parts)
        lines.append(f"{name:44} {len(parts):6} {np.median(cm):8.1f} {cm.mean():8.1f} {np.percentile(cm, 95):8.1f}")
    print("\n".join(lines))
    if args.write:
        renew(PAGE, "swap", "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
