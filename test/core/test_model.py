"""VaViM and VaVAM on small random models: growing contexts, shared samples, training, devices and dtypes."""

from __future__ import annotations

import pytest
import torch
from small_model import SPEC, H, K, assert_close, command_of
from torch import Tensor, nn

from vavam_ros.core.contracts import ConfigError, TokenError
from vavam_ros.core.model.generate import generate_frames
from vavam_ros.core.model.network import VaVAM, init_weights
from vavam_ros.core.spec import FlowSpec, ModelSpec

# ------------------------------------------------------------------------------------------------------------------------ growing contexts


@pytest.mark.parametrize("parts", [(4, 1), (1, 4), (2, 2, 1), (1, 1, 1, 1, 1)])
@torch.inference_mode()
def test_appending_equals_recomputing(model: VaVAM, tokens: Tensor, parts: tuple[int, ...]) -> None:
    context = model.context(tokens[:, : parts[0]])
    for part in parts[1:]:
        context = model.extend(context, tokens[:, context.frames : context.frames + part])
    whole = model.context(tokens)
    assert context.frames == whole.frames == 5
    for i in range(SPEC.video.layers):
        for grown, fresh in zip(context.layer(i), whole.layer(i), strict=True):
            assert_close(grown, fresh)


@torch.inference_mode()
def test_extending_leaves_the_given_context_as_it_was(model: VaVAM, tokens: Tensor) -> None:
    short = model.context(tokens[:, :2])
    before = [t.clone() for i in range(SPEC.video.layers) for t in short.layer(i)]
    first, second = model.extend(short, tokens[:, 2:3]), model.extend(short, tokens[:, 3:4])
    assert (short.frames, first.frames, second.frames) == (2, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, [t for i in range(SPEC.video.layers) for t in short.layer(i)], strict=True))
    assert_close(first.layer(2)[0], model.context(tokens[:, :3]).layer(2)[0])
    assert not torch.equal(first.layer(2)[0], second.layer(2)[0])


@torch.inference_mode()
def test_two_continuations_of_a_context_with_room_do_not_write_into_each_other(model: VaVAM, tokens: Tensor) -> None:
    held = model.video.empty_context(capacity=30)
    model.video.advance(held, tokens[:, :2].flatten(1))
    before = [t.clone() for t in held.layer(1)]
    first, second = model.extend(held, tokens[:, 2:3]), model.extend(held, tokens[:, 3:4])
    model.video.advance(held, tokens[:, 4].flatten(1))  # in place, in the room behind
    for context, order in ((first, [0, 1, 2]), (second, [0, 1, 3]), (held, [0, 1, 4])):
        for got, expected in zip(context.layer(1), model.context(tokens[:, order]).layer(1), strict=True):
            assert_close(got, expected)
    assert all(torch.equal(a, b[:, :, :12]) for a, b in zip(before, held.layer(1), strict=True))


def test_an_empty_context_says_how_to_fill_it(model: VaVAM) -> None:
    with pytest.raises(ConfigError, match=r"empty: make it with VideoModel\.context"):
        _ = model.video.empty_context().batch


