"""What `dtype` means on which device: a GPU gets half precision where it is exact enough, nobody else does."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vavam_ros.core.artifact import LoadedArtifact, load_artifact
from vavam_ros.core.contracts import NS_PER_S, Command, ConfigError, EgoPose, Plan, TokenFrame, Window
from vavam_ros.core.device_clock import stage_clock
from vavam_ros.core.geometry import planar_T
from vavam_ros.core.model.number_format import NUMBER_FORMATS, NumberFormat, number_format
from vavam_ros.core.pipeline import Planner, PlannerConfig

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("device", "computes_bf16", "model"), [(CPU, True, torch.float32), (GPU, True, torch.bfloat16), (GPU, False, torch.float32)], ids=["cpu", "gpu", "old gpu"]
)
def test_auto_is_bf16_for_the_model_on_a_gpu_that_computes_it(
    device: torch.device, computes_bf16: bool, model: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: computes_bf16 or including_emulation)
    assert number_format("auto", device) == NumberFormat(model=model, tokenizer=torch.float32)


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
@pytest.mark.parametrize("name", NUMBER_FORMATS)
def test_a_named_format_is_that_of_both_networks_on_any_device(name: str, device: torch.device) -> None:
    assert number_format(name, device) == NumberFormat(model=NUMBER_FORMATS[name], tokenizer=NUMBER_FORMATS[name])


def test_another_word_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="dtype: got 'half', expected auto, float32, bfloat16, float16"):
        number_format("half", CPU)


def test_a_report_names_both_where_they_differ() -> None:
    assert NumberFormat(torch.float32, torch.float32).text == "float32"
    assert NumberFormat(torch.bfloat16, torch.float32).text == "bfloat16, tokenizer float32"


@pytest.mark.parametrize(
    "device", [CPU, pytest.param(GPU, marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])], ids=["cpu", "gpu"]
)
def test_plans_of_any_device_lie_within_a_decimetre_of_the_cpu_s(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 by the table of docs/results/precision.md; and no stage waits for the whole device."""
    expected, found = planned(CPU), planned(device, monkeypatch)
    np.testing.assert_allclose(found.xy_ego_m, expected.xy_ego_m, atol=0.1)
    assert dict(found.stage_ms).keys() == {"context", "denoise", "select"}


def planned(device: torch.device, monkeypatch: pytest.MonkeyPatch | None = None) -> Plan:
    """By the bundled model, in the number format that the device gets, of tokens that were drawn."""
    loaded = load_artifact(ROOT / "models" / "world", device, number_format("auto", device).model)
    v = loaded.card.spec.video
    codes = np.random.default_rng(0).integers(v.vocabulary - 1, size=(v.frames, v.grid_h, v.grid_w)).astype(np.uint16)
    frames = tuple(frame(i, tokens, loaded) for i, tokens in enumerate(codes))
    commands, clock = loaded.card.command_ids, stage_clock(device, time.perf_counter)
    planner = Planner(loaded.model, model_id="m", command_ids=commands, config=PlannerConfig(samples=8), device=device, clock=clock)
    planner.warm_up()
    if monkeypatch is not None:
        monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("the whole device was waited for"))
    return planner.step(Window(frames=frames, slot_error_s=(0.0,) * len(frames)), Command.STRAIGHT)


def frame(i: int, tokens: np.ndarray, loaded: LoadedArtifact) -> TokenFrame:
    stamp_ns = (i + 1) * NS_PER_S // 2
    pose = EgoPose(
        stamp_ns=stamp_ns, odom_frame_id="odom", T_odom_ego=planar_T(4.0 * i, 0.0, 0.0), linear_mps=np.array([8.0, 0.0, 0.0]), angular_radps=np.zeros(3)
    )
    card = loaded.card
    return TokenFrame(
        stamp_ns=stamp_ns, epoch=0, camera_frame_id="camera", tokens=tokens, codebook_size=card.tokenizer.codebook_size, tokenizer_id=card.tokenizer_id,
        camera_id="c", canonical=True, coverage=1.0, pose=pose,
    )  # fmt: skip


def test_the_tokenizer_of_a_model_in_bf16_can_stay_in_fp32() -> None:
    loaded = load_artifact(ROOT / "models" / "world", CPU, torch.bfloat16, tokenizer_dtype=torch.float32)
    assert loaded.tokenizer.dtype == torch.float32
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
