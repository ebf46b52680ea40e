"""A finished replay."""

from __future__ import annotations

from dataclasses import dataclass

from vavam_ros.core.artifact.model_card import ModelCard
from vavam_ros.replay.evaluate import Evaluation
from vavam_ros.replay.inputs import BagInputs, Tally
from vavam_ros.replay.keep import StepLog


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayResult:
    """What was planned by which model, how well, and what was left out."""

    card: ModelCard
    inputs: BagInputs
    log: StepLog
    tally: Tally
    drive_xy_m: list[tuple[float, float]]  # recorded positions of the ego point's base in odom
    evaluation: Evaluation | None
    camera_notes: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """What must be known before any number is read."""
        return self.log.warnings(self.card, self.inputs)
