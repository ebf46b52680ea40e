"""`vavam-train data check`: its numbers are those of drives whose numbers are known, what is odd is said, and the page is whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vavam_training.checking import SetNumbers, look_at
from vavam_training.checking.findings import findings
from vavam_training.cli.main import main
from vavam_training.contracts import DriveRows, Skipped
from vavam_training.dataset import Manifest, TokenDataset, TokenWriter
from vavam_training.mixing import InMemoryDataset
from vavam_training.windows import WindowSpec

GRID, CODES = (3, 4), 64
MANIFEST = Manifest(
    name="made", source="test", licence="free", domain="real", tokenizer_id="vq16-x", tokenizer={}, canonical_camera={}, grid_hw=GRID, codebook_size=CODES,
    git_revision="abc",
)  # fmt: skip


def circle(name: str = "a", n: int = 200, *, radius_m: float = 20.0, mps: float = 5.0, lever_m: float = 0.0, hz: float = 10.0, seed: int = 0) -> DriveRows:
    """The rear axle on a circle, to the left for a positive radius; poses of a point `lever_m` ahead of it. A standing car has radius inf and mps 0."""
    t = np.arange(n) / hz
    yaw = t * mps / radius_m
    xy = np.stack([radius_m * np.sin(yaw), radius_m * (1.0 - np.cos(yaw))], axis=1) if np.isfinite(radius_m) else np.stack([t * mps, 0.0 * t], axis=1)
    xy += lever_m * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    rotation = np.stack([np.cos(yaw / 2), 0.0 * t, 0.0 * t, np.sin(yaw / 2)], axis=1)
    return DriveRows(
        name=name, source="test", stamp_ns=10**9 + np.round(t * 1e9).astype(np.int64),
        tokens=np.random.default_rng(seed).integers(0, CODES, (n, *GRID)).astype(np.uint16), position_m=np.concatenate([xy, np.zeros((n, 1))], axis=1),
        rotation_wxyz=rotation, speed_mps=np.full(n, mps, np.float32), command=np.full(n, 2, np.int8), camera_id="world_front",
    )  # fmt: skip


def numbers(*drives: DriveRows) -> SetNumbers:
    return look_at(InMemoryDataset(drives), WindowSpec(), codebook_size=CODES, grid_hw=GRID)


def said(*drives: DriveRows) -> str:
    return " ".join(f.text for f in findings(MANIFEST, numbers(*drives)))


def test_numbers_of_a_circle() -> None:
    n = numbers(circle(), circle("b", radius_m=-20.0, seed=1))
    (a, b) = n.drives
    assert a.length_m == pytest.approx(19.9 * 5.0, rel=1e-3)
    assert (a.frames, a.step_s, a.gaps, a.frozen) == (200, pytest.approx(0.1), (), 0)
    assert a.windows == 200 - 65 + 0  # 3.5 s of frames, then 3 s
    assert a.video_windows == 200 - 35
    assert a.left_out == {"the drive ends before the window does": 65}
    assert n.commands("horizon_3s").tolist() == [135, 135, 0, 0]
    assert n.commands("reference").tolist() == [0, 0, 270, 0]  # 0.6 s ahead: 0.2 m to the side
    assert n.commands("recorded").tolist() == [0, 0, 270, 0]
    left = n.motion.yaw_rate.seconds[n.motion.yaw_rate.edges[:-1] >= 0.0].sum()
    assert left == pytest.approx(19.9)
    assert n.motion.curvature.share(0.04, 0.06) + n.motion.curvature.share(-0.06, -0.04) == pytest.approx(1.0)
    assert n.motion.speed.share(4.5, 5.5) == pytest.approx(1.0)
    assert n.motion.speed_scale == pytest.approx(1.0, abs=2e-3)
    assert a.path_m is not None
    assert a.path_m[:, 1].max() == pytest.approx(40.0, abs=0.1)
    assert b.path_m is not None
    assert b.path_m[:, 1].min() == pytest.approx(-40.0, abs=0.1)
    assert n.futures.sum() == 270 * 6
    assert n.codes.counts.sum() == 400 * 12
    assert n.codes.perplexity > 60
    assert said(circle(), circle("b", radius_m=-20.0)).count(". ") == 0  # only that the rules differ


def test_of_advised_drives_what_was_advised_is_looked_at() -> None:
    drive = circle(n=80)  # goes left; advised: on to the east, of which nothing is known for the last fifth; told to turn right
    advice = drive.position_m[:, None, :2] + np.stack([2.0 * np.arange(1, 7), np.zeros(6)], axis=-1)
    advice[64:] = np.nan
    n = numbers(replace(drive, advice_m=advice, command=np.zeros(80, np.int8)))
    (d,) = n.drives
    assert (d.windows, d.advised) == (80 - 35, 64 - 35)  # nothing has to be driven after the newest frame
    assert n.futures.sum() == (64 - 35) * 6
    assert n.rules == ("recorded",)
    assert n.commands(n.rule).tolist() == [45, 0, 0, 0]
    text = " ".join(f.text for f in findings(MANIFEST, n))
    assert "29 of 45 windows (64%) have advice" in text
    assert "Windows that are told to turn: 45 to the right, 0 to the left" in text


@pytest.mark.parametrize("lever", [1.4, -1.4, 0.0])
def test_where_the_poses_lie_on_the_vehicle_shows_in_turns(lever: float) -> None:
    assert numbers(circle(lever_m=lever)).motion.lever_m == pytest.approx(lever, abs=0.02)
    assert ("1.4 m ahead of" in said(circle(lever_m=lever))) == (lever > 0)
    assert ("1.4 m behind" in said(circle(lever_m=lever))) == (lever < 0)
    assert numbers(circle(radius_m=np.inf)).motion.lever_m is None


def test_what_is_odd_is_said() -> None:
    usual = circle()
    frozen = usual.tokens.copy()
    frozen[50:70] = frozen[50]
    no_pose = np.full_like(usual.position_m, np.nan), np.full_like(usual.rotation_wxyz, np.nan)
    later = usual.stamp_ns.copy()
    later[100:] += 2 * 10**9
    odd = {
        "recorded speed is 3.60 times": replace(usual, speed_mps=usual.speed_mps * np.float32(3.6)),
        "differ by 0.8 m/s": replace(usual, speed_mps=usual.speed_mps + np.where(np.arange(200) % 8 < 4, 1.0, -1.0).astype(np.float32)),
        "a picture that froze": replace(usual, tokens=frozen),
        "Without poses: 1 of 1 drives": replace(usual, position_m=no_pose[0], rotation_wxyz=no_pose[1]),
        "Gaps in time: 1, in 1 of 1 drives; the longest 2.1 s": replace(usual, stamp_ns=later),
        "Pictures of resize:640x480 were only resized": replace(usual, camera_id="resize:640x480"),
        "1 of 64 codes occur": replace(usual, tokens=np.zeros_like(usual.tokens)),
        "usually 0.20 s apart, a window wants them at 0.5 s": circle(hz=5.0),
        "Driving backwards 100%": circle(radius_m=np.inf, mps=-3.0),
        "Standing 100%": circle(radius_m=np.inf, mps=0.0),
        "Only 0.0% of the windows turn": circle(radius_m=np.inf),
        "Windows that turn within 3 s: 135 to the left, 0 to the right": usual,
        "No window of 8 frames": circle(n=20),
        "No window has poses to the end": circle(n=40),
    }
    clean = said(usual, circle("b", radius_m=-20.0))
    for text, rows in odd.items():
        assert text in said(rows)
        assert text not in clean


def write(folder: Path, *drives: DriveRows) -> Path:
    with TokenWriter(
        folder, name="made <set>", source="test", licence="CC BY 4.0", domain="real", tokenizer_id="vq16-x", tokenizer={}, canonical_camera={}, grid_hw=GRID,
        codebook_size=CODES, git_revision="abc",
    ) as writer:  # fmt: skip
        for rows in drives:
            writer.write(rows, [Skipped(what=f"{rows.name}: 3 frames", why="no pose & <no> picture")])
        writer.finish()
    return folder


def test_the_page_needs_nothing_else_and_says_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "set", circle("first"), circle("second", radius_m=-30.0), circle("third", n=30, seed=2))
    assert main(["data", "check", "--path", str(folder), "--out", str(tmp_path / "page" / "set.html")]) == 0
    printed = capsys.readouterr().out
    assert "3 drives, 430 frames" in printed
    html = (tmp_path / "page" / "set.html").read_text()
    assert list((tmp_path / "page").iterdir()) == [tmp_path / "page" / "set.html"]
    assert not re.search(r'(src|href)="(?!data:)', html)
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL))
    for part in (
        "made &lt;set&gt;",
        "CC BY 4.0",
        "vq16-x, 64 codes",
        "no pose &amp; &lt;no&gt; picture",
        "second: 3 frames",
        "third",
        "the drive ends before the window does",
    ):
        assert part in text
    assert html.count('<img src="data:image/jpeg') == 3 * 8
    assert html.count('<img src="data:image/png') == 9
    assert TokenDataset.open(folder).manifest.digest in text
    only = tmp_path / "one.html"
    assert main(["data", "check", "--path", str(folder), "--out", str(only), "--drives", "1", "--frames", "3"]) == 0
    assert "1 of 3 drives, evenly chosen" in only.read_text()
    assert "Video: 3 frames" in only.read_text()


def test_a_set_of_video_only_has_a_page_too(tmp_path: Path) -> None:
    video = replace(circle(), position_m=np.full((200, 3), np.nan), rotation_wxyz=np.full((200, 4), np.nan), speed_mps=np.full(200, np.nan, np.float32))
    assert main(["data", "check", "--path", str(write(tmp_path / "set", video)), "--out", str(tmp_path / "set.html")]) == 0
    html = (tmp_path / "set.html").read_text()
    assert html.count('<img src="data:image/png') == 2
    assert "no poses (video only)" in html


def test_a_damaged_set_has_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "set", circle())
    shard = folder / "shard-00000.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    assert main(["data", "check", "--path", str(folder), "--out", str(tmp_path / "set.html")]) == 2
    assert "the file is damaged" in capsys.readouterr().err
    assert not (tmp_path / "set.html").exists()


def test_frames_are_decoded_by_the_tokenizer_that_made_them(
    tmp_path: Path, model_dir: Path, make_bag: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--path", str(make_bag(tmp_path / "bag.mcap")), "--tokenizer", str(model_dir), "--out", str(tmp_path / "set"), "--licence", "test"]
    assert main(["data", "import", *arguments]) == 0
    page = ["--out", str(tmp_path / "set.html"), "--tokenizer", str(model_dir)]
    assert main(["data", "check", "--path", str(tmp_path / "set"), *page]) == 0
    assert "Decoded from their tokens by vq16-" in (tmp_path / "set.html").read_text()
    assert main(["data", "check", "--path", str(write(tmp_path / "other", circle())), *page]) == 2
    assert "give the one that made them" in capsys.readouterr().err
