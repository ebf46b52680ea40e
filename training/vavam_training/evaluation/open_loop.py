"""Open loop: K sampled trajectories for each window of held-out drives, against what was driven.

minADE_k as in the reference (arXiv 2502.15672; vavam_ros.core.planning.metrics): the smallest mean distance of k samples, averaged over windows; newest frame
of each window only. The noise of a window is `plan_noise(seed, stamp of the newest frame)`: a function of seed and window alone, what the planner draws there.

Shape letters: N windows · B of them at a time · K samples · H waypoints · T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from vavam_ros.core.contracts import F32, F64, Command, ConfigError, EgoPose
from vavam_ros.core.model import VaVAM
from vavam_ros.core.model.flow import plan_noise
from vavam_ros.core.planning.metrics import ade_m, fde_m
from vavam_ros.core.planning.selection import select
from vavam_training.contracts import I64
from vavam_training.evaluation.baselines import carried_on, motion_before
from vavam_training.evaluation.calibration import energy_score_m
from vavam_training.evaluation.held_out import DriveWindows, HeldOut
from vavam_training.windows import labels

METRICS = (
    "min_ade_m", "min_fde_m", "ade_m", "fde_m", "medoid_ade_m", "medoid_fde_m", "energy_m",
    "cv_ade_m", "cv_fde_m", "ctrv_ade_m", "ctrv_fde_m", "medoid_minus_ctrv_ade_m", "energy_minus_ctrv_ade_m",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoopConfig:
    """`samples`: k. `steps`: Euler steps, None for the model's own. `batch`: windows at a time; the result does not depend on it but for rounding."""

    samples: int = 10
    steps: int | None = None
    seed: int = 0
    batch: int = 8

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch < 1 or (self.steps is not None and self.steps < 1):
            raise ConfigError(f"open loop: got {self.samples} samples, batches of {self.batch}, {self.steps} steps, expected one or more of each")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What was sampled and what was driven, in the ego frame of each window's newest frame, metres. Waypoint i is at (i + 1)·dt_s."""

    samples_m: F32  # (N, K, H, 2)
    truth_m: F32  # (N, H, 2)
    medoid: I64  # (N,) the sample that the planner would follow without a previous plan
    cv_m: F64  # (N, H, 2) constant velocity
    ctrv_m: F64  # (N, H, 2) constant turn rate
    speed_mps: F64  # (N,) from the poses before
    yaw_rate_radps: F64  # (N,)
    command: I64  # (N,)
    stamp_ns: I64  # (N,) of the newest frame
    drive: I64  # (N,) number in the evaluation
    part: I64  # (N,) number of the part
    dt_s: float

    @property
    def horizon(self) -> int:
        """H."""
        return int(self.truth_m.shape[1])


def predict(
    model: VaVAM, held_out: HeldOut, config: OpenLoopConfig, command_ids: Mapping[Command, int], device: torch.device, progress: Callable[[int], object]
) -> Predictions:
    """Sample trajectories for all windows. `progress` is told how many were done."""
    collected: list[dict[str, np.ndarray]] = []
    parts = held_out.parts
    for drive, index in held_out.batches(config.batch):
        positions, commands = labels(drive.rows, index, held_out.spec)
        truth, command, stamps = positions[:, -1], commands[:, -1], drive.rows.stamp_ns[index[:, -1]]
        samples = _sample(model, drive, index, command, stamps, config, command_ids, device)
        motion = motion_before(drive.rows, index[:, -1])
        cv, ctrv = carried_on(motion, held_out.spec.horizon, held_out.spec.waypoint_dt_s)
        collected.append({
            "samples_m": samples, "truth_m": truth, "cv_m": cv, "ctrv_m": ctrv, "command": command, "stamp_ns": stamps,
            "speed_mps": motion.speed_mps, "yaw_rate_radps": motion.yaw_rate_radps, "medoid": medoids(samples, held_out.spec.waypoint_dt_s),
            "drive": np.full(len(index), drive.number), "part": np.full(len(index), parts.index(drive.part)),
        })  # fmt: skip
        progress(len(index))
    whole = {name: np.concatenate([c[name] for c in collected]) for name in collected[0]}
    return Predictions(**whole, dt_s=held_out.spec.waypoint_dt_s)


@torch.inference_mode()
def _sample(
    model: VaVAM,
    drive: DriveWindows,
    index: I64,
    command: I64,
    stamps: I64,
    config: OpenLoopConfig,
    command_ids: Mapping[Command, int],
    device: torch.device,
) -> F32:
    """(B, K, H, 2) metres."""
    action, k = model.spec.action, config.samples
    tokens = torch.from_numpy(drive.rows.tokens[index].astype(np.int64)).to(device)
    noise = torch.stack([plan_noise(config.seed, int(s), (k, action.horizon, action.action_dim), device="cpu") for s in stamps]).to(device)
    codes = torch.tensor([command_ids[Command(int(c))] for c in command], device=device, dtype=torch.int64)
    sampled = model.sample(model.context(tokens), noise, codes[:, None].expand(-1, k), config.steps)
    found: F32 = sampled.float().cpu().numpy()
    return found


def medoids(samples_m: F32, dt_s: float) -> I64:
    """(N, K, H, 2) → (N,) what the planner's rule `medoid` selects."""
    nowhere = EgoPose(stamp_ns=0, odom_frame_id="", T_odom_ego=np.eye(4), linear_mps=np.zeros(3), angular_radps=np.zeros(3))  # that rule looks at no pose
    return np.array([select(s, "medoid", None, nowhere, dt_s).index for s in samples_m], np.int64).reshape(-1)


def errors(p: Predictions, waypoints: int | None = None) -> dict[str, F64]:
    """The METRICS of every window, (N,) each, over its first `waypoints` (None: all). minADE and minFDE choose among the samples over that time alone."""
    h = p.horizon if waypoints is None else waypoints
    samples, truth = p.samples_m[:, :, :h].astype(np.float64), p.truth_m[:, :h].astype(np.float64)
    chosen = samples[np.arange(len(samples)), p.medoid]
    ades, fdes = ade_m(samples, truth[:, None]), fde_m(samples, truth[:, None])
    found = {
        "min_ade_m": ades.min(axis=1), "min_fde_m": fdes.min(axis=1), "ade_m": ades.mean(axis=1), "fde_m": fdes.mean(axis=1),
        "medoid_ade_m": ade_m(chosen, truth), "medoid_fde_m": fde_m(chosen, truth), "energy_m": energy_score_m(samples, truth).mean(axis=1),
        "cv_ade_m": ade_m(p.cv_m[:, :h], truth), "cv_fde_m": fde_m(p.cv_m[:, :h], truth),
        "ctrv_ade_m": ade_m(p.ctrv_m[:, :h], truth), "ctrv_fde_m": fde_m(p.ctrv_m[:, :h], truth),
    }  # fmt: skip
    found["medoid_minus_ctrv_ade_m"] = found["medoid_ade_m"] - found["ctrv_ade_m"]
    found["energy_minus_ctrv_ade_m"] = found["energy_m"] - found["ctrv_ade_m"]
    return {name: found[name] for name in METRICS}


def best_sample(p: Predictions) -> tuple[F64, I64]:
    """minADE_k of each window and whose it is, the first of equals: (N,), (N,)."""
    ades = ade_m(p.samples_m, p.truth_m[:, None])
    index = ades.argmin(axis=1)
    return ades[np.arange(len(ades)), index], index
