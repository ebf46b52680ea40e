"""The fast path gives the plans of network.py: for several sizes, lengths and numbers of samples, grown or whole, and whatever ran before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vavam_ros.core.artifact import load_artifact
from vavam_ros.core.contracts import ConfigError, TokenError
from vavam_ros.core.model import fast as fast_module
from vavam_ros.core.model.fast import FastVaVAM, for_inference
from vavam_ros.core.model.network import VaVAM, init_weights
from vavam_ros.core.spec import ActionSpec, FlowSpec, ModelSpec, VideoSpec

TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=48, layers=3, head_size=16, vocabulary=37, frames=5, grid_h=2, grid_w=3, mup_base_width=16),
    action=ActionSpec(width=20, horizon=4, mup_base_width=10),
    flow=FlowSpec(steps=6),
)
SPECS = {
    "tiny": TINY,
    "one_layer_one_head": ModelSpec(
        name="one",
        video=VideoSpec(width=16, layers=1, head_size=16, vocabulary=20, frames=3, grid_h=1, grid_w=2, mup_base_width=8),
        action=ActionSpec(width=8, horizon=2, mup_base_width=4),
        flow=FlowSpec(steps=3, clip=0.5),
    ),
    "scales": replace(TINY, name="scales", video=replace(TINY.video, attention_scale=3.0, head_size=24, mlp_ratio=2), action=replace(TINY.action, horizon=6)),
}
BUNDLED = Path(__file__).resolve().parents[2] / "models" / "world"
SHARE = 3e-6  # of the largest magnitude; measured 5.5e-7 at most


def build(spec: ModelSpec, dtype: torch.dtype = torch.float32, device: str = "cpu") -> VaVAM:
    m = VaVAM(spec, device="cpu")
    init_weights(m, torch.Generator("cpu").manual_seed(0), video_std=0.4, action_std=0.4, zero_query=False, readout_std=0.4)
    return m.to(device, dtype)


@pytest.fixture(scope="module")
def model() -> VaVAM:
    return build(TINY)


def inputs(spec: ModelSpec, samples: int, frames: int | None = None, batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, t, h, w), noise (B, K, H, 2), commands (B, K)."""
    g, v, a = torch.Generator("cpu").manual_seed(1), spec.video, spec.action
    tokens = torch.randint(v.vocabulary, (batch, frames or v.frames, v.grid_h, v.grid_w), generator=g)
    return tokens, torch.randn(batch, samples, a.horizon, 2, generator=g), torch.randint(a.commands, (batch, samples), generator=g)


def assert_close(got: Tensor, expected: Tensor, share: float = SHARE) -> None:
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= share * float(expected.abs().max())


@pytest.mark.parametrize("samples", [1, 5, 16])
@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_fast_plans_are_the_plain_ones_at_every_length(name: str, samples: int) -> None:
    plain = build(SPECS[name])
    fast = FastVaVAM(plain, samples=samples)
    for frames in range(1, SPECS[name].video.frames + 1):
        tokens, noise, command = inputs(SPECS[name], samples, frames)
        expected = plain.context(tokens)
        got = fast.context(tokens)
        for i in range(SPECS[name].video.layers):
            for a, b in zip(got.layer(i), expected.layer(i), strict=True):
                assert_close(a, b)
        assert_close(fast.sample(got, noise[0], command[0]), plain.sample(expected, noise[0], command[0]))
        one_command = command[0, :1]
        assert_close(fast.sample(got, noise[0], one_command, steps=2), plain.sample(expected, noise[0], one_command, steps=2))
    assert fast.buffers <= 2  # `got` is alive while the next is made


@pytest.mark.parametrize("parts", [(4, 1), (1, 4), (2, 2, 1), (1, 1, 1, 1, 1)])
@torch.inference_mode()
def test_growing_equals_the_whole(model: VaVAM, parts: tuple[int, ...]) -> None:
    tokens, noise, command = inputs(TINY, 3)
    fast = FastVaVAM(model, samples=3)
    context = fast.context(tokens[:, : parts[0]])
    for part in parts[1:]:
        fast.sample(context, noise[0], command[0])  # its waypoints lie where the next frame goes
        context = fast.extend(context, tokens[:, context.frames : context.frames + part])
    assert context.frames == 5
    assert_close(fast.sample(context, noise[0], command[0]), model.sample(model.context(tokens), noise[0], command[0]))
    assert fast.buffers == 1, "nothing was copied"