@torch.inference_mode()
def test_frames_count_from_the_first_one_given(model: VaVAM, tokens: Tensor) -> None:
    """A short context has positions 0…n−1, so the same two frames give another context when something precedes them."""
    alone, later = model.context(tokens[:, 1:3]), model.context(tokens[:, :3])
    assert float((alone.layer(0)[0] - later.layer(0)[0][:, :, 6:]).abs().max()) > 1e-2
    frame = model.video.frame_embedding.weight
    embedded = model.video.embed(tokens[:, 0].flatten(1), start=12) - model.video.embed(tokens[:, 0].flatten(1), start=0)
    torch.testing.assert_close(embedded, (frame[2] - frame[0]).expand_as(embedded), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_context_skips_what_nobody_reads(model: VaVAM, tokens: Tensor) -> None:
    """Of the last layer only keys and values are made, and they own their memory: a slice of q, k, v would keep all three."""
    hidden = list(model.video.hidden(tokens))
    ran: list[str] = []
    hooks = [m.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, m in model.video.named_modules() if isinstance(m, nn.Linear)]  # type: ignore[misc]
    context = model.context(tokens)
    for hook in hooks:
        hook.remove()
    assert [name for name in ran if name.startswith("blocks.2.")] == []
    assert len(ran) == 4 * 2
    for i in range(SPEC.video.layers):
        for t in context.layer(i):
            assert t.untyped_storage().nbytes() == t.numel() * t.element_size()
    _, k, _ = model.video.blocks[2].attention.project(torch.nn.functional.layer_norm(hidden[2], (48,)))  # type: ignore[union-attr, operator]
    assert_close(context.layer(2)[0], k)


@torch.inference_mode()
def test_no_mask_of_the_whole_sequence_is_made(model: VaVAM, tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: (seen.append((k["attn_mask"], k["is_causal"])), real(*a, **k))[1])
    model.context(tokens)
    assert seen == [(None, True)] * 2


# ------------------------------------------------------------------------------------------------------------------------------ sampling


@torch.inference_mode()
def test_samples_that_share_a_context_equal_samples_alone(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    context, command = model.context(tokens[:1]), command_of(K)
    together = model.sample(context, noise, command)
    alone = torch.cat([model.sample(context, noise[i : i + 1], command[i : i + 1]) for i in range(K)])
    assert_close(together, alone)
    copied = model.sample(model.context(tokens[:1].expand(K, -1, -1, -1)), noise, command)
    assert_close(together, copied)


@torch.inference_mode()
def test_batch_of_contexts_with_samples_each(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    both = model.sample(model.context(tokens), noise.view(2, 4, H, 2), command_of(2, 4))
    for i in range(2):
        assert_close(both[i], model.sample(model.context(tokens[i : i + 1]), noise.view(2, 4, H, 2)[i], command_of(2, 4)[i]))
    pair = model.sample(model.context(tokens), noise[:2], command_of(2))  # one sample for each context
    assert_close(pair[1:], model.sample(model.context(tokens[1:]), noise[1:2], command_of(2)[1:]))


@torch.inference_mode()
def test_eight_samples_attend_to_one_copy_of_the_context(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    """The largest tensor made while denoising stays far below a second copy of a layer's keys for K samples."""
    big = torch.randint(SPEC.video.vocabulary, (1, 5, 2, 3), generator=torch.Generator().manual_seed(9))
    context = model.context(big)
    sizes: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and not out._is_view():
                sizes.append(out.numel())
            return out

    rows = K * H
    heads, n, size = SPEC.video.heads, context.length, SPEC.video.head_size
    with Watch():
        model.velocity(context, noise, 0.3, command_of(K))
    allowed = max(heads * rows * (n + H), rows * 3 * heads * size)  # scores, or the actions' own q, k, v
    assert max(sizes) <= allowed < K * heads * n * size


@torch.inference_mode()
def test_steps_trace_clip_and_repetition(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    context, command = model.context(tokens[:1]), command_of(K)
    trace = model.sample(context, noise, command, trace=True)
    final = model.sample(context, noise, command)
    assert trace.shape == (SPEC.flow.steps, K, H, 2)
    assert torch.equal(trace[-1], final)
    assert torch.equal(final, model.sample(context, noise, command)), "same inputs, same bits"
    one = model.sample(context, noise, command, steps=1)
    assert_close(one, SPEC.flow.action_scale_m * (noise + model.velocity(context, noise, 0.0, command)))
    clipped = VaVAM(ModelSpec(name="c", video=SPEC.video, action=SPEC.action, flow=FlowSpec(steps=6, clip=0.02)), device="cpu")
    clipped.load_state_dict(model.state_dict())
    assert_close(clipped.sample(context, noise, command), final.clamp(-0.02 * 70, 0.02 * 70))


@torch.inference_mode()
def test_commands_and_times_reach_their_own_sample(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    context = model.context(tokens[:1])
    command, time = torch.zeros(K, dtype=torch.int64), torch.linspace(0, 0.9, K)
    base = model.velocity(context, noise, time, command)
    assert_close(base[2], model.velocity(context, noise, float(time[2]), command)[2])
    command[3] = 1
    moved = (model.velocity(context, noise, time, command) - base).abs().amax(dim=(1, 2))
    assert float(moved[3]) > 1e-4
    assert float(moved[[0, 1, 2, 4, 5, 6, 7]].max()) < 1e-5


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
@torch.inference_mode()
def test_half_precision_network_keeps_an_fp32_sampler(model: VaVAM, tokens: Tensor, noise: Tensor, dtype: torch.dtype, share: float) -> None:
    half = VaVAM(SPEC, device="cpu", dtype=dtype)
    half.load_state_dict(model.state_dict())
    context = half.context(tokens[:1])
    assert context.layer(0)[0].dtype == dtype
    metres = half.sample(context, noise, command_of(K))
    assert metres.dtype == torch.float32
    assert_close(metres, model.sample(model.context(tokens[:1]), noise, command_of(K)), share)
    with pytest.raises(ConfigError, match=r"expected torch\.float32"):
        half.sample(context, noise.to(dtype), command_of(K))


# ------------------------------------------------------------------------------------------------------------------------------ training


def test_training_layout_equals_one_inference_per_frame(model: VaVAM, tokens: Tensor) -> None:
    """Group t of the training pass is the velocity of a context of frames 0…t."""
    g = torch.Generator().manual_seed(6)
    noisy, time = torch.randn(2, 5, H, 2, generator=g), torch.rand(2, 5, generator=g)
    with torch.inference_mode():
        together = model.training_velocity(tokens, noisy, time, command_of(2, 5))
        for t in range(5):
            context = model.context(tokens[:, : t + 1])
            assert_close(together[:, t], model.velocity(context, noisy[:, t], time[:, t], command_of(2, 5)[:, t]))


def test_detaching_the_video_changes_no_expert_gradient(model: VaVAM, tokens: Tensor) -> None:
    g = torch.Generator().manual_seed(7)
    positions, noise, time = 10 * torch.randn(2, 5, H, 2, generator=g), torch.randn(2, 5, H, 2, generator=g), torch.rand(2, 5, generator=g)
    grads = {}
    for detach in (True, False):
        model.zero_grad()
        model.action_loss(tokens, positions, noise, time, command_of(2, 5), detach_video=detach).backward()  # type: ignore[no-untyped-call]
        grads[detach] = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert {name.split(".")[0] for name in grads[True]} == {"action"}
    assert {name.split(".")[0] for name in grads[False]} == {"action", "video"}
    for name, grad in grads[True].items():
        assert_close(grad, grads[False][name])


# ----------------------------------------------------------------------------------------------------------------------- refusals, devices


def test_wrong_inputs_are_refused_with_the_fix(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    with pytest.raises(TokenError, match=r"got shape \(2, 5, 3, 2\), expected \(batch, frames, 2, 3\)"):
        model.context(tokens.mT)
    with pytest.raises(TokenError, match="expected 0 to 36; were they made by this model's tokenizer"):
        model.context(tokens + 30)
    with pytest.raises(ConfigError, match="got 6 after 0, expected 1 to 5"):
        model.context(tokens[:, [0, 1, 2, 3, 4, 4]])
    context = model.context(tokens[:, :4])
    with pytest.raises(ConfigError, match="got 2 after 4, expected 1 to 1"):
        model.extend(context, tokens[:, :2])
    with pytest.raises(ConfigError, match=r"got shape \(8, 4, 2\) for a context of 2"):
        model.sample(context, noise, command_of(K))
    with pytest.raises(ConfigError, match=r"command: got shape \(3,\)"):
        model.sample(model.context(tokens[:1]), noise, command_of(3))


def test_nothing_is_made_on_the_default_device(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    positions, time, command = noise.expand(1, K, H, 2)[:, :5], torch.rand(1, 5), command_of(1, 5)
    torch.set_default_device("meta")
    try:
        fresh = VaVAM(SPEC, device="cpu")
        init_weights(fresh, torch.Generator("cpu").manual_seed(0))
        context = model.extend(model.context(tokens[:1, :2]), tokens[:1, 2:4])
        results = [
            model.sample(context, noise, torch.zeros(K, dtype=torch.int64, device="cpu")),
            model.velocity(context, noise, 0.5, torch.zeros(1, dtype=torch.int64, device="cpu")),
            model.action_loss(tokens[:1], positions, positions, time, command),
            generate_frames(model.video, tokens[:1], 1),
            *fresh.state_dict().values(),
        ]
    finally:
        torch.set_default_device(None)
    assert {str(r.device) for r in results} == {"cpu"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the CPU/GPU parity of the model needs one")
@torch.inference_mode()
def test_gpu_equals_cpu_in_fp32(model: VaVAM, tokens: Tensor, noise: Tensor) -> None:
    gpu = VaVAM(SPEC, device="cuda")
    gpu.load_state_dict(model.state_dict())
    context = gpu.extend(gpu.context(tokens[:1, :3].cuda()), tokens[:1, 3:].cuda())
    metres = gpu.sample(context, noise.cuda(), command_of(K).cuda())
    assert_close(metres.cpu(), model.sample(model.context(tokens[:1]), noise, command_of(K)), 1e-4)
    assert_close(gpu.video(tokens.cuda()).cpu(), model.video(tokens), 1e-4)
