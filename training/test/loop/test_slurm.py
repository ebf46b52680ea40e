"""A job on a cluster goes on where it was told to stop, and only there: the script with stand-ins for SLURM's commands, and its sign with torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

SCRIPT = Path(__file__).resolve().parents[2] / "runs" / "slurm.sh"

# What srun was asked is kept; a run that is stopped writes the file that it was told of, and torchrun's 1 is what comes back.
SRUN = """#!/bin/sh
echo "$@" > asked
echo "$TORCH_ELASTIC_SHUTDOWN_TIMEOUT" > patience
for word; do file=$word; done
[ -n "$STOPS" ] && echo "of 3 steps" > "$file"
exit "$STATUS"
"""
SCONTROL = """#!/bin/sh
[ "$1" = show ] && echo node-7 && echo node-8
[ "$1" = requeue ] && echo "$2" >> requeued
exit 0
"""


def submitted(folder: Path, *more: str, status: int, stops: bool = False) -> int:
    """Status of the script's job 42, in a folder that holds the recipe's run with a checkpoint."""
    for name, content in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    (folder / "recipe.yaml").write_text("out: run\n")
    for run in ("run", "other"):
        (folder / run).mkdir(exist_ok=True)
        (folder / run / "latest").write_text("step_00000003\n")
    slurm = {"SLURM_JOB_ID": "42", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node-[7-8]", "STATUS": str(status), "STOPS": "yes" if stops else ""}
    environment = os.environ | slurm | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(["bash", str(SCRIPT), "recipe.yaml", *more], cwd=folder, env=environment, check=False, timeout=60).returncode


@pytest.mark.parametrize("more", [(), ("--out", "other"), ("--set", "out=other"), ("--set", "out=new")])
def test_a_job_that_was_stopped_is_put_into_the_queue_again(tmp_path: Path, more: tuple[str, ...]) -> None:
    assert submitted(tmp_path, *more, status=1, stops=True) == 75
    assert (tmp_path / "requeued").read_text() == "42\n"
    assert not (tmp_path / "slurm-42.stopped").exists()
    asked = (tmp_path / "asked").read_text().split()
    at = asked.index("vavam_training.cli.main")
    assert asked[at + 1 :] == ["train", "recipe.yaml", *more, "--stopped", str(tmp_path / "slurm-42.stopped")]
    assert "node-7:29500" in asked
    assert 30 < int((tmp_path / "patience").read_text()) < 300  # longer than torchrun's, shorter than SLURM's


@pytest.mark.parametrize("status", [0, 1, 2, 137])
def test_a_job_that_ended_otherwise_is_not(tmp_path: Path, status: int) -> None:
    (tmp_path / "slurm-42.stopped").write_text("of an earlier time\n")
    assert submitted(tmp_path, status=status) == status
    assert not (tmp_path / "requeued").exists()


def train(folder: Path, *more: str) -> tuple[int, str]:
    """Status of two processes that train for a moment, and what they said."""
    v = tiny.SPEC.video
    model = {"preset": "small", "video": asdict(v)}
    loop: dict[str, Any] = {"steps": 4, "batch_size": 4, "workers": 0, "log_every": 1, "save_every": 10, "held_out_every": 0, "pictures_every": 0}
    loop["players"] = {"model": {"schedule": {"lr": 1e-3, "total_steps": 4}}}
    tokens = tiny.token_set(folder / "set", grid_hw=(v.grid_h, v.grid_w), codebook_size=v.vocabulary - 1)
    recipe = {"stage": "pretrain", "out": str(folder / "run"), "model": model, "data": {"parts": [{"name": "made", "path": str(tokens)}]}, "loop": loop}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vavam_training.cli.main"]
    words = [*torchrun, "train", str(folder / "recipe.yaml"), "--stopped", str(folder / "stopped"), *more]
    told = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(words, env=told, check=False, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return ended.returncode, ended.stdout


def test_torchrun_hides_the_status_but_not_the_file(tmp_path: Path) -> None:
    status, said = train(tmp_path, "--out", str(tmp_path / "other"), "--set", "loop.max_minutes=1e-6")
    assert status == 1
    assert "exitcode  : 75" in said
    assert (tmp_path / "stopped").read_text() == f"{tmp_path / 'other'}: step 1\n"
    assert (tmp_path / "other" / "latest").read_text() == "step_00000001\n"
    assert (tmp_path / "other" / "index.html").is_file()


def test_what_fails_leaves_none(tmp_path: Path) -> None:
    status, said = train(tmp_path, "--set", "loop.players.model.schedule.lr=1e30")
    assert status == 1
    assert "expected finite numbers" in said
    assert not (tmp_path / "stopped").exists()
