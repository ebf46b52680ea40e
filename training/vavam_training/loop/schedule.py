"""Warm-up, stable, drop: the learning rate of each step."""

from __future__ import annotations

from dataclasses import dataclass

from vavam_ros.core.contracts import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """Linear from 0 to `lr` over `warmup_steps`; `lr`; then linear to `final_share`·`lr` over the last `drop_steps` of `total_steps`, and so it stays.

    `first_step`: number of the first step, where a schedule goes on that was begun in another run (the reference fine-tunes so)."""

    lr: float
    total_steps: int
    warmup_steps: int = 0
    drop_steps: int = 0
    final_share: float = 0.1
    first_step: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.lr < float("inf"):
            raise ConfigError(f"schedule.lr: got {self.lr}, expected a positive number")
        if not 0.0 <= self.final_share <= 1.0:
            raise ConfigError(f"schedule.final_share: got {self.final_share}, expected 0 to 1")
        steps = self.total_steps - self.first_step
        if min(self.warmup_steps, self.drop_steps, self.first_step) < 0 or self.warmup_steps + self.drop_steps > steps or steps < 1:
            raise ConfigError(f"schedule: {self.warmup_steps} steps of warm-up and {self.drop_steps} of drop do not fit into {steps}: lower them")


def learning_rate(step: int, config: ScheduleConfig) -> float:
    """Rate of the step with this number (the first is `first_step`)."""
    since = step - config.first_step
    if since < config.warmup_steps:
        return config.lr * since / config.warmup_steps
    left = config.total_steps - step
    if config.drop_steps == 0 or left >= config.drop_steps:
        return config.lr
    return config.lr * (config.final_share + (1.0 - config.final_share) * max(left, 0) / config.drop_steps)
