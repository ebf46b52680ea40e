"""Other looks of the same drive: what changes is the light, never the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vavam_ros.core.contracts import U8
from vavam_training.cli.main import main
from vavam_training.contracts import DataError, DriveRef, Frame
from vavam_training.dataset import TokenDataset
from vavam_training.mixing.mixture import split_drives
from vavam_training.tokenizing.encode import DriveEncoder
from vavam_training.tokenizing.looks import Look, look_of

Bag = Callable[..., Path]


@pytest.fixture
def picture() -> U8:
    """A dark road with a bright line below a sky."""
    rgb = np.full((48, 64, 3), (120, 160, 220), np.uint8)
    rgb[24:] = (60, 60, 64)
    rgb[24:, 30:34] = (230, 230, 220)
    return rgb


def test_the_neutral_look_changes_nothing(picture: U8) -> None:
    assert np.abs(Look()(picture).astype(int) - picture).max() <= 2  # there and back through hues of eight bits


def test_each_change_goes_the_way_its_name_says(picture: U8) -> None:
    def mean(look: Look) -> float:
        return float(look(picture).mean())

    plain = mean(Look())
    assert mean(Look(gamma=1.4)) < plain < mean(Look(gamma=0.7))
    assert mean(Look(brightness=1.2)) > plain
    assert Look(contrast=0.5)(picture).std() < picture.std() < Look(contrast=1.3)(picture).std()
    assert np.ptp(Look(saturation=0.0)(picture), axis=-1).max() <= 2
    assert mean(Look(gains=(1.0, 1.0, 1.1))) > plain
    hazy = Look(haze=0.5)(picture).astype(int)
    assert hazy[30].mean() > picture[30].mean() + 20, "far away there is more haze"
    assert np.abs(hazy[-1] - picture[-1]).max() < np.abs(hazy[30] - picture[30]).max()
    assert np.abs(np.diff(Look(blur_px=1.5)(picture)[40].astype(int), axis=0)).max() < 120
    noisy = Look(noise=4.0)(picture)
    assert 2.0 < (noisy.astype(int) - picture).std() < 6.0
    assert np.array_equal(noisy, Look(noise=4.0)(picture))
    turned = Look(hue_deg=120.0)(picture)[0, 0]
    assert turned.argmax() != picture[0, 0].argmax()


def test_nothing_is_moved(picture: U8) -> None:
    for seed in range(20):
        seen = look_of(seed, "drive-000001")(picture).astype(float).mean(axis=-1)
        line, road = seen[36:, 31:33].mean(), seen[36:, :24].mean()
        assert line > road + 20.0, f"seed {seed}: the line is where it was, and still a line"


def test_a_look_is_of_seed_and_drive_alone() -> None:
    assert look_of(1, "a") == look_of(1, "a")
    assert len({look_of(seed, drive) for seed in range(4) for drive in ("a", "b", "c")}) == 12


def test_a_set_of_other_looks_has_the_same_drives_and_other_tokens(
    tmp_path: Path, make_bag: Bag, model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        make_bag(tmp_path / "bags" / f"drive-{i}.mcap", pictures=5)
    words = ["data", "import", "--path", str(tmp_path / "bags"), "--tokenizer", str(model_dir), "--licence", "test", "--name", "set"]
    for name, more in (("plain", []), ("one", ["--looks", "1"]), ("again", ["--looks", "1", "--batch", "2"]), ("two", ["--looks", "2"])):
        assert main([*words, "--out", str(tmp_path / name), *more]) == 0
    plain, one, again, two = (TokenDataset.open(tmp_path / name) for name in ("plain", "one", "again", "two"))
    assert [d.manifest.looks_seed for d in (plain, one, again, two)] == [None, 1, 1, 2]
    assert len({d.manifest.digest for d in (plain, one, two)}) == 3
    assert one.manifest.digest == again.manifest.digest
    for i in range(2):
        a, b = plain.rows(i), one.rows(i)
        assert a.name == b.name
        assert np.array_equal(a.stamp_ns, b.stamp_ns)
        assert np.array_equal(a.position_m, b.position_m)
        assert not np.array_equal(a.tokens, b.tokens)
        assert not np.array_equal(two.rows(i).tokens, b.tokens)
    assert split_drives(plain.drive_names, 0.5, 0) == split_drives(one.drive_names, 0.5, 0), "no drive is learned in one look and judged in another"
    assert main([*words, "--out", str(tmp_path / "one"), "--looks", "3"]) == 2
    assert "its looks_seed is 1, this import has 3" in capsys.readouterr().err


def test_recorded_tokens_have_no_other_look() -> None:
    encoder = DriveEncoder(None, None, tokenizer_id="vq16-a", device=torch.device("cpu"), looks_seed=1)
    recorded = [Frame(stamp_ns=1, tokens=np.zeros((2, 4), np.uint16))]
    with pytest.raises(DataError, match="its tokens were recorded, other looks need pictures"):
        encoder.rows(DriveRef(name="d", frames_expected=1, tokenizer_id="vq16-a"), recorded, "test")
