"""Video: distances in closed form, losses that add up, and a model that knows what comes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from conftest import TINY_VQ
from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VideoModel, init_weights, next_token_loss
from vavam_ros.core.tokenizer import VQ16
from vavam_training.evaluation.frechet import Moments, frechet_distance, open_features
from vavam_training.evaluation.generation import GenerationConfig, generate
from vavam_training.evaluation.held_out import find_held_out
from vavam_training.evaluation.next_token import loss_rows, token_losses
from vavam_training.evaluation.statistics import DriveBootstrap
from vavam_training.mixing import InMemoryDataset, Part
from vavam_training.windows import WindowSpec

CPU = torch.device("cpu")
SPEC = WindowSpec.of(tiny.SPEC, labelled=False)


def tokenizer() -> VQ16:
    torch.manual_seed(0)
    return VQ16(replace(TINY_VQ, codebook_size=16), device="cpu").eval()


def test_frechet_distance_of_known_gaussians() -> None:
    """Diagonal covariances: |Δμ|² + Σ (σa − σb)². Any rotation of both leaves it as it is."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    a = (np.zeros(3), np.diag([1.0, 4.0, 0.0]))
    b = (np.array([1.0, 2.0, 0.0]), np.diag([9.0, 1.0, 0.25]))
    expected = 5.0 + (1 - 3) ** 2 + (2 - 1) ** 2 + 0.5**2
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance((turn @ a[0], turn @ a[1] @ turn.T), (turn @ b[0], turn @ b[1] @ turn.T)) == pytest.approx(expected)
    assert frechet_distance(b, b) == pytest.approx(0.0, abs=1e-9)


def test_frechet_distance_of_samples_comes_near_that_of_their_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = Moments(), Moments()
    for _ in range(20):
        a.add(torch.randn(500, 2, generator=generator))
        b.add(1.0 + 2.0 * torch.randn(500, 2, generator=generator))
    assert frechet_distance(a.gaussian(), b.gaussian()) == pytest.approx(2 * 1.0 + 2 * 1.0, rel=0.05)
    with pytest.raises(ConfigError, match="two or more"):
        Moments().gaussian()


def mean_colour(images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3))


def not_features(images: Tensor) -> Tensor:
    return images


def test_features_are_pluggable() -> None:
    images = torch.zeros(2, 3, 32, 64)
    images[1] = 0.5
    torch.testing.assert_close(open_features(f"{__name__}:mean_colour", tokenizer())(images)[:, 0], torch.tensor([0.0, 0.5]))
    assert open_features("pixels", tokenizer())(images).shape == (2, 96)
    assert open_features("tokenizer", tokenizer())(images).shape == (2, 2 * TINY_VQ.code_dim)
    for name, message in (("nothing", "module:callable"), (f"{__name__}:nothing", "no attribute"), ("no_such_module:f", "No module")):
        with pytest.raises(ConfigError, match=message):
            open_features(name, tokenizer())
    with pytest.raises(ConfigError, match="expected a tensor"):
        open_features(f"{__name__}:not_features", tokenizer())(images)


def test_losses_add_up_and_are_told_by_source() -> None:
    video = VideoModel(tiny.SPEC.video, device="cpu").eval()
    init_weights(video, torch.Generator("cpu").manual_seed(0), video_std=0.3, zero_query=False)
    parts = [Part(name=name, dataset=InMemoryDataset([tiny.rows(name, 12 + 4 * i, seed=i)])) for i, name in enumerate(("a", "bb"))]
    held_out = find_held_out(parts, SPEC, 0.0)
    losses = token_losses(video, held_out, batch=3, device=CPU, progress=lambda n: n)
    tokens = torch.from_numpy(np.concatenate([d.rows.tokens[d.index] for d in held_out.drives]).astype(np.int64))
    with torch.inference_mode():
        expected = float(next_token_loss(video(tokens), tokens))
    whole, first, second = loss_rows(losses, held_out.parts, DriveBootstrap(losses.drive, seed=0))
    assert whole.loss.value == pytest.approx(expected, rel=1e-5)
    n, m = first.loss.windows, second.loss.windows
    assert (n * first.loss.value + m * second.loss.value) / (n + m) == pytest.approx(expected, rel=1e-5)
    assert whole.to_dict()["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    s = tiny.SPEC.video.tokens_per_frame
    weights = np.array([s - 1, s, s]) / (3 * s - 1)
    np.testing.assert_allclose(losses.by_frame @ weights, losses.loss)
    assert losses.unigram == pytest.approx(math.log(16), abs=0.2)  # of a rule that uses all codes alike


def test_untrained_weights_of_zero_know_nothing() -> None:
    """All logits 0: the loss is the logarithm of the vocabulary, in each frame."""
    video = VideoModel(tiny.SPEC.video, device="cpu").eval()
    for p in video.parameters():
        torch.nn.init.zeros_(p)
    held_out = find_held_out([Part(name="a", dataset=InMemoryDataset([tiny.rows("a", 8)]))], SPEC, 0.0)
    np.testing.assert_allclose(token_losses(video, held_out, batch=4, device=CPU, progress=lambda n: n).by_frame, math.log(17), rtol=1e-5)


def test_true_future_is_the_reference_of_each_generated_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that generates what came is at distance 0, and has all tokens; the repeated frame is neither."""
    from vavam_training.evaluation import generation as module

    held_out = find_held_out([Part(name="a", dataset=InMemoryDataset([tiny.rows("a", 30)]))], SPEC, 0.0)
    [drive] = held_out.drives
    future = {drive.rows.tokens[w[:1]].tobytes(): drive.rows.tokens[w[1:]].astype(np.int64) for w in drive.index}

    def knows(_: object, tokens: Tensor, n: int, **more: object) -> Tensor:
        assert n == 2
        return torch.from_numpy(np.stack([future[t.numpy().astype(np.uint16).tobytes()] for t in tokens]))

    monkeypatch.setattr(module, "generate_frames", knows)
    video, tok = VideoModel(tiny.SPEC.video, device="cpu"), tokenizer()
    features = [open_features(name, tok) for name in ("tokenizer", "pixels")]
    found = generate(video, held_out, tok, features, GenerationConfig(windows=20, shown=2, codebook_size=16), CPU, lambda n: n)
    assert found.same_tokens == (1.0, 1.0)
    assert max(found.copied_tokens) == 0.0  # each token of the rule changes in each frame
    for f in features:
        assert max(found.frechet[f.name]) < 1e-6
        assert min(found.frechet_copied[f.name]) > 1e-6
    assert len(found.strips) == 2
    assert (len(found.strips[0].given), len(found.strips[0].true), len(found.strips[0].generated)) == (1, 2, 2)
    np.testing.assert_array_equal(found.strips[0].true[0], found.strips[0].generated[0])
    without = generate(video, held_out, None, [], GenerationConfig(windows=5, codebook_size=16), CPU, lambda n: n)
    assert (without.windows, without.strips, without.frechet) == (5, (), {})
