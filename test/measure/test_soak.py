"""The soak's report says what its samples hold, and its exit status is what a script can rely on (docs/results/soak.md). The live run is not made here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.soak import Soak, report, rows_of  # noqa: E402
from vavam_ros.measure.processes import Sample, Usage  # noqa: E402

SECONDS = 1800


def run(mb_per_h: float = 0.0, *, ms_per_h: float = 0.0, seconds: int = SECONDS, plans: int = 3600) -> Soak:
    """A run of one process whose memory and latency follow straight lines."""
    hours = [t / 3600 for t in range(seconds)]
    samples = [Sample(t_s=100.0 + 3600 * h, cpu_s=0.25 * 3600 * h, rss_mb=500 + mb_per_h * h, own_mb=300 + mb_per_h * h) for h in hours]
    soak = Soak(asked_s=float(SECONDS), what="64×36 bgr8 at 30 Hz", usages=[Usage(name="vavam_node", pid=1, samples=samples)], plans=plans, sent=54_000)
    soak.t_s = [3600 * h for h in hours]
    soak.latency_ms = [40 + ms_per_h * h for h in hours]
    soak.segments = {"vavam_node": [(90.0, 137.0), (120.0, 137.0)]}
    soak.counts = {"jobs that failed": 0}
    return soak


@pytest.fixture
def ended(tmp_path: Path) -> Callable[[Soak], int]:
    return lambda soak: report(soak, page=None, picture=tmp_path / "soak.png")


def test_a_flat_run_is_a_success_and_draws_its_plot(ended: Callable[[Soak], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(run()) == 0
    assert (tmp_path / "soak.png").stat().st_size > 10_000
    text = capsys.readouterr().out
    assert "Growth beyond 1 MB/h or 20 ms/h is excluded at 95 %." in text
    assert "| vavam_node | 0.25 | 500 MB | +0.00 ± 0.00 MB/h | 300 MB | +0.00 ± 0.00 MB/h | 90, at the end 120 of 137 MB |" in text
    assert "| pictures sent | 54000 |" in text


def test_growth_is_status_1_and_names_the_process(ended: Callable[[Soak], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(run(mb_per_h=5.0)) == 1
    assert "Own memory of vavam_node grows by more than 1 MB/h." in capsys.readouterr().out


def test_pages_of_a_segment_that_become_resident_are_no_growth_but_another_segment_is(ended: Callable[[Soak], int], capsys: pytest.CaptureFixture[str]) -> None:
    soak = run()
    soak.usages[0].samples = [replace(s, rss_mb=s.rss_mb + 20 * (i > 1000)) for i, s in enumerate(soak.usages[0].samples)]
    assert ended(soak) == 0
    text = capsys.readouterr().out
    assert "Growth beyond 1 MB/h or 20 ms/h is excluded at 95 %." in text
    assert "| 520 MB |" in text
    soak.segments["vavam_node"][1] = (120.0, 274.0)
    assert ended(soak) == 1
    assert "More shared memory than at first: vavam_node." in capsys.readouterr().out


def test_growth_below_the_limit_is_none(ended: Callable[[Soak], int]) -> None:
    assert ended(run(mb_per_h=0.5)) == 0


def test_a_latency_that_rises_is_in_the_table_and_beyond_its_limit_a_failure(ended: Callable[[Soak], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert "| slope | +7.00 ± 0.00 ms/h |" in rows_of(run(ms_per_h=7.0))
    assert ended(run(ms_per_h=7.0)) == 0
    assert ended(run(ms_per_h=30.0)) == 1
    assert "Latency grows by more than 20 ms/h." in capsys.readouterr().out


def test_gpu_memory_that_grows_is_a_failure(ended: Callable[[Soak], int], capsys: pytest.CaptureFixture[str]) -> None:
    soak = run()
    soak.gpu_mb = [(float(t), 1000 + 5 * t / 3600) for t in range(SECONDS)]
    assert ended(soak) == 1
    assert "GPU memory grows by more than 1 MB/h." in capsys.readouterr().out


def test_a_run_too_short_to_tell_claims_nothing(ended: Callable[[Soak], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(run(seconds=3)) == 0
    text = capsys.readouterr().out
    assert "too short to tell" in text
    assert "neither shown nor excluded for own memory of vavam_node, latency" in text


@pytest.mark.parametrize(("ended_by", "plans"), [("a node ended", 100), ("", 0)])
def test_a_node_that_ended_or_a_run_without_a_plan_is_status_2(ended_by: str, plans: int, ended: Callable[[Soak], int]) -> None:
    soak = run(plans=plans)
    soak.ended_by = ended_by
    assert ended(soak) == 2


def test_an_interrupted_run_says_how_long_it_was(ended: Callable[[Soak], int], capsys: pytest.CaptureFixture[str]) -> None:
    soak = run(seconds=600)
    soak.ended_by = "interrupted"
    assert ended(soak) == 0
    assert "**10.0 minutes** of 30.0 asked for (interrupted)" in capsys.readouterr().out


def test_the_page_is_renewed_between_its_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "soak.md"
    page.write_text("before\n<!-- soak -->\nold\n<!-- end of soak -->\nafter\n", encoding="utf-8")
    report(run(), page=page, picture=tmp_path / "soak.png")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- soak -->\n")
    assert text.endswith("<!-- end of soak -->\nafter\n")
    assert "vavam_node" in text
    assert "old" not in text
