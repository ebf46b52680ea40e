"""Tables over route runs: one line per suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vavam_world.scoring.ncap import type_of
from vavam_world.scoring.run_score import RunScore
from vavam_world.scoring.statistics import Interval, bootstrap

MEASURES: dict[str, tuple[str, Callable[[RunScore], float]]] = {
    "success": ("runs that reach the end of the route with no contact at fault and never off the road", lambda r: float(r.success)),
    "completion": ("share of the route", lambda r: r.completion),
    "collision": ("runs with any contact", lambda r: float(r.collided)),
    "at_fault": ("runs with a contact at fault", lambda r: float(r.at_fault)),
    "off_road": ("runs with a wheel off the road at any time", lambda r: float(r.off_road)),
    "wrong_lane": ("share of the time on a lane of the opposite direction", lambda r: r.wrong_lane_share),
    "uncomfortable": ("share of the time beyond a comfort limit", lambda r: r.comfort.uncomfortable_share),
    "time_lost_s": ("seconds behind an empty road", lambda r: r.time_lost_s),
}
"""Name → (what it is, its value for a run)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """One suite's means; `turns`: (taken, due) summed over its runs."""

    name: str
    measures: dict[str, Interval]
    turns: tuple[int, int]


def route_table(runs: Sequence[RunScore]) -> tuple[RouteRow, ...]:
    """One row per suite in order of appearance, and `mean` over the suites where there are several."""
    suites: dict[str, list[RunScore]] = {}
    for run in runs:
        suites.setdefault(type_of(run.scenario), []).append(run)
    rows = [_row(name, [of]) for name, of in suites.items()]
    return (*rows, _row("mean", list(suites.values()))) if len(rows) > 1 else tuple(rows)


def _row(name: str, groups: Sequence[Sequence[RunScore]]) -> RouteRow:
    return RouteRow(
        name=name,
        measures={key: bootstrap([[value(r) for r in g] for g in groups]) for key, (_, value) in MEASURES.items()},
        turns=(sum(r.turns_taken for g in groups for r in g), sum(r.turns_due for g in groups for r in g)),
    )
