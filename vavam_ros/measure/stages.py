"""The table of stages from camera stamp to Path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from vavam_ros.core.contracts import NS_PER_S
from vavam_ros.replay.profile import SAME_CLOCK_S, Journey, Span

PLANNED = ("context", "denoise", "select")
OF_THE_TOKENIZER = ("transport", "wait", "queue", "decode", "warp", "tokenize")
STAGES = (*OF_THE_TOKENIZER, "ring", "plan_queue", *PLANNED, "publish")
AFTER_THE_PATH = ("prepare",)  # work of the tick that no Path waits for; where the next frame comes before its end, that waits in plan_queue
SUM, WHOLE = "sum of the stages", "camera stamp → Path heard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Milliseconds of one stage over all plans; `share` of the sum of the means, None for what is no part of the sum."""

    name: str
    n: int
    p50: float
    p95: float
    p99: float
    share: float | None = None


def whole_ms(journey: Journey) -> float | None:
    """From the picture's stamp until the raw path was heard; None when it was not, or was stamped by another clock."""
    if journey.raw_path_ns is None or not 0 <= journey.raw_path_ns - journey.stamp_ns <= SAME_CLOCK_S * NS_PER_S:
        return None
    return (journey.raw_path_ns - journey.stamp_ns) / 1e6


def all_stages(journey: Journey) -> tuple[tuple[str, float], ...]:
    """The stages that came with the samples, then `publish`: what is left until the raw path was heard (its making, sending and the way here)."""
    whole = whole_ms(journey)
    if whole is None:
        return journey.stage_ms
    return (*journey.stage_ms, ("publish", max(0.0, whole - sum(ms for _, ms in journey.stage_ms))))


def live_spans(journey: Journey) -> Iterator[Span]:
    """For the trace: what was heard, the stages end to end from the stamp on, and the whole."""
    at_ns = float(journey.stamp_ns)
    for stage, ms in all_stages(journey):
        yield Span(name=stage, start_ns=round(at_ns), end_ns=round(at_ns + ms * 1e6), lane=1)
        at_ns += ms * 1e6
    if whole_ms(journey) is None:
        return
    for name, heard_ns in (("stamp → samples heard", journey.samples_ns), (WHOLE, journey.raw_path_ns), ("stamp → placed path heard", journey.path_ns)):
        if heard_ns is not None:
            yield Span(name=name, start_ns=journey.stamp_ns, end_ns=heard_ns, lane=2 if name == WHOLE else 0)


def _row(name: str, ms: Sequence[float], share: float | None = None) -> Row:
    p50, p95, p99 = map(float, np.percentile(ms, [50, 95, 99]))
    return Row(name=name, n=len(ms), p50=p50, p95=p95, p99=p99, share=share)


def stage_rows(journeys: Sequence[Journey]) -> list[Row]:
    """Each stage in the order of the way, then the sum (of each plan's stages) and the whole. Empty without plans that carry stages."""
    found: dict[str, list[float]] = {}
    sums, wholes = [], []
    for journey in journeys:
        stages = all_stages(journey)
        for stage, ms in stages:
            found.setdefault(stage, []).append(ms)
        if stages:
            sums.append(sum(ms for _, ms in stages))
        if (whole := whole_ms(journey)) is not None:
            wholes.append(whole)
    total = sum(sums)
    order = {stage: i for i, stage in enumerate(("tokens", *STAGES))}
    names = sorted(found, key=lambda s: order.get(s, len(order)))  # one that is not known yet comes last; the sort is stable
    rows = [_row(s, found[s], sum(found[s]) / total if total > 0.0 else None) for s in names]
    if sums:
        rows.append(_row(SUM, sums, 1.0))
    if wholes:
        rows.append(_row(WHOLE, wholes))
    return rows


def reported_rows(timing: Mapping[str, str], stages: Sequence[str]) -> list[Row]:
    """Rows of a node's own diagnostics (status `timing`), for stages that no plan carries: of a tokenizer in a process of its own, and after the Path."""
    return [
        Row(name=s, n=int(timing[f"{s}.runs"]), **{q: float(timing[f"{s}.{q}_ms"]) for q in ("p50", "p95", "p99")})
        for s in stages
        if f"{s}.p99_ms" in timing
    ]


def stage_table(rows: Sequence[Row]) -> str:
    """For people."""
    lines = [f"{'':28} {'n':>6} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'share':>7}"]
    for r in rows:
        share = f"{r.share:.1%}" if r.share is not None else ""
        lines.append(f"{r.name:28} {r.n:6} {r.p50:9.2f} {r.p95:9.2f} {r.p99:9.2f} {share:>7}".rstrip())
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Plain types."""
    return [asdict(r) for r in rows]