@torch.inference_mode()
def test_parts_of_frames_equal_the_whole(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 3)
    fast, flat, context = FastVaVAM(model, samples=3), tokens.flatten(1), None
    context = fast.empty_context()
    for start, stop in ((0, 8), (8, 9), (9, 23), (23, 30)):
        context = fast.advance(context, flat[:, start:stop])
    assert_close(fast.sample(context, noise[0], command[0]), model.sample(model.context(tokens), noise[0], command[0]))


@torch.inference_mode()
def test_a_context_stays_valid_whatever_is_made_of_it(model: VaVAM) -> None:
    """Two continuations, and samples of the shorter context after it was continued, do not write into each other."""
    tokens, noise, command = inputs(TINY, 4)
    fast = FastVaVAM(model, samples=4)
    short = fast.context(tokens[:, :2])
    first = fast.extend(short, tokens[:, 2:3])
    second = fast.extend(short, tokens[:, 3:4])
    drawn = [fast.sample(c, noise[0], command[0]) for c in (short, first, second, first, short)]
    for got, order in zip(drawn, ([0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 2], [0, 1]), strict=True):
        assert_close(got, model.sample(model.context(tokens[:, order]), noise[0], command[0]))


@torch.inference_mode()
def test_a_buffer_is_used_again_once_its_contexts_are_gone(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 4)
    fast = FastVaVAM(model, samples=4)
    for _ in range(3):
        context = fast.extend(fast.context(tokens[:, :2]), tokens[:, 2:])
        fast.sample(context, noise[0], command[0])
        del context
    v = TINY.video
    assert fast.buffers == 1
    assert fast.buffer_bytes == v.layers * 2 * v.width * (v.frames * v.tokens_per_frame + 4 * TINY.action.horizon) * 4


@torch.inference_mode()
def test_same_inputs_same_bits_whatever_ran_before(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 8)
    fast, fresh = FastVaVAM(model, samples=8), FastVaVAM(model, samples=8)
    first = fast.sample(fast.context(tokens), noise[0], command[0])
    for frames in (1, 3, 5):
        fast.sample(fast.context(tokens[:, :frames].flip(1)), noise[0, :frames], command[0, :frames])
    again = fast.sample(fast.context(tokens), noise[0], command[0])
    assert torch.equal(first, again)
    assert torch.equal(first, fresh.sample(fresh.context(tokens), noise[0], command[0]))


@torch.inference_mode()
def test_many_contexts_at_once_equal_one_by_one(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 4, batch=3)
    fast = FastVaVAM(model, samples=4)
    grown = fast.extend(fast.context(tokens[:, :3]), tokens[:, 3:])
    together = fast.sample(grown, noise, command)
    one_each = fast.sample(grown, noise[:, 0], command[:, 0])
    for i in range(3):
        context = fast.context(tokens[i : i + 1])
        assert_close(together[i], fast.sample(context, noise[i], command[i]))
        assert_close(one_each[i : i + 1], fast.sample(context, noise[i, :1], command[i, :1]))


