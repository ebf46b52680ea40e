"""What a training run is, apart from its stage and its data."""

from __future__ import annotations

from dataclasses import dataclass, field

from vavam_ros.core.contracts import ConfigError
from vavam_training.loop.optim import OptimConfig
from vavam_training.loop.schedule import ScheduleConfig

PRECISIONS = ("fp32", "bf16")
STRATEGIES = ("auto", "ddp", "fsdp2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerConfig:
    """Learning rate and optimiser of one player."""

    schedule: ScheduleConfig
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Steps, batches, numbers, processes, and how often what is written.

    `batch_size`: samples of a step over all processes; `micro_batch`: how many at a time (0: all of a process), the rest is accumulated.
    `precision`: bf16 is mixed, weights and optimiser stay fp32. `strategy`: auto is ddp under torchrun; fsdp2 shards weights, gradients and optimiser states.
    `ema`: decay of a moving average of the weights (0: none; it begins faster, at (1 + steps) / (10 + steps)); the average is what is written as weights and
    what held-out data and pictures are made with. `max_minutes`: stop with a checkpoint after so long (0: never), to go on in another slice."""

    steps: int
    batch_size: int
    players: dict[str, PlayerConfig]
    micro_batch: int = 0
    seed: int = 0
    precision: str = "fp32"
    strategy: str = "auto"
    device: str = "auto"
    compile: bool = False
    ema: float = 0.0
    workers: int = 1
    max_minutes: float = 0.0
    log_every: int = 10
    save_every: int = 1000
    keep: int = 2
    held_out_every: int = 500
    held_out_batches: int = 8
    pictures_every: int = 1000

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.players:
            raise ConfigError(f"loop: got {self.steps} steps of {self.batch_size} samples for players {sorted(self.players)}, expected one or more of each")
        if self.precision not in PRECISIONS or self.strategy not in STRATEGIES:
            raise ConfigError(f"loop: got precision {self.precision!r}, strategy {self.strategy!r}, expected one of {PRECISIONS}, one of {STRATEGIES}")
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError(f"loop.ema: got {self.ema}, expected 0 or more, below 1")
        for name in ("log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"loop.{name}: got {getattr(self, name)}, expected 1 or more")
        for name in ("workers", "held_out_every", "held_out_batches", "pictures_every", "micro_batch", "max_minutes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"loop.{name}: got {getattr(self, name)}, expected 0 or more")
