"""`vavam-train data import`: bags to a token set; killed and started again, by one process or two, the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vavam_ros.bags import BagReader
from vavam_ros.core.artifact.directory import load_tokenizer
from vavam_ros.core.camera import CANONICAL_CAMERAS, CameraModel, ViewTransform, to_model_input
from vavam_ros.replay import messages
from vavam_training.cli.main import main
from vavam_training.contracts import DataError, DriveRef, Frame
from vavam_training.dataset import TokenDataset
from vavam_training.tokenizing.encode import DriveEncoder
from vavam_training.tokenizing.share import Share

Bag = Callable[..., Path]


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory, make_bag: Bag) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for i in range(3):
        make_bag(folder / f"drive-{i}.mcap", pictures=4 + i)
    return folder


def arguments(bags: Path, model: Path, out: Path, *more: str) -> list[str]:
    return ["data", "import", "--path", str(bags), "--tokenizer", str(model), "--out", str(out), "--licence", "test", "--name", "set", "--batch", "3", *more]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_tokens_are_those_of_cores_own_transform_and_tokenizer(tmp_path: Path, bags: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(bags, model_dir, tmp_path / "set")) == 0
    assert "3 drives, 15 frames" in capsys.readouterr().out
    dataset = TokenDataset.open(tmp_path / "set")
    manifest = dataset.manifest
    tokenizer = load_tokenizer(model_dir, "cpu")
    assert (manifest.tokenizer_id, manifest.grid_hw, manifest.codebook_size) == (tokenizer.tokenizer_id, (2, 4), 32)
    assert manifest.canonical_camera["name"] == "world_front"
    with BagReader(bags / "drive-0.mcap") as reader:
        rgb = [messages.image_from(reader.decode(m), m.type_name).rgb for m in reader.messages(["/cam/image"])]
        info = reader.decode(next(reader.messages(["/cam/camera_info"])))
    mounted: CameraModel = messages.camera_from(info, CANONICAL_CAMERAS["world_front"].mount.T_ego_camera)
    view = ViewTransform(CANONICAL_CAMERAS["world_front"], (32, 64), source=mounted)
    expected = np.stack([tokenizer.encode(to_model_input(view(p), torch.device("cpu"), torch.float32))[0].numpy() for p in rgb])
    rows = dataset.rows(0)
    assert rows.camera_id == "world_front"
    assert len(np.unique(expected)) > 3
    assert np.array_equal(rows.tokens, expected)
    assert main(["data", "verify", "--path", str(tmp_path / "set")]) == 0


def test_killed_at_any_moment_and_started_again_gives_identical_files(tmp_path: Path, bags: Path, model_dir: Path) -> None:
    assert main(arguments(bags, model_dir, tmp_path / "once")) == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "vavam_training.cli.main", *arguments(bags, model_dir, out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("parts/*.arrow")) and not (out / "manifest.json").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode in (-signal.SIGKILL, 0)
    assert main(arguments(bags, model_dir, out)) == 0
    assert files(out) == files(tmp_path / "once")
    before = files(out)
    assert main(arguments(bags, model_dir, out)) == 0  # nothing left to do
    assert files(out) == before


def test_two_processes_under_torchrun_give_the_files_of_one(tmp_path: Path, bags: Path, model_dir: Path) -> None:
    assert main(arguments(bags, model_dir, tmp_path / "one")) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vavam_training.cli.main"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *arguments(bags, model_dir, tmp_path / "two")], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.fixture
def spoilt(tmp_path: Path, make_bag: Bag) -> Callable[[int], Path]:
    """A folder with a good bag, and one with zeros from some bytes before its middle picture on."""

    def make(before: int) -> Path:
        folder = tmp_path / "bags"
        folder.mkdir()
        make_bag(folder / "good.mcap")
        data = bytearray(make_bag(folder / "spoilt.mcap").read_bytes())
        at = data.index(b"\xff\xd8\xff", len(data) // 2) - before
        data[at : at + 100] = bytes(100)
        (folder / "spoilt.mcap").write_bytes(data)
        return folder

    return make


def test_a_picture_that_cannot_be_decoded_is_listed(tmp_path: Path, model_dir: Path, spoilt: Callable[[int], Path]) -> None:
    assert main(arguments(spoilt(0), model_dir, tmp_path / "set")) == 0
    manifest = TokenDataset.open(tmp_path / "set").manifest
    assert [(d.name, d.frames) for d in manifest.drives] == [("good", 8), ("spoilt", 7)]
    assert [s.what.split(" from")[0] for s in manifest.skipped] == ["spoilt: 1 frames"]
    assert "not decodable" in manifest.skipped[0].why


def test_a_drive_that_cannot_be_used_stops_the_import_or_is_listed(
    tmp_path: Path, model_dir: Path, spoilt: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bags, out = spoilt(300), tmp_path / "set"  # in the camera_info before the picture
    assert main(arguments(bags, model_dir, out)) == 2
    assert "drive 'spoilt': camera" in capsys.readouterr().err
    assert not (out / "manifest.json").exists()
    assert main(arguments(bags, model_dir, out, "--skip-bad")) == 0
    manifest = TokenDataset.open(out).manifest
    assert [d.name for d in manifest.drives] == ["good"]
    assert [s.what for s in manifest.skipped] == ["spoilt"]


def test_what_is_missing_is_asked_for(tmp_path: Path, bags: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "import", "--path", str(bags), "--tokenizer", str(model_dir), "--out", str(tmp_path / "x")]) == 2
    assert "give --licence" in capsys.readouterr().err
    assert main(["data", "import", "--path", str(bags), "--out", str(tmp_path / "x"), "--licence", "test"]) == 2
    assert "give the tokenizer that encodes the pictures" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_recorded_tokens_need_no_tokenizer(tmp_path: Path, token_bag: Callable[..., Path]) -> None:
    (tmp_path / "bags").mkdir()
    token_bag(tmp_path / "bags" / "t.mcap", [1, 1, 2])
    (tmp_path / "bags" / "broken.mcap").write_bytes(b"no bag")
    assert main(["data", "import", "--path", str(tmp_path / "bags"), "--out", str(tmp_path / "set"), "--licence", "test", "--skip-bad"]) == 0
    dataset = TokenDataset.open(tmp_path / "set")
    assert (dataset.manifest.tokenizer_id, dataset.manifest.grid_hw, dataset.manifest.codebook_size) == ("vq16-x", (2, 4), 32)
    assert dataset.drive_lengths == (2, 1)
    assert [s.what for s in dataset.manifest.skipped] == ["broken"]
    assert dataset.rows(1).tokens.tolist() == [[[2] * 4] * 2]


def test_encoder_refuses_what_it_cannot_label(model_dir: Path) -> None:
    tokenizer = load_tokenizer(model_dir, "cpu")
    encoder = DriveEncoder(tokenizer, CANONICAL_CAMERAS["world_front"], tokenizer_id=tokenizer.tokenizer_id, device=torch.device("cpu"))
    black = np.zeros((48, 96, 3), np.uint8)
    resized = encoder.rows(DriveRef(name="d", frames_expected=0), [Frame(stamp_ns=1, rgb=black)], "test")
    assert resized.camera_id == "resize:96x48"
    assert not resized.has_motion
    with pytest.raises(DataError, match="pictures of several sizes"):
        encoder.rows(DriveRef(name="d", frames_expected=0), [Frame(stamp_ns=1, rgb=black), Frame(stamp_ns=2, rgb=black[:40])], "test")
    with pytest.raises(DataError, match="no frame of it could be used"):
        encoder.rows(DriveRef(name="d", frames_expected=0), [], "test")
    with pytest.raises(DataError, match="its recorded tokens are of vq16-other"):
        encoder.rows(DriveRef(name="d", frames_expected=0, tokenizer_id="vq16-other"), [], "test")


def test_every_drive_goes_to_exactly_one_process() -> None:
    shares = [Share.from_environment({"RANK": str(r), "WORLD_SIZE": "3"}) for r in range(3)]
    assert sorted(i for s in shares for i in s.of(list(range(10)))) == list(range(10))
    with pytest.raises(DataError, match="RANK 3 of WORLD_SIZE 3"):
        Share.from_environment({"RANK": "3", "WORLD_SIZE": "3"})
