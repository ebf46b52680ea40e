"""The table of stages, from journeys with known times."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from vavam_ros.cli.live_nodes import Listener, Live, _Log
from vavam_ros.cli.profile import figures_of, report
from vavam_ros.measure.processes import Sample, Usage
from vavam_ros.measure.stages import STAGES, SUM, WHOLE, all_stages, live_spans, reported_rows, stage_rows, stage_table
from vavam_ros.replay.profile import Journey

MS = 1_000_000
START_NS = 1_000_000 * MS


def journey(i: int, *, denoise: float = 20.0, rest: float = 4.0) -> Journey:
    """Heard `rest` ms after the 100 + denoise ms of its stages."""
    stages = (("transport", 10.0), ("tokenize", 30.0), ("context", 60.0), ("denoise", denoise))
    stamp = START_NS + i * 500 * MS
    heard = stamp + round((100.0 + denoise + rest) * MS)
    return Journey(stamp_ns=stamp, samples_ns=heard - MS, raw_path_ns=heard, path_ns=heard + 50 * MS, stage_ms=stages)


def test_quantiles_shares_and_the_sum_of_each_plan() -> None:
    rows = {r.name: r for r in stage_rows([journey(i, denoise=float(i)) for i in range(101)])}
    assert list(rows) == ["transport", "tokenize", "context", "denoise", "publish", SUM, WHOLE]
    assert (rows["denoise"].p50, rows["denoise"].p95, rows["denoise"].p99, rows["denoise"].n) == pytest.approx((50.0, 95.0, 99.0, 101))
    assert rows["transport"].share == pytest.approx(10.0 / 154.0)
    assert rows["publish"].p99 == pytest.approx(4.0), "what is left of the whole"
    assert sum(rows[s].share or 0.0 for s in STAGES if s in rows) == pytest.approx(1.0)
    assert (rows[SUM].p50, rows[WHOLE].p50) == pytest.approx((154.0, 154.0))
    assert rows[WHOLE].share is None
    assert "transport                       101     10.00     10.00     10.00    6.5%" in stage_table(list(rows.values()))


def test_stamps_of_another_clock_say_nothing_of_the_whole() -> None:
    j = journey(0)
    assert j.raw_path_ns is not None
    j.raw_path_ns += 3600 * 1000 * MS
    assert all_stages(j) == j.stage_ms
    assert [r.name for r in stage_rows([j])] == ["transport", "tokenize", "context", "denoise", SUM]
    assert stage_rows([]) == []


def test_the_trace_lays_stages_end_to_end_from_the_stamp() -> None:
    j = journey(3)
    spans = list(live_spans(j))
    stages = [s for s in spans if s.lane == 1]
    assert stages[0].start_ns == j.stamp_ns
    assert all(a.end_ns == b.start_ns for a, b in pairwise(stages))
    assert stages[-1].end_ns == j.raw_path_ns
    assert {s.name: s.ms for s in spans if s.lane != 1} == pytest.approx({"stamp → samples heard": 123.0, WHOLE: 124.0, "stamp → placed path heard": 174.0})


def test_stages_of_a_tokenizer_in_a_process_of_its_own_come_from_its_diagnostics() -> None:
    timing = {"decode.p50_ms": "0.5", "decode.p95_ms": "0.9", "decode.p99_ms": "1", "decode.max_ms": "2", "decode.runs": "40", "tokenize.done": "7"}
    (row,) = reported_rows(timing, ("decode", "warp"))
    assert (row.name, row.n, row.p50, row.p95, row.p99, row.share) == ("decode", 40, 0.5, 0.9, 1.0, None)


def live(timing: dict[str, str], usages: list[Usage] | None = None) -> Live:
    """Nodes of which the planner reported these times."""
    listener = Listener("vavam", timing={"vavam_node": {"timing": timing}})
    return Live(listener=listener, usages=usages or [], camera=None, ended=threading.Event(), log=_Log(None))


def test_what_a_tick_does_after_its_path_is_a_row_below_the_whole_and_in_no_sum() -> None:
    journeys, nodes = [journey(i) for i in range(9)], live({"prepare.p50_ms": "70", "prepare.p95_ms": "80", "prepare.p99_ms": "90", "prepare.runs": "7"})
    figures = figures_of(nodes, journeys, "nodes", 4.5)
    (row,) = figures["stages_after_the_path"]
    assert (row["name"], row["n"], row["p50"], row["p99"], row["share"]) == ("prepare", 7, 70.0, 90.0, None)
    exact = figures_of(live({}), journeys, "nodes", 4.5)
    assert exact["stages_after_the_path"] == []
    assert figures["stages"] == exact["stages"], "the sum of the stages stays the latency"
    lines = report(figures, nodes, journeys, cut=False).splitlines()
    (below,) = [i for i, line in enumerate(lines) if line.startswith("prepare (after the Path)")]
    assert lines[below].split()[-4:] == ["7", "70.00", "80.00", "90.00"]
    assert lines[below - 1].startswith(WHOLE)
    assert "after the Path" not in report(exact, live({}), journeys, cut=False)


def test_memory_is_judged_by_what_a_process_shares_with_nobody() -> None:
    samples = [Sample(t_s=float(t), cpu_s=t / 4, rss_mb=500 + t / 100, own_mb=300 + t / 36_000) for t in range(200)]  # 36 MB/h of segments, 0.1 of its own
    nodes = live({}, [Usage(name="vavam_node", pid=1, samples=samples)])
    figures = figures_of(nodes, [journey(0)], "nodes", 200.0)
    (process,) = figures["processes"]
    assert process["own_slope"]["per_h"] == pytest.approx(0.1)
    assert process["rss_slope"]["per_h"] == pytest.approx(36.0)
    assert process["own_grows"] is False
    assert "growth of own memory beyond 1 MB/h, excluded at 95 %: vavam_node" in report(figures, nodes, [journey(0)], cut=False)