@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_rows_that_go_through_an_mlp_in_parts_come_out_the_same(model: VaVAM, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = model.video.blocks[0].mlp.up.weight  # type: ignore[union-attr]
    rows = batch * TINY.video.frames * TINY.video.tokens_per_frame
    assert fast_module.rows_at_once(torch.empty(rows, TINY.video.width), hidden) == rows
    monkeypatch.setattr(fast_module, "HIDDEN_BYTES", 4 * hidden.shape[0] * hidden.element_size() + 1)
    assert fast_module.rows_at_once(torch.empty(rows, TINY.video.width), hidden) == 4
    assert rows % 4 == 2  # the last part is smaller
    tokens, noise, command = inputs(TINY, 3, batch=batch)
    quick = FastVaVAM(model)
    assert_close(quick.sample(quick.context(tokens), noise, command), model.sample(model.context(tokens), noise, command))


@torch.inference_mode()
def test_more_samples_than_a_batch_are_drawn_in_turns(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 8)
    fast = FastVaVAM(model, samples=3)
    assert_close(fast.sample(fast.context(tokens), noise[0], command[0]), model.sample(model.context(tokens), noise[0], command[0]))


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
@torch.inference_mode()
def test_half_precision_stays_as_near_as_the_plain_one(model: VaVAM, dtype: torch.dtype, share: float) -> None:
    tokens, noise, command = inputs(TINY, 8)
    fast = FastVaVAM(build(TINY, dtype), samples=8)
    context = fast.context(tokens)
    assert context.layer(0)[0].dtype == dtype
    metres = fast.sample(context, noise[0], command[0])
    assert metres.dtype == torch.float32
    assert_close(metres, model.sample(model.context(tokens), noise[0], command[0]), share)


@torch.inference_mode()
def test_no_mask_of_the_whole_sequence_and_no_concatenation(model: VaVAM, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: (seen.append((k["attn_mask"], k["is_causal"])), real(*a, **k))[1])  # type: ignore[func-returns-value]
    monkeypatch.setattr(torch, "cat", lambda *a, **k: pytest.fail("concatenated"))
    tokens, noise, command = inputs(TINY, 8)
    fast = FastVaVAM(model, samples=8)
    fast._times[6] = torch.zeros(6, 20, device="cpu")  # a table made once for a number of steps
    fast.sample(fast.context(tokens), noise[0], command[0])
    assert seen == [(None, True)] * 2


@torch.inference_mode()
def test_the_weights_are_the_models_own(model: VaVAM) -> None:
    fast = FastVaVAM(model)
    own = {p.data_ptr() for p in model.parameters()}
    assert all(w.data_ptr() in own for layer in (*fast._video, *fast._action) for w in (layer.qkv, layer.out, layer.up, layer.down))


def test_wrong_inputs_are_refused_as_by_the_plain_one(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 8, batch=2)
    fast = FastVaVAM(model)
    with pytest.raises(TokenError, match=r"got shape \(2, 5, 3, 2\), expected \(batch, frames, 2, 3\)"):
        fast.context(tokens.mT)
    with pytest.raises(TokenError, match="expected 0 to 36; were they made by this model's tokenizer"):
        fast.context(tokens + 30)
    context = fast.context(tokens[:, :4])
    with pytest.raises(ConfigError, match="got 2 after 4, expected 1 to 1"):
        fast.extend(context, tokens[:, :2])
    with pytest.raises(ConfigError, match=r"got shape \(8, 4, 2\) for a context of 2"):
        fast.sample(context, noise[0], command[0])
    with pytest.raises(ConfigError, match=r"command: got shape \(3,\)"):
        fast.sample(context, noise, command[0, :3])
    with pytest.raises(ConfigError, match=r"expected torch\.float32"):
        fast.sample(context, noise.bfloat16(), command)
    with pytest.raises(ConfigError, match="expected at least 1"):
        fast.sample(context, noise, command, steps=0)
    with pytest.raises(ConfigError, match="empty"):
        fast.sample(fast.empty_context(2), noise, command)
    with pytest.raises(ConfigError, match="samples: got 0"):
        FastVaVAM(model, samples=0)
    with pytest.raises(ConfigError, match="got 'quick', expected 'fast' or 'plain'"):
        for_inference(model, "quick", samples=1)


def test_nothing_is_made_on_the_default_device(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 8)
    torch.set_default_device("meta")
    try:
        fast = FastVaVAM(model)
        context = fast.extend(fast.context(tokens[:, :2]), tokens[:, 2:4])
        metres = fast.sample(context, noise[0], command[0])
    finally:
        torch.set_default_device(None)
    assert metres.device.type == "cpu"


def test_what_a_graph_records_depends_on_buffers_and_inputs_alone(
    model: VaVAM, monkeypatch: pytest.MonkeyPatch, graph_stand_in: Any
) -> None:
    """Replayed for other tokens, noise and commands, before and after other lengths ran: nothing may have been decided in Python."""
    monkeypatch.setattr(fast_module, "Recording", graph_stand_in)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    fast = FastVaVAM(model, samples=4, graphs=True)
    tokens, noise, command = inputs(TINY, 4, batch=2)
    for i in (0, 1):
        for parts in ((5,), (3, 1, 1)):
            context, done = None, 0
            for part in parts:
                new = tokens[i : i + 1, done : done + part]
                context, done = fast.context(new) if context is None else fast.extend(context, new), done + part
                with torch.inference_mode():
                    expected = model.sample(model.context(tokens[i : i + 1, :done]), noise[i], command[i])
                assert_close(fast.sample(context, noise[i], command[i]), expected)
            del context
    assert graph_stand_in.made == 4 + 3  # whole, 3, 3 + 1, 4 + 1; samples after 3, 4 and 5 frames
    assert fast.buffers == 1


# --------------------------------------------------------------------------------------------------------------------------------------- GPU

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: graphs and the parity of the fast path need one")


@pytest.mark.gpu
@on_gpu
@torch.inference_mode()
def test_gpu_equals_cpu_in_fp32(model: VaVAM) -> None:
    tokens, noise, command = inputs(TINY, 8)
    fast = FastVaVAM(build(TINY, device="cuda"), samples=8)
    for frames in range(1, 6):
        expected = model.sample(model.context(tokens[:, :frames]), noise[0], command[0])
        for _ in range(2):  # recorded, then replayed
            assert_close(fast.sample(fast.context(tokens[:, :frames]), noise[0], command[0]).cpu(), expected, 1e-4)
    grown = fast.extend(fast.context(tokens[:, :3]), tokens[:, 3:])
    assert_close(fast.sample(grown, noise[0], command[0]).cpu(), model.sample(model.context(tokens), noise[0], command[0]), 1e-4)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@torch.inference_mode()
def test_graphs_equal_eager_and_repeat_bit_for_bit(dtype: torch.dtype) -> None:
    tokens, noise, command = inputs(TINY, 8)
    plain = build(TINY, dtype, "cuda")
    graphs, eager = FastVaVAM(plain, samples=8), FastVaVAM(plain, samples=8, graphs=False)
    results = []
    for fast in (graphs, graphs, eager):
        context = fast.context(tokens[:, :2])
        for i in range(2, 5):
            context = fast.extend(context, tokens[:, i : i + 1])
        results.append(fast.sample(context, noise[0], command[0]))
        del context
    assert torch.equal(results[0], results[1])
    assert_close(results[0], results[2], 1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("graphs", [True, False])
@torch.inference_mode()
def test_no_plan_waits_for_the_device(graphs: bool) -> None:
    tokens, noise, command = inputs(TINY, 8)
    fast = FastVaVAM(build(TINY, device="cuda"), samples=8, graphs=graphs)

    def plan() -> Tensor:
        return fast.sample(fast.extend(fast.context(tokens[:, :3]), tokens[:, 3:4]), noise[0], command[0])

    plan()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        metres = plan()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(torch.isfinite(metres).all())


@pytest.mark.gpu
@on_gpu
@torch.inference_mode()
def test_bf16_on_a_gpu_plans_within_a_fifth_of_a_metre_of_fp32_on_a_cpu() -> None:
    """The bundled model, K = 16. On a CPU bf16 moves waypoints by up to 8 cm on pictures (docs/results/precision.md), by 4 to 11 cm in six draws like this."""
    loaded = load_artifact(BUNDLED, "cpu", torch.float32)
    spec, generator = loaded.card.spec, torch.Generator("cpu").manual_seed(5)
    tokens = torch.randint(spec.video.vocabulary - 1, (1, spec.video.frames, spec.video.grid_h, spec.video.grid_w), generator=generator)
    noise, command = torch.randn(16, spec.action.horizon, 2, generator=generator), torch.ones(16, dtype=torch.int64)
    here = FastVaVAM(loaded.model, samples=16)
    there = FastVaVAM(load_artifact(BUNDLED, "cuda", torch.bfloat16).model, samples=16)
    plans = [fast.sample(fast.context(tokens), noise, command).cpu() for fast in (here, there)]
    assert float((plans[0] - plans[1]).norm(dim=-1).max()) < 0.2
