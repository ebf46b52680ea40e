"""The bench of number formats and decoders measures what its tables say (docs/results/precision.md). No figure of speed is asserted."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from vavam_ros.core.artifact import LoadedArtifact, load_artifact, random_artifact
from vavam_ros.core.spec import ActionSpec, ModelSpec, VideoSpec
from vavam_ros.core.tokenizer import TokenizerSpec

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "bench_precision.py"
TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=3, grid_h=3, grid_w=4, mup_base_width=16),
    action=ActionSpec(width=16, mup_base_width=16),
)
TINY_TOKENIZER = TokenizerSpec(
    channels=8, encoder_multipliers=(1,) * 5, decoder_multipliers=(1,) * 5, res_blocks=1, latent=8, codebook_size=64, groups=4, image_hw=(48, 64)
)
SMALL_JPEG_HW = (36, 64)


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("precision_bench", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("precision") / "model"
    random_artifact(path, TINY, tokenizer=TINY_TOKENIZER)
    return path


@pytest.fixture(scope="module")
def artifact(directory: Path) -> LoadedArtifact:
    return load_artifact(directory, device="cpu")


@pytest.fixture(scope="module")
def drive(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory):
    return bench.open_drive(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def once(bench: ModuleType):
    return bench.Setting(repeats=1)


def test_without_the_recording_frames_are_drawn_and_said_to_be(bench: ModuleType, drive, tmp_path: Path) -> None:
    assert "DRAWN" in drive.source
    windows = drive.windows(2, 3, 0.5)
    assert [len(w) for w in windows] == [3, 3]
    assert np.array_equal(windows[0][1], drive.picture(round(0.5 * drive.rate_hz)))  # half a second on
    assert np.array_equal(windows[1][-1], drive.picture(drive.count - 1))
    with pytest.raises(SystemExit, match="expected at least"):
        drive.windows(1, 1000, 0.5)


def test_the_recording_is_taken_where_it_is(bench: ModuleType, shared_data: Path) -> None:
    drive = bench.open_drive(shared_data)
    assert drive.source.startswith("real frames")
    assert drive.picture(drive.count - 1).shape == (480, 640, 3)


def test_cut_takes_the_middle_in_the_wanted_proportions(bench: ModuleType) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[6:42] = 200  # 16:9 of the width; the rest is cut off
    for hw in ((18, 32), (36, 64), (72, 128)):
        out = bench.jpeg.cut(rgb, hw)
        assert out.shape == (*hw, 3)
        assert (out == 200).all()


def test_tokens_of_fp32_agree_with_themselves_and_plan_the_same(bench: ModuleType, drive, artifact: LoadedArtifact, once) -> None:
    rows = bench.tokenizer.measure(drive, TINY_TOKENIZER, artifact, once, windows=2, pictures=2)
    assert [r["format"] for r in rows] == [*bench.tokenizer.VARIANTS, *bench.tokenizer.VARIANTS]
    reference = rows[4]
    assert (reference["agree"], reference["time"], reference["max_cm"], reference["median_cm"]) == (1.0, 1.0, 0.0, 0.0)
    assert reference["pictures"] == 2 * TINY.video.frames
    assert rows[0]["agree"] == 1.0
    assert "max_cm" not in rows[0]  # no driving model takes the random one's tokens
    for row in rows[4:]:
        assert row["used"] > 1  # a tokenizer of one code would agree in any format
        assert (row["max_cm"] > 0) == (row["agree"] < 1), row
    assert any(row["agree"] < 1 for row in rows[4:])


def test_variants_are_what_their_names_say_and_search_in_fp32(bench: ModuleType, artifact: LoadedArtifact) -> None:
    image = torch.zeros(1, 3, 48, 64)
    for name, (dtype, layout) in bench.tokenizer.VARIANTS.items():
        made = bench.tokenizer.variant(artifact.tokenizer, dtype, layout)
        assert (made.dtype, made.memory_format) == (dtype, layout), name
        assert made.encoder.conv_blocks[0].res[0].conv1.weight.is_contiguous(memory_format=layout)
        assert torch.equal(made.quantize.embedding.weight, artifact.tokenizer.quantize.embedding.weight)
        entered: list[torch.Tensor] = []
        made.encoder.conv_in.register_forward_hook(lambda module, inputs, out, entered=entered: entered.append(inputs[0]))
        made.encode(image)
        assert entered[0].dtype == dtype
        assert entered[0].is_contiguous(memory_format=layout)


def test_plans_of_fp32_are_the_reference(bench: ModuleType, drive, artifact: LoadedArtifact, once) -> None:
    rows = {(r["model"], r["path"], r["format"]): r for r in bench.model.measure(drive, TINY, artifact, once, windows=1)}
    for name in {name for name, *_ in rows}:
        plain = rows[name, "plain", "fp32"]
        for k in bench.model.SAMPLES:
            assert (plain[f"max_cm_{k}"], plain[f"median_cm_{k}"], plain[f"time_{k}"]) == (0.0, 0.0, 1.0)
            assert rows[name, "fast", "fp32"][f"max_cm_{k}"] < 0.1
            assert rows[name, "plain", "bf16"][f"max_cm_{k}"] > 0
        assert rows[name, "fast", "bf16"]["megabytes"] == plain["megabytes"] / 2
    parameters = sum(p.numel() for p in artifact.model.parameters())
    assert plain["megabytes"] == pytest.approx(4 * parameters / 1e6)
    assert {name for name, *_ in rows} >= {"tiny, random"}


@pytest.mark.parametrize(("name", "beside"), [("int8 weights", 5), ("fp8 weights", 4)])  # bytes a row: a scale, and of int8 a zero point
def test_one_byte_weights_are_a_quarter_of_the_linear_ones_or_not_installed(bench: ModuleType, drive, once, name: str, beside: int) -> None:
    rows = {(r["path"], r["format"]): r for r in bench.model.measure(drive, TINY, None, once, windows=1)}
    row = rows["plain", name]
    if importlib.util.find_spec("torchao") is None:
        assert row["note"] == "not installed: torchao"
        assert "not installed: torchao" in bench.model.table(list(rows.values()))
        return
    made = bench.model.quantized(bench.model.random_model(TINY)[0], bench.model.QUANTIZED[name])
    linear = [m.weight for m in made.modules() if isinstance(m, torch.nn.Linear)]
    saved = sum(3 * w.numel() - beside * w.shape[0] for w in linear)  # a byte for four
    assert row["megabytes"] == pytest.approx(rows["plain", "fp32"]["megabytes"] - saved / 1e6)
    assert row["max_cm_1"] > 0


def test_a_format_that_fails_has_a_row_that_says_why(bench: ModuleType, drive, once, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(model):
        with torch.no_grad():
            model.action.readout.weight.fill_(torch.inf)
        return model

    kept = bench.model.formats
    monkeypatch.setattr(bench.model, "formats", lambda m: kept(m) | {"bf16": (overflowing(kept(m)["bf16"][0]), "")})
    rows = {(r["path"], r["format"]): r for r in bench.model.measure(drive, TINY, None, once, windows=1, paths=("plain",))}
    assert rows["plain", "bf16"]["note"] == "its plans are not finite"
    assert "max_cm_1" not in rows["plain", "bf16"]
    assert rows["plain", "fp16"]["note"] == ""

    def refused():
        raise RuntimeError("no kernel\nat all")

    assert bench.model.attempt(refused) == (None, "does not run: RuntimeError: no kernel")


def test_a_decoder_differs_by_what_it_does(bench: ModuleType, drive, artifact: LoadedArtifact, once, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing():
        raise ImportError(name="nowhere")

    def off_by_three():
        return lambda data: np.where(np.arange(64)[:, None] < 16, bench.jpeg.decode_compressed(data) ^ 3, bench.jpeg.decode_compressed(data))

    monkeypatch.setattr(bench.jpeg, "MAKERS", {**bench.jpeg.MAKERS, "off": off_by_three, "missing": missing})
    rows = bench.jpeg.measure(drive, artifact.tokenizer, once, pictures=2, sizes_hw=(SMALL_JPEG_HW,))
    assert {(r["size"], r["quality"]) for r in rows} == {("64×36", 75), ("64×36", 90)}
    for row in rows:
        if row["decoder"] == bench.jpeg.REFERENCE:
            assert (row["max_px"], row["mean_px"], row["share_px"], row["agree"], row["time"]) == (0, 0.0, 0.0, 1.0, 1.0)
        elif row["decoder"] == "off":
            assert row["max_px"] == 3
            assert row["share_px"] == 0.25
            assert 0.25 <= row["mean_px"] <= 0.75
        elif row["decoder"] == "missing":
            assert row["note"] == "not installed: nowhere"
        elif not row["note"]:
            assert row["mean_px"] < 12, row  # the same picture, colours in the same order
    assert "not installed: nowhere" in bench.jpeg.table(rows)


def test_agreement_counts_tokens(bench: ModuleType, artifact: LoadedArtifact, drive) -> None:
    pictures = [drive.picture(0), drive.picture(100)]
    codes = [artifact.tokenizer.encode(bench.tokenizer.as_input(rgb, TINY_TOKENIZER)) for rgb in pictures]
    black = np.zeros_like(pictures[1])
    other = artifact.tokenizer.encode(bench.tokenizer.as_input(black, TINY_TOKENIZER))
    expected = (1 + float((other == codes[1]).float().mean())) / 2
    assert expected < 1
    assert bench.jpeg.agreement(artifact.tokenizer, [pictures[0], black], pictures, codes) == pytest.approx(expected)


def test_a_part_alone_renews_its_block_and_its_lines_of_the_log(
    bench: ModuleType, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAVAM_DATA", str(tmp_path))
    monkeypatch.setattr(bench, "VQ16_SMALL", TINY_TOKENIZER)
    monkeypatch.setattr(bench, "SMALL", replace(TINY, name="other"))
    page = tmp_path / "precision.md"
    page.write_text(bench.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    written = ["--quick", "--threads", str(torch.get_num_threads()), "--write"]
    assert bench.main(["--only", "tokenizer", "--model", str(directory), *written], page=page) == 0
    assert bench.main(["--only", "model", *written], page=page) == 0
    first = page.read_text(encoding="utf-8")
    assert bench.main(["--only", "tokenizer", *written], page=page) == 0
    second = page.read_text(encoding="utf-8")
    assert "8 channels, random  bf16 channels_last" in second
    assert "DRAWN" in second
    assert "tiny" in first
    assert "tiny" not in second
    assert "other, random  plain  bf16" in second
    lines = [json.loads(line) for line in page.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["part"] for line in lines].count("tokenizer") == len(bench.tokenizer.VARIANTS)
    assert {line["part"] for line in lines} == {"tokenizer", "model"}
    assert "fp16 channels_last" in capsys.readouterr().out
