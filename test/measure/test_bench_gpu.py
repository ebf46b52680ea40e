"""The benches print every figure that docs/results/performance.md asks of them, and time what their names say. No figure of speed is asserted."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench import bench_gpu, cost  # noqa: E402
from bench.bench_gpu import QUICK, Row, rows  # noqa: E402
from bench.bench_inference import TickTime, bench, build, streaming_ticks_s, synchronized, times_s  # noqa: E402
from bench.page import renew  # noqa: E402
from vavam_ros.core.model.fast import FastContext, FastVaVAM  # noqa: E402
from vavam_ros.core.spec import PRESETS, ActionSpec, ModelSpec, VideoSpec  # noqa: E402
from vavam_ros.core.tokenizer import TokenizerSpec  # noqa: E402

TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=4, grid_h=3, grid_w=4, mup_base_width=16),
    action=ActionSpec(width=16, mup_base_width=16),
)
TINY_TOKENIZER = TokenizerSpec(
    channels=8, encoder_multipliers=(1,) * 5, decoder_multipliers=(1,) * 5, res_blocks=1, latent=8, codebook_size=64, groups=4, image_hw=(48, 64)
)
CPU = torch.device("cpu")


def gpu_rows(name: str, *, bounds: bool) -> list[Row]:
    return list(rows({name: TINY}, TINY_TOKENIZER, CPU, QUICK, bounds=bounds, node_ms=15.4))


def test_every_row_is_there_without_bounds_on_a_cpu() -> None:
    found = gpu_rows("tiny", bounds=False)
    assert [row.what for row in found] == [
        "tiny: exact plan K=8 / floor at K=1",
        "tiny: exact plan K=32 / K=1",
        "tiny: memory, exact plans / weights, keys, values",
        "tiny: streaming K=8: exact plan / whole tick",
        "tiny: streaming K=8: exact plan / what a plan waits for",
        "tiny: memory, streaming / weights, keys, values",
        "tiny: tokenizer 48x64 and plan K=8, p50",
        "tiny: tokenizer 48x64 and plan K=8, p99 of 2",
        "tiny: image to Path, a sum: that and 15.4 ms of nodes",
        "tiny: 8 contexts at once / one large product",
        "tiny: generated frame / floor",
    ]
    assert all(row.a > 0.0 and row.bound is None and row.ok for row in found)


def test_size_b_has_all_bounds_of_the_page() -> None:
    bounded = [(row.what.removeprefix("B: "), row.bound, row.at_least) for row in gpu_rows("B", bounds=True) if row.bound is not None]
    assert bounded == [
        ("exact plan K=8 / floor at K=1", 2.0, False),
        ("exact plan K=32 / K=1", 1.3, False),
        ("streaming K=8: exact plan / whole tick", 2.0, True),
        ("tokenizer 48x64 and plan K=8, p99 of 2", 20.0, False),
        ("image to Path, a sum: that and 15.4 ms of nodes", 50.0, False),
        ("generated frame / floor", 2.5, False),
    ]


def test_the_nodes_share_is_read_off_the_page(tmp_path: Path) -> None:
    assert bench_gpu.node_overhead_ms() is not None
    assert bench_gpu.node_overhead_ms(tmp_path / "none.md") is None
    page = tmp_path / "page.md"
    page.write_text("  round trip           p50    9.6 ms   p99   15.4 ms   max   18.6 ms\n  round trip without the wait    p50    4.9 ms   p99    9.2 ms\n")
    assert bench_gpu.node_overhead_ms(page) == 15.4


def test_floors_are_those_that_are_counted() -> None:
    h200 = cost.DEVICES[0]
    for size, floor in bench_gpu.FLOORS_MS.items():
        assert cost.plan_floor_s(PRESETS[size], 1, h200) * 1e3 == pytest.approx(floor, rel=0.02)
    assert cost.generated_frame_floor_s(PRESETS["B"], h200) * 1e3 == pytest.approx(bench_gpu.FRAME_FLOOR_MS["B"], rel=0.03)


@pytest.mark.parametrize(
    ("row", "ok", "end"),
    [
        (Row(what="", a=30.0, b=10.0, bound=3.0), True, "3.000  <= 3"),
        (Row(what="", a=31.0, b=10.0, bound=3.0), False, "3.100  <= 3  BROKEN"),
        (Row(what="", a=19.0, b=10.0, bound=2.0, at_least=True), False, "1.900  >= 2  BROKEN"),
        (Row(what="", a=21.0, b=10.0, bound=2.0, at_least=True), True, "2.100  >= 2"),
        (Row(what="", a=21.0, bound=20.0), False, "<= 20 ms  BROKEN"),
    ],
)
def test_a_broken_bound_says_so(row: Row, ok: bool, end: str) -> None:
    assert row.ok is ok
    assert str(row).endswith(end)


def test_the_script_prints_its_rows_and_cpu_figures_never_reach_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "PRESETS", {"small": TINY})
    monkeypatch.setattr(bench_gpu, "VQ16_SMALL", TINY_TOKENIZER)
    words = ["--device", "cpu", "--sizes", "small", "--quick"]
    assert bench_gpu.main([*words, "--out", str(tmp_path / "gpu.json")]) == 0
    assert "small: generated frame" in capsys.readouterr().out
    assert "small: generated frame" in (tmp_path / "gpu.json").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        bench_gpu.main([*words, "--write"])


class Counted(FastVaVAM):
    """Counts the tokens appended to contexts."""

    appended = 0

    def advance(self, context: FastContext, tokens: Tensor) -> FastContext:
        self.appended += tokens.shape[1]
        return super().advance(context, tokens)


@torch.inference_mode()
@pytest.mark.parametrize("frames", [4, 5])
def test_a_tick_is_a_frame_appended_and_a_chunk_built_in_that_order(frames: int) -> None:
    spec = replace(TINY, video=replace(TINY.video, frames=frames))
    s, keep = spec.video.tokens_per_frame, (frames + 1) // 2
    fast = Counted(build(spec, CPU, torch.float32))
    tokens = torch.zeros(1, frames, spec.video.grid_h, spec.video.grid_w, dtype=torch.int64)
    ticks = streaming_ticks_s(fast, tokens, lambda: float(fast.appended))  # a clock that counts tokens
    assert [t.append_s for t in ticks] == [s] * (frames - keep)
    assert sum(t.whole_s - t.append_s for t in ticks) == keep * s


@torch.inference_mode()
def test_streaming_rows_hold_whole_plans_of_eight_samples() -> None:
    found = {what: (a, b) for what, a, b in bench(TINY, CPU, torch.float32, 1, 0, False, synchronized(CPU, time.perf_counter))}
    exact, whole = found["streaming K=8: exact plan / whole tick"]
    same, waits = found["streaming K=8: exact plan / what a plan waits for"]
    context, tick = found["streaming: exact context / median tick"]
    assert same == exact > context > 0.0
    assert whole >= waits > 0.0
    assert whole - tick == pytest.approx(exact - context), "both sides have the same samples"
    assert {f"plan K={k}: simple / fast" for k in (1, 5, 16)} < set(found)


def test_a_median_tick_takes_each_part_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import bench_inference

    monkeypatch.setattr(bench_inference, "streaming_ticks_s", lambda *_: [TickTime(1.0, 4.0), TickTime(2.0, 3.0), TickTime(3.0, 8.0)])
    found = bench_inference.streaming_medians(_Nothing(), None, *(None,) * 3, 2, lambda: 0.0)  # type: ignore[arg-type]
    assert found.ticks == [TickTime(1.0, 4.0), TickTime(2.0, 3.0), TickTime(3.0, 8.0)]
    assert found.tick() == TickTime(2.0, 4.0)
    rows = [(a, b) for _, a, b in found._replace(context_s=10.0, samples_s=0.5).rows()]
    assert rows == [(10.5, 4.5), (10.5, 2.5)], "both sides hold the samples"


class _Nothing:
    """A model that does nothing."""

    def context(self, tokens: object) -> None: ...
    def sample(self, *_: object) -> None: ...


def test_times_leave_out_the_round_that_warms_up() -> None:
    ran: list[str] = []
    readings = count()
    took = times_s({name: lambda name=name: ran.append(name) for name in "ab"}, 3, lambda: next(readings))  # type: ignore[misc]
    assert sorted(ran) == ["a"] * 4 + ["b"] * 4
    assert took == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_block_holds_the_command_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- gpu -->\nold\n<!-- end of gpu -->\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [f"{ROOT}/bench/bench_gpu.py", "--sizes", "B", "--write"])
    renew(page, "gpu", "figures")
    assert "```\n$ python bench/bench_gpu.py --sizes B --write\nfigures\n```" in page.read_text(encoding="utf-8")
    renew(page, "gpu", "figures", command="python bench/other.py")
    assert "$ python bench/other.py\nfigures" in page.read_text(encoding="utf-8")
