"""Trajectory pickles and token folders of the reference."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import fake_drives
import numpy as np
import pytest
import torch

from vavam_ros.core.contracts import ForeignPickleError
from vavam_training.cli.main import main
from vavam_training.contracts import NO_COMMAND, DataError
from vavam_training.dataset import TokenDataset
from vavam_training.sources import open_source
from vavam_training.tokenizing.encode import DriveEncoder
from vavam_training.windows import WindowSpec, find_windows, labels

START_US, GRID = 1_600_000_000_000_085, (18, 32)
GOLDEN = Path(__file__).resolve().parents[3] / "test" / "golden" / "vavam" / "ego_dataset.npz"


def write(root: Path, scenes: tuple[str, ...] = ("scene-00", "scene-01"), n: int = 5, camera: str = "CAM_FRONT") -> Path:
    """Rows in no order; every token of frame i is i."""
    rows = []
    for scene in scenes:
        for i in range(n):
            xyz, wxyz = fake_drives.pose(i * 0.5)
            file = f"{scene}/{camera}/{i:06d}.jpg"
            pose = {"ego_to_world_tran": xyz.tolist(), "ego_to_world_rot": np.asarray(wxyz) if i % 2 else wxyz.tolist()}
            rows.append({"scene": {"name": scene, "description": ""}, camera: {"timestamp": START_US + i * 500_000, "file_path": file, **pose}})
            tokens = root / "tokens" / file.replace(".jpg", ".npy")
            tokens.parent.mkdir(parents=True, exist_ok=True)
            np.save(tokens, np.full(GRID, i, np.uint16))
    np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
    (root / "data.pkl").write_bytes(pickle.dumps(rows))
    return root / "data.pkl"


def options(root: Path, **more: Any) -> dict[str, Any]:
    return {"token_root": root / "tokens", "tokenizer_id": "vq16-x", "licence": "test", **more}


def rewrite(path: Path, change: Any) -> None:
    rows = pickle.loads(path.read_bytes())
    rows.sort(key=lambda r: (r["scene"]["name"], r["CAM_FRONT"]["timestamp"]))
    path.write_bytes(pickle.dumps(change(rows) or rows))


def test_scenes_with_tokens_poses_and_speeds(tmp_path: Path) -> None:
    source = open_source("upstream", write(tmp_path), **options(tmp_path))
    drives = source.drives()
    assert [(d.name, d.frames_expected, d.tokenizer_id, d.codebook_size) for d in drives] == [
        ("scene-00", 5, "vq16-x", 16384),
        ("scene-01", 5, "vq16-x", 16384),
    ]
    frames = list(source.frames(drives[1]))
    assert [int(f.tokens[0, 0]) for f in frames if f.tokens is not None] == [0, 1, 2, 3, 4]
    for i, f in enumerate(frames):
        xyz, wxyz = fake_drives.pose(i * 0.5)
        assert f.stamp_ns == (START_US + i * 500_000) * 1000
        np.testing.assert_allclose(f.position_m, xyz)
        np.testing.assert_allclose(f.rotation_wxyz, wxyz)
        assert f.speed_mps == pytest.approx(fake_drives.SPEED_MPS, rel=0.02)
        assert f.command == NO_COMMAND
        assert f.tokens is not None
        assert (f.tokens.dtype, f.tokens.shape) == (np.uint16, GRID)
    assert source.skipped == []


def test_other_cameras_and_splits(tmp_path: Path) -> None:
    path = write(tmp_path, scenes=("a",), n=2, camera="CAM_F0")
    assert len(open_source("upstream", path, **options(tmp_path)).drives()) == 1
    with pytest.raises(DataError, match="rows have scene, CAM_F0, expected a camera CAM_B0"):
        open_source("upstream", path, **options(tmp_path, camera="CAM_B0"))
    path.write_bytes(pickle.dumps({"train": pickle.loads(path.read_bytes()), "val": []}))
    with pytest.raises(DataError, match="got split '', expected one of train, val"):
        open_source("upstream", path, **options(tmp_path))
    assert len(open_source("upstream", path, **options(tmp_path, split="train")).drives()) == 1


class Runs:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.victim}",)


def test_pickles_that_would_run_something_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, n=2)
    np.save(tmp_path / "tokens" / "scene-00" / "CAM_FRONT" / "000001.npy", np.array([Runs(tmp_path / "ran")], dtype=object), allow_pickle=True)
    source = open_source("upstream", path, **options(tmp_path))
    assert len(list(source.frames(source.drives()[0]))) == 1
    assert "allow_pickle=False" in source.skipped[0].why
    rewrite(path, lambda rows: [*rows, Runs(tmp_path / "ran")])
    with pytest.raises(ForeignPickleError, match=r"data\.pkl asks for posix\.system"):
        open_source("upstream", path, **options(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_used_is_listed(tmp_path: Path) -> None:
    def damage(rows: list[Any]) -> None:
        del rows[0]["CAM_FRONT"]["timestamp"]
        rows[2]["CAM_FRONT"]["ego_to_world_rot"] = [1.0, 0.0, 0.0]
        rows[3]["CAM_FRONT"]["file_path"] = "../../secret.jpg"

    path = write(tmp_path, scenes=("scene-00",), n=10)
    rewrite(path, damage)
    tokens = tmp_path / "tokens" / "scene-00" / "CAM_FRONT"
    (tokens / "000004.npy").unlink()
    (tokens / "000005.npy").write_bytes((tokens / "000005.npy").read_bytes()[:-5])
    np.save(tokens / "000006.npy", np.zeros((9, 16), np.uint16))
    np.save(tokens / "000007.npy", np.full(GRID, 16384, np.uint16))
    np.save(tokens / "000008.npy", np.zeros(GRID, np.float32))
    source = open_source("upstream", path, **options(tmp_path))
    assert [int(f.tokens[0, 0]) for f in source.frames(source.drives()[0]) if f.tokens is not None] == [1, 9]
    assert len(source.skipped) == 8
    said = " | ".join(s.why for s in source.skipped)
    for part in ("'timestamp'", "a pose of (3,) and (3,)", "leads out of the folder", "file is missing", "no array", "(9, 16)", "codebook of 16384", "float32"):
        assert part in said


def test_what_has_to_be_said(tmp_path: Path) -> None:
    path = write(tmp_path, n=1)
    with pytest.raises(DataError, match="of which tokenizer are the tokens"):
        open_source("upstream", path, token_root=tmp_path)
    with pytest.raises(DataError, match="got token_root None"):
        open_source("upstream", path, tokenizer_id="x")
    with pytest.raises(DataError, match="expected a trajectory pickle"):
        open_source("upstream", tmp_path / "none.pkl", **options(tmp_path))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"data\.pkl: .*copy or make it again"):
        open_source("upstream", path, **options(tmp_path))


def test_videos_without_trajectories(tmp_path: Path) -> None:
    for video in ("@abc", "def"):
        (tmp_path / video).mkdir()
        for i in (1, 2, 4):
            np.save(tmp_path / video / f"t_{i:06d}.npy", np.full((2, 4), i, np.uint16))
    source = open_source("upstream", tmp_path, tokenizer_id="x", grid_hw=[2, 4], videos=["-abc"])
    (drive,) = source.drives()
    assert (drive.name, drive.has_motion) == ("video_@abc", False)
    assert [(f.stamp_ns, f.position_m, int(f.tokens[0, 0])) for f in source.frames(drive) if f.tokens is not None] == [
        (0, None, 1), (100_000_000, None, 2), (300_000_000, None, 4),
    ]  # fmt: skip
    assert len(source.skipped) == 1


@pytest.mark.parametrize(("name", "camera"), [("nuscenes", "CAM_FRONT"), ("nuplan", "CAM_F0")])
def test_the_references_own_rows_give_its_own_positions(tmp_path: Path, name: str, camera: str) -> None:
    """test/golden/vavam/ego_dataset.npz, from a pickle of its rows to labels."""
    d = np.load(GOLDEN)
    rows = []
    for scene, stamp, tran, rot, file in zip(*(d[f"{name}.in.{k}"] for k in ("scene", "timestamp", "tran", "rot", "file_path")), strict=True):
        row = {"timestamp": int(stamp), "file_path": str(file), "ego_to_world_tran": tran.tolist(), "ego_to_world_rot": rot.tolist()}
        rows.append({"scene": {"name": str(scene)}, camera: row})
        tokens = tmp_path / "tokens" / str(file).replace(".jpg", ".npy")
        tokens.parent.mkdir(parents=True, exist_ok=True)
        np.save(tokens, np.zeros((1, 1), np.uint16))
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(rows))
    source = open_source("upstream", tmp_path / "data.pkl", **options(tmp_path, grid_hw=(1, 1)))
    encoder, spec = DriveEncoder(None, None, tokenizer_id="vq16-x", device=torch.device("cpu")), WindowSpec(command_rule="reference")
    found = [labels(r, find_windows(r, spec).index, spec) for d in source.drives() for r in [encoder.rows(d, source.frames(d), "upstream")]]
    np.testing.assert_allclose(np.concatenate([p for p, _ in found]), d[f"{name}.out.positions"], atol=1e-4, rtol=1e-5)
    assert np.array_equal(np.concatenate([c for _, c in found]), d[f"{name}.out.command"])


def test_import_to_a_token_set_without_encoding_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "import", "--source", "upstream", "--path", str(write(tmp_path)), "--out", str(tmp_path / "set"), "--licence", "CC BY-NC-SA 4.0"]
    assert main(arguments) == 2
    assert "of which tokenizer" in capsys.readouterr().err
    assert main([*arguments, "--option", f"token_root={tmp_path / 'tokens'}", "--option", "tokenizer_id=vq16-x"]) == 0
    dataset = TokenDataset.open(tmp_path / "set")
    assert (dataset.manifest.tokenizer_id, dataset.manifest.grid_hw, dataset.manifest.codebook_size) == ("vq16-x", GRID, 16384)
    assert dataset.drive_lengths == (5, 5)
    assert dataset.rows(1).tokens[3, 17, 31] == 3
    assert dataset.rows(1).has_motion
