"""Frame generation: cached equals uncached, past the window the newest frames stay, draws follow the generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vavam_ros.core.contracts import ConfigError, TokenError
from vavam_ros.core.model import VideoModel, init_weights
from vavam_ros.core.model import generate as module
from vavam_ros.core.model import token_steps as steps_module
from vavam_ros.core.model.generate import generate_frames, pick_token
from vavam_ros.core.model.token_steps import GraphSteps, PlainSteps
from vavam_ros.core.spec import VideoSpec

SPEC = VideoSpec(width=32, layers=2, head_size=8, vocabulary=23, frames=3, grid_h=2, grid_w=3, mup_base_width=16)


@pytest.fixture(scope="module")
def video() -> VideoModel:
    model = VideoModel(SPEC, device="cpu")
    init_weights(model, torch.Generator().manual_seed(1), video_std=0.5, zero_query=False)
    return model


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(SPEC.vocabulary, (2, 5, 2, 3), generator=torch.Generator().manual_seed(2))


def one_by_one(video: VideoModel, tokens: Tensor, n_frames: int) -> Tensor:
    """Greedy without a cache: the whole window again for every token. Unknown tokens of the newest frame stand as zeros, which nothing before them sees."""
    s = SPEC.tokens_per_frame
    for _ in range(n_frames):
        window = torch.cat([tokens[:, -(SPEC.frames - 1) :], torch.zeros_like(tokens[:, :1])], dim=1)
        flat = window.flatten(1)
        for i in range(flat.shape[1] - s, flat.shape[1]):
            flat[:, i] = video(flat.view_as(window))[:, i - 1].argmax(-1)
        tokens = torch.cat([tokens, flat.view_as(window)[:, -1:]], dim=1)
    return tokens[:, -n_frames:]


@pytest.mark.parametrize(("given", "n_frames"), [(1, 1), (1, 2), (2, 1), (1, 5), (2, 3), (3, 3), (5, 2)])
@torch.inference_mode()
def test_cached_equals_uncached_within_and_past_the_window(video: VideoModel, tokens: Tensor, given: int, n_frames: int) -> None:
    ours = generate_frames(video, tokens[:, :given], n_frames)
    assert ours.dtype == torch.int64
    assert torch.equal(ours, one_by_one(video, tokens[:, :given], n_frames))


@pytest.mark.parametrize(("given", "n_frames"), [(1, 1), (1, 2), (2, 1), (1, 5), (3, 3)])
def test_one_recorded_step_gives_the_same_frames(
    video: VideoModel, tokens: Tensor, monkeypatch: pytest.MonkeyPatch, graph_stand_in: Any, given: int, n_frames: int
) -> None:
    """As on a GPU: one recording, played for every token and after every new start, so nothing in it may have been decided in Python."""
    plain = generate_frames(video, tokens[:, :given], n_frames)
    monkeypatch.setattr(module, "token_steps", GraphSteps)
    monkeypatch.setattr(steps_module, "Recording", graph_stand_in)
    assert torch.equal(generate_frames(video, tokens[:, :given], n_frames), plain)
    assert graph_stand_in.made == 1
    kept = GraphSteps(video, 2)
    for given_again in (given, 1):
        assert torch.equal(generate_frames(video, tokens[:, :given_again], 2, steps=kept), generate_frames(video, tokens[:, :given_again], 2))
    assert graph_stand_in.made == 4, "kept: one more; not kept: one each"


def test_a_recorded_step_has_the_plain_logits(video: VideoModel, tokens: Tensor, monkeypatch: pytest.MonkeyPatch, graph_stand_in: Any) -> None:
    monkeypatch.setattr(steps_module, "Recording", graph_stand_in)
    flat = tokens[:, :3].flatten(1)
    with torch.inference_mode():
        graph, plain = GraphSteps(video, 2), PlainSteps(video)
        for begin, end in ((13, 18), (7, 12)):  # the second start leaves what the first wrote behind it
            torch.testing.assert_close(graph.start(flat[:, :begin]), plain.start(flat[:, :begin]))
            for i in range(begin, end):
                torch.testing.assert_close(graph.step(flat[:, i : i + 1]), plain.step(flat[:, i : i + 1]))
            assert graph.length == plain.length == end


def test_past_the_window_only_the_newest_frames_count(video: VideoModel, tokens: Tensor) -> None:
    full = generate_frames(video, tokens, 1)
    other_past = torch.cat([tokens[:, :3].flip(1), tokens[:, 3:]], dim=1)
    assert torch.equal(full, generate_frames(video, other_past, 1))
    assert not torch.equal(full, generate_frames(video, tokens[:, :4], 1)), "the newest frame must matter"


def test_draws_repeat_with_the_seed_and_stay_within_top_k(video: VideoModel, tokens: Tensor) -> None:
    def draw(seed: int, **how: float | int | None) -> Tensor:
        return generate_frames(video, tokens[:, :2], 2, generator=torch.Generator().manual_seed(seed), **how)  # type: ignore[arg-type]

    assert torch.equal(draw(5, top_k=None), draw(5, top_k=None))
    assert not torch.equal(draw(5, top_k=None), draw(6, top_k=None))
    assert torch.equal(draw(5, top_k=None, temperature=1e-4), generate_frames(video, tokens[:, :2], 2)), "cold draws are greedy"
    assert int(draw(5, top_k=None, temperature=50.0, codebook_size=4).max()) < 4


def test_pick_token_has_the_stated_probabilities() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, -1.0, 2.5]]).expand(40_000, -1)
    picked = pick_token(logits, 3, 2.0, torch.Generator().manual_seed(0))[:, 0]
    share = torch.bincount(picked, minlength=5) / len(picked)
    kept = torch.tensor([-torch.inf, 3.0, 2.0, -torch.inf, 2.5])
    torch.testing.assert_close(share, (kept / 2.0).softmax(0), atol=0.01, rtol=0)


def test_progress_counts_every_token_once(video: VideoModel, tokens: Tensor) -> None:
    seen: list[tuple[int, int]] = []
    generate_frames(video, tokens[:, :2], 2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 12) for i in range(12)]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"n_frames": 0}, "n_frames: got 0"),
        ({"top_k": 0}, "top_k: got 0"),
        ({"temperature": 0.0}, "temperature: got 0.0"),
        ({"top_k": 5}, "got no generator"),
    ],
)
def test_meaningless_requests_are_refused(video: VideoModel, tokens: Tensor, how: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate_frames(video, tokens[:, :1], **({"n_frames": 1} | how))  # type: ignore[arg-type]


def test_foreign_tokens_are_refused(video: VideoModel, tokens: Tensor) -> None:
    with pytest.raises(TokenError, match="expected 0 to 22"):
        generate_frames(video, tokens + 20, 1)
    with pytest.raises(TokenError, match="got shape"):
        generate_frames(video, tokens.mT, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: a recorded step needs one")
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.bfloat16, 0.15)], ids=["fp32", "bf16"])
@torch.inference_mode()
def test_on_a_gpu_recorded_steps_have_the_logits_of_the_cpu_and_never_wait(video: VideoModel, tokens: Tensor, dtype: torch.dtype, atol: float) -> None:
    flat = tokens[:, :3].flatten(1)
    there = VideoModel(SPEC, device="cuda")
    there.load_state_dict(video.state_dict())
    there.to(dtype)
    graph, plain, on_gpu = GraphSteps(there, 2), PlainSteps(video), flat.cuda()
    for begin, end in ((13, 18), (7, 18)):
        torch.testing.assert_close(graph.start(on_gpu[:, :begin]).cpu().float(), plain.start(flat[:, :begin]), atol=atol, rtol=atol)
        for i in range(begin, end):
            token = on_gpu[:, i : i + 1]
            recorded = graph._recording is not None
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error" if recorded else "default")
            try:
                logits = graph.step(token)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            torch.testing.assert_close(logits.cpu().float(), plain.step(flat[:, i : i + 1]), atol=atol, rtol=atol)
