"""Checkpoints: all that a run needs to go on (torch's distributed format, for any number of processes) and the weights alone, as safetensors.

    RUN/checkpoints/step_00001000/state/  weights.safetensors  meta.json
    RUN/latest                            the newest whole one
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_state_dict, set_state_dict

from vavam_ros.core.artifact.tensor_files import write_tensors
from vavam_training.contracts import ResumeError
from vavam_training.loop.processes import Processes

LATEST, FOLDER, WEIGHTS, META, STATE = "latest", "checkpoints", "weights.safetensors", "meta.json", "state"
BEGAN = "began_with"  # in meta.json: what the card says of the model directory that the run began with; None: with something else


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run; None before the first. Raises ResumeError where the pointer leads nowhere."""
    pointer = run / LATEST
    if not pointer.exists():
        return None
    found = run / FOLDER / pointer.read_text(encoding="utf-8").strip()
    if not (found / META).exists():
        raise ResumeError(f"{pointer} names {found.name}, which is not whole; write the name of another folder of {run / FOLDER} into it, or remove it")
    return found


def read_meta(checkpoint: Path) -> dict[str, Any]:
    """meta.json. Raises ResumeError where it cannot be read."""
    try:
        meta = json.loads((checkpoint / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(f"{checkpoint / META}: {error}; expected a checkpoint's description") from error
    if not isinstance(meta, dict):
        raise ResumeError(f"{checkpoint / META}: got {type(meta).__name__}, expected a checkpoint's description")
    return meta


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's state, gathered from all processes, on the CPU; empty but on the first. All must ask."""
    state = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}  # on a CPU it would be the weights themselves


def save(
    run: Path,
    step: int,
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    ema: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    processes: Processes,
    keep: int,
) -> Path:
    """Write a checkpoint beside the others and point to it; older than the newest `keep` are removed. `weights` count on the first process only."""
    name = f"step_{step:08d}"
    part, done = run / FOLDER / f"{name}.partial", run / FOLDER / name
    if processes.first:
        for left in (part, done):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir(parents=True)
    processes.wait()
    with _alone_is_meant():
        state_dict_saver.save(_state(module, optimizers) | {"ema": dict(ema)}, checkpoint_id=str(part / STATE), no_dist=processes.control is None)
    if processes.first:
        write_tensors(part / WEIGHTS, {k: v.contiguous() for k, v in weights.items()})
        (part / META).write_text(json.dumps(dict(meta), indent=1), encoding="utf-8")
        part.rename(done)
        pointer = run / f"{LATEST}.partial"
        pointer.write_text(name + "\n", encoding="utf-8")
        os.replace(pointer, run / LATEST)
        for old in sorted((run / FOLDER).glob("step_*"))[:-keep]:
            if old.name != name:
                shutil.rmtree(old)
    processes.wait()
    return done


def load(checkpoint: Path, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], ema: dict[str, Tensor], processes: Processes) -> None:
    """Fill module, optimisers and moving average. Raises ResumeError where the checkpoint is of something else."""
    state = _state(module, optimizers) | {"ema": ema}  # the average's own tensors: filled in place
    try:
        with _alone_is_meant():
            state_dict_loader.load(state, checkpoint_id=str(checkpoint / STATE), no_dist=processes.control is None)
    except (CheckpointException, RuntimeError, KeyError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise ResumeError(f"{checkpoint}: not a state of this run's model and optimisers: {reason}") from error
    set_state_dict(module, list(optimizers), model_state_dict=state["model"], optim_state_dict=state["optim"])


@contextmanager
def _alone_is_meant() -> Iterator[None]:
    """Torch warns wherever one process saves; that it is one is no accident here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*assuming the intent is to (save|load) in a single process.*")
        yield


def _state(module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    model, optim = get_state_dict(module, list(optimizers))
    return {"model": model, "optim": optim}
