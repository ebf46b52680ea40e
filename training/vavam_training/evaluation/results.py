"""What an evaluation comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vavam_training.evaluation.closed_loop import ClosedLoop
from vavam_training.evaluation.generation import Generated
from vavam_training.evaluation.next_token import LossRow, TokenLosses
from vavam_training.evaluation.open_loop import OpenLoopConfig, Predictions
from vavam_training.evaluation.open_loop_scores import OpenLoopScores
from vavam_training.evaluation.semantics import Semantics
from vavam_training.evaluation.statistics import Interval

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenLoop:
    """Trajectories."""

    config: OpenLoopConfig
    steps: int
    resamples: int
    predictions: Predictions
    scores: OpenLoopScores
    level: float = LEVEL

    @property
    def k(self) -> int:
        """Samples of a window."""
        return self.config.samples

    @property
    def horizon_s(self) -> float:
        """Time of the last waypoint."""
        return self.predictions.horizon * self.predictions.dt_s

    def to_dict(self, every_s: float) -> dict[str, Any]:
        """Plain types for JSON."""
        about = {
            "k": self.k, "seed": self.config.seed, "steps": self.steps, "rate_hz": 1.0 / self.predictions.dt_s, "horizon_s": self.horizon_s,
            "windows_every_s": every_s, "interval": f"{self.level:.0%} bootstrap over drives, {self.resamples} resamples",
        }  # fmt: skip
        return about | self.scores.to_dict()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Everything that the page shows. None or empty: was not asked for, or the model has it not."""

    name: str
    facts: Sequence[tuple[str, str]]
    banners: Sequence[str]
    windows: int
    held_out: bool
    open_loop: OpenLoop | None = None
    losses: Sequence[LossRow] = ()
    token_losses: TokenLosses | None = None
    loss_by_frame: Sequence[Interval] = ()
    unigram: float = 0.0
    generated: Generated | None = None
    semantics: Semantics | None = None
    class_names: Sequence[str] = ()
    closed_loop: ClosedLoop | None = None
