"""A run that is interrupted, or shared, is the run that is neither."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from vavam_ros.core.contracts import ConfigError
from vavam_training.contracts import Picture, ResumeError, TrainingError
from vavam_training.loop import checkpoints
from vavam_training.loop.config import PlayerConfig
from vavam_training.loop.page import write_page
from vavam_training.loop.processes import Processes
from vavam_training.loop.schedule import ScheduleConfig
from vavam_training.loop.train import Outcome, train
from vavam_training.loop.watch import Watch, read_metrics
from vavam_training.stages.action import ActionOptions, ActionStage
from vavam_training.stages.video import VideoOptions, VideoStage

ALONE = Processes(device=torch.device("cpu"))
JOB = Path(__file__).with_name("job.py")


def video_stage() -> VideoStage:
    return VideoStage(tiny.SPEC, VideoOptions(init_std=0.1, zero_query=False), seed=1)


def run(folder: Path, steps: int, **changes: object) -> Outcome:
    return train(folder, video_stage(), tiny.mixture(), tiny.mixture(seed=9), tiny.config(steps, **changes), ALONE)


def losses(folder: Path) -> list[float]:
    return [m["loss"] for m in read_metrics(folder) if "loss" in m]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = checkpoints.latest(folder)
    assert found is not None
    return load_file(found / checkpoints.WEIGHTS)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def job(folder: Path, steps: int, strategy: str, processes: int, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*torchrun, str(JOB), str(folder), str(steps), strategy, *more]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_it_learns_and_writes_what_people_look_at(tmp_path: Path) -> None:
    outcome = run(tmp_path, 60, save_every=60, held_out_every=30)
    assert outcome.finished
    course = losses(tmp_path)
    assert len(course) == 60
    assert course[-1] < 0.5 * course[0]
    held_out = [m["held_out/loss"] for m in read_metrics(tmp_path) if "held_out/loss" in m]
    assert len(held_out) == 2
    assert held_out[1] < held_out[0]
    newest = read_metrics(tmp_path)[-2]
    assert newest["samples"] == 60 * 8
    assert newest["tokens"] == 60 * 8 * 18
    assert newest["tokens_per_s"] > 0
    assert newest["mfu"] > 0
    assert list((tmp_path / "tensorboard").iterdir())
    page = (tmp_path / "index.html").read_text()
    assert "bits_per_token" in page
    assert page.count("data:image/png") >= 3
    assert json.loads((outcome.checkpoint / "meta.json").read_text())["spec"] == tiny.SPEC.to_dict()
    assert all(name.startswith("video.") for name in weights(tmp_path))


def test_the_page_says_what_its_pictures_show(tmp_path: Path) -> None:
    identity = {"stage": "tokenizer", "seed": 0, "batch_size": 2, "data": "d"}
    (tmp_path / "run.json").write_text(json.dumps({"identity": identity, "revision": None, "torch": "2"}))
    watch = Watch(tmp_path, "tokenizer", 0, 2, peak_flops=0.0)
    watch.log(1, {"loss": 40.0}, samples=2, tokens=8, seconds=1.0, window_tokens=8, window_flops=0.0)
    watch.log(2, {"loss": 4.0}, samples=4, tokens=16, seconds=1.0, window_tokens=8, window_flops=0.0)
    said = "Above: pictures — below: what is left; 10 × smaller."
    watch.pictures(2, [Picture(name="reconstruction", rgb=np.zeros((4, 4, 3), np.uint8), caption=said), Picture(name="mute", rgb=np.ones((4, 4, 3), np.uint8))])
    watch.close()
    page = write_page(tmp_path).read_text(encoding="utf-8")
    assert said in page
    assert page.count("after 2 steps</figcaption>") == 2
    assert "MFU" not in page  # of a stage whose operations are not counted
    assert "tokens/s" in page


def test_a_run_that_goes_on_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 3)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 4, "samples": 99, "tokens": 9, "loss": 1.0}\n{"ste')  # of steps that were lost in a kill
    run(tmp_path / "parts", 6, workers=1)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    assert [p.name for p in sorted((tmp_path / "parts" / "checkpoints").iterdir())] == ["step_00000003", "step_00000006"]


def test_the_moving_average_is_what_is_written_and_goes_on_too(tmp_path: Path) -> None:
    run(tmp_path / "whole", 6, ema=0.9)
    run(tmp_path / "parts", 3, ema=0.9)
    run(tmp_path / "parts", 6, ema=0.9)
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    run(tmp_path / "plain", 6)
    assert losses(tmp_path / "plain") == losses(tmp_path / "whole")
    assert not same(weights(tmp_path / "plain"), weights(tmp_path / "whole"))
    with pytest.raises(ResumeError, match="not a state of this run"):
        run(tmp_path / "plain", 8, ema=0.9)


def test_micro_batches_add_up(tmp_path: Path) -> None:
    run(tmp_path / "two", 4)
    run(tmp_path / "eight", 4, micro_batch=8)
    torch.testing.assert_close(torch.tensor(losses(tmp_path / "two")), torch.tensor(losses(tmp_path / "eight")), rtol=1e-5, atol=0)


COMPILER = os.environ.get("CXX", "g++")  # that torch.compile calls on a CPU


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"torch.compile needs a C++ compiler on a CPU, and there is no {COMPILER}")
@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")  # inductor's own
def test_compiled_it_learns_the_same(tmp_path: Path) -> None:
    spec = replace(tiny.SPEC, video=replace(tiny.SPEC.video, layers=1))  # its kernels take the C++ compiler most of the time
    torch.compiler.reset()
    counters.clear()
    for name in ("as_written", "compiled"):
        stage = VideoStage(spec, VideoOptions(init_std=0.1, zero_query=False), seed=1)
        train(tmp_path / name, stage, tiny.mixture(), tiny.mixture(seed=9), tiny.config(3, compile=name == "compiled"), ALONE)
    a, b = (torch.tensor([m.get("loss", m.get("held_out/loss")) for m in read_metrics(tmp_path / name)]) for name in ("as_written", "compiled"))
    assert len(a) == 4  # steps, and what is held out
    torch.testing.assert_close(b, a, rtol=1e-5, atol=0)
    assert weights(tmp_path / "compiled").keys() == weights(tmp_path / "as_written").keys()
    for key, value in weights(tmp_path / "as_written").items():
        torch.testing.assert_close(weights(tmp_path / "compiled")[key], value, rtol=1e-3, atol=1e-5)
    assert 0 < counters["stats"]["unique_graphs"] < 4  # with gradients and without: not one for each step or seed


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(tmp_path: Path, strategy: str) -> None:
    run(tmp_path / "one", 6)
    shared = job(tmp_path / "two", 4, strategy, 2)
    output, _ = shared.communicate(timeout=120)
    assert shared.returncode == 0, output
    goes_on = job(tmp_path / "two", 6, strategy, 2)
    output, _ = goes_on.communicate(timeout=120)
    assert goes_on.returncode == 0, output
    torch.testing.assert_close(torch.tensor(losses(tmp_path / "two")), torch.tensor(losses(tmp_path / "one")), rtol=1e-5, atol=0)
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-3, atol=1e-5)


def test_what_two_processes_began_one_ends(tmp_path: Path) -> None:
    run(tmp_path / "one", 6)
    shared = job(tmp_path / "two", 3, "fsdp2", 2)
    output, _ = shared.communicate(timeout=120)
    assert shared.returncode == 0, output
    run(tmp_path / "two", 6)
    torch.testing.assert_close(torch.tensor(losses(tmp_path / "two")), torch.tensor(losses(tmp_path / "one")), rtol=1e-5, atol=0)


def test_sigterm_ends_with_a_checkpoint_and_nothing_is_lost(tmp_path: Path) -> None:
    run(tmp_path / "whole", 40, save_every=1000)
    command = [sys.executable, str(JOB), str(tmp_path / "parts"), "40", "auto", "slow"]
    told = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while len(read_metrics(tmp_path / "parts")) < 5:
        assert told.poll() is None, told.communicate()[0]
        time.sleep(0.05)
    told.send_signal(signal.SIGTERM)
    output, _ = told.communicate(timeout=60)
    assert told.returncode == 75, output
    at = checkpoints.latest(tmp_path / "parts")
    assert at is not None
    assert 5 <= checkpoints.read_meta(at)["step"] < 40
    run(tmp_path / "parts", 40)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def test_a_process_that_dies_ends_the_job_with_its_reason(tmp_path: Path) -> None:
    dying = job(tmp_path, 40, "ddp", 2, "2")
    output, _ = dying.communicate(timeout=120)
    assert dying.returncode not in (0, 75)
    assert "Signal 9 (SIGKILL)" in output
    assert "rank      : 1" in output


def test_a_slice_of_time_ends_with_a_checkpoint(tmp_path: Path) -> None:
    outcome = run(tmp_path, 50, max_minutes=1e-6)
    assert not outcome.finished
    assert outcome.step == 1
    assert (tmp_path / "latest").read_text() == "step_00000001\n"


def test_another_run_s_folder(tmp_path: Path) -> None:
    run(tmp_path, 1)
    with pytest.raises(ResumeError, match=r"holds another run: seed 4 is 0 there"):
        run(tmp_path, 2, seed=4)
    stage = ActionStage(tiny.SPEC, ActionOptions(), seed=1)
    with pytest.raises(ResumeError, match="stage 'action' is 'pretrain' there"):
        train(tmp_path, stage, tiny.mixture(labelled=True), None, tiny.config(2), ALONE)


def test_a_checkpoint_that_is_not_whole(tmp_path: Path) -> None:
    outcome = run(tmp_path, 3)
    (outcome.checkpoint / "meta.json").unlink()
    with pytest.raises(ResumeError, match="which is not whole"):
        run(tmp_path, 6)


def test_a_loss_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    player = PlayerConfig(schedule=ScheduleConfig(lr=1e30, total_steps=12))
    bad = tiny.config(3, players={"model": player})
    with pytest.raises(TrainingError, match="expected finite numbers"):
        train(tmp_path, video_stage(), tiny.mixture(), None, bad, ALONE)
    assert checkpoints.latest(tmp_path) is None


def test_settings_that_cannot_be_meant() -> None:
    for changes, match in (({"precision": "fp8"}, "precision 'fp8'"), ({"steps": 0}, "got 0 steps"), ({"keep": 0}, "loop.keep")):
        with pytest.raises(ConfigError, match=match):
            tiny.config(**changes)  # type: ignore[arg-type]
