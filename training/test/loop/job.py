"""What the processes of a test's job do: python job.py FOLDER STEPS STRATEGY [die-at-step | slow]."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny
from torch import nn

from vavam_training.contracts import Batch, LossTerms
from vavam_training.loop.processes import joined
from vavam_training.loop.train import train
from vavam_training.stages.video import VideoOptions, VideoStage


class Mortal(VideoStage):
    """A stage whose last process is killed, or that takes its time."""

    def loss(self, module: nn.Module, batch: Batch, generator: Any, player: str, step: int) -> LossTerms:
        what = sys.argv[4] if len(sys.argv) > 4 else ""
        if what == "slow":
            time.sleep(0.05)
        elif what and step == int(what) and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(module, batch, generator, player, step)


folder, steps, strategy = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with joined("cpu") as processes:
    stage = Mortal(tiny.SPEC, VideoOptions(init_std=0.1, zero_query=False), seed=1)
    outcome = train(folder, stage, tiny.mixture(), tiny.mixture(seed=9), tiny.config(steps, strategy=strategy), processes)
sys.exit(0 if outcome.finished else 75)
