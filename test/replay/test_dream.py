"""Dreams: moments with all their pictures, the same frames for the same seed, and the film and the sheet that show them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vavam_ros.core.contracts import NS_PER_S, U8, ConfigError
from vavam_ros.core.model import VideoModel, init_weights
from vavam_ros.core.spec import VideoSpec
from vavam_ros.core.tokenizer import VQ16, TokenizerSpec
from vavam_ros.core.tokenizer.random_init import init_tokenizer
from vavam_ros.replay.dream import Dream, DreamConfig, agreement, choose_moments, dream
from vavam_ros.replay.dream_film import Labels, frames, write_film
from vavam_ros.replay.dream_sheet import sheet, write_sheet

SPEC = VideoSpec(width=32, layers=1, head_size=16, vocabulary=17, frames=4, grid_h=2, grid_w=3, mup_base_width=16)
LABELS = Labels(model="m", bag="drive.mcap", how="likeliest tokens", warning="untrained weights")
T0 = 1_700_000_000 * NS_PER_S


def stamps(seconds: float, hz: float, without: tuple[float, float] = (-1.0, -1.0)) -> list[int]:
    return [T0 + round(t * NS_PER_S) for t in np.arange(0, seconds, 1 / hz) if not without[0] <= t < without[1]]


def shown(dreams_of: int, seen: int = 2, generated: int = 1) -> list[Dream]:
    """Dreams of plain colours: the seen frames black, the true ones green, the expected ones red."""
    black, green, red = (np.broadcast_to(np.array(c, np.uint8), (9, 36, 64, 3)) for c in ((0, 0, 0), (0, 200, 0), (200, 0, 0)))
    none = np.zeros((9, 2, 3), np.int64)
    dreams = []
    for i in range(dreams_of):
        d = Dream(
            at_s=1.0 + i, dt_s=0.5, seen_rgb=black[:seen], expected_rgb=red[:generated], true_rgb=green[: seen + generated],
            seen_tokens=none[:seen], expected_tokens=none[:generated], true_tokens=none[:generated],
        )  # fmt: skip
        dreams.append(d)
    return dreams


def test_moments_have_every_picture_one_step_apart() -> None:
    found = choose_moments(stamps(6.0, 10), DreamConfig(moments=3, generated=2), seen=3, dt_s=0.5)
    assert len(found) == 3
    assert all(np.diff(m).tolist() == [NS_PER_S // 2] * 4 for m in found)
    assert len({m[2] for m in found}) == 3
    assert all(T0 + NS_PER_S <= m[2] < T0 + 5 * NS_PER_S for m in found)


def test_no_moment_reaches_over_a_gap() -> None:
    holed = stamps(6.0, 10, without=(2.0, 3.0))
    for m in choose_moments(holed, DreamConfig(moments=50, generated=1), seen=2, dt_s=0.5):
        assert m[-1] < T0 + 2 * NS_PER_S or m[0] >= T0 + 3 * NS_PER_S


def test_an_asked_moment_is_the_nearest_usable_one_and_none_far_away() -> None:
    given = stamps(6.0, 10)
    (found,) = choose_moments(given, DreamConfig(at_s=(2.02,), generated=1), seen=2, dt_s=0.5)
    assert found[1] == T0 + 2 * NS_PER_S
    with pytest.raises(ConfigError, match=r"usable moments lie between 0\.4 and 5\.5 s"):
        choose_moments(given, DreamConfig(at_s=(0.5, 9.0), generated=1), seen=2, dt_s=0.5)


def test_a_drive_that_is_too_short_or_too_slow_is_refused_with_numbers() -> None:
    with pytest.raises(ConfigError, match=r"10 pictures of 0\.9 s are 3 frames to see and 2 that follow, one every 0\.5 s"):
        choose_moments(stamps(1.0, 10), DreamConfig(generated=2), seen=3, dt_s=0.5)
    with pytest.raises(ConfigError, match="nowhere in 60 pictures"):
        choose_moments(stamps(60.0, 1), DreamConfig(generated=2), seen=3, dt_s=0.5)


def test_how_much_is_seen() -> None:
    assert DreamConfig(generated=4).frames_seen(8) == 4
    assert DreamConfig(generated=2).frames_seen(8) == 6
    assert DreamConfig(generated=20).frames_seen(8) == 4  # half the window at least
    with pytest.raises(ConfigError, match="got 8 frames to see, expected at most 7"):
        DreamConfig(seen=8).frames_seen(8)
    for wrong in ({"moments": 0}, {"generated": 0}, {"at_s": (float("nan"),)}, {"top_k": 0}, {"temperature": 0.0}):
        with pytest.raises(ConfigError, match="dream: got"):
            DreamConfig(**wrong)


@pytest.fixture(scope="module")
def parts() -> tuple[VideoModel, VQ16, list[list[int]], dict[int, U8]]:
    generator = torch.Generator("cpu").manual_seed(0)
    spec = TokenizerSpec(
        image_hw=(32, 48), channels=8, encoder_multipliers=(1,) * 5, decoder_multipliers=(1,) * 5, res_blocks=1, latent=8, codebook_size=16, code_dim=4,
        groups=4,
    )  # fmt: skip
    tokenizer = VQ16(spec, device="cpu")
    init_tokenizer(tokenizer, generator)
    video = VideoModel(SPEC, device="cpu")
    init_weights(video, generator, video_std=0.3)
    moments = [[1, 2, 3, 4, 5], [11, 12, 13, 14, 15]]
    rng = np.random.default_rng(0)
    return video, tokenizer, moments, {s: rng.integers(0, 256, (32, 48, 3)).astype(np.uint8) for m in moments for s in m}


def dreamt(parts: tuple[VideoModel, VQ16, list[list[int]], dict[int, U8]], **config: object) -> list[Dream]:
    video, tokenizer, moments, pictures = parts
    return dream(
        video, tokenizer, moments, pictures, DreamConfig(generated=2, **config), seen=3, dt_s=0.5, start_ns=0, device=torch.device("cpu")  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_seed_gives_its_frames_and_another_one_others(parts: tuple[VideoModel, VQ16, list[list[int]], dict[int, U8]]) -> None:
    a, b, c = (dreamt(parts, top_k=None, seed=s) for s in (1, 1, 2))
    for p, q in zip(a, b, strict=True):
        np.testing.assert_array_equal(p.expected_tokens, q.expected_tokens)
        np.testing.assert_array_equal(p.expected_rgb, q.expected_rgb)
    assert any((p.expected_tokens != q.expected_tokens).any() for p, q in zip(a, c, strict=True))


def test_what_is_shown_beside_what(parts: tuple[VideoModel, VQ16, list[list[int]], dict[int, U8]]) -> None:
    _, tokenizer, moments, pictures = parts
    first, second = dreamt(parts)
    for d, stamps_ in zip((first, second), moments, strict=True):
        np.testing.assert_array_equal(d.true_rgb, [pictures[s] for s in stamps_])
        assert (d.seen_tokens.shape, d.expected_tokens.shape, d.true_tokens.shape) == ((3, 2, 3), (2, 2, 3), (2, 2, 3))
        assert (d.seen_rgb.shape, d.expected_rgb.shape) == ((3, 32, 48, 3), (2, 32, 48, 3))
        assert d.expected_tokens.max() < tokenizer.codebook_size  # the vocabulary has one more
    x = torch.from_numpy(pictures[4].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    np.testing.assert_array_equal(tokenizer.encode(x)[0].numpy(), first.true_tokens[0])


def test_agreement_counts_tokens_against_those_that_came() -> None:
    (d,) = shown(1, seen=1, generated=2)
    expected_tokens, true_tokens = np.zeros((2, 2, 3), np.int64), np.zeros((2, 2, 3), np.int64)
    expected_tokens[1, 0], true_tokens[1] = 5, 5  # in the second frame a row of three, of six
    d = replace(d, expected_tokens=expected_tokens, true_tokens=true_tokens)
    expected, held = agreement([d])
    np.testing.assert_allclose(expected, [1.0, 0.5])
    np.testing.assert_allclose(held, [1.0, 0.0])


def test_frames_show_the_expected_one_on_the_left_of_the_true_one() -> None:
    pictures, seconds = zip(*frames(shown(2), LABELS), strict=True)
    assert seconds == (0.5, 0.5, 1.5) * 2
    assert len({p.shape for p in pictures}) == 1
    height, width, _ = pictures[0].shape
    assert (height % 2, width % 2) == (0, 0)
    for k, left in enumerate(((0, 0, 0), (0, 0, 0), (200, 0, 0))):
        assert tuple(pictures[k][height // 2, width // 4]) == left
        assert tuple(pictures[k][height // 2, 3 * width // 4]) == (0, 200, 0)


def test_a_long_name_of_a_bag_does_not_run_into_the_model() -> None:
    short, long = (next(frames(shown(1), Labels(model="m" * 40, bag="b" * n, how="h")))[0] for n in (1, 300))
    assert short.shape == long.shape
    np.testing.assert_array_equal(short[:30, :400], long[:30, :400])


def test_gif_plays_at_the_models_pace(tmp_path: Path) -> None:
    assert write_film(tmp_path / "new" / "a.gif", shown(2), LABELS) == 6
    with Image.open(tmp_path / "new" / "a.gif") as film:
        assert film.n_frames == 6
        lasts = []
        for k in range(6):
            film.seek(k)
            lasts.append(film.info["duration"])
        assert film.info["loop"] == 0
    assert lasts == [500, 500, 1500] * 2
    write_film(tmp_path / "b.gif", shown(2), LABELS)
    assert (tmp_path / "b.gif").read_bytes() == (tmp_path / "new" / "a.gif").read_bytes()
    assert sorted(p.name for p in tmp_path.rglob("*part*")) == []


def test_mp4_plays_at_the_models_pace(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    assert write_film(tmp_path / "a.mp4", shown(1), LABELS) == 3
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert count == 25
    assert seconds == pytest.approx(2.5, abs=0.05)


def test_a_film_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.gif or \.mp4"):
        write_film(tmp_path / "a.avi", shown(1), LABELS)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r"pip install imageio-ffmpeg, or name the film \.gif"):
        write_film(tmp_path / "a.mp4", shown(1), LABELS)


@pytest.mark.parametrize("warning", ["", "untrained weights"])
def test_sheet_has_a_column_a_frame_and_two_rows_a_moment(tmp_path: Path, warning: str) -> None:
    picture = sheet(shown(3), Labels(model="m", bag="b", how="h", warning=warning))
    column = picture[:, 96 + 12 + 2 * 244 + 120]  # middle of the third frame, the only one made up
    for colour, rows in (((0, 200, 0), 3 * 135), ((200, 0, 0), 3 * (135 - 2 * 3))):
        assert int((column == colour).all(axis=1).sum()) == rows
    write_sheet(tmp_path / "s.png", shown(3), LABELS)
    with Image.open(tmp_path / "s.png") as written:
        assert written.width == picture.shape[1]


def test_sheet_of_many_frames_stays_of_a_size_to_look_at() -> None:
    assert sheet(shown(1, seen=8, generated=1), LABELS).shape[1] < 2500
